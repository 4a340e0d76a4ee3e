"""Writes networks as ONNX graphs.

A graph is built node by node from the modules of `network`, not traced: a tracer adds bookkeeping (slices, casts,
reshaped constants), folds batch norms into weights, records stack traces, and changes with each release of torch.
Built, a graph holds what the paper draws, its tensors keep the names of the checkpoint, and the same weights give the
same bytes. That it computes the same is proved for each export by the parity gate.
"""

from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
import onnx
import torch
from cellserve_contract.tiles import TILE
from cellserve_networks.network import (
    INPUT_CHANNELS,
    OUTPUT_CHANNELS,
    STYLE_SIZE,
    CPnet,
    DownBlock,
    DownPass,
    StyledLayer,
    UpBlock,
    UpPass,
)
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from cellserve_export.errors import ExportError

# Old enough for ONNX Runtime 1.20, TensorRT 8.6 and OpenVINO 2023; nothing here gains from a newer one.
OPSET = 17
IR_VERSION = 8

Precision = Literal["fp16", "fp32"]


def stored(tensor: Tensor, precision: Precision) -> Tensor:
    """A parameter as the file keeps it.

    With "fp16", matrices and convolution kernels are rounded to half precision. Vectors stay float32: they are few, and
    a running variance can leave the range of half precision.
    """
    return tensor.half() if precision == "fp16" and tensor.ndim > 1 else tensor.float()


def ensemble_graph(networks: Sequence[CPnet], precision: Precision) -> onnx.ModelProto:
    """All networks and their mean in one graph, which computes in float32 whatever the precision of the stored weights.

    Input `image` [batch,2,224,224]; outputs `flows` [batch,3,224,224] (the maps) and network 0's `style` [batch,256].
    """
    graph = _Graph(precision)
    maps: list[str] = []
    for index, network in enumerate(networks):
        graph.scope = f"network_{index}."
        levels = _down_pass(graph, network.downsample, "image")
        style = _style(graph, levels[-1], "style" if index == 0 else None)
        features = _up_pass(graph, network.upsample, levels, style)
        maps.append(_sequence(graph, "output", network.output, features))
    graph.scope = ""
    graph.add("Mean" if len(maps) > 1 else "Identity", "flows", maps)
    return graph.model({"flows": (OUTPUT_CHANNELS, TILE, TILE), "style": (STYLE_SIZE,)})


def style_graph(network: CPnet, precision: Precision) -> onnx.ModelProto:
    """The down pass alone: `image` [batch,2,224,224] to `style` [batch,256], float32."""
    graph = _Graph(precision)
    graph.scope = "network_0."
    _style(graph, _down_pass(graph, network.downsample, "image")[-1], "style")
    return graph.model({"style": (STYLE_SIZE,)})


