"""`cellserve-export`: checkpoints in, a family of a Triton model repository out; and size models for families."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from cellserve_contract.help import GroupedCommand, program
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

FamilyName = Annotated[str, Argument(metavar="NAME", help="Name of the family: its folder, and `model` in a request.")]
Repository = Annotated[
    Path,
    Option(metavar="FOLDER", help="Triton model repository to write to. Made if only its last folder is missing."),
]
Overwrite = Annotated[bool, Option("--overwrite", help="Replace what an earlier export wrote.")]

EPILOG = """\b
Start here:
  cellserve-export family my_cells --checkpoint network.pt    a family of one network
"""

app = program("Write model families for Triton and the gateway.", EPILOG)


@app.command(cls=GroupedCommand)
def family(
    name: FamilyName,
    checkpoint: Annotated[
        list[Path],
        Option(metavar="FILE", help="CPnet checkpoint. Repeat the option for each network, network 0 first."),
    ],
    repository: Repository = Path("model_repository"),
    weights: Annotated[Precision, Option(help="Precision of the stored weights.")] = "fp16",
    description: Annotated[str, Option(metavar="TEXT", help="What the family is for, in one sentence.")] = "",
    license: Annotated[
        str, Option(metavar="TEXT", help="Licence of the weights: SPDX expression or sentence.")
    ] = "not stated",
    provenance: Annotated[
        str, Option(metavar="TEXT", help="How and on what the networks were trained.")
    ] = "not stated",
    diam_mean: Annotated[
        float | None,
        Option(
            metavar="PIXELS",
            help="Object diameter that the networks work at.",
            show_default="that of the checkpoints, else 30",
        ),
    ] = None,
    size_model: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Size model of network 0: a file of `cellserve-train size-model`, or Cellpose's .npy file.",
        ),
    ] = None,
    tile_image: Annotated[
        list[Path] | None,
        Option(
            metavar="FILE", help="Image whose tiles the parity gate uses, besides random tiles. Repeat for more images."
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a family of networks into a model repository.

    A family is the three models NAME, NAME_single and NAME_style. Nothing is written if a model fails the parity gate:
    ONNX Runtime and torch must compute the same.
    """
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


@app.command(cls=GroupedCommand)
def size_model(
    name: FamilyName,
    file: Annotated[
        Path, Argument(metavar="FILE", help="A file of `cellserve-train size-model`, or Cellpose's `size_*.npy`.")
    ],
    repository: Repository = Path("model_repository"),
    overwrite: Overwrite = False,
) -> None:
    """Put a size model into a family, whose networks stay as they are."""
    with _failures_said():
        set_size_model(repository, name, read_size_model(file), overwrite=overwrite)
    typer.echo(f"wrote the size model to {(repository / name / 'model.json').resolve()}")
    typer.echo("next: " + _restart(repository, "the gateway reads the file when it starts"))


@app.command(cls=GroupedCommand)
def unpack(
    name: FamilyName,
    out: Annotated[Path, Option(metavar="FOLDER", help="Folder for NAME_0.pt, NAME_1.pt and so on.")],
    repository: Annotated[Path, Option(metavar="FOLDER", help="Triton model repository to read from.")] = Path(
        "model_repository"
    ),
) -> None:
    """Write the networks of a family as Cellpose checkpoints, to train them on or to use them elsewhere."""
    with _failures_said():
        for index, network in enumerate(unpack_family(repository, name)):
            path = out / f"{name}_{index}.pt"
            save_checkpoint(path, network)
            typer.echo(str(path))


@app.command(cls=GroupedCommand)
def mean(
    checkpoints: Annotated[
        list[Path],
        Argument(
            metavar="FILE", help="CPnet checkpoints: a network, and the network that it became in a later training."
        ),
    ],
    out: Annotated[Path, Option(metavar="FILE", help="Checkpoint to write.")],
) -> None:
    """Write the mean of the weights of networks from one line of training, as a Cellpose checkpoint."""
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
