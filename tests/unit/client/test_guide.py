"""The code of docs/guides/python.md runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tifffile
from cellserve import draw_flows
from cellserve.testing import FakeServer
from cellserve_formats import read_image

PAGE = Path(__file__).parents[3] / "docs/guides/python.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
TESTS = [code for code in BLOCKS if "def test_" in code]


@pytest.fixture
def folder(tmp_path, monkeypatch, image):
    """A folder with the files that the page names."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plate").mkdir()
    for path in ("cells.tif", "plate/a.tif", "plate/b.tif"):
        tifffile.imwrite(tmp_path / path, image)
    facts = {"imagej": True, "metadata": {"axes": "TYX"}}
    tifffile.imwrite(tmp_path / "movie.tif", np.stack([image, image]), **facts)
    return tmp_path


def test_the_examples_run_one_after_the_other(folder, image, capsys):
    scope: dict = {}
    with FakeServer(lambda image: image.pixels > 1000) as server:
        for code in BLOCKS:
            if code not in TESTS:
                exec(compile(code.replace("localhost:50051", server.address), str(PAGE), "exec"), scope)
        scope["client"].close()
    output = capsys.readouterr().out
    assert output.startswith("1 objects\n(96, 128) uint16\n")
    assert "change the request: PARAMETER_OUT_OF_RANGE" in output
    assert "failed:" not in output
    names = {path.name for path in (folder / "results").iterdir()}
    assert {
        "cells.csv",
        "cells_overlay.png",
        "cells_flows.png",
        "a_cp_masks.tif",
        "b_objects.csv",
        "movie_objects.csv",
    } <= names
    assert scope["picture"].shape == (*image.shape, 3)


def test_the_tests_of_the_page_pass():
    scope: dict = {}
    for code in TESTS:
        exec(compile(code, str(PAGE), "exec"), scope)
    tests = [value for name, value in scope.items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        test()


def test_the_test_of_the_page_is_short():
    own = ("def count_large", "    return ")
    lines = [line for line in TESTS[0].splitlines() if line and not line.startswith(own)]
    assert len(lines) <= 10


def test_the_disk_shows_the_colours_of_flows():
    y, x = np.mgrid[-75:76, -75:76] / 70
    inside = np.hypot(y, x) <= 1
    expected = np.where(inside[..., np.newaxis], draw_flows(np.stack([y, x])), 255)
    # Processors differ in the last digit of an angle.
    found = read_image(PAGE.with_name("flow_colours.png")).pixels
    np.testing.assert_allclose(found.astype(int), expected, rtol=0, atol=1)
