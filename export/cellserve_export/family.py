"""Writes a family into a Triton model repository: the ensemble, its first network alone, and that network's style.

<repository>/<family>/         config.pbtxt  configs/gpu.pbtxt  1/model.onnx  model.json
<repository>/<family>_single/  config.pbtxt  configs/gpu.pbtxt  1/model.onnx
<repository>/<family>_style/   config.pbtxt  configs/gpu.pbtxt  1/model.onnx
"""

import hashlib
import math
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata, resources
from pathlib import Path
from string import Template

import onnx
from cellserve_contract import model_card
from cellserve_contract.tiles import TILE
from cellserve_formats.files import write_json
from cellserve_networks.checkpoint import CHANNELS, Checkpoint
from cellserve_networks.network import DEFAULT_DIAMETER, OUTPUT_CHANNELS, STYLE_SIZE, Ensemble, StyleNetwork
from cellserve_postprocess import SizeModel
from torch import nn

from cellserve_export.errors import FamilyError
from cellserve_export.graph import Precision, ensemble_graph, style_graph
from cellserve_export.parity import Parity, Tiles, check_parity
from cellserve_export.repository import check_repository, refuse_existing

# As Triton's configuration declares them.
_OUTPUTS = {
    "flows": f"dims: [ {OUTPUT_CHANNELS}, SIDES ] }} # 5 * flow y, 5 * flow x, cell-probability logit",
    "style": f"dims: [ {STYLE_SIZE} ] }} # unit length",
}
_TOOLS = ("cellserve", "onnx", "onnxruntime", "torch")


@dataclass(frozen=True, slots=True)
class Family:
    """What a family is called and what its users should know."""

    name: str
    description: str
    license: str  # of the weights
    provenance: str  # how and on what they were trained
    diam_mean: float | None = None  # pixels; None: as the checkpoints say
    size_model: SizeModel | None = None  # of network 0's styles

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", self.name) or self.name.endswith(("_single", "_style")):
            allowed = "lower-case letters, digits, '-' and '_'; '_single' and '_style' are appended by the export"
            raise FamilyError(f"family name is {self.name!r}; allowed: {allowed}")
        if self.diam_mean is not None and not 0 < self.diam_mean < math.inf:
            raise FamilyError(f"diam_mean is {self.diam_mean:g}; allowed: a diameter in pixels, above 0")


@dataclass(frozen=True, slots=True)
class _Model:
    """One directory of the repository: a graph and the module it must agree with."""

    name: str
    graph: onnx.ModelProto
    module: nn.Module
    outputs: tuple[str, ...]
    cpu_delay_us: int  # how long a tile waits for others to share a batch with: a fraction of what a batch takes
    gpu_delay_us: int


def write_family(
    repository: Path,
    family: Family,
    checkpoints: Sequence[Checkpoint],
    precision: Precision,
    tiles: Mapping[str, Tiles],
    *,
    overwrite: bool = False,
) -> list[Parity]:
    """Writes the three directories of a family.

    They are written and checked in a temporary directory beside the repository (a Triton that starts meanwhile must not
    see it) and moved into place once all have passed the parity gate: a failure leaves the repository as it was.

    Args:
        repository: made if it does not exist; the folder above must exist.
        family: name and description.
        checkpoints: one network or more; the first gives `_single` and `_style`.
        precision: of the weights in the files.
        tiles: for the parity gate, float32 [batch,2,224,224] by name.
        overwrite: True: replaces the family of an earlier export.

    Returns:
        What the parity gate measured.

    Raises:
        FamilyError: the checkpoints do not belong together, the folder is no repository, or the family is there.
        ParityError: a graph does not compute what its network computes.
    """
    diam_mean = _common_diameter(family, checkpoints)
    check_repository(repository)
    if not overwrite:
        refuse_existing(repository, family.name)
    with tempfile.TemporaryDirectory(dir=repository.resolve().parent, prefix=".export-") as scratch:
        new = Path(scratch, "new")
        report: list[Parity] = []
        checksums: dict[str, str] = {}
        for model in _models(family.name, checkpoints, precision):
            directory = new / model.name
            checksums[model.name] = _write_model(directory, family.name, model)
            network = directory / "1" / "model.onnx"
            report += check_parity(model.name, network, model.module, model.outputs, precision, tiles)
        card = _describe(family, checkpoints, precision, diam_mean, checksums)
        write_json(new / family.name / "model.json", card.to_json())
        repository.mkdir(exist_ok=True)
        _replace(repository, new, Path(scratch, "old"))
    return report


