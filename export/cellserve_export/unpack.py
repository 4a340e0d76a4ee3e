"""The networks of a family as checkpoints again: to train them on, to combine them, to use them in Cellpose."""

import hashlib
import json
from pathlib import Path

import onnx
import torch
from cellserve_networks.network import CPnet
from onnx import numpy_helper

from cellserve_export.errors import FamilyError


def unpack_family(repository: Path, name: str) -> list[CPnet]:
    """Reads the networks of a family that `write_family` wrote.

    Args:
        repository: Triton model repository.
        name: the family's.

    Returns:
        Its networks in order, float32, in evaluation mode. Weights are as stored: those of an fp16 family rounded.

    Raises:
        FamilyError: no such family, or its ONNX file is not the one that its model.json describes.
    """
    try:
        description = json.loads((repository / name / "model.json").read_bytes())
        content = (repository / name / "1" / "model.onnx").read_bytes()
    except (OSError, ValueError) as error:
        raise FamilyError(f"no family {name!r} in {repository}: {error}") from error
    try:
        expected, diam_mean = description["networks"][name]["sha256"], float(description["diam_mean"])
        diam_labels, count = float(description["diam_labels"] or diam_mean), len(description["sources"])
    except (KeyError, TypeError, ValueError) as error:
        raise FamilyError(f"{repository / name / 'model.json'}: not a description of a family: {error!r}") from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise FamilyError(f"{repository / name}: model.onnx is not the file that model.json describes")
    weights = {tensor.name: tensor for tensor in onnx.load_from_string(content).graph.initializer}
    networks = []
    for index in range(count):
        network = CPnet()
        for key, tensor in network.state_dict().items():
            if not key.endswith("num_batches_tracked") and not key.startswith("diam"):
                stored = numpy_helper.to_array(weights[f"network_{index}.{key}"])
                tensor.copy_(torch.from_numpy(stored.astype("float32")))
        network.get_buffer("diam_mean").fill_(diam_mean)
        network.get_buffer("diam_labels").fill_(diam_labels)
        networks.append(network.eval().requires_grad_(False))
    return networks
