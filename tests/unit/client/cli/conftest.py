"""Commands in this process, with a scripted server."""

from __future__ import annotations

import imagecodecs
import pytest
import tifffile
from cellserve import engines
from cellserve.cli import app
from typer.testing import CliRunner


@pytest.fixture(autouse=True)
def no_engine(monkeypatch):
    """The extra `large` is not installed, as far as the command line sees."""
    monkeypatch.setattr(engines, "GROUP", "cellserve.no_engines")


@pytest.fixture
def address(serve, service) -> str:
    return serve(service)


@pytest.fixture
def run(address):
    def call(*arguments: object):
        environment = {"CELLSERVE_ADDRESS": address, "COLUMNS": "100"}
        return CliRunner(env=environment).invoke(app, [str(argument) for argument in arguments])

    return call


@pytest.fixture
def files(tmp_path, image):
    tifffile.imwrite(tmp_path / "a.tif", image)
    (tmp_path / "b.png").write_bytes(imagecodecs.png_encode(image[:60]))
    return [tmp_path / "a.tif", tmp_path / "b.png"]
