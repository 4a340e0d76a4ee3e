"""The training of one network; reads top to bottom."""

from __future__ import annotations

import hashlib
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, cast

import numpy as np
import torch
from cellserve_networks.checkpoint import load_checkpoint, save_checkpoint
from cellserve_networks.network import CPnet
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.utils.data import DataLoader

from .augment import Example
from .batches import Batches
from .descent import Descent
from .journal import Journal, Row
from .precision import autocast
from .schedule import Schedule
from .state import NETWORK, STATE, State, load_state, save_state

VALIDATION_BATCHES = 4
CALIBRATION_BATCHES = 24


class TrainingInterruptedError(Exception):
    """A signal ended a training between two steps; its state is saved."""


@dataclass(frozen=True, slots=True)
class Run:
    """One training: what, where, with what means.

    Attributes:
        folder: Gets state.pt, log.csv, curves.png and in the end network.pt.
        schedule: Steps and rates.
        seed: Decides first weights, order and augmentation.
        diam_mean: Object size the network works at, in pixels.
        style, residual, concatenation: The network's parts (paper, Extended Data Fig. 2).
        start: Checkpoint whose weights the training begins with; None: random ones.
        device: "cpu", "cuda", ...
        workers: Processes that cut crops; 0: the training cuts its own.
        log_every: Steps a row of the log covers.
        save_every_s: Seconds between saved states.
        console: Where the progress goes.
    """

    folder: Path
    schedule: Schedule
    seed: int = 0
    diam_mean: float = 30.0
    style: bool = True
    residual: bool = True
    concatenation: bool = False
    start: Path | None = None
    device: str = "cpu"
    workers: int = 0
    log_every: int = 25
    save_every_s: float = 20.0
    console: Console = field(default_factory=Console)

    def settings(self, examples: Sequence[Example], validation: Sequence[Example], start: str) -> dict[str, Any]:
        """What decides the outcome, of plain types: a state is only continued with the same. `start` is a SHA-256."""
        names = "\n".join(f"{entry.sample.group}/{entry.sample.name}" for entry in (*examples, *validation))
        return {
            **asdict(self.schedule),
            "seed": self.seed,
            "diam_mean": self.diam_mean,
            "style": self.style,
            "residual": self.residual,
            "concatenation": self.concatenation,
            "start": start,
            "images": len(examples),
            "validation_images": len(validation),
            "names": hashlib.sha256(names.encode()).hexdigest()[:16],
        }


