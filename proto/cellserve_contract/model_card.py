"""model.json: what a model repository says of a family of networks. One schema for all who write or read it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self, cast

STYLE_SIZE = 256
"""Numbers in a style."""

Weights = Literal["fp16", "fp32"]
_SHA256 = re.compile(r"[0-9a-f]{64}")


class ModelJsonError(ValueError):
    """A model.json does not say what it must."""


@dataclass(frozen=True, slots=True)
class SizeModelNumbers:
    """A linear model from the style of an image to the logarithm of the diameter of its objects.

    Attributes:
        coefficients: 256 numbers, one for each number of a style.
        style_mean: Mean of the styles it was fitted on, 256 numbers.
        log_diameter_mean: Mean of log(diameter / diam_mean) it was fitted on.
        diam_mean: Diameter in pixels that the network of the styles works at.

    Raises:
        ValueError: On construction: a number is missing or not finite, or diam_mean not positive.
    """

    coefficients: tuple[float, ...]
    style_mean: tuple[float, ...]
    log_diameter_mean: float
    diam_mean: float

    def __post_init__(self) -> None:
        for name in ("coefficients", "style_mean"):
            values = getattr(self, name)
            if len(values) != STYLE_SIZE or not all(map(math.isfinite, values)):
                raise ModelJsonError(f"{name} of a size model: expected {STYLE_SIZE} finite numbers")
        if not math.isfinite(self.log_diameter_mean):
            raise ModelJsonError(
                f"log_diameter_mean of a size model is {self.log_diameter_mean}, expected a finite number"
            )
        if not 0 < self.diam_mean < math.inf:
            raise ModelJsonError(
                f"diam_mean of a size model is {self.diam_mean}, expected a diameter in pixels, above 0"
            )


@dataclass(frozen=True, slots=True)
class NetworkFile:
    """One ONNX file of a family.

    Attributes:
        sha256: Of the file, lower-case hexadecimal.
        weights: Number format of the weights; None where the file does not say.

    Raises:
        ModelJsonError: On construction: no SHA-256, or an unknown number format.
    """

    sha256: str
    weights: Weights | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.sha256, str) or not _SHA256.fullmatch(self.sha256):
            raise ModelJsonError(f"sha256 is {self.sha256!r}, expected 64 lower-case hexadecimal digits")
        if self.weights not in (None, "fp16", "fp32"):
            raise ModelJsonError(f"weights is {self.weights!r}, expected fp16 or fp32")


@dataclass(frozen=True, slots=True)
class Family:
    """A family of networks trained on the same data, as its model.json describes it.

    Attributes:
        name: Name of the family ("family" in the file). Its networks on Triton are `<name>` (ensemble), `<name>_single`
            (network 0) and `<name>_style`.
        description: What the family is for, in one sentence.
        diam_mean: Working diameter: the object diameter that the networks work at, pixels.
        channels: What the networks' input planes show: "cytoplasm", "nucleus". A plane that is missing was always zero
            in training.
        license: Of the weights.
        provenance: How and on what the networks were trained.
        tile_size: Side of a tile, pixels.
        networks: File of each network, by the network's name.
        diam_labels: Training diameter: mean object diameter of the training images, pixels; None where unknown.
        size_model: Predicts diameters from the styles of network 0; None: the family cannot estimate diameters.
        sources: SHA-256 of the checkpoints, in the order of the networks.
        exporter: Versions of the tools that wrote the family.

    Raises:
        ModelJsonError: On construction: a value is out of range, or a network is missing.
    """

    name: str
    description: str
    diam_mean: float
    channels: tuple[str, ...]
    license: str
    provenance: str
    tile_size: int
    networks: Mapping[str, NetworkFile]
    diam_labels: float | None = None
    size_model: SizeModelNumbers | None = None
    sources: tuple[str, ...] = ()
    exporter: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("diam_mean", "diam_labels"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ModelJsonError(f"{name} is {value}, expected a diameter in pixels, above 0")
        if self.tile_size < 1:
            raise ModelJsonError(f"tile_size is {self.tile_size}, expected pixels, above 0")
        missing = {self.network(ensemble=False), self.style_network} - self.networks.keys()
        if self.size_model and missing:
            raise ModelJsonError(f"a size model needs the network {' and '.join(sorted(missing))}")

    def network(self, ensemble: bool) -> str:
        """Returns the name on Triton of the ensemble or of network 0."""
        return self.name if ensemble else f"{self.name}_single"

    @property
    def default_diameter(self) -> float:
        """Diameter of images that nobody measured, pixels: the training diameter, else the working diameter."""
        return self.diam_labels or self.diam_mean

    @property
    def style_network(self) -> str:
        """Name on Triton of the network that gives the style alone."""
        return f"{self.name}_style"

    @classmethod
    def from_json(cls, content: bytes | str) -> Self:
        """Reads the content of a model.json. Keys that the schema does not know are ignored.

        Raises:
            ModelJsonError: Not JSON, a key is missing, or a value has a wrong type or is out of range.
        """
        try:
            return cls._of(json.loads(content))
        except ModelJsonError:
            raise
        except ValueError as error:
            raise ModelJsonError(f"not JSON: {error}") from error

    def to_json(self) -> dict[str, Any]:
        """Returns the content of the model.json, for a JSON writer."""
        content: dict[str, Any] = {"family": self.name} | asdict(self)
        del content["name"]
        return content

    @classmethod
    def _of(cls, content: Any) -> Self:
        if not isinstance(content, dict):
            raise ModelJsonError("not a JSON object")
        about = _Reader(content)
        networks = about.get("networks", dict)
        cards = {
            name: NetworkFile(_Reader(file, name).get("sha256", str), file.get("weights"))
            for name, file in networks.items()
        }
        size_model = about.get("size_model", dict, None)
        return cls(
            name=about.get("family", str),
            description=about.get("description", str),
            diam_mean=about.number("diam_mean"),
            channels=tuple(about.texts("channels")),
            license=about.get("license", str),
            provenance=about.get("provenance", str),
            tile_size=about.get("tile_size", int),
            networks=cards,
            diam_labels=None if content.get("diam_labels") is None else about.number("diam_labels"),
            size_model=None if size_model is None else _size_model(_Reader(size_model, "size_model")),
            sources=tuple(about.texts("sources", [])),
            exporter=about.get("exporter", dict, {}),
        )


class _Reader:
    """Values of a JSON object, their types checked."""

    def __init__(self, content: Any, where: str = "") -> None:
        if not isinstance(content, dict):
            raise ModelJsonError(f"{where} is no JSON object")
        self._content = content
        self._where = f"{where}." if where else ""

    def get(self, key: str, kind: type, *default: Any) -> Any:
        value = self._content.get(key, *default)
        if value is None and default:
            return default[0]
        if value is None:
            raise ModelJsonError(f"{self._where}{key} is missing")
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ModelJsonError(f"{self._where}{key} is {value!r:.80}, expected {kind.__name__}")
        return value

    def number(self, key: str) -> float:
        value = self._content.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ModelJsonError(f"{self._where}{key} is {value!r:.80}, expected a number")
        return float(value)

    def numbers(self, key: str) -> tuple[float, ...]:
        values = self.get(key, list)
        if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            raise ModelJsonError(f"{self._where}{key}: expected numbers")
        return tuple(map(float, values))

    def texts(self, key: str, *default: Any) -> list[str]:
        values = self.get(key, list, *default)
        if not all(isinstance(value, str) for value in values):
            raise ModelJsonError(f"{self._where}{key}: expected texts")
        return cast(list[str], values)


def _size_model(about: _Reader) -> SizeModelNumbers:
    return SizeModelNumbers(
        about.numbers("coefficients"),
        about.numbers("style_mean"),
        about.number("log_diameter_mean"),
        about.number("diam_mean"),
    )