def set_size_model(repository: Path, name: str, size_model: SizeModel, *, overwrite: bool = False) -> None:
    """Puts a size model into the model.json of a family written earlier; all else stays.

    Args:
        repository: holds the family.
        name: the family's.
        size_model: of network 0's styles.
        overwrite: True: replaces another size model.

    Raises:
        FamilyError: the repository holds no such family, or the family has another size model.
        OSError: the file cannot be written.
    """
    path = repository / name / "model.json"
    try:
        card = model_card.Family.from_json(path.read_bytes())
    except OSError as error:
        raise FamilyError(
            f"no family {name!r} in {repository.resolve()}: {path} cannot be read: {error.strerror}; "
            "--repository says where the family is"
        ) from error
    except model_card.ModelJsonError as error:
        raise FamilyError(f"{path}: {error}") from error
    if card.name != name:
        raise FamilyError(f"{path}: does not describe the family {name!r}")
    if card.size_model not in (None, size_model) and not overwrite:
        raise FamilyError(f"{path.resolve()} has another size model already: --overwrite replaces the size model")
    try:
        write_json(path, replace(card, size_model=size_model).to_json())
    except model_card.ModelJsonError as error:
        raise FamilyError(f"{path}: {error}") from error


def _common_diameter(family: Family, checkpoints: Sequence[Checkpoint]) -> float:
    if not checkpoints:
        raise FamilyError(f"family {family.name}: no checkpoint given")
    if family.diam_mean is not None:
        return family.diam_mean
    found = sorted({checkpoint.diam_mean for checkpoint in checkpoints if checkpoint.diam_mean is not None})
    if len(found) > 1:
        values = ", ".join(f"{value:g}" for value in found)
        raise FamilyError(f"family {family.name}: the checkpoints differ in diam_mean ({values}); state the one to use")
    return found[0] if found else DEFAULT_DIAMETER


def _models(name: str, checkpoints: Sequence[Checkpoint], precision: Precision) -> list[_Model]:
    networks = [checkpoint.network for checkpoint in checkpoints]
    first = networks[0]
    both = ("flows", "style")
    ensemble, style = Ensemble(networks).eval(), StyleNetwork(first).eval()
    return [
        _Model(name, ensemble_graph(networks, precision), ensemble, both, 20_000, 5_000),
        _Model(f"{name}_single", ensemble_graph([first], precision), first, both, 20_000, 5_000),
        _Model(f"{name}_style", style_graph(first, precision), style, ("style",), 5_000, 1_000),
    ]


def _write_model(directory: Path, family: str, model: _Model) -> str:
    """Writes a model's directory and returns the SHA-256 of its network."""
    content = model.graph.SerializeToString(deterministic=True)
    sha256 = hashlib.sha256(content).hexdigest()
    outputs = "\n".join(f'output {{ name: "{name}" data_type: TYPE_FP32 {_OUTPUTS[name]}' for name in model.outputs)
    values = {"model": model.name, "family": family, "sha256": sha256}
    any_sides, tile_sides = (outputs.replace("SIDES", sides) for sides in ("-1, -1", f"{TILE}, {TILE}"))
    (directory / "configs").mkdir(parents=True)
    (directory / "config.pbtxt").write_text(
        _template("cpu.pbtxt").substitute(values, outputs=any_sides, delay_us=model.cpu_delay_us)
    )
    (directory / "configs" / "gpu.pbtxt").write_text(
        _template("gpu.pbtxt").substitute(values, outputs=tile_sides, delay_us=model.gpu_delay_us)
    )
    (directory / "1").mkdir()
    (directory / "1" / "model.onnx").write_bytes(content)
    return sha256


def _template(name: str) -> Template:
    return Template(resources.files("cellserve_export").joinpath("templates", name).read_text())


def _describe(
    family: Family,
    checkpoints: Sequence[Checkpoint],
    precision: Precision,
    diam_mean: float,
    checksums: Mapping[str, str],
) -> model_card.Family:
    """The content of model.json: what a gateway tells its callers about the family."""
    return model_card.Family(
        name=family.name,
        description=family.description,
        diam_mean=diam_mean,
        diam_labels=next((found.diam_labels for found in checkpoints if found.diam_labels), None),
        channels=tuple(name for name in CHANNELS if all(name in checkpoint.channels for checkpoint in checkpoints)),
        license=family.license,
        provenance=family.provenance,
        tile_size=TILE,
        size_model=family.size_model,
        networks={name: model_card.NetworkFile(sha256, precision) for name, sha256 in checksums.items()},
        sources=tuple(checkpoint.sha256 for checkpoint in checkpoints),
        exporter={tool: metadata.version(tool) for tool in _TOOLS},
    )


def _replace(repository: Path, new: Path, old: Path) -> None:
    """Moves the directories of `new` into the repository and those they replace to `old`; on an error, all back."""
    moves: list[tuple[Path, Path]] = []
    for source in sorted(new.iterdir()):
        target = repository / source.name
        if target.exists():
            moves.append((target, old / source.name))
        moves.append((source, target))
    old.mkdir()
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in moves:
            source.rename(target)
            done.append((source, target))
    except OSError:
        for source, target in reversed(done):
            target.rename(source)
        raise
