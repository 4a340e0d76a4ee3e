"""Which runtime and precision answers name: from Triton's configuration, and as answers state them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cellserve_gateway.app.networks import Network, Precision, used
from cellserve_gateway.backends.triton.provenance import configured, stated
from cellserve_gateway.errors import BackendUnavailable, InternalError
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

MODELS = Path(__file__).parents[3] / "model_repository"
NETWORK = Network("cells", "1", "ab" * 32, 8, "onnxruntime (openvino)")
GPU, CPU = (
    'backend: "onnxruntime" instance_group { kind: KIND_GPU }',
    'backend: "onnxruntime" instance_group { kind: KIND_CPU }',
)


def config(text: str) -> model_config_pb2.ModelConfig:
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def accelerator(device: str, name: str, **parameters: str) -> str:
    given = "".join(f' parameters {{ key: "{key}" value: "{value}" }}' for key, value in parameters.items())
    return (
        f' optimization {{ execution_accelerators {{ {device}_execution_accelerator {{ name: "{name}"{given} }} }} }}'
    )


@pytest.mark.parametrize(
    ("text", "runtime", "precision"),
    [
        (CPU, "onnxruntime", Precision.FLOAT32),
        # NVIDIA's backend takes no parameter of "openvino": even "f32" is a wish.
        (CPU + accelerator("cpu", "openvino", precision="f32"), "onnxruntime (openvino)", Precision.UNKNOWN),
        (GPU, "onnxruntime", Precision.TENSORFLOAT32),
        (GPU + accelerator("gpu", "cuda", use_tf32="0"), "onnxruntime (cuda)", Precision.FLOAT32),
        (GPU + accelerator("gpu", "tensorrt"), "onnxruntime (tensorrt)", Precision.TENSORFLOAT32),
        (GPU + accelerator("gpu", "tensorrt", precision_mode="FP16"), "onnxruntime (tensorrt)", Precision.FLOAT16),
        (GPU + accelerator("gpu", "tensorrt", precision_mode="INT8"), "onnxruntime (tensorrt)", Precision.INT8),
        (CPU + accelerator("gpu", "tensorrt", precision_mode="FP16"), "onnxruntime", Precision.FLOAT32),
        ('backend: "python" instance_group { kind: KIND_GPU }', "python", Precision.UNKNOWN),
    ],
)
def test_the_configuration_decides_where_answers_state_nothing(text, runtime, precision):
    assert configured(config(text)) == (runtime, precision)


def test_the_shipped_configurations_are_understood():
    files = {kind: MODELS / "generalist" / kind for kind in ("config.pbtxt", "configs/gpu.pbtxt")}
    cpu, gpu = (configured(config(file.read_text())) for file in files.values())
    assert cpu == ("onnxruntime (openvino)", Precision.UNKNOWN), "known from answers alone"
    assert gpu == ("onnxruntime (tensorrt)", Precision.FLOAT16)


def statement(**facts: str) -> bytes:
    return json.dumps({"runtime": "openvino 1.2.3", "precision": "bf16", "sha256": "ab" * 32} | facts).encode()


def test_an_answer_states_what_computed_it():
    network = stated(NETWORK, statement())
    assert (network.runtime, network.precision) == ("openvino 1.2.3", Precision.BFLOAT16)
    assert stated(network, statement(precision="f32")).precision is Precision.FLOAT32, "another processor by now"
    assert stated(network, statement(precision="f8")).precision is Precision.UNKNOWN


def test_an_answer_of_another_file_is_not_taken():
    with pytest.raises(BackendUnavailable):
        stated(NETWORK, statement(sha256="cd" * 32))


@pytest.mark.parametrize("row", [b"", b"[]", b"{}", b'"openvino"'])
def test_what_is_no_statement_is_an_error(row):
    with pytest.raises(InternalError) as error:
        stated(NETWORK, row)
    assert error.value.reason == "TRITON_BAD_ANSWER"


def test_an_image_is_as_exact_as_its_coarsest_tile():
    half, single, unknown = (
        Network("cells", "1", "ab" * 32, 8, runtime, precision)
        for runtime, precision in (
            ("openvino 2", Precision.BFLOAT16),
            ("openvino 1", Precision.FLOAT32),
            ("", Precision.UNKNOWN),
        )
    )
    assert used([single]) == single
    assert (used([single, half]).runtime, used([single, half]).precision) == (
        "openvino 1, openvino 2",
        Precision.BFLOAT16,
    )
    assert used([half, unknown]).precision is Precision.UNKNOWN
