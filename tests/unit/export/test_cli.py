"""The command exports on real tiles, and says in one line why it did not."""

import json
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import torch
from cellserve_export import family as family_module
from cellserve_export.cli import app
from cellserve_export.graph import ensemble_graph
from cellserve_networks.network import CPnet
from typer.testing import CliRunner, Result

IMAGE = Path(__file__).parents[3] / "examples" / "images" / "cells_phase_contrast.png"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, network: CPnet) -> Path:
    path = tmp_path_factory.mktemp("checkpoints") / "network.pt"
    torch.save(network.state_dict(), path)
    return path


def _run(repository: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in (*arguments, "--repository", repository)])


def test_exports_and_reports_the_deviations(checkpoint: Path, tmp_path: Path) -> None:
    image = tmp_path / IMAGE.name  # of one tile
    image.write_bytes(imagecodecs.png_encode(imagecodecs.imread(IMAGE)[:200, :200].copy()))
    repository = tmp_path / "repository"
    result = _run(repository, "family", "cells", "--checkpoint", checkpoint, "--tile-image", image, "--diam-mean", "17")
    assert result.exit_code == 0, result.output
    assert {path.name for path in repository.iterdir()} == {"cells", "cells_single", "cells_style"}
    assert '"diam_mean": 17.0' in (repository / "cells" / "model.json").read_text()
    assert "deviation" in result.output
    assert "random" in result.output
    assert "cells_pha" in result.output
    assert f"wrote cells, cells_single, cells_style to {repository}, which is new" in result.output
    assert "cellserve segment IMAGE --model cells\n" in result.output
    before = (repository / "cells" / "model.json").read_bytes()
    again = ("family", "cells", "--checkpoint", checkpoint, "--description", "Others.")
    result = _run(repository, *again)
    assert result.exit_code == 1
    assert f"{repository} holds cells, cells_single, cells_style already ('CPnet, 1 network(s)', 1 " in result.stderr
    assert "--overwrite replaces" in result.stderr
    assert (repository / "cells" / "model.json").read_bytes() == before


def test_failed_gate_fails_the_command(
    checkpoint: Path, networks: list[CPnet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(family_module, "ensemble_graph", lambda _, precision: ensemble_graph(networks[1:], precision))
    earlier = tmp_path / "cells" / "1" / "model.onnx"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("earlier")
    result = _run(tmp_path, "family", "cells", "--checkpoint", checkpoint, "--overwrite")
    assert result.exit_code == 1
    assert "error: cells: ONNX Runtime and torch differ" in result.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [earlier]


@pytest.fixture
def sizes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A size model as Cellpose saves it."""
    path = tmp_path_factory.mktemp("sizes") / "size_cells.npy"
    np.save(path, {"A": np.full(256, 0.5), "smean": np.zeros(256), "diam_mean": 30.0, "ymean": 0.25})
    return path


def test_size_models_go_with_an_export_and_into_a_family_that_is_there(
    checkpoint: Path, sizes: Path, tmp_path: Path
) -> None:
    def model() -> Any:
        return json.loads((tmp_path / "cells" / "model.json").read_text())["size_model"]

    result = _run(tmp_path, "family", "cells", "--checkpoint", checkpoint, "--size-model", sizes)
    assert result.exit_code == 0, result.output
    assert model()["log_diameter_mean"] == 0.25
    network = (tmp_path / "cells" / "1" / "model.onnx").read_bytes()
    np.save(sizes, {"A": np.zeros(256), "smean": np.zeros(256), "diam_mean": 30.0, "ymean": 1.0})
    result = _run(tmp_path, "size-model", "cells", sizes)
    assert result.exit_code == 1
    assert f"{tmp_path / 'cells' / 'model.json'} has another size model already: --overwrite" in result.stderr
    assert model()["log_diameter_mean"] == 0.25
    result = _run(tmp_path, "size-model", "cells", sizes, "--overwrite")
    assert result.exit_code == 0, result.output
    assert f"wrote the size model to {tmp_path / 'cells' / 'model.json'}" in result.output
    assert "next: restart" in result.output
    assert model()["log_diameter_mean"] == 1
    assert (tmp_path / "cells" / "1" / "model.onnx").read_bytes() == network


def test_errors_are_one_line(checkpoint: Path, sizes: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not an image, not a checkpoint")
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the repository should be")
    target = tmp_path / "repository"
    pictures = tmp_path / "home"
    (pictures / "pictures").mkdir(parents=True)
    missing = tmp_path / "missing"
    family = ("family", "cells", "--checkpoint")
    for repository, arguments, message in (
        (target, (*family, text), "not a torch file"),
        (target, (*family, missing), "cannot be read"),
        (target, ("family", "Cells!", "--checkpoint", checkpoint), "family name"),
        (target, (*family, checkpoint, "--tile-image", text), "neither TIFF nor PNG nor JPEG"),
        (target, (*family, checkpoint, "--tile-image", missing), "No such file"),
        (target, (*family, checkpoint, "--size-model", text), "not a size model"),
        (blocked, (*family, checkpoint), "blocked is a file, not a model repository"),
        (pictures, (*family, checkpoint), "home is no model repository: none of its 1 folders holds a config.pbtxt"),
        (target / "deep", (*family, checkpoint), "deep: the folder above does not exist either"),
        (target, ("size-model", "cells", missing), "cannot be read"),
        (target, ("size-model", "cells", sizes), "no family 'cells'"),
    ):
        result = _run(repository, *arguments)
        assert result.exit_code == 1, result.output
        assert result.stderr.startswith("error: ")
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
    assert not target.exists()
