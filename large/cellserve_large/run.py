"""The file that describes a run: a run folder serves one image and one set of parameters."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from cellserve_contract.params import RecoveryParams

from .errors import OtherRunError
from .store import Store

FORMAT = 1
"""Of the files in a run folder. Another number means that older results are of no use."""
NAME = "run.json"


@dataclass(frozen=True, slots=True)
class Description:
    """What the results in a run folder depend on.

    Attributes:
        image: identity of the image, and of how its maps were made: anything that JSON can hold.
        shape: of the maps.
        label_shape: of the label image.
        params: of the recovery.
        side: of the blocks, in pixels.
    """

    image: Any
    shape: tuple[int, ...]
    label_shape: tuple[int, ...]
    params: RecoveryParams
    side: int

    def open(self, store: Store) -> None:
        """Begin a run in a folder, or go on with one.

        Raises:
            OtherRunError: The folder holds a run of something else.
            DiskFullError: The folder has no room.
        """
        path = store.folder / NAME
        own = json.loads(json.dumps({"format": FORMAT, "version": version("cellserve"), **asdict(self)}))
        if path.exists():
            other = json.loads(path.read_text())
            if differences := _differences(own, other):
                raise OtherRunError(store.folder, differences)
            return
        text = (json.dumps(own, indent=2) + "\n").encode()
        with store.written(path, len(text)) as file:
            file.write(text)


def _differences(own: dict[str, Any], other: dict[str, Any]) -> list[str]:
    found = []
    for name in sorted({*own, *other}):
        mine, theirs = own.get(name), other.get(name)
        if isinstance(mine, dict) and isinstance(theirs, dict):
            found += _differences(mine, theirs)
        elif mine != theirs:
            found.append(f"{name} is {theirs} there and {mine} here")
    return found
