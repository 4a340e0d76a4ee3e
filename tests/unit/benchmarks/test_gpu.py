"""The graph that a GPU computes in half precision is the exported one."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The backend's module; what Triton brings is not needed here."""
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", types.ModuleType("triton_python_backend_utils"))
    spec = importlib.util.spec_from_file_location("gpu_backend", ROOT / "benchmarks/gpu/backends/onnxruntime/model.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("network", ["generalist", "generalist_style"])
def test_half_precision_differs_by_rounding_only(backend: types.ModuleType, network: str) -> None:
    path = ROOT / "model_repository" / network / "1" / "model.onnx"
    image = np.random.default_rng(0).normal(0.5, 0.3, (1, 2, 224, 224)).astype(np.float32)
    half, single = (
        ort.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"image": image})
        for content in (backend.graph(path, "fp16"), path.read_bytes())
    )
    for ours, exact in zip(half, single, strict=True):
        assert ours.dtype == np.float32
        rms = np.sqrt(np.mean((ours - exact) ** 2)) / exact.std()
        assert 0 < rms < 0.01
