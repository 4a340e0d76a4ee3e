"""`cellserve batch --dry-run`: what would be done, without sending an image or writing a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cellserve_contract.channels import MEAN, NONE, resolve_channels
from cellserve_contract.params import ParameterError
from cellserve_formats.contents import Position

from cellserve.batch.journal import Entry, Journal
from cellserve.batch.journal_file import read
from cellserve.batch.opening import folder_of
from cellserve.batch.rows import Row, files_identity, open_input, rows_of
from cellserve.batch.shard import Shard
from cellserve.batch.work import Worker
from cellserve.errors import CellServeError, one_image, refusal
from cellserve.files import reading
from cellserve.saving import result_stem

from . import terminal
from .batch_report import BatchRun
from .inputs import Search
from .options import option_of
from .server import Server


@dataclass(frozen=True, slots=True)
class Planned:
    """What would be done with a row.

    Attributes:
        row: The row.
        position: The image in its file.
        action: "segment", "skip" or "again": input, parameters or network changed, or the image failed.
        channels: Which planes show cells and nuclei, in words.
    """

    row: Row
    position: Position
    action: str
    channels: str


def dry_run(search: Search, worker: Worker, server: Server, part: Shard | None, run: BatchRun) -> int:
    """Prints a line for each row, then the counts. Returns the exit status."""
    counts: Counter[str] = Counter()
    base = search.base()
    with read(folder_of(worker.out, part)) as journal:
        for path in search.images(base):
            name = path.relative_to(base).as_posix()
            if part is not None and not part.holds(name):
                continue
            try:
                with one_image():
                    for planned in _planned(path, name, worker, server, journal):
                        counts[planned.action] += 1
                        run.say(_record(planned, worker.out), _line(planned, worker.out))
            except CellServeError as error:
                counts["fail"] += 1
                run.say_failure(path, error)
    terminal.say(
        run.errors,
        f"{counts['segment']:,} to segment, {counts['again']:,} to segment again, {counts['skip']:,} to skip, "
        f"{counts['fail']:,} cannot be read; no image was sent",
    )
    return int(counts["fail"] > 0)


def _planned(path: Path, name: str, worker: Worker, server: Server, journal: Journal | None) -> Iterator[Planned]:
    listed = None if journal is None else journal.image_named(name)
    with reading(path), open_input(path, worker.request.axes) as file:
        if file.files[0].name != path.name and file.files[0].exists():
            return  # the first file of the set stands for all
        stem = (Path(name).parent / result_stem(path)).as_posix()
        identity = files_identity(file.files) if path.is_file() else ""
        for row in rows_of(file, -1 if listed is None else listed.image, name, path, stem, identity):
            position = file.positions[row.position]
            entry = None if journal is None or listed is None else journal.entry(row.key)
            yield Planned(row, position, _action(entry, row, worker), _channels(position, worker, server))


def _action(entry: Entry | None, row: Row, worker: Worker) -> str:
    if entry is None:
        return "segment"
    return "skip" if worker.has_result(entry, row.identity) else "again"


def _channels(position: Position, worker: Worker, server: Server) -> str:
    """Says which planes of an image would be taken for what.

    Raises:
        InvalidRequestError: A channel does not exist, or must be named; the image cannot be read.
    """
    if position.error is not None:
        raise refusal(position.error.message, position.error.reason)
    request, family = worker.request, server.family
    length = dict(zip(position.axes, position.shape, strict=True))
    count = length.get("C", length.get("S", 1))
    params = request.channels.resolved(request.params, position.channels)
    try:
        cytoplasm, nucleus = resolve_channels(
            params.cytoplasm_channel, params.nucleus_channel, count, family.name, family.channels
        )
    except ParameterError as error:
        message = f"{option_of(error.parameter)} is {error.value}; allowed: {error.allowed}"
        raise refusal(message, "PARAMETER_OUT_OF_RANGE") from error
    if count == 1:
        return "one plane"
    cells = f"the mean of {count} planes" if cytoplasm == MEAN else _named(cytoplasm, position)
    return f"cells in {cells}, nuclei in {'no plane' if nucleus == NONE else _named(nucleus, position)}"


def _named(channel: int, position: Position) -> str:
    name = position.channels[channel] if channel < len(position.channels) else ""
    return f"plane {channel} ({name})" if name else f"plane {channel}"


def _record(planned: Planned, out: Path) -> dict[str, object]:
    row, position = planned.row, planned.position
    return {
        "image": row.name,
        "file": str(row.path),
        "action": planned.action,
        "axes": position.axes,
        "shape": list(position.shape),
        "channel_names": list(position.channels),
        "channels": planned.channels,
        "results": str(out / row.stem),
    }


def _line(planned: Planned, out: Path) -> str:
    position = planned.position
    size = " x ".join(map(str, position.shape))
    words = {"segment": "segment", "skip": "skip, the results are there", "again": "segment again"}
    return (
        f"{planned.row.name}: {position.axes} {size}, {planned.channels}; {words[planned.action]} -> "
        f"{out / planned.row.stem}"
    )
