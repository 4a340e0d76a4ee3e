"""`cellserve-train evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from cellserve import ParameterError, SegmentParams
from cellserve_contract.help import INPUT, RESULTS, SERVER
from cellserve_contract.params import PARAMETERS
from cellserve_evaluation import tables
from cellserve_evaluation.contact_sheet import write_pictures
from cellserve_evaluation.evaluation import DEFAULT_ADDRESS, DiameterChoice, EvaluationError
from cellserve_evaluation.evaluation import evaluate as evaluate_service
from cellserve_networks.checkpoint import load_checkpoint
from cellserve_networks.errors import ModelFileError
from rich.console import Console
from typer import Option

from cellserve_training.pairs import LabelSource
from cellserve_training.segment import LocalNetwork
from cellserve_training.state import NETWORK

from .options import DEVICE, Device, Folders, Labels, OnBad, OnBadData, Split, Threads, fail, read


def evaluate(
    folders: Folders,
    split: Split = "test",
    address: Annotated[
        str | None,
        Option(
            metavar="HOST:PORT",
            help="The service; none: evaluate without it.",
            show_default=f"{DEFAULT_ADDRESS}; none with --network",
            envvar="CELLSERVE_ADDRESS",
            rich_help_panel=SERVER,
        ),
    ] = None,
    network: Annotated[
        list[Path] | None,
        Option(
            metavar="FILE",
            help="Checkpoint to evaluate without a service, with the true diameters. Repeat the option for more.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    model: Annotated[
        str | None,
        Option(metavar="NAME", help="Model family.", show_default="that of the service", rich_help_panel=SERVER),
    ] = None,
    diameter: Annotated[
        DiameterChoice,
        Option(help="State the true diameters, let the service estimate diameters, or both.", rich_help_panel=SERVER),
    ] = "both",
    single: Annotated[bool, Option("--single", help="Evaluate network 0 alone, too.", rich_help_panel=SERVER)] = False,
    otsu: Annotated[
        bool, Option("--otsu", help="Evaluate Otsu's threshold and a watershed, too.", rich_help_panel=INPUT)
    ] = False,
    predictions: Annotated[
        list[Path] | None,
        Option(
            metavar="FOLDER",
            help="Label images of another program to evaluate, too. Repeat the option for more folders.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        Option(
            "--set",
            metavar="NAME=VALUE",
            help="Parameter of the service, such as flow_threshold=0.6. Repeat the option for more.",
            rich_help_panel=SERVER,
        ),
    ] = None,
    device: Device = DEVICE,
    threads: Threads = 0,
    sheet: Annotated[
        Path,
        Option(
            metavar="FILE",
            help="Picture (PNG) of the best, median and worst images of the first pass. Each volume has one beside it.",
            rich_help_panel=RESULTS,
        ),
    ] = Path("build/contact_sheet.png"),
    json: Annotated[
        Path | None,
        Option(
            metavar="FILE", help="File for all figures of all images.", show_default="none", rich_help_panel=RESULTS
        ),
    ] = None,
    concurrency: Annotated[
        int, Option(metavar="N", min=1, help="Images in work at a time.", rich_help_panel=SERVER)
    ] = 8,
    deadline_s: Annotated[
        float, Option(metavar="SECONDS", min=0.001, help="Most time for one image.", rich_help_panel=SERVER)
    ] = 300.0,
    labels: Labels = LabelSource.DRAWN,
    on_bad_data: OnBad = OnBadData.REFUSE,
) -> None:
    """Score a running service, or networks, on labelled images.

    The exit status is 1 if an image failed.
    """
    console = Console()
    if threads:
        torch.set_num_threads(threads)
    params = _params(settings or ())
    address = address or ("none" if network else DEFAULT_ADDRESS)
    samples = read(folders, split, labels, on_bad_data, volumes=True)
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
        for picture in write_pictures(sheet, evaluation.passes[0]):
            console.print(f"pictures: {picture}")
    except (EvaluationError, ModelFileError, OSError) as error:
        fail(error)
    if evaluation.failed:
        raise typer.Exit(1)


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


def _title(network: Path) -> str:
    """What tables call a network: its file, or the folder of its training."""
    return network.resolve().parent.name if network.name == NETWORK else network.stem
