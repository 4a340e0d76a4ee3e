"""Triton Python-based backend `onnxruntime` for measurements on a GPU where NVIDIA's container is not to be had.

ONNX Runtime's CUDA provider runs the `model.onnx` that the container's own C++ backend would run, there with TensorRT.
CELLSERVE_GPU_PRECISION: "fp16" (default); "tf32", in which tensor cores multiply, too; "none" answers with zeros, which
shows what all the rest can do.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]

LENGTHS = ("ReduceL2", "Div")
"""Operators of the style vector, whose sums of squares are beyond half precision."""


class TritonPythonModel:
    """One instance of a model on one GPU."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the graph; what cannot run on the GPU is an error, not a reason to use the processor."""
        config = json.loads(args["model_config"])
        self._session = None
        self._outputs = [tensor["name"] for tensor in config["output"]]
        self._inputs = [tensor["name"] for tensor in config["input"]]
        self._zeros = [
            np.zeros([config["max_batch_size"], *map(int, tensor["dims"])], np.float32) for tensor in config["output"]
        ]
        path = Path(pb_utils.get_model_dir()) / (config["default_model_filename"] or "model.onnx")
        precision = os.environ.get("CELLSERVE_GPU_PRECISION", "fp16")
        if precision == "none":
            return
        provider = {
            "device_id": args["model_instance_device_id"],
            "prefer_nhwc": "1",
            "cudnn_conv_algo_search": "HEURISTIC",  # an exhaustive search would stop everyone at each new batch size
        }
        options = ort.SessionOptions()
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        providers = [("CUDAExecutionProvider", provider)]
        self._session = ort.InferenceSession(graph(path, precision), options, providers=providers)
        # The provider prepares itself for each batch size it has not met before, which takes half a second.
        for rows in range(1, config["max_batch_size"] + 1):
            blank = {
                tensor["name"]: np.zeros([rows, *map(int, tensor["dims"])], np.float32) for tensor in config["input"]
            }
            self._session.run(self._outputs, blank)
        pb_utils.Logger.log_info(f"{config['name']}: ONNX Runtime {ort.__version__}, {precision}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers the requests of one dynamic batch."""
        parts = {
            name: [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for request in requests]
            for name in self._inputs
        }
        stops = np.cumsum([len(part) for part in parts[self._inputs[0]]])
        feeds = {name: arrays[0] if len(arrays) == 1 else np.concatenate(arrays) for name, arrays in parts.items()}
        results = self._session.run(self._outputs, feeds) if self._session else self._zeros
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor(name, result[start:stop]) for name, result in zip(self._outputs, results, strict=True)]
            )
            for start, stop in zip([0, *stops[:-1]], stops, strict=True)
        ]


def graph(path: Path, precision: str) -> bytes:
    """Returns the ONNX graph as it is, in single precision, or with half-precision arithmetic between its ends."""
    if precision not in ("fp16", "tf32"):
        raise pb_utils.TritonModelException(f"CELLSERVE_GPU_PRECISION is '{precision}'; allowed: fp16, tf32, none")
    model = summed(onnx.load(path))
    content: bytes = (halved(model) if precision == "fp16" else model).SerializeToString()
    return content


def summed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Writes the mean of the networks as a sum of parts: the provider has no kernel for the operator Mean."""
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Mean":
            share = onnx.numpy_helper.from_array(np.float32(1 / len(node.input)), f"{node.output[0]}.share")
            model.graph.initializer.append(share)
            nodes.append(onnx.helper.make_node("Sum", list(node.input), [f"{node.output[0]}.sum"]))
            nodes.append(onnx.helper.make_node("Mul", [f"{node.output[0]}.sum", share.name], list(node.output)))
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Converts a graph whose weights are stored in half precision, with casts to single precision after them.

    Inputs, outputs, LENGTHS, and the scales of Resize, which have to be single precision, stay so.
    """
    graph, half, single = model.graph, onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    kinds = {tensor.name: half for tensor in graph.initializer} | {tensor.name: single for tensor in graph.input}
    fixed = {name for node in graph.node if node.op_type == "Resize" for name in node.input[1:]} | {""}
    fixed |= {tensor.name for tensor in graph.initializer if tensor.data_type not in (half, single)}
    for tensor in graph.initializer:
        if tensor.data_type == single and tensor.name not in fixed:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    nodes: list[onnx.NodeProto] = []
    converted: dict[tuple[str, int], str] = {}

    def as_kind(name: str, kind: int) -> str:
        if name in fixed or kinds[name] == kind:
            return name
        if (name, kind) not in converted:
            converted[name, kind] = f"{name}.{'half' if kind == half else 'single'}"
            nodes.append(onnx.helper.make_node("Cast", [name], [converted[name, kind]], to=kind))
        return converted[name, kind]

    stored: dict[str, str] = {}  # weights by the outputs of their casts, which fall away
    for node in graph.node:
        if node.op_type == "Cast" and kinds.get(node.input[0]) == half:
            stored[node.output[0]] = node.input[0]
            continue
        kind = single if node.op_type in LENGTHS else half
        node.input[:] = [as_kind(stored.get(name, name), kind) for name in node.input]
        kinds |= dict.fromkeys(node.output, kind)
        nodes.append(node)
    outputs = {tensor.name for tensor in graph.output if kinds[tensor.name] == half}
    for node in nodes:
        node.input[:] = [f"{name}.half" if name in outputs else name for name in node.input]
        node.output[:] = [f"{name}.half" if name in outputs else name for name in node.output]
    nodes += [onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=single) for name in sorted(outputs)]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    return model
