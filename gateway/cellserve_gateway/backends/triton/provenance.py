"""What computes the answers of a network: the runtime, and the precision of its arithmetic.

The backend of deploy/triton states both in each answer: only that backend knows what "auto" means on its processor.
NVIDIA's backend has nothing to add to an answer. There, the configuration that Triton serves decides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from cellserve_gateway.app.networks import Network, Precision
from cellserve_gateway.errors import BackendUnavailable, InternalError

OUTPUT = "provenance"
"""Output of a network that states its provenance: JSON of runtime, precision and SHA-256 in each row."""
STATED: dict[str, Precision] = {"f32": Precision.FLOAT32, "bf16": Precision.BFLOAT16, "f16": Precision.FLOAT16}
"""Precisions by OpenVINO's words."""
TENSORRT = {"FP16": Precision.FLOAT16, "INT8": Precision.INT8, "FP32": Precision.TENSORFLOAT32}
"""Precisions by the `precision_mode` of the accelerator "tensorrt"."""


def configured(config: Any) -> tuple[str, Precision]:
    """Returns the runtime and the precision that a model configuration of Triton decides.

    Args:
        config: `inference.ModelConfig`, as Triton serves it: with the kind of its instances.
    """
    accelerators = config.optimization.execution_accelerators
    on_gpu = any(group.kind == group.KIND_GPU for group in config.instance_group)
    chosen = accelerators.gpu_execution_accelerator if on_gpu else accelerators.cpu_execution_accelerator
    settings = {accelerator.name: accelerator.parameters for accelerator in chosen}
    runtime = config.backend + (f" ({', '.join(settings)})" if settings else "")
    if config.backend != "onnxruntime":
        return runtime, Precision.UNKNOWN
    return runtime, _on_gpu(settings) if on_gpu else _on_cpu(settings)


def stated(network: Network, row: bytes) -> Network:
    """Returns a network as one of its answers states it.

    Args:
        network: The network, as its server was asked last.
        row: A row of the output `provenance`.

    Raises:
        BackendUnavailable: The server has another file by now.
        InternalError: The row is not a statement.
    """
    facts = _facts(row)
    if facts["sha256"] != network.sha256:
        raise BackendUnavailable("the inference server serves another file by now; try again", network=network.name)
    return replace(network, runtime=facts["runtime"], precision=STATED.get(facts["precision"], Precision.UNKNOWN))


@lru_cache(64)
def _facts(row: bytes) -> Mapping[str, str]:
    try:
        facts = json.loads(row)
        return {name: str(facts[name]) for name in ("runtime", "precision", "sha256")}
    except (ValueError, KeyError, TypeError):
        raise InternalError(
            "the inference server's answer does not state its provenance", reason="TRITON_BAD_ANSWER", output=OUTPUT
        ) from None


def _on_gpu(settings: Mapping[str, Mapping[str, str]]) -> Precision:
    """Networks are stored to compute in single precision. Without a word against it, GPUs round factors to TF32."""
    if "tensorrt" in settings:
        return TENSORRT.get(settings["tensorrt"].get("precision_mode", "FP32"), Precision.UNKNOWN)
    tensorfloat = settings.get("cuda", {}).get("use_tf32", "1") != "0"
    return Precision.TENSORFLOAT32 if tensorfloat else Precision.FLOAT32


def _on_cpu(settings: Mapping[str, Mapping[str, str]]) -> Precision:
    """NVIDIA's backend leaves the precision to OpenVINO, whatever the accelerator's parameters say."""
    return Precision.UNKNOWN if settings else Precision.FLOAT32
