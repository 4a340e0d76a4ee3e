"""`cellserve-train`: labelled images in, networks and the figures they reach out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from cellserve import ParameterError, SegmentParams
from cellserve_contract.params import PARAMETERS
from cellserve_evaluation import tables
from cellserve_evaluation.contact_sheet import write_sheet
from cellserve_evaluation.evaluation import DEFAULT_ADDRESS, DiameterChoice, EvaluationError
from cellserve_evaluation.evaluation import evaluate as evaluate_service
from cellserve_evaluation.sample import Sample
from cellserve_networks.checkpoint import load_checkpoint
from cellserve_networks.errors import ModelFileError
from cellserve_networks.size_model import write_size_model
from cellserve_postprocess import median_diameter
from rich.console import Console
from rich.progress import track
from typer import Argument, Option

from .augment import Example, prepare
from .closing import closing
from .dataset import read_samples
from .loop import Run, TrainingInterruptedError
from .loop import train as train_network
from .pairs import DataError, LabelSource, find_pairs, splits
from .precision import has_bfloat16
from .schedule import Preset, Schedule
from .segment import LocalNetwork
from .size_model import fit
from .state import NETWORK, STATE, StateError
from .synthetic import write_synthetic

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


class OnBadData(StrEnum):
    """What to do about labelled images that cannot be used."""

    REFUSE = "refuse"
    SKIP = "skip"


Folders = Annotated[list[Path], Argument(help="Folders of labelled images, or of data sets with train and test.")]
Split = Annotated[str | None, Option(help="Part of the data sets below the folders: train or test.")]
Labels = Annotated[
    LabelSource,
    Option(
        help="drawn: _masks, _seg.npy, and folders masks/ or labels/. cp_masks: results too, if an image has no others."
    ),
]
OnBad = Annotated[OnBadData, Option(help="Labelled images that cannot be used: end, or leave them out. Each is named.")]
Device = Annotated[str, Option(help="torch device.")]
Threads = Annotated[int, Option(min=0, help="CPU threads; 0: all cores.")]

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@app.callback()
def main() -> None:
    """Trains the networks of CellServe and measures them."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")


@app.command()
def check(folders: Folders, split: Split = None, labels: Labels = LabelSource.DRAWN) -> None:
    """Reads labelled images as a training would and says what is in them. Exit code 1 if some cannot be used."""
    faults = 0
    for folder in folders:
        parts: list[str | None] = [split] if split else [*splits(folder)]
        for part in parts or [None]:
            try:
                samples, bad = read_samples(find_pairs(folder, part, labels), "skip")
            except DataError as error:
                _fail(error)
            faults += len(bad)
            typer.echo(f"{folder}{f', {part}' if part else ''}, labelled images: {len(samples)}")
            for sample in samples:
                height, width = sample.labels.shape
                typer.echo(
                    f"  {sample.name}: {width} x {height} px, {len(sample.image)} plane(s), {sample.kind}; "
                    f"{sample.labels.max()} objects of {median_diameter(sample.labels):.0f} px"
                )
    if faults:
        typer.echo(f"{faults} labelled images cannot be used: named above, each with what to do", err=True)
        raise typer.Exit(1)


