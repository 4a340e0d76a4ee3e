"""What a batch asks for: all that decides the results of an image besides its pixels and the network."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass

from cellserve.channel_names import ChannelNames
from cellserve.params import Compression, Priority, SegmentParams

FORMAT = 1
"""Of the result files. Another number means that earlier results are made again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for of each image. Can be pickled.

    Attributes:
        params: Parameters, channels by number.
        channels: Channels by name.
        axes: Axes of files that do not name them.
        save: Words of the result files.
        measure: Groups of measurements.
        numbers: Whether the overlay has the label of each object.
        filled: Whether the overlay has filled objects.
        priority: Priority class. Decides no result, as do all that follow.
        compression: How pixels travel.
        work_budget_s: Seconds of work on an image, counted from when the server starts on it; None: no budget.
        deadline_s: Seconds to wait for a server that has room.
    """

    params: SegmentParams
    channels: ChannelNames
    axes: str | None = None
    save: tuple[str, ...] = ("masks", "csv")
    measure: tuple[str, ...] = ()
    numbers: bool = False
    filled: bool = False
    priority: Priority = "batch"
    compression: Compression = "auto"
    work_budget_s: float | None = None
    deadline_s: float = 3600.0

    @property
    def fingerprint(self) -> str:
        """Tells whether an earlier result is of the same request."""
        facts = {
            "format": FORMAT,
            "params": self._changed(),
            "channels": dataclasses.asdict(self.channels),
            "axes": self.axes,
            "save": sorted(self.save),
            "measure": sorted(self.measure),
            "overlay": [self.numbers, self.filled] if "overlay" in self.save else [],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()

    def described(self) -> tuple[tuple[str, str], ...]:
        """Returns names and values for the report: the parameters that differ from their defaults, and the options."""
        named: dict[str, object] = self._changed()
        named |= {name: channel for name, channel in dataclasses.asdict(self.channels).items() if channel is not None}
        named |= {"save": ", ".join(self.save), "measure": ", ".join(self.measure), "axes": self.axes}
        return tuple((name, str(value)) for name, value in named.items() if value not in (None, ""))

    def _changed(self) -> dict[str, object]:
        """Returns the parameters that differ from their defaults: a new parameter makes no old result again."""
        default = SegmentParams()
        names = [field.name for field in dataclasses.fields(self.params)]
        return {
            name: getattr(self.params, name) for name in names if getattr(self.params, name) != getattr(default, name)
        }
