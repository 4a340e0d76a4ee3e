"""The parity gate: a graph is delivered only if ONNX Runtime computes from it what torch computes from the network."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from cellserve_contract.tiles import TILE
from cellserve_networks.network import INPUT_CHANNELS, CPnet
from numpy.typing import NDArray
from torch import nn

from cellserve_export.errors import ParityError
from cellserve_export.graph import Precision, stored

TOLERANCE = 1e-4

Tiles = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Parity:
    """How far one output of one graph is off on one set of tiles, in the unit of the output."""

    model: str
    tiles: str
    output: str
    deviation: float  # largest |ONNX Runtime - torch|, both with the weights as stored: at most TOLERANCE
    rounding: float  # largest |torch, weights as stored - torch, weights of the checkpoint|: reported, not bounded
    magnitude: float  # largest |torch|, for comparison


def random_tiles(network: CPnet, count: int, seed: int = 0) -> Tiles:
    """Noise, float32 [count,2,224,224], of the mean and variance that a network met in training, channel by channel.

    Other noise proves less: a network trained without nuclei scales up the little it finds in that channel a
    hundredfold, and outputs of several hundred leave single precision no room for an absolute bound.
    """
    first = network.downsample.get_submodule("down.res_down_0.proj.0")
    mean, variance = (first.get_buffer(name).numpy()[:, None, None] for name in ("running_mean", "running_var"))
    noise = np.random.default_rng(seed).standard_normal((count, INPUT_CHANNELS, TILE, TILE), dtype=np.float32)
    tiles: Tiles = mean + np.sqrt(variance) * noise
    return tiles


def check_parity(
    name: str,
    model: Path,
    module: nn.Module,
    outputs: Sequence[str],
    precision: Precision,
    tiles: Mapping[str, Tiles],
) -> list[Parity]:
    """Compares a graph with the module it was written from.

    Args:
        name: what reports call the graph.
        model: the ONNX file.
        module: in evaluation mode; takes float32 [batch,2,224,224], returns the tensors that `outputs` names.
        outputs: the graph's outputs in the order of the module's.
        precision: as the graph was written.
        tiles: float32 [batch,2,224,224] by name, each run as one batch.

    Raises:
        ParityError: an output differs by more than TOLERANCE, or is not a number.
    """
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    as_stored = _as_stored(module, precision)
    report: list[Parity] = []
    for kind, batch in tiles.items():
        actual = session.run(list(outputs), {"image": batch})
        expected, original = _run(as_stored, batch), _run(module, batch)
        for output, computed, wanted, exact in zip(outputs, actual, expected, original, strict=True):
            deviation, rounding = _largest(computed - wanted), _largest(wanted - exact)
            report.append(Parity(name, kind, output, deviation, rounding, _largest(wanted)))
    failures = [
        f"{entry.output} on {entry.tiles} tiles by {entry.deviation:.3g} (values to {entry.magnitude:.3g})"
        for entry in report
        if not entry.deviation <= TOLERANCE  # so written that a NaN fails
    ]
    if failures:
        raise ParityError(f"{name}: ONNX Runtime and torch differ by more than {TOLERANCE:g}: {'; '.join(failures)}")
    return report


def _as_stored(module: nn.Module, precision: Precision) -> nn.Module:
    """A copy whose parameters went through the precision of the file."""
    rounded = copy.deepcopy(module)
    for parameter in rounded.parameters():
        parameter.data = stored(parameter.data, precision).float()
    return rounded


def _run(module: nn.Module, tiles: Tiles) -> list[NDArray[np.float32]]:
    with torch.inference_mode():
        result = module(torch.from_numpy(tiles))
    return [tensor.numpy() for tensor in (result if isinstance(result, tuple) else (result,))]


def _largest(values: NDArray[np.float32]) -> float:
    return float(np.abs(values).max())
