"""What went wrong in a run, and what to know about its results."""

from __future__ import annotations

from cellserve_contract.warnings import WarningKind

from .data import MOST_FILES, Counts, FailureGroup, ReportData
from .markup import Html, named, prose, section, table, tag, visible
from .remedies import remedy_of
from .words import count_of


def failures(data: ReportData) -> Html | None:
    """Returns the failures by reason, the most frequent first."""
    if not data.failures:
        return None
    groups = sorted(data.failures, key=lambda group: (-group.count, group.reason))
    again = tag("p", prose(data.again)) if data.again and not data.counts.left else None  # else `unfinished` says so
    return section("failures", "Failures", [_failure(group) for group in groups], again)


def unfinished(data: ReportData) -> Html | None:
    """Returns a notice if a run ended before all images were done."""
    if not data.counts.left:
        return None
    left = data.counts.left
    text = f"The run ended early: {count_of(left, 'image')} {'is' if left == 1 else 'are'} left. {data.again}"
    return tag("p", prose(text.rstrip()), class_="notice")


def warnings(data: ReportData) -> Html | None:
    """Returns the warnings by kind, the most frequent first."""
    if not data.warnings:
        return None
    rows = [
        (warning_name(kind), f"{meaning} {suggestion}", f"{count:,}")
        for kind, count in sorted(data.warnings, key=lambda entry: (-entry[1], entry[0]))
        for meaning, suggestion in [_texts(kind)]
    ]
    caption = "Images with a warning have results all the same."
    headings = ("Warning", "What happened, and what to try", "Images")
    return section("warnings", "Warnings", table(caption, headings, rows, [2]))


def warning_name(kind: str) -> str:
    """Returns the words for a kind of warnings, such as "nothing found"."""
    return kind.replace("_", " ") or "unknown"


def counts_line(counts: Counts) -> str:
    """Returns the numbers of images as a title."""
    parts = [f"{count_of(counts.done, 'image')} segmented"]
    parts += [f"{counts.failed:,} failed"] if counts.failed else []
    parts += [f"{counts.left:,} left"] if counts.left else []
    return ", ".join(parts)


def _failure(group: FailureGroup) -> Html:
    names = group.names[:MOST_FILES]
    more = group.count - len(names)
    return tag(
        "div",
        tag("h3", f"{count_of(group.count, 'image')}: ", tag("code", visible(group.reason))),
        tag("p", group.message, class_="message"),
        tag("p", tag("strong", "What to do: "), prose(remedy_of(group.reason))),
        tag("ul", [tag("li", named(name)) for name in names], class_="names") if names else None,
        tag("p", f"and {more:,} more", class_="soft") if more > 0 and names else None,
        class_="failure",
    )


def _texts(kind: str) -> tuple[str, str]:
    known = WarningKind.__members__.get(kind.upper())
    return (known.meaning, known.suggestion) if known else ("A newer server gave this warning.", "Update the client.")
