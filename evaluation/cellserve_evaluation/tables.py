"""An evaluation on the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich import box
from rich.console import Console
from rich.table import Table

from .evaluation import Evaluation, Pass
from .scores import MAIN_THRESHOLD, THRESHOLDS, Summary

COLUMNS = 120
"""Characters that the widest table needs."""


def show(evaluation: Evaluation, console: Console) -> None:
    """Prints the figures of every pass, side by side and each in full, failures and notes, on 120 columns or more."""
    console.width = max(console.width, COLUMNS)  # a narrower terminal breaks lines; cut figures would tell nothing
    if len(evaluation.passes) > 1:
        console.print(_comparison(evaluation.passes))
    for entry in evaluation.passes:
        console.print(_details(entry))
        for line in _remarks(entry):
            _say(console, line)
    for note in evaluation.notes:
        _say(console, f"note: {note}")


def _comparison(passes: Sequence[Pass]) -> Table:
    """Average precision at the main threshold, one column per pass."""
    table = _table(f"Mean average precision at IoU {MAIN_THRESHOLD:g}")
    for entry in passes:
        table.add_column(entry.name, justify="right", max_width=14)
    # Every pass saw the same images, so that the rows of one are the rows of all.
    for section in _sections(passes[0].summaries):
        for index, first in section:
            rows = [entry.summaries[index] for entry in passes]
            figures = [_figure(row.precision) for row in rows]
            table.add_row(*_names(first), *figures, style=_style(first))
        table.add_section()
    return table


def _details(entry: Pass) -> Table:
    """All figures of one pass."""
    table = _table(f"\n{entry.name}")
    levels = [f"AP\n{level:g}" for level in THRESHOLDS]
    for heading in ("images", *levels, "AJI", "boundary        \nP     R     F  ", "objects   \n true found", "failed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for section in _sections(entry.summaries):
        for _, row in section:
            precisions = row.average_precision or (None,) * len(THRESHOLDS)
            boundary = (row.boundary_precision, row.boundary_recall, row.boundary_f)
            table.add_row(
                *_names(row),
                f"{row.images}",
                *(_figure(figure) for figure in (*precisions, row.aggregated_jaccard)),
                " ".join(f"{_figure(figure):>5}" for figure in boundary),
                f"{row.true_objects:5} {row.found_objects:5}",
                f"{row.failed}" if row.failed else "",
                style=_style(row),
            )
        table.add_section()
    return table


def _remarks(entry: Pass) -> list[str]:
    """What a table has no place for."""
    lines = [
        f"model {m['family']}: {m['name']} version {m['version']}, sha256 {m['sha256'][:12]}" for m in entry.models
    ]
    if found := entry.diameters:
        lines.append(
            f"diameters of {found.images} images: correlation of estimated and true {found.correlation:.3f} "
            f"(of logarithms {found.log_correlation:.3f}), median deviation {100 * found.error:.0f} %"
        )
    if any(scored.sample.is_volume for scored in entry.scored):
        lines.append("volumes: AP and AJI are those of voxels; boundary scores are measured on 2-D images alone")
    return lines + [f"FAILED {f.sample.group}/{f.sample.name}: {f.problem}" for f in entry.failures]


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("set", "kind"):
        table.add_column(heading, overflow="fold")
    return table


def _sections(rows: Sequence[Summary]) -> Iterator[list[tuple[int, Summary]]]:
    """The rows of the sets, of the kinds, and of all, numbered."""
    for _, section in groupby(enumerate(rows), key=lambda entry: _section(entry[1])):
        yield list(section)


def _section(row: Summary) -> int:
    return 0 if row.group else 1 if row.kind else 2


def _names(row: Summary) -> tuple[str, str]:
    return row.group or "all", row.kind or "all"


def _style(row: Summary) -> str | None:
    return None if row.group and row.kind else "bold"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
