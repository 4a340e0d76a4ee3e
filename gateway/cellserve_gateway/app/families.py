"""Model families: what the gateway knows of the networks, read from each family's model.json."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self

from cellserve_contract.model_card import Family, ModelJsonError

from cellserve_gateway.errors import ModelUnknown


class Families(Mapping[str, Family]):
    """Model families by name, in alphabetical order.

    Args:
        families: The families.
        default: Name of the family of requests that name none.

    Raises:
        ValueError: The default is not among the families.
    """

    def __init__(self, families: Iterable[Family], default: str) -> None:
        self._families = {family.name: family for family in sorted(families, key=lambda family: family.name)}
        if default not in self._families:
            raise ValueError(
                f"there is no model family '{default}', which CELLSERVE_DEFAULT_MODEL names; there is "
                f"{', '.join(self._families)}: set CELLSERVE_DEFAULT_MODEL to one of these, or "
                "CELLSERVE_MODEL_REPOSITORY to the folder that holds the family"
            )
        self.default = default

    @classmethod
    def load(cls, repository: Path, default: str) -> Self:
        """Reads every `<repository>/<family>/model.json`.

        Raises:
            ValueError: The folder holds none, one cannot be read, or one does not name its own folder.
        """
        families = [_load_family(path) for path in repository.glob("*/model.json")]
        if not families:
            raise ValueError(f"no <family>/model.json in {repository.resolve()}: set CELLSERVE_MODEL_REPOSITORY")
        return cls(families, default)

    def __getitem__(self, name: str) -> Family:
        """Returns a family.

        Raises:
            ModelUnknown: The family does not exist.
        """
        try:
            return self._families[name]
        except KeyError:
            raise ModelUnknown(
                f"there is no model '{name[:64]}'; there is {', '.join(self._families)}",
                available=",".join(self._families),
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._families)

    def __len__(self) -> int:
        return len(self._families)


def _load_family(path: Path) -> Family:
    try:
        family = Family.from_json(path.read_bytes())
    except ModelJsonError as error:
        raise ValueError(f"{path}: {error}") from error
    if family.name != path.parent.name:
        raise ValueError(f"{path} describes '{family.name}', but lies in the folder of '{path.parent.name}'")
    return family
