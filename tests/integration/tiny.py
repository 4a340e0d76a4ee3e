"""Tiny networks in Triton's layout: they find bright objects on dark ground, and are built, not trained.

The networks take and give the same tensors as the trained ones, under the same names. Tests that are not about the
accuracy of the trained networks use them: a tile costs about a millisecond of one core.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

TRAINED = Path(__file__).parents[2] / "model_repository"
TILE = 224
STRIDE = 4
"""Pixels of a tile, in y and x, that share one vector of the flows before these are interpolated."""
BRIGHT = 0.35
"""Normalised intensity above which a pixel belongs to an object."""
BLUR_PX = {"generalist": 4.0, "generalist_single": 5.0}
"""Standard deviation of the blur whose gradient gives the flows: the networks of the family differ in it alone."""


def write_repository(directory: Path, bright: float = BRIGHT) -> Path:
    """Writes a family of tiny networks that takes the place of the trained one, and returns the directory.

    All descriptions are those of the trained family, so that both have one layout. The networks and their SHA-256
    differ. The precision is f32, so that answers do not depend on the processor. The size model predicts the working
    diameter for every image.

    Args:
        directory: Made here.
        bright: See `BRIGHT`. Another value makes other networks under the same names.
    """
    shutil.copytree(TRAINED, directory, ignore=shutil.ignore_patterns("model.onnx", "README.md"))
    description = directory / "generalist" / "model.json"
    family = json.loads(description.read_text())
    for name, network in family["networks"].items():
        content = (style_graph() if name.endswith("_style") else graph(BLUR_PX[name], bright)).SerializeToString()
        (directory / name / "1").mkdir(exist_ok=True)
        (directory / name / "1" / "model.onnx").write_bytes(content)
        trained, network["sha256"] = network["sha256"], hashlib.sha256(content).hexdigest()
        config = directory / name / "config.pbtxt"
        text = config.read_text().replace(trained, network["sha256"])
        config.write_text(re.sub(r'(key: "precision" value: )"auto"', r'\1"f32"', text))
    zeros = [0.0] * 256
    family["size_model"] |= {"coefficients": zeros, "style_mean": zeros, "log_diameter_mean": 0.0}
    description.write_text(json.dumps(family))
    return directory


def graph(blur_px: float, bright: float = BRIGHT) -> ModelProto:
    """A network from `image` [batch,2,224,224] to `flows` [batch,3,224,224] and `style` [batch,256], float32.

    The cell probability is the brightness of the cytoplasm plane. The flows are the gradient of both planes' blurred
    sum, at unit length: they lead to the middle of a bright object, or to its nucleus where one is shown.

    Args:
        blur_px: Standard deviation of the Gaussian blur, pixels.
        bright: See `BRIGHT`.
    """
    nodes = [
        *_style_nodes(),
        # Everything is computed on a coarse grid, which costs little, and interpolated.
        _node("AveragePool", ["image"], "coarse", kernel_shape=[STRIDE, STRIDE], strides=[STRIDE, STRIDE]),
        _node("Pad", ["coarse", "margins"], "padded", mode="edge"),
        _node("Conv", ["padded", "derivatives"], "gradient"),
        _node("ReduceL2", ["gradient"], "steepness", axes=[1], keepdims=1),
        _node("Add", ["steepness", "epsilon"], "length"),
        _node("Div", ["gradient", "length"], "unit_flows"),
        _node("Mul", ["unit_flows", "five"], "flows_times_five"),
        _node("Conv", ["coarse", "logit_weights", "logit_bias"], "logit"),
        _node("Concat", ["flows_times_five", "logit"], "maps", axis=1),
        _node("Resize", ["maps", "", "scales"], "flows", mode="linear"),
    ]
    derivatives = gaussian_derivatives(blur_px / STRIDE)
    margin = derivatives.shape[-1] // 2
    steepness = 12.0  # logits between ground and full brightness
    constants = {
        "margins": np.array([0, 0, margin, margin] * 2),
        "derivatives": derivatives,
        "scales": np.array([1, 1, STRIDE, STRIDE], np.float32),
        "epsilon": np.float32(1e-6),
        "five": np.float32(5),
        "logit_weights": np.array([steepness, 0], np.float32).reshape(1, 2, 1, 1),
        "logit_bias": np.array([-steepness * bright], np.float32),
    }
    return _model(nodes, constants, {"flows": [3, TILE, TILE], "style": [256]})


def style_graph() -> ModelProto:
    """The network of the style alone: `image` [batch,2,224,224] to `style` [batch,256], float32, of unit length."""
    return _model(_style_nodes(), {}, {"style": [256]})


def gaussian_derivatives(sigma: float) -> NDArray[np.float32]:
    """Kernels [2,2,k,k] that give the derivatives (y, x) of the blurred sum of two planes.

    Args:
        sigma: Standard deviation of the blur, pixels.
    """
    radius = int(np.ceil(3 * sigma))
    at = np.arange(-radius, radius + 1)
    gaussian = np.exp(-(at**2) / (2 * sigma**2))
    gaussian /= gaussian.sum()
    y = np.outer(at * gaussian, gaussian)  # a correlation: brighter below gives a positive value
    return np.stack([[y, y], [y.T, y.T]]).astype(np.float32)


def _style_nodes() -> list[NodeProto]:
    """The style: the mean brightness of 16 x 16 parts of the cytoplasm plane, as a vector of unit length."""
    side = TILE // 16
    return [
        _node("AveragePool", ["image"], "parts", kernel_shape=[side, side], strides=[side, side]),
        _node("Slice", ["parts", "zero", "one", "one"], "plane"),
        _node("Flatten", ["plane"], "vector"),
        _node("Add", ["vector", "offset"], "above_zero"),  # an empty tile has a direction, too
        _node("ReduceL2", ["above_zero"], "vector_length", axes=[1], keepdims=1),
        _node("Div", ["above_zero", "vector_length"], "style"),
    ]


def _node(operator: str, inputs: Sequence[str], output: str, **attributes: object) -> NodeProto:
    return helper.make_node(operator, inputs, [output], **attributes)


def _model(nodes: list[NodeProto], constants: dict[str, NDArray], outputs: dict[str, list[int]]) -> ModelProto:
    tensors = {"zero": np.array([0]), "one": np.array([1]), "offset": np.float32(1)} | constants
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 2, TILE, TILE])
    results = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *dims]) for name, dims in outputs.items()
    ]
    weights = [numpy_helper.from_array(np.asarray(values), name) for name, values in tensors.items()]
    network = helper.make_graph(nodes, "tiny", [image], results, weights)
    return helper.make_model(network, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
