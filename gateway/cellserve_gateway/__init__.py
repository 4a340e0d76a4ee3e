"""The gateway of CellServe: a gRPC server between callers' images and the inference server's tiles."""

from importlib.metadata import version

__version__ = version("cellserve")
