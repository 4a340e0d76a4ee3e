"""Model families: what the gateway knows of the networks, read from each family's model.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self

from cellserve_postprocess import SizeModel
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator


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


def load_families(repository: Path) -> Mapping[str, Family]:
    """Reads every `<repository>/<family>/model.json`.

    Returns:
        Families by name, in alphabetical order.

    Raises:
        ValueError: The folder holds none, one cannot be read, or one does not name its own folder.
    """
    families = {}
    for path in sorted(repository.glob("*/model.json")):
        try:
            family = Family.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise ValueError(f"{path}: {error}") from error
        if family.name != path.parent.name:
            raise ValueError(f"{path} describes '{family.name}', but lies in the folder of '{path.parent.name}'")
        families[family.name] = family
    if not families:
        raise ValueError(f"no <family>/model.json in {repository.resolve()}: set CELLSERVE_MODEL_REPOSITORY")
    return families
