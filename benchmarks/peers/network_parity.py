"""Proves against Cellpose's own CPnet that ours, and the graphs we write, are the same network.

    PYTHONPATH=export:networks:formats .venv-peers/bin/python benchmarks/peers/network_parity.py [CHECKPOINT ...]

Cellpose saves state dicts with random weights and random batch-norm statistics. We load these, and any checkpoints
given, unchanged. Cellpose, our torch module and ONNX Runtime run on the same random tiles. Fails if an output differs
by more than the parity gate of the export allows.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from cellpose.resnet_torch import CPnet as CellposeNet
from cellserve_export.graph import ensemble_graph, style_graph
from cellserve_export.parity import TOLERANCE, Tiles, random_tiles
from cellserve_networks.checkpoint import Checkpoint, load_checkpoint
from numpy.typing import NDArray

Outputs = tuple[NDArray[np.float32], NDArray[np.float32]]  # maps, style


def cellpose_net() -> CellposeNet:
    """As Cellpose 3 builds it for its two-channel models."""
    return CellposeNet([2, 32, 64, 128, 256], nout=3, sz=3, max_pool=True, diam_mean=30.0).eval()


def randomize(network: CellposeNet, seed: int) -> None:
    """Gives every parameter and statistic its own value, of a scale that gives outputs like a trained network's."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if tensor.ndim > 1:
            tensor.normal_(0, (0.5 / tensor[0].numel()) ** 0.5, generator=generator)
        elif name.endswith(".running_var"):
            tensor.uniform_(0.5, 1.5, generator=generator)
        elif tensor.is_floating_point() and not name.startswith("diam"):
            tensor.normal_(1.0 if name.endswith(".0.weight") else 0.0, 0.2, generator=generator)


def load_both(network: CellposeNet, directory: Path) -> Checkpoint:
    """Our network from a file of Cellpose 3; of it and of one as Cellpose 1 wrote, every tensor arrives unchanged."""
    official, older = directory / "official.pt", directory / "older.pt"
    network.save_model(official)
    state = network.state_dict()
    torch.save({name: tensor for name, tensor in state.items() if not name.startswith("diam")}, older)
    for path, tensors in ((official, 313), (older, 311)):
        saved = torch.load(path, weights_only=True)
        loaded = load_checkpoint(path).network.state_dict()
        assert len(saved) == tensors, f"Cellpose wrote {len(saved)} tensors, expected {tensors}"
        assert all(torch.equal(loaded[name], tensor) for name, tensor in saved.items()), f"{path.name}: tensors changed"
    return load_checkpoint(official)


def run_onnx(networks: Sequence[Checkpoint], tiles: Tiles) -> Outputs:
    """Flows of the fused graph and style of the style graph, weights in fp32."""
    models = [checkpoint.network for checkpoint in networks]
    graphs = (ensemble_graph(models, "fp32"), style_graph(models[0], "fp32"))
    outputs: list[NDArray[np.float32]] = []
    for graph, name in zip(graphs, ("flows", "style"), strict=True):
        session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        outputs += session.run([name], {"image": tiles})
    maps, style = outputs
    return maps, style


@torch.inference_mode()
def compare(label: str, networks: Sequence[CellposeNet]) -> bool:
    """Runs an ensemble three ways, prints the largest differences from Cellpose, tells whether all are small enough."""
    with tempfile.TemporaryDirectory() as directory:
        checkpoints = [load_both(network, Path(directory)) for network in networks]
    tiles = random_tiles(checkpoints[0].network, 2)
    image = torch.from_numpy(tiles)
    results = [network(image) for network in networks]
    expected = (np.mean([maps.numpy() for maps, *_ in results], axis=0), results[0][1].numpy())
    ours = [checkpoint.network(image) for checkpoint in checkpoints]
    candidates: dict[str, Outputs] = {
        "torch": (np.mean([maps.numpy() for maps, _ in ours], axis=0), ours[0][1].numpy()),
        "ONNX Runtime": run_onnx(checkpoints, tiles),
    }
    passed = True
    for runtime, outputs in candidates.items():
        for output, actual, wanted in zip(("flows", "style"), outputs, expected, strict=True):
            difference = float(np.abs(actual - wanted).max())
            passed &= difference <= TOLERANCE
            print(f"{label:28} {runtime:14} {output:7} {difference:10.1e} {np.abs(wanted).max():10.2f}", flush=True)
    return passed


def main(paths: Sequence[str]) -> int:
    """Compares one random network, an ensemble of four, and each checkpoint given; 0 if all agree."""
    networks = [cellpose_net() for _ in range(4)]
    for seed, network in enumerate(networks):
        randomize(network, seed)
    cases: dict[str, list[CellposeNet]] = {"random weights": networks[:1], "random weights, 4 networks": networks}
    for path in paths:
        given = cellpose_net()
        given.load_model(path)
        cases[Path(path).name] = [given.eval()]
    print(f"{'network':28} {'ours, run by':14} {'output':7} {'difference':>10} {'values to':>10}   limit {TOLERANCE:g}")
    passed = [compare(label, ensemble) for label, ensemble in cases.items()]
    print("agree" if all(passed) else "DIFFER")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
