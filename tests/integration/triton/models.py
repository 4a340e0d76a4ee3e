"""Models of one convolution in Triton's layout, for tests of the launcher and of the backend alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

CONFIG = """
name: "{name}"
backend: "onnxruntime"
max_batch_size: 8
input [ {{ name: "image" data_type: TYPE_FP32 dims: [ 2, {sides} ] }} ]
output [ {{ name: "{output}" data_type: TYPE_FP32 dims: [ {channels}, {sides} ] }} ]
output [ {{ name: "provenance" data_type: {statement} dims: [ 1 ] }} ]
dynamic_batching {{ max_queue_delay_microseconds: {delay_us} }}
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
optimization {{ execution_accelerators {{ cpu_execution_accelerator: [
  {{ name: "{accelerator}" parameters {{ key: "{key}" value: "{precision}" }} }}
] }} }}
parameters {{ key: "sha256" value {{ string_value: "{sha256}" }} }}
"""


def write_model(repository: Path, name: str, *, content: bytes | None = None, **settings: object) -> Path:
    """Writes one convolution [batch,2,16,16] -> [batch,3,16,16], weights stored fp16, and its configuration."""
    version = repository / name / "1"
    version.mkdir(parents=True)
    model = version / "model.onnx"
    model.write_bytes(graph() if content is None else content)
    defaults = {
        "output": "flows",
        "channels": 3,
        "sides": "16, 16",
        "statement": "TYPE_STRING",
        "delay_us": 50_000,
        "accelerator": "openvino",
        "key": "precision",
    }
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    values = defaults | {"precision": "f32", "sha256": digest} | settings
    (version.parent / "config.pbtxt").write_text(CONFIG.format(name=name, **values))
    return model


def graph(height: int = 16, width: int = 16) -> bytes:
    """The convolution as ONNX, for tiles of these sides."""
    weights = np.random.default_rng(0).standard_normal((3, 2, 3, 3)).astype(np.float16)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 2, height, width])
    flows = helper.make_tensor_value_info("flows", TensorProto.FLOAT, ["batch", 3, height, width])
    nodes = [
        helper.make_node("Cast", ["stored"], ["weights"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["image", "weights"], ["flows"], pads=[1, 1, 1, 1]),
    ]
    network = helper.make_graph(nodes, "convolution", [image], [flows], [numpy_helper.from_array(weights, "stored")])
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(network, opset_imports=opsets, ir_version=9).SerializeToString()
