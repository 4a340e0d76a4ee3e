"""Rows of the table, and the usual ways to make them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from . import drawings
from .doors import Outcome, Service, is_crash
from .right import Right, found

AT = {"diameter": drawings.DIAMETER}
THIRTY, NINE = found(drawings.COUNT), found(drawings.SMALL_COUNT)

Run = Callable[[Service, Path], Outcome]


@dataclass(frozen=True)
class Row:
    """One input at one door.

    Attributes:
        case: Number of the case.
        what: The input.
        door: How the input reaches the service.
        right: What is right.
        run: Makes the input in an empty folder, and tells what came.
    """

    case: int
    what: str
    door: str
    right: Right
    run: Run


def file_rows(case: int, what: str, name: str, data: bytes, right: Right, **params: Any) -> Iterator[Row]:
    """Yields a file at each door. gRPC has no JPEG."""
    params = params or AT

    def command(service: Service, folder: Path) -> Outcome:
        (folder / name).write_bytes(data)
        return service.segment(folder / name, **params)[folder / name]

    yield Row(case, what, "command", right, command)
    if not data.startswith(b"\xff\xd8"):
        yield Row(case, what, "gRPC, file", right, lambda service, _: service.call(data, **params))
    yield Row(case, what, "HTTP", right, lambda service, _: service.post(data, **params))


def array_row(case: int, what: str, pixels: NDArray[Any], right: Right, axes: str | None = None, **params: Any) -> Row:
    """Returns an array at the gRPC door."""
    return Row(case, what, "gRPC, array", right, lambda service, _: service.call(pixels, axes, **(params or AT)))


def several(contents: dict[str, bytes], environment: Mapping[str, str] | None = None, **params: Any) -> Run:
    """Returns a command for several files. Its outcome has all objects; a file without a result is named."""

    def run(service: Service, folder: Path) -> Outcome:
        for name, data in contents.items():
            (folder / name).write_bytes(data)
        return together(
            service.segment(*(folder / name for name in contents), environment=environment, **(AT | params))
        )

    return run


def together(outcomes: dict[Path, Outcome]) -> Outcome:
    """Returns the sum of outcomes; the first one without a result, if there is any."""
    failed = next(((path, o) for path, o in outcomes.items() if o.objects is None), None)
    if failed:
        return replace(failed[1], message=f"{failed[0].name!r}: {failed[1].message}")
    parts = list(outcomes.values())
    kinds = tuple(sorted({kind for part in parts for kind in part.warnings}))
    return replace(parts[0], objects=sum(part.objects or 0 for part in parts), warnings=kinds)


def printed(*arguments: str, name: str, data: bytes, environment: Mapping[str, str] | None = None) -> Run:
    """Returns a command for one file. Its outcome is all that was printed."""

    def run(service: Service, folder: Path) -> Outcome:
        (folder / name).write_bytes(data)
        done = service.run(arguments[0], *arguments[1:], folder / name, environment=environment)
        text = " ".join((done.stdout + b" " + done.stderr).decode(errors="replace").split())
        return Outcome(message=text, crashed=is_crash(done.stderr), status=done.returncode)

    return run


def rest(contents: dict[str, bytes], *absent: str, folders: Sequence[str] = ()) -> Run:
    """Returns a command for several files, of which the first one fails. Its outcome is that of the others."""

    def run(service: Service, folder: Path) -> Outcome:
        for name, data in contents.items():
            (folder / name).write_bytes(data)
        for name in folders:
            (folder / name).mkdir()
        outcomes = service.segment(*(folder / name for name in (*absent, *contents)), **AT)
        failed = next(iter(outcomes))
        if not outcomes[failed].reason:
            return outcomes[failed]
        return together({path: outcome for path, outcome in outcomes.items() if path != failed})

    return run