@app.command()
def train(
    folders: Folders,
    out: Annotated[Path, Option(help="Folder of this training. The same command goes on from the state it holds.")],
    split: Split = "train",
    preset: Annotated[Preset, Option(help="Schedule: the paper's, or one for a few CPU hours.")] = Preset.FAST,
    seed: Annotated[int, Option(help="Decides first weights, order of images and augmentation.")] = 0,
    steps: Annotated[
        int | None,
        Option(min=1, help="Batches in all. Default: the preset's. More than before: the training in --out goes on."),
    ] = None,
    crop: Annotated[int | None, Option(min=16, help="Side of a crop, a multiple of 8. Default: the preset's.")] = None,
    diam_mean: Annotated[float, Option(min=1, help="Object diameter the network works at, in pixels.")] = 30.0,
    validation: Annotated[float, Option(min=0, max=0.5, help="Share of images kept for the validation curve.")] = 0.04,
    labels: Labels = LabelSource.DRAWN,
    on_bad_data: OnBad = OnBadData.REFUSE,
    style: Annotated[bool, Option(help="Ablation: tell the up pass the style of the tile.")] = True,
    residual: Annotated[bool, Option(help="Ablation: add the input of each block to its output.")] = True,
    concatenation: Annotated[bool, Option(help="Ablation: concatenate the maps of the down pass.")] = False,
    start_from: Annotated[
        Path | None, Option(help="Checkpoint to start from, not random weights: to adapt a network to images of yours.")
    ] = None,
    device: Device = DEVICE,
    threads: Threads = 0,
    workers: Annotated[int, Option(min=0, help="Processes that cut crops; 0: the training cuts its own.")] = 0,
    log_every: Annotated[int, Option(min=1, help="Steps that a row of the log covers.")] = 25,
    save_every: Annotated[float, Option(min=0, help="Seconds between saved states.")] = 20.0,
    cache: Annotated[Path, Option(help="Folder of the flow targets, shared by trainings.")] = Path("build/targets"),
) -> None:
    """Trains one network. Killed at any moment, it goes on from its last state when called again."""
    console = Console()
    if crop is not None and crop % 8:
        raise typer.BadParameter("a multiple of 8", param_hint="--crop")
    if threads:
        torch.set_num_threads(threads)
    samples = _read(folders, split, labels, on_bad_data)
    typer.echo(f"computing the flows of {len(samples)} images; {cache} keeps them")
    examples = [prepare(sample, cache) for sample in _track(samples, "flows", console)]
    examples, held_out = _split(examples, validation, seed)
    typer.echo(f"{len(examples)} images to train on, {len(held_out)} for the validation curve")
    for (group, kind), count in sorted(Counter((e.sample.group, e.sample.kind) for e in examples).items()):
        typer.echo(f"  {group} {kind}: {count}")
    run = Run(
        out, Schedule.of(preset, len(examples), steps, crop), seed, diam_mean, style, residual, concatenation,
        start_from, device, workers, log_every, save_every, console,
    )  # fmt: skip
    try:
        network = train_network(run, examples, held_out)
    except TrainingInterruptedError as stop:
        typer.echo(f"stopped after {stop}, which {out / STATE} holds: the same command goes on from there")
        raise typer.Exit(130) from None
    except (StateError, ModelFileError, OSError) as error:
        _fail(error)
    for line in closing(run, network, folders, examples, held_out):
        typer.echo(line)


