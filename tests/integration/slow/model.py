"""Triton Python-based backend `onnxruntime` that sleeps before each batch and then computes it with the real backend.

The time a tile takes is thus known, the same on every machine, and uses no processor. The environment sets both parts:
CELLSERVE_TEST_BATCH_S and CELLSERVE_TEST_TILE_S, seconds.
"""

from __future__ import annotations

import os
import time
from typing import Any

import openvino_backend  # type: ignore[import-not-found] # deploy/triton/backends/onnxruntime/model.py, copied beside this
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]


class TritonPythonModel(openvino_backend.TritonPythonModel):
    """The real model, at a chosen speed."""

    def initialize(self, args: dict[str, str]) -> None:
        """Reads the speed, and compiles the graph."""
        super().initialize(args)
        self._batch_s = float(os.environ["CELLSERVE_TEST_BATCH_S"])
        self._tile_s = float(os.environ["CELLSERVE_TEST_TILE_S"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Sleeps as long as the batch is meant to take, then answers its requests."""
        tiles = sum(len(pb_utils.get_input_tensor_by_name(request, "image").as_numpy()) for request in requests)
        time.sleep(self._batch_s + self._tile_s * tiles)
        return super().execute(requests)
