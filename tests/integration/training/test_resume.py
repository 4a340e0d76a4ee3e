"""Real trainings, tiny ones: a kill loses nothing, and a folder keeps to its training."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from cellserve_training.schedule import Preset, Schedule

from .commands import log, run

SHORT = ("--steps", "12", "--crop", "32", "--log-every", "3", "--save-every", "0", "--seed", "3")


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory) -> Path:
    """The folder of a training of the options `SHORT` that nobody disturbed."""
    folder: Path = tmp_path_factory.mktemp("whole") / "run"
    run(command(folder, *SHORT))
    return folder


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
    if number == signal.SIGTERM:
        assert f"which {killed / 'state.pt'} holds: the same command goes on from there" in output
    reached = torch.load(killed / "state.pt", weights_only=True)["step"]
    assert 0 < reached < 12

    # Half a file of a save that the kill ended must not disturb.
    (killed / ".state.pt.0123.part").write_bytes(b"half")
    assert f"goes on after step {reached} of 12" in run(command(killed, *SHORT))
    schedule = Schedule.of(Preset.FAST, images=5, steps=12, crop=32)
    rows = {int(row["step"]): row for row in log(killed)}
    assert set(range(3, 13, 3)) <= rows.keys()
    assert len(rows) == len(log(killed)), "a step is logged twice"
    for step, row in rows.items():
        assert float(row["rate"]) == pytest.approx(schedule.rate_at(step - 1), rel=1e-4)
    seconds = [float(row.pop("seconds")) for row in rows.values()]
    assert seconds == sorted(seconds)
    undisturbed = log(whole)
    assert [row for row in undisturbed if row.pop("seconds")] == list(rows.values()), "rows that a kill divided, too"
    left, right = (torch.load(folder / "network.pt", weights_only=True) for folder in (whole, killed))
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        torch.testing.assert_close(right[name], tensor, rtol=0, atol=0, msg=name)


def test_a_folder_of_another_training_is_refused(command, whole):
    before = (whole / "network.pt").read_bytes()
    for changed, said in ((["--steps", "11"], "longer, not shorter"), (["--seed", "1"], "seed was 3, now 1")):
        done = subprocess.run(command(whole, *SHORT, *changed), capture_output=True, text=True, timeout=120)
        assert done.returncode == 1
        assert said in done.stderr
    assert (whole / "network.pt").read_bytes() == before


def test_a_training_that_is_done_is_made_longer(command, whole, tmp_path):
    longer = tmp_path / "longer"
    shutil.copytree(whole, longer)
    output = run(command(longer, *SHORT, "--steps", "14"))
    schedule = Schedule.of(Preset.FAST, images=5, steps=14, crop=32)
    rate = schedule.rate_at(12)
    assert f"goes on after step 12 of 14; learning rate {rate:.2g} now, {rate:.2g} at most" in output
    assert log(longer)[:4] == log(whole)
    assert [int(row["step"]) for row in log(longer)[4:]] == [14]
    assert "trained 14 steps on 5 images" in output
    assert "average precision at IoU .5 on images that were kept back (1): 0." in output
    assert f"cellserve-export family longer --checkpoint {longer / 'network.pt'}" in output
    networks = [torch.load(folder / "network.pt", weights_only=True) for folder in (whole, longer)]
    assert not networks[0]["output.2.bias"].equal(networks[1]["output.2.bias"])
