"""Real trainings, tiny ones: the loss falls, the network exports, a kill loses nothing."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from cellserve_training.schedule import Preset, Schedule
from cellserve_training.synthetic import write_synthetic

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def labelled(tmp_path_factory, copy_labelled) -> Path:
    """The example images with their masks, and a few made images of two channels."""
    folder = tmp_path_factory.mktemp("labelled")
    copy_labelled(folder)
    write_synthetic(folder, 3, seed=1, shape=(128, 128))
    return folder


@pytest.fixture(scope="module")
def command(labelled, tmp_path_factory):
    """The command of a training on one thread, whose outcome seed and steps decide."""
    cache = tmp_path_factory.getbasetemp() / "targets"

    def command(out: Path, *options: str) -> list[str]:
        fixed = ["--validation", "0.15", "--threads", "1", "--cache", str(cache)]
        return [str(BIN / "cellserve-train"), "train", str(labelled), "--out", str(out), *fixed, *options]

    return command


SHORT = ("--steps", "20", "--crop", "32", "--log-every", "5", "--save-every", "0", "--seed", "3")


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory) -> Path:
    """The folder of a training of the options `SHORT` that nobody disturbed."""
    folder: Path = tmp_path_factory.mktemp("whole") / "run"
    run(command(folder, *SHORT))
    return folder


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def log(folder: Path) -> list[dict[str, str]]:
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def learned(command, tmp_path_factory) -> Path:
    """The folder of a training that is long enough to learn something."""
    folder: Path = tmp_path_factory.mktemp("learned") / "run"
    output = run(command(folder, "--steps", "60", "--crop", "64", "--log-every", "6"))
    assert "5 images to train on, 1 for the validation curve" in output
    return folder


def test_a_tiny_training_learns_and_its_network_exports(learned, labelled, tmp_path):
    rows = log(learned)
    losses = [float(row["loss"]) for row in rows]
    assert [int(row["step"]) for row in rows] == list(range(6, 61, 6))
    assert sum(losses[-4:]) / 4 < 0.85 * losses[0], losses
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


def kill(process: subprocess.Popen[str], number: signal.Signals, when: Path) -> None:
    """Sends a signal once a state is on disk, while the training still runs."""
    until = time.monotonic() + 120
    while not when.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "no state was saved"
        time.sleep(0.02)
    process.send_signal(number)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_training_goes_on_as_if_nothing_had_happened(command, whole, tmp_path, number):
    killed = tmp_path / "killed"
    process = subprocess.Popen(command(killed, *SHORT), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    kill(process, number, killed / "state.pt")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130), output
    assert not (killed / "network.pt").exists(), "the training ended before it was killed"
    reached = torch.load(killed / "state.pt", weights_only=True)["step"]
    assert 0 < reached < 20

    # Half a file of a save that the kill ended must not disturb.
    (killed / ".state.pt.0123.part").write_bytes(b"half")
    run(command(killed, *SHORT))
    schedule = Schedule.of(Preset.FAST, images=5, steps=20, crop=32)
    rows = {int(row["step"]): row for row in log(killed)}
    assert set(range(5, 21, 5)) <= rows.keys()
    assert len(rows) == len(log(killed)), "a step is logged twice"
    for step, row in rows.items():
        assert float(row["rate"]) == pytest.approx(schedule.rate_at(step - 1), rel=1e-4)
    seconds = [float(row["seconds"]) for row in log(killed)]
    assert seconds == sorted(seconds)
    left, right = (torch.load(folder / "network.pt", weights_only=True) for folder in (whole, killed))
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        torch.testing.assert_close(right[name], tensor, rtol=0, atol=0, msg=name)


def test_a_folder_of_another_training_is_refused(command, whole):
    before = (whole / "network.pt").read_bytes()
    for changed in (["--steps", "21"], ["--seed", "1"]):
        done = subprocess.run(command(whole, *SHORT, *changed), capture_output=True, text=True, timeout=120)
        assert done.returncode == 1
        assert "belongs to another training" in done.stderr
    assert (whole / "network.pt").read_bytes() == before
