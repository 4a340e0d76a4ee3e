"""Model families: what the gateway knows of the networks, read from each family's model.json."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self

from cellserve_postprocess import SizeModel
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cellserve_gateway.errors import ModelUnknown


class NetworkFile(BaseModel):
    """One ONNX file of a family."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Family(BaseModel):
    """A family of networks trained on the same data, as its model.json describes it.

    Attributes:
        name: Family; its networks on Triton are `<name>` (ensemble), `<name>_single` (network 0) and `<name>_style`.
        diam_mean: Object diameter the networks work at, pixels.
        diam_labels: Mean object diameter of the training images, pixels; None where unknown.
        channels: What the networks' input planes show: "cytoplasm", "nucleus". One that is missing was always zero in
            training.
        size_model: Predicts diameters from the styles of network 0; None: the family cannot estimate diameters.
        networks: Network name to file.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    name: str = Field(alias="family")
    description: str
    diam_mean: float = Field(gt=0)
    diam_labels: float | None = None
    channels: tuple[str, ...]
    license: str
    provenance: str
    tile_size: int
    size_model: SizeModel | None = None
    networks: dict[str, NetworkFile]

    @model_validator(mode="after")
    def _has_networks_for_sizes(self) -> Self:
        missing = {self.network(ensemble=False), self.style_network} - self.networks.keys()
        if self.size_model and missing:
            raise ValueError(f"a size model needs the network {' and '.join(sorted(missing))}")
        return self

    def network(self, ensemble: bool) -> str:
        """Returns the name on Triton of the ensemble or of network 0."""
        return self.name if ensemble else f"{self.name}_single"

    @property
    def style_network(self) -> str:
        """Name on Triton of the network that gives the style alone."""
        return f"{self.name}_style"


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
            raise ValueError(f"the default model '{default}' is not among {', '.join(self._families)}")
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
        family = Family.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ValueError(f"{path}: {error}") from error
    if family.name != path.parent.name:
        raise ValueError(f"{path} describes '{family.name}', but lies in the folder of '{path.parent.name}'")
    return family
