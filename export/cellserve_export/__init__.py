"""Cellpose checkpoints to ONNX graphs and a Triton model repository, with a numerical parity gate."""
