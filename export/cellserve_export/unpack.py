"""The networks of a family as checkpoints again: to train them on, to combine them, to use them in Cellpose."""

import hashlib
from pathlib import Path

import onnx
import torch
from cellserve_contract.model_card import Family, ModelJsonError
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
        card = Family.from_json((repository / name / "model.json").read_bytes())
        content = (repository / name / "1" / "model.onnx").read_bytes()
    except OSError as error:
        raise FamilyError(f"no family {name!r} in {repository}: {error}") from error
    except ModelJsonError as error:
        raise FamilyError(f"{repository / name / 'model.json'}: not a description of a family: {error}") from error
    if name not in card.networks or hashlib.sha256(content).hexdigest() != card.networks[name].sha256:
        raise FamilyError(f"{repository / name}: model.onnx is not the file that model.json describes")
    weights = {tensor.name: tensor for tensor in onnx.load_from_string(content).graph.initializer}
    networks = []
    for index in range(len(card.sources)):
        network = CPnet()
        for key, tensor in network.state_dict().items():
            if not key.endswith("num_batches_tracked") and not key.startswith("diam"):
                stored = numpy_helper.to_array(weights[f"network_{index}.{key}"])
                tensor.copy_(torch.from_numpy(stored.astype("float32")))
        network.get_buffer("diam_mean").fill_(card.diam_mean)
        network.get_buffer("diam_labels").fill_(card.default_diameter)
        networks.append(network.eval().requires_grad_(False))
    return networks
