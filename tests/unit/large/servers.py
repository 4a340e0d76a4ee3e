"""A client without a server: what the engine asks of `cellserve.Client`."""

import dataclasses
import threading

import numpy as np
from cellserve import CellServeError, DiameterEstimate
from cellserve.models import Model, ModelList, ModelVersion
from cellserve.networks import TileSums

VERSION = ModelVersion("generalist", "generalist", "1", "ab" * 32, "float32", "float32", "openvino 1")
FAMILY = Model(
    name="generalist",
    description="",
    versions=(VERSION,),
    working_diameter=30.0,
    training_diameter=33.0,
    channels=("cytoplasm", "nucleus"),
    license="",
    provenance="",
    has_size_model=True,
    ready=True,
    tile_size=224,
    max_batch_size=8,
)


class FakeClient:
    """Answers with zeros, and remembers what was asked.

    Args:
        diameters: Estimates in the order in which they are given; None: nothing found.
        versions: The network that each call of `run_networks` is answered by; the last one stays.
        family: The model family.
    """

    def __init__(self, diameters=(), versions=(VERSION,), family=FAMILY):
        self.planes, self.crops, self.closed = [], [], False
        self.family, self.of_server = family, None
        self._diameters, self._versions, self._lock = list(diameters), list(versions), threading.Lock()

    def models(self):
        return ModelList((self.family,), self.family.name)

    def model(self, name):
        assert name == self.family.name
        return self.family

    def limits(self):
        return self.of_server

    def run_networks(self, planes, grid, **options):
        if self.closed:
            raise CellServeError("the client was closed")
        self.planes.append(planes)
        version = self._versions.pop(0) if len(self._versions) > 1 else self._versions[0]
        return TileSums(np.zeros((len(planes), 3, *planes.shape[2:]), np.int32), version, "1", "id")

    def estimate_diameter(self, image, params, **options):
        with self._lock:
            self.crops.append((image, params))
            diameter = self._diameters.pop(0)
        source = "size_model" if diameter else "training_diameter"
        return DiameterEstimate(diameter or self.family.training_diameter, source, VERSION, "id")

    def close(self):
        self.closed = True


def other(of=VERSION, **fields):
    """Another network than VERSION, or another of something else."""
    return dataclasses.replace(of, **fields)