def train(run: Run, examples: Sequence[Example], validation: Sequence[Example] = ()) -> CPnet:
    """Trains a network, or goes on where an earlier run of the same folder was ended.

    With more steps than the earlier run had, a training is made longer: the steps that are left follow the schedule of
    all steps, whose rate may be higher again than the last one was.

    Args:
        run: What and where.
        examples: Images to train on.
        validation: Images for the log alone.

    Returns:
        The network, also written to network.pt as a Cellpose checkpoint.

    Raises:
        TrainingInterruptedError: SIGINT or SIGTERM came; the state is saved.
        StateError: The folder holds another training.
        CheckpointError: The checkpoint to start from cannot be read.
    """
    schedule, device = run.schedule, torch.device(run.device)
    start = load_checkpoint(run.start) if run.start else None
    settings = run.settings(examples, validation, start.sha256 if start else "")
    torch.manual_seed(run.seed)
    network = CPnet(style=run.style, residual=run.residual, concatenation=run.concatenation)
    if start:
        network.load_state_dict(start.network.state_dict())
    network.get_buffer("diam_mean").fill_(run.diam_mean)
    network.get_buffer("diam_labels").fill_(float(np.mean([example.diameter for example in examples])))
    network.to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    descent = Descent(network, schedule)
    averaged = AveragedModel(network, avg_fn=partial(_average, schedule.averaging))
    average = cast(CPnet, averaged.module).eval()
    state = load_state(run.folder / STATE, settings) or State(settings)
    if state.step:
        network.load_state_dict(state.network)
        average.load_state_dict(state.averaged)
        averaged.n_averaged.fill_(state.step)
        descent.load_state_dict(state.optimizer)

    batches = Batches(examples, schedule, run.diam_mean, run.seed)
    unseen = Batches(validation, schedule, run.diam_mean, run.seed + 2**20) if validation else None
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=range(state.step, schedule.steps),
        num_workers=run.workers,
    )
    started, saved = time.monotonic() - state.seconds, time.monotonic()
    losses = [entry.to(device) for entry in state.losses]
    run.console.out(_beginning(state, schedule), highlight=False)

    def calibrate() -> None:
        """Measures the statistics of batch norm anew: those of the networks averaged are not those of the average."""
        if schedule.averaging:
            beyond = (batches[schedule.steps + index][0] for index in range(CALIBRATION_BATCHES))
            with autocast(device):
                update_bn((images.to(device, memory_format=torch.channels_last) for images in beyond), average)

    def save(step: int) -> None:
        state.step, state.seconds = step, time.monotonic() - started
        state.network, state.averaged = network.state_dict(), average.state_dict()
        state.optimizer, state.losses = descent.state_dict(), losses
        # The log first: rows beyond the state are dropped on resuming, rows before it could not be had again.
        journal.write(last=step == schedule.steps)
        save_state(run.folder / STATE, state)

    with Journal(run.folder, schedule.steps, state.step, run.console) as journal, _signals() as received:
        for step, (image, target) in enumerate(loader, start=state.step):
            image = image.to(device, memory_format=torch.channels_last)
            parts = _losses(network, image, target.to(device), schedule.weighted)
            parts.sum().backward()  # type: ignore[no-untyped-call]
            if schedule.clip:
                nn.utils.clip_grad_norm_(network.parameters(), schedule.clip)
            descent.step(rate := schedule.rate_at(step))
            averaged.update_parameters(network)
            losses.append(parts.detach())
            done = step + 1
            journal.step(done, float(losses[-1].sum()))
            if done % run.log_every == 0 or done == schedule.steps:
                flow_loss, inside_loss = torch.stack(losses).mean(dim=0).tolist()
                losses.clear()
                seen = None
                if unseen and done % (10 * run.log_every) == 0:
                    calibrate()
                    seen = _validate(average, unseen, schedule, device)
                seconds = time.monotonic() - started
                journal.record(Row(done, flow_loss + inside_loss, flow_loss, inside_loss, rate, seconds, seen))
            if time.monotonic() - saved > run.save_every_s or done == schedule.steps:
                save(done)
                saved = time.monotonic()
            if received and done < schedule.steps:
                save(done)
                raise TrainingInterruptedError(f"step {done} of {schedule.steps}")
    run.console.out("measuring the batch-norm statistics of the averaged weights", highlight=False)
    calibrate()
    save_checkpoint(run.folder / NETWORK, average)
    return average


def _beginning(state: State, schedule: Schedule) -> str:
    """What a run begins with, for the terminal."""
    if state.step == 0:
        return f"{schedule.steps} steps of {schedule.batch} crops"
    if state.step == schedule.steps:
        return f"all {schedule.steps} steps were done before; a larger --steps goes on from here"
    rest = range(state.step, schedule.steps)
    now, highest, last = (schedule.rate_at(step) for step in (rest[0], max(rest, key=schedule.rate_at), rest[-1]))
    return (
        f"goes on after step {state.step} of {schedule.steps}; "
        f"learning rate {now:.2g} now, {highest:.2g} at most, {last:.2g} at the end"
    )


def _losses(network: CPnet, image: Tensor, target: Tensor, weighted: bool) -> Tensor:
    """Loss of the flows and of the inside map, [2]: half the mean squared error of 5 * flow, and cross entropy."""
    with autocast(image.device):
        maps, _ = network(image)
    maps = maps.float()
    flow_weights, inside_weights = target[:, 3:].unbind(1) if weighted else (1, None)
    flows = 0.5 * (functional.mse_loss(maps[:, :2], target[:, :2], reduction="none").mean(dim=1) * flow_weights).mean()
    inside = functional.binary_cross_entropy_with_logits(maps[:, 2], target[:, 2], inside_weights)
    return torch.stack([flows, inside])


def _average(decay: float, average: Tensor, value: Tensor, updates: Tensor) -> Tensor:
    """The next moving average; early on it must not remember the first weights, which are noise."""
    return average.lerp(value, 1 - min(decay, (1 + int(updates)) / (10 + int(updates))))


@torch.no_grad()
def _validate(average: CPnet, unseen: Batches, schedule: Schedule, device: torch.device) -> float:
    """Loss on the same crops of unseen images every time, of the side of the last ones."""
    losses = []
    for index in range(VALIDATION_BATCHES):
        image, target = unseen[schedule.steps + index]
        losses.append(_losses(average, image.to(device), target.to(device), schedule.weighted))
    return float(torch.stack(losses).mean(dim=0).sum())


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of dying in the middle of a step; a second SIGINT ends at once."""
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        received.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
