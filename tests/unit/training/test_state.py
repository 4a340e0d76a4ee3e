"""States on disk, and the log beside them."""

import io
import itertools
from dataclasses import asdict

import pytest
import torch
from cellserve_networks.checkpoint import load_checkpoint, save_checkpoint
from cellserve_networks.network import CPnet
from cellserve_training.journal import Journal, Row, duration, read_log
from cellserve_training.schedule import Preset, Schedule
from cellserve_training.state import State, StateError, load_state, save_state
from rich.console import Console

SETTINGS = {"steps": 10, "augmentation": {"scale": (0.75, 1.25)}}


def test_a_state_comes_back_as_it_was(tmp_path):
    path = tmp_path / "state.pt"
    assert load_state(path, SETTINGS) is None
    save_state(path, State(SETTINGS, 4, 1.5, {"a": torch.ones(3)}, {"a": torch.zeros(3)}, {"state": {0: {"step": 4}}}))
    state = load_state(path, SETTINGS)
    assert (state.step, state.seconds, state.optimizer) == (4, 1.5, {"state": {0: {"step": 4}}})
    assert state.network["a"].equal(torch.ones(3))
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.pt"]


@pytest.mark.parametrize("content", [b"", b"half a file", b"PK\x03\x04"])
def test_a_damaged_state_is_refused_and_kept(tmp_path, content):
    path = tmp_path / "state.pt"
    path.write_bytes(content)
    with pytest.raises(StateError, match=r"not the state of a training, or damaged .*; move the file away"):
        load_state(path, SETTINGS)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 9}, "of 10 steps, and --steps is 9: a training can be made longer, not shorter; choose another"),
        ({"seed": 1}, "seed was 0, now 1.*; --start-from .*network.pt begins there"),
        ({"names": "b"}, "the labelled images are others"),
        ({"steps": 20, "seed": 1}, "another training .seed was 0, now 1.:"),
    ],
)
def test_another_training_is_refused_by_what_differs(tmp_path, change, said):
    path = tmp_path / "state.pt"
    settings = SETTINGS | {"seed": 0, "names": "a"}
    save_state(path, State(settings, 4))
    with pytest.raises(StateError, match=said):
        load_state(path, settings | change)


@pytest.mark.parametrize("preset", list(Preset))
def test_a_training_is_made_longer(tmp_path, preset):
    short, long = (asdict(Schedule.of(preset, images=5, steps=steps)) for steps in (100, 300))
    save_state(tmp_path / "state.pt", State(short, 100))
    state = load_state(tmp_path / "state.pt", long)
    assert (state.step, state.settings) == (100, long)


def test_a_failed_save_leaves_the_state_before(tmp_path):
    path = tmp_path / "state.pt"
    save_state(path, State(SETTINGS, 4))
    with pytest.raises(Exception, match="pickle"):
        save_state(path, State({"no": lambda: None}, 5))
    assert load_state(path, SETTINGS).step == 4
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.pt"]


def test_a_network_is_a_cellpose_checkpoint(tmp_path):
    network = CPnet()
    network.get_buffer("diam_labels").fill_(22.0)
    save_checkpoint(tmp_path / "network.pt", network)
    checkpoint = load_checkpoint(tmp_path / "network.pt")
    assert (checkpoint.diam_mean, checkpoint.diam_labels) == (30.0, 22.0)
    assert len(torch.load(tmp_path / "network.pt", weights_only=True)) == 313


def row(step: int, **others) -> Row:
    loss = 1 - step / 40
    return Row(**{"step": step, "loss": loss, "flow_loss": 0.75 * loss, "inside_loss": 0.25 * loss,
                  "rate": 0.002, "seconds": 1.5 * step, **others})  # fmt: skip


def test_the_log_goes_on_where_the_state_stands(tmp_path):
    console = Console(file=io.StringIO())
    with Journal(tmp_path, 20, 0, console) as journal:
        for step in (5, 10, 15):
            journal.record(row(step, validation_loss=0.25 if step == 10 else None))
        journal.write(last=True)
    assert read_log(tmp_path / "log.csv") == [row(5), row(10, validation_loss=0.25), row(15)]
    assert (tmp_path / "curves.png").stat().st_size > 10_000

    with Journal(tmp_path, 20, 10, console) as journal:
        journal.record(row(20))
        journal.write()
    assert [entry.step for entry in read_log(tmp_path / "log.csv")] == [5, 10, 20]


def test_without_a_terminal_there_is_a_line_now_and_then(tmp_path):
    said, seconds = io.StringIO(), itertools.count(1)
    with Journal(tmp_path, 400, 100, Console(file=said, width=40), clock=lambda: float(next(seconds))) as journal:
        journal.record(row(100, validation_loss=0.25))
        for step in range(101, 401):
            journal.step(step, 1 - step / 1000)
    lines = said.getvalue().splitlines()
    assert lines[0] == "step 105/400  loss 0.8970  validation 0.2500  1.00 steps/s  5 min left"
    steps = [int(line.split()[1].split("/")[0]) for line in lines]
    assert steps == [105, 115, 135, 175, 235, 295, 355, 400], "lines come less and less often, but once a minute"
    assert lines[-1].endswith("  0 s left")


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (95, "2 min"), (7500, "2 h 5 min")])
def test_times_in_words(seconds, words):
    assert duration(seconds) == words


def test_no_log_is_an_empty_one(tmp_path):
    assert read_log(tmp_path / "log.csv") == []
