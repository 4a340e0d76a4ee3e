"""The command exports on real tiles, and says in one line why it did not."""

from pathlib import Path

import pytest
import torch
from cellserve_export import family as family_module
from cellserve_export.cli import app
from cellserve_export.graph import ensemble_graph
from cellserve_export.network import CPnet
from typer.testing import CliRunner, Result

IMAGE = Path(__file__).parents[3] / "examples" / "images" / "cells_phase_contrast.png"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, network: CPnet) -> Path:
    path = tmp_path_factory.mktemp("checkpoints") / "network.pt"
    torch.save(network.state_dict(), path)
    return path


def _export(repository: Path, *arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in (*arguments, "--repository", repository)])


def test_exports_and_reports_the_deviations(checkpoint: Path, tmp_path: Path) -> None:
    result = _export(tmp_path, "cells", "--checkpoint", checkpoint, "--tile-image", IMAGE, "--diam-mean", "17")
    assert result.exit_code == 0, result.output
    assert {path.name for path in tmp_path.iterdir()} == {"cells", "cells_single", "cells_style"}
    assert '"diam_mean": 17.0' in (tmp_path / "cells" / "model.json").read_text()
    assert "deviation" in result.output
    assert "random" in result.output
    assert "cells_pha" in result.output


def test_failed_gate_fails_the_command(
    checkpoint: Path, networks: list[CPnet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(family_module, "ensemble_graph", lambda _, precision: ensemble_graph(networks[1:], precision))
    result = _export(tmp_path, "cells", "--checkpoint", checkpoint)
    assert result.exit_code == 1
    assert "error: cells: ONNX Runtime and torch differ" in result.stderr
    assert not list(tmp_path.iterdir())


def test_errors_are_one_line(checkpoint: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not an image, not a checkpoint")
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the repository should be")
    target = tmp_path / "repository"
    for repository, arguments, message in (
        (target, ("cells", "--checkpoint", text), "not a torch file"),
        (target, ("cells", "--checkpoint", tmp_path / "missing.pt"), "cannot be read"),
        (target, ("Cells!", "--checkpoint", checkpoint), "family name"),
        (target, ("cells", "--checkpoint", checkpoint, "--tile-image", text), "not an image"),
        (target, ("cells", "--checkpoint", checkpoint, "--tile-image", tmp_path / "missing.png"), "no such file"),
        (blocked, ("cells", "--checkpoint", checkpoint), "blocked"),
    ):
        result = _export(repository, *arguments)
        assert result.exit_code == 1, result.output
        assert result.stderr.startswith("error: ")
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
    assert not target.exists()
