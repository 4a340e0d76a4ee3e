"""The notebooks of the documentation: every cell runs. `make docs` runs them in kernels, with the trained networks."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from myst_nb.core.read import read_myst_markdown_notebook

NOTEBOOKS = Path(__file__).parents[3] / "docs" / "notebooks"


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the cells of a notebook in this process; returns the last value of each cell, None for cells without one."""

    def run(name: str) -> list[object]:
        path = NOTEBOOKS / f"{name}.md"
        monkeypatch.chdir(path.parent)
        monkeypatch.setenv("MPLBACKEND", "Agg")
        monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        shell = InteractiveShell()
        results = [
            shell.run_cell(cell.source)
            for cell in read_myst_markdown_notebook(path.read_text()).cells
            if cell.cell_type == "code"
        ]
        for result in results:
            result.raise_error()
        return [result.result for result in results]

    return run


def test_first_steps(run, gateway, monkeypatch):
    monkeypatch.setenv("CELLSERVE_ADDRESS", gateway.address)
    values = run("first_steps")
    assert "<img" in values[1]._repr_html_()
    assert values[-1] == ["nuclei.csv", "nuclei.tif", "nuclei_overlay.png"]


def test_own_model(run):
    *_, models, result, status = run("own_model")
    assert [model.name for model in models] == ["my_cells"]
    assert result.model.family == "my_cells"
    assert abs(len(result.objects) - 32) <= 4
    assert status == 0