class _Graph:
    """Nodes and weights of a graph under construction; tensors are known by name.

    `scope` precedes the names of everything added: the network they belong to.
    """

    def __init__(self, precision: Precision) -> None:
        self._precision: Precision = precision
        self.scope = ""
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}

    def add(self, operator: str, name: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> str:
        """Adds a node and returns the name of its output: the node's own unless given."""
        name = self.scope + name
        self._nodes.append(helper.make_node(operator, inputs, [output or name], name=name, **attributes))
        return output or name

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Adds numbers that belong to no network, once for all of them, and returns their name."""
        self._weights[name] = numpy_helper.from_array(values, name)
        return name

    def weights(self, layer: str, **tensors: Tensor | None) -> list[str]:
        """Adds parameters of a layer, named as in its checkpoint, and returns the names of their float32 values."""
        return [self._weight(f"{layer}.{key}", tensor) for key, tensor in tensors.items() if tensor is not None]

    def _weight(self, name: str, tensor: Tensor) -> str:
        kept = stored(tensor.detach(), self._precision)
        if not kept.isfinite().all():
            raise ExportError(f"{name} leaves the range of half precision; keep the weights in fp32")
        full_name = self.scope + name
        self._weights[full_name] = numpy_helper.from_array(kept.numpy(), full_name)
        if kept.dtype == torch.float32:
            return full_name
        return self.add("Cast", f"{name}.fp32", [full_name], to=TensorProto.FLOAT)

    def model(self, outputs: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
        """The finished, checked graph; `outputs` gives the shape of each output without its batch axis."""
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", INPUT_CHANNELS, TILE, TILE])
        results = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape]) for name, shape in outputs.items()
        ]
        graph = helper.make_graph(self._nodes, "cellpose", [image], results, list(self._weights.values()))
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, producer_name="cellserve-export", ir_version=IR_VERSION, opset_imports=[opset])
        onnx.checker.check_model(model, full_check=True)
        return model


def _sequence(graph: _Graph, path: str, layers: nn.Sequential, x: str) -> str:
    """Batch norm, relu (not in a projection) and convolution, as the module has them."""
    for key, layer in layers.named_children():
        name = f"{path}.{key}"
        match layer:
            case nn.BatchNorm2d():
                statistics = {"running_mean": layer.running_mean, "running_var": layer.running_var}
                weights = graph.weights(name, weight=layer.weight, bias=layer.bias, **statistics)
                x = graph.add("BatchNormalization", name, [x, *weights], epsilon=layer.eps)
            case nn.ReLU():
                x = graph.add("Relu", name, [x])
            case nn.Conv2d():
                weights = graph.weights(name, weight=layer.weight, bias=layer.bias)
                pads = [layer.kernel_size[0] // 2] * 4
                x = graph.add("Conv", name, [x, *weights], kernel_shape=layer.kernel_size, pads=pads)
            case _:
                raise TypeError(f"{name}: no ONNX form for {type(layer).__name__}")
    return x


def _styled(graph: _Graph, path: str, layer: StyledLayer, x: str, style: str) -> str:
    weights = graph.weights(f"{path}.full", weight=layer.full.weight, bias=layer.full.bias)
    offset = graph.add("Gemm", f"{path}.full", [style, *weights], transB=1)
    axes = graph.constant("axes_yx", np.array([2, 3], dtype=np.int64))
    offset = graph.add("Unsqueeze", f"{path}.full.yx", [offset, axes])
    return _sequence(graph, f"{path}.conv", layer.conv, graph.add("Add", f"{path}.add_style", [x, offset]))


def _down_block(graph: _Graph, path: str, block: DownBlock, x: str) -> str:
    def layer(index: int, x: str) -> str:
        return _sequence(graph, f"{path}.conv.conv_{index}", cast(nn.Sequential, block.conv[index]), x)

    projection = _sequence(graph, f"{path}.proj", block.proj, x)
    middle = graph.add("Add", f"{path}.add_projection", [projection, layer(1, layer(0, x))])
    return graph.add("Add", f"{path}.add_identity", [middle, layer(3, layer(2, middle))])


def _up_block(graph: _Graph, path: str, block: UpBlock, x: str, skip: str, style: str) -> str:
    def layer(index: int, x: str) -> str:
        return _styled(graph, f"{path}.conv.conv_{index}", cast(StyledLayer, block.conv[index]), x, style)

    projection = _sequence(graph, f"{path}.proj", block.proj, x)
    first = _sequence(graph, f"{path}.conv.conv_0", cast(nn.Sequential, block.conv[0]), x)
    joined = graph.add("Add", f"{path}.add_skip", [first, skip])
    middle = graph.add("Add", f"{path}.add_projection", [projection, layer(1, joined)])
    return graph.add("Add", f"{path}.add_identity", [middle, layer(3, layer(2, middle))])


def _down_pass(graph: _Graph, down: DownPass, x: str) -> list[str]:
    maps: list[str] = []
    for key, block in down.down.named_children():
        path = f"downsample.down.{key}"
        if maps:
            x = graph.add("MaxPool", f"{path}.pool", [maps[-1]], kernel_shape=[2, 2], strides=[2, 2])
        maps.append(_down_block(graph, path, cast(DownBlock, block), x))
    return maps


def _up_pass(graph: _Graph, up: UpPass, maps: Sequence[str], style: str) -> str:
    scales = graph.constant("scales_bcyx", np.array([1, 1, 2, 2], dtype=np.float32))
    nearest = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    *_, lowest = maps
    x = lowest
    for (key, block), skip in zip(reversed(list(up.up.named_children())), reversed(maps), strict=True):
        path = f"upsample.up.{key}"
        if skip != lowest:
            x = graph.add("Resize", f"{path}.upsample", [x, "", scales], **nearest)
        x = _up_block(graph, path, cast(UpBlock, block), x, skip, style)
    return x


def _style(graph: _Graph, features: str, output: str | None) -> str:
    mean = graph.add("ReduceMean", "style.mean", [features], axes=[2, 3], keepdims=0)
    length = graph.add("ReduceL2", "style.length", [mean], axes=[1], keepdims=1)
    return graph.add("Div", "style", [mean, length], output)
