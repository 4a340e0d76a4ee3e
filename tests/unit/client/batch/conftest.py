"""Batches by the command line in this process, beside a scripted server."""

from __future__ import annotations

import json
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve.cli import app
from typer.testing import CliRunner


def square(y: int = 10, x: int = 10, side: int = 12, shape: tuple[int, ...] = (60, 80)) -> np.ndarray:
    """A bright square on dark ground: the scripted server finds one object."""
    pixels = np.full(shape, 20, np.uint8)
    pixels[..., y : y + side, x : x + side] = 200
    return pixels


@pytest.fixture
def address(serve, service) -> str:
    return serve(service)


@pytest.fixture
def run(address):
    """Runs a command; the result has `exit_code`, `stdout` and `stderr`."""

    def call(*arguments: object, env: dict[str, str] | None = None):
        environment = {"CELLSERVE_ADDRESS": address, "COLUMNS": "100"} | (env or {})
        return CliRunner(env=environment).invoke(app, [str(argument) for argument in arguments])

    return call


@pytest.fixture
def plate(tmp_path) -> Path:
    """Three images in two folders; two have the same name."""
    folder = tmp_path / "plate"
    for number, name in enumerate(("a/1.tif", "b/1.tif", "b/2.png")):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = square(y=5 + 10 * number)
        if name.endswith("tif"):
            tifffile.imwrite(path, pixels)
        else:
            path.write_bytes(imagecodecs.png_encode(pixels))
    return folder


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "results"


def counted(result) -> str:
    """The line of counts."""
    return next(line for line in result.stderr.splitlines() if " segmented, " in line)


def lines(text: str) -> list[dict]:
    """Lines of JSON."""
    return [json.loads(line) for line in text.splitlines()]


def names(out: Path) -> set[str]:
    """The files in a folder of results, hidden ones left out."""
    paths = (path.relative_to(out) for path in out.rglob("*") if path.is_file())
    return {path.as_posix() for path in paths if not path.parts[0].startswith(".")}
