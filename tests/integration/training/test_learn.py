"""Real trainings, tiny ones: the loss falls, the network exports, and a training starts from a network."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from .commands import BIN, log, run


@pytest.fixture(scope="module")
def learned(command, tmp_path_factory) -> Path:
    """The folder of a training that is long enough to learn something."""
    folder: Path = tmp_path_factory.mktemp("learned") / "run"
    output = run(command(folder, "--steps", "40", "--crop", "64", "--log-every", "4"))
    assert "5 images to train on, 1 for the validation curve" in output
    return folder


def test_a_tiny_training_learns_and_its_network_exports(learned, labelled, tmp_path):
    rows = log(learned)
    losses = [float(row["loss"]) for row in rows]
    assert [int(row["step"]) for row in rows] == list(range(4, 41, 4))
    assert sum(losses[-3:]) / 3 < 0.85 * losses[0], losses
    assert rows[-1]["validation_loss"]
    assert (learned / "curves.png").read_bytes().startswith(b"\x89PNG")

    repository = tmp_path / "repository"
    run([
        str(BIN / "cellserve-export"), "family", "tiny", "--checkpoint", str(learned / "network.pt"),
        "--repository", str(repository),
        "--tile-image", str(next(labelled.glob("synthetic_*_img.*"))),
    ])  # fmt: skip
    about = json.loads((repository / "tiny" / "model.json").read_text())
    assert about["channels"] == ["cytoplasm", "nucleus"]
    assert about["diam_mean"] == 30
    assert 10 < about["diam_labels"] < 100


def test_a_training_starts_from_a_network(command, learned, tmp_path):
    # The first row is the loss before any step: on the same crops, of these weights and of random ones.
    few = ["--steps", "2", "--crop", "64", "--log-every", "1"]
    more = [*few, "--start-from"]
    run(command(tmp_path / "more", *more, str(learned / "network.pt")))
    run(command(tmp_path / "fresh", *few))
    known, unknown = (float(log(tmp_path / name)[0]["loss"]) for name in ("more", "fresh"))
    assert known < 0.85 * unknown, "what it knew it still knows"
    done = subprocess.run(command(tmp_path / "none", *more, str(tmp_path)), capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert str(tmp_path) in done.stderr
