"""The backend for NVIDIA Triton."""