@app.command()
def size_model(
    folders: Folders,
    network: Annotated[Path, Option(help="Checkpoint of network 0 of a family.")],
    out: Annotated[Path, Option(help="JSON file, for `cellserve-export`.")],
    split: Split = "train",
    views: Annotated[int, Option(min=1, help="Sizes in which each image is looked at, its own among them.")] = 8,
    ridge: Annotated[
        float | None, Option(min=0, help="Weight of the squared coefficients. Default: the best on images left out.")
    ] = None,
    seed: Annotated[int, Option(help="Decides the sizes and the folds.")] = 0,
    labels: Labels = LabelSource.DRAWN,
    on_bad_data: OnBad = OnBadData.REFUSE,
    device: Device = DEVICE,
    threads: Threads = 0,
) -> None:
    """Fits the size model: from the style of an image to the diameter of its objects."""
    console = Console()
    if threads:
        torch.set_num_threads(threads)
    samples = _read(folders, split, labels, on_bad_data)
    try:
        found = fit(
            load_checkpoint(network).network.to(device), samples, seed=seed, ridge=ridge, views=views,
            bfloat16=has_bfloat16(torch.device(device)),
            track=lambda samples: _track(samples, "styles", console),
        )  # fmt: skip
        write_size_model(out, found.model)
    except (ModelFileError, ValueError, OSError) as error:
        _fail(error)
    console.print(
        f"{found.views} views of {found.images} images, ridge {found.ridge:g}; on images left out of the fit "
        f"(five folds): correlation {found.correlation:.3f}, median deviation {100 * found.error:.0f} %",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    console.print(f"size model: {out}")


@app.command()
def evaluate(
    folders: Folders,
    split: Split = "test",
    address: Annotated[
        str | None,
        Option(
            help=f"The service, host:port; none: leave it out. Default: {DEFAULT_ADDRESS}; none with --network.",
            envvar="CELLSERVE_ADDRESS",
        ),
    ] = None,
    network: Annotated[
        list[Path] | None, Option(help="Checkpoint to evaluate without a service, told true diameters; repeatable.")
    ] = None,
    model: Annotated[str | None, Option(help="Model family. Default: the service's.")] = None,
    diameter: Annotated[DiameterChoice, Option(help="Tell the service the true diameter, let it estimate it, or both.")]
    = "both",
    single: Annotated[bool, Option("--single", help="Evaluate network 0 alone, too.")] = False,
    otsu: Annotated[bool, Option("--otsu", help="Evaluate Otsu's threshold and a watershed, too.")] = False,
    predictions: Annotated[
        list[Path] | None, Option(help="Folder of another program's label images to evaluate, too; repeatable.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        Option("--set", metavar="NAME=VALUE", help="Parameter of the service: flow_threshold=0.6; repeatable."),
    ] = None,
    device: Device = DEVICE,
    threads: Threads = 0,
    sheet: Annotated[Path, Option(help="PNG of the best, median and worst images of the first pass.")]
    = Path("build/contact_sheet.png"),
    json: Annotated[Path | None, Option(help="File for all figures of all images.")] = None,
    concurrency: Annotated[int, Option(min=1, help="Images under way at a time.")] = 8,
    deadline_s: Annotated[float, Option(min=0.001, help="Seconds one image may take.")] = 300.0,
    labels: Labels = LabelSource.DRAWN,
    on_bad_data: OnBad = OnBadData.REFUSE,
) -> None:  # fmt: skip
    """Sends labelled images through a running service and scores what comes back. Exit code 1 if an image failed."""
    console = Console()
    if threads:
        torch.set_num_threads(threads)
    params = _params(settings or ())
    address = address or ("none" if network else DEFAULT_ADDRESS)
    samples = _read(folders, split, labels, on_bad_data)
    try:
        unserved = [LocalNetwork(load_checkpoint(path).network.to(device), _title(path)) for path in network or ()]
        evaluation = evaluate_service(
            samples, address=None if address == "none" else address, model=model, diameter=diameter, single=single,
            otsu=otsu, predictions=predictions or (), networks=unserved, params=params, concurrency=concurrency,
            deadline_s=deadline_s, console=console,
        )  # fmt: skip
        tables.show(evaluation, console)
        if json:
            evaluation.write_json(json)
        first = evaluation.passes[0]
        if first.scored:
            write_sheet(sheet, first)
            console.print(f"pictures: {sheet}")
    except (EvaluationError, ModelFileError, OSError) as error:
        _fail(error)
    if evaluation.failed:
        raise typer.Exit(1)


@app.command()
def synthesize(
    folder: Annotated[Path, Argument(help="Folder to write to.")],
    count: Annotated[int, Option(min=1, help="Images.")] = 120,
    seed: Annotated[int, Option(help="Decides the images.")] = 0,
    size: Annotated[int, Option(min=64, help="Side of an image in pixels.")] = 320,
) -> None:
    """Writes labelled two-channel images (cells, nuclei) that no microscope took."""
    write_synthetic(folder, count, seed, (size, size))


def _params(settings: Sequence[str]) -> SegmentParams:
    """Parameters given as NAME=VALUE."""
    names = PARAMETERS.keys() - {"model", "ensemble", "diameter", "normalization"}
    pairs = [setting.partition("=")[::2] for setting in settings]
    if unknown := {name for name, _ in pairs} - names:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}; known: {', '.join(sorted(names))}", param_hint="--set")
    try:
        return SegmentParams(**{name: PARAMETERS[name].parse(value) for name, value in pairs})
    except ParameterError as error:
        raise typer.BadParameter(str(error), param_hint="--set") from error


def _read(folders: list[Path], split: str | None, labels: LabelSource, on_bad: OnBadData) -> list[Sample]:
    try:
        pairs = [pair for folder in folders for pair in find_pairs(folder, split, labels)]
        samples, faults = read_samples(pairs, on_bad.value)
    except ExceptionGroup as group:
        typer.echo(f"error: {group.message}; --on-bad-data skip leaves them out", err=True)
        raise typer.Exit(1) from None
    except DataError as error:
        _fail(error)
    if faults:
        typer.echo(f"{len(faults)} labelled images left out, {len(samples)} used", err=True)
    return samples


def _title(network: Path) -> str:
    """What tables call a network: its file, or the folder of its training."""
    return network.resolve().parent.name if network.name == NETWORK else network.stem


def _track(samples: Sequence[Sample], what: str, console: Console) -> Iterable[Sample]:
    """Yields samples; on a terminal, with a bar."""
    return track(samples, what, console=console, transient=True, disable=not console.is_terminal)


def _split(examples: list[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Images to train on, and those kept back: other ones for other seeds."""
    order = np.random.default_rng(seed).permutation(len(examples))
    kept = round(share * len(examples))
    return [examples[index] for index in sorted(order[kept:])], [examples[index] for index in sorted(order[:kept])]


def _fail(error: Exception) -> None:
    typer.echo(f"error: {error}", err=True)
    raise typer.Exit(1) from None
