"""A server for tests: user code is tested without networks, Triton and gateway.

The server runs in the process of the test, on a free port of this machine, and speaks the real contract. The test uses
the real `Client` or `AsyncClient`: parameters, images and errors are checked as they are in production.
"""

from .server import FakeServer, Received

__all__ = ["FakeServer", "Received"]
