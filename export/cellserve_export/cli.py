"""`cellserve-export`: checkpoints in, a family of a Triton model repository out; and size models for families."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from cellserve_networks.checkpoint import load_checkpoint, save_checkpoint
from cellserve_networks.errors import ModelFileError
from cellserve_networks.size_model import read_size_model
from rich import box
from rich.console import Console
from rich.table import Table
from typer import Argument, Option

from cellserve_export.errors import ExportError
from cellserve_export.family import Family, set_size_model, write_family
from cellserve_export.graph import Precision
from cellserve_export.mean import mean_network
from cellserve_export.parity import TOLERANCE, Parity, random_tiles
from cellserve_export.repository import MODELS
from cellserve_export.tiles import image_tile
from cellserve_export.unpack import unpack_family

_RANDOM_TILES = 3  # an odd batch; images add tiles alone

FamilyName = Annotated[str, Argument(help="Name of the family: its directory, and `model` in a request.")]
Repository = Annotated[
    Path, Option(help="Triton model repository to write to. Made if only its last folder is missing.")
]
Overwrite = Annotated[bool, Option("--overwrite", help="Replace what an earlier export wrote.")]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def main() -> None:
    """Writes model families for Triton and the gateway."""


@app.command()
def family(
    name: FamilyName,
    checkpoint: Annotated[list[Path], Option(help="CPnet checkpoint; once per network, network 0 first.")],
    repository: Repository = Path("model_repository"),
    weights: Annotated[Precision, Option(help="Precision of the stored weights; computation is fp32.")] = "fp16",
    description: Annotated[str, Option(help="What the family is for, in one sentence.")] = "",
    license: Annotated[str, Option(help="Licence of the weights: SPDX expression or sentence.")] = "not stated",
    provenance: Annotated[str, Option(help="How and on what the networks were trained.")] = "not stated",
    diam_mean: Annotated[
        float | None,
        Option(help="Object diameter the networks work at, in pixels. Default: the checkpoints', else 30."),
    ] = None,
    size_model: Annotated[
        Path | None, Option(help="Size model of network 0: a file of `cellserve-train size-model` or Cellpose's .npy.")
    ] = None,
    tile_image: Annotated[
        list[Path] | None, Option(help="Image to cut tiles from for the parity gate, besides random ones; repeatable.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Writes NAME, NAME_single and NAME_style into a model repository; nothing if one fails the parity gate."""
    console, is_new = Console(), not repository.exists()
    with _failures_said():
        sizes = read_size_model(size_model) if size_model else None
        description = description or f"CPnet, {len(checkpoint)} network(s)"
        about = Family(name, description, license, provenance, diam_mean, sizes)
        checkpoints = [load_checkpoint(path) for path in checkpoint]
        tiles = {"random": random_tiles(checkpoints[0].network, _RANDOM_TILES)}
        tiles |= {path.stem: image_tile(path) for path in tile_image or ()}
        report = write_family(repository, about, checkpoints, weights, tiles, overwrite=overwrite)
    console.print(_table(report))
    if not tile_image:
        typer.echo("checked on random tiles only; --tile-image adds tiles of your own images")
    models = ", ".join(f"{name}{ending}" for ending in MODELS)
    typer.echo(f"wrote {models} to {repository.resolve()}{', which is new' if is_new else ''}")
    if not sizes:
        typer.echo(
            "no size model: a request that leaves the diameter open gets the mean diameter of the training images"
        )
    typer.echo("next: " + _restart(repository, "Triton and the gateway read the folder when they start"))
    typer.echo(f"      cellserve segment IMAGE --model {name}")


@app.command()
def size_model(
    name: FamilyName,
    file: Annotated[Path, Argument(help="A file of `cellserve-train size-model`, or Cellpose's `size_*.npy`.")],
    repository: Repository = Path("model_repository"),
    overwrite: Overwrite = False,
) -> None:
    """Puts a size model into the model.json of the family NAME, whose networks stay as they are."""
    with _failures_said():
        set_size_model(repository, name, read_size_model(file), overwrite=overwrite)
    typer.echo(f"wrote the size model to {(repository / name / 'model.json').resolve()}")
    typer.echo("next: " + _restart(repository, "the gateway reads the file when it starts"))


@app.command()
def unpack(
    name: FamilyName,
    out: Annotated[Path, Option(help="Folder for NAME_0.pt and so on.")],
    repository: Annotated[Path, Option(help="Triton model repository to read from.")] = Path("model_repository"),
) -> None:
    """Writes the networks of the family NAME as Cellpose checkpoints, to train them on or to use them elsewhere."""
    with _failures_said():
        for index, network in enumerate(unpack_family(repository, name)):
            path = out / f"{name}_{index}.pt"
            save_checkpoint(path, network)
            typer.echo(str(path))


@app.command()
def mean(
    checkpoints: Annotated[list[Path], Argument(help="CPnet checkpoints: a network and what training on made of it.")],
    out: Annotated[Path, Option(help="Checkpoint to write.")],
) -> None:
    """Writes the mean of the weights of networks from one line of training, in Cellpose's format."""
    with _failures_said():
        save_checkpoint(out, mean_network([load_checkpoint(path) for path in checkpoints]))
    typer.echo(str(out))


@contextmanager
def _failures_said() -> Iterator[None]:
    """Ends the command with status 1 and one line for what a user can mend."""
    try:
        yield
    except (ExportError, ModelFileError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from None


def _restart(repository: Path, why: str) -> str:
    """What to do for an export to be served."""
    served = Path("model_repository")
    if served.exists() and repository.resolve() == served.resolve():
        return f"make down up    ({why})"
    return f"restart them with this repository: {why} (serve.py --model-repository, CELLSERVE_MODEL_REPOSITORY)"


def _table(report: list[Parity]) -> Table:
    """Largest differences, in the unit of each output."""
    table = Table(
        title=f"Parity gate: at most {TOLERANCE:g}",
        box=box.SIMPLE,
        caption="deviation: ONNX Runtime - torch, weights as stored\nrounding: weights as stored - in the checkpoint",
    )
    table.add_column("model", no_wrap=True)
    table.add_column("output", no_wrap=True)
    table.add_column("tiles", overflow="fold")
    for heading in ("deviation", "rounding", "values to"):
        table.add_column(heading, justify="right")
    for entry in report:
        figures = (f"{entry.deviation:.1e}", f"{entry.rounding:.1e}", f"{entry.magnitude:.2f}")
        table.add_row(entry.model, entry.output, entry.tiles, *figures)
    return table
