"""The report of a run as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable

from .data import ReportData
from .markup import Html, measured, section, table, tag, visible
from .problems import counts_line, failures, unfinished, warnings
from .results import charts, images, thumbnails
from .style import CSS
from .words import count_of, duration, figure, period, pixels, rough

# Even a mistake in escaping could not load or run anything.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_LINKS = {
    "failures": "Failures",
    "warnings": "Warnings",
    "sizes": "Counts and sizes",
    "pictures": "Pictures",
    "images": "Images",
    "origin": "How it was made",
}


def report_html(data: ReportData) -> str:
    """Returns the report of a run: HTML of one file, without scripts and without addresses of other files.

    Equal data give equal text. The text can be written as UTF-8 whatever names the files have.

    Raises:
        ValueError: A thumbnail is neither PNG nor JPEG.
    """
    parts = {
        "failures": failures(data),
        "warnings": warnings(data),
        "sizes": charts(data),
        "pictures": thumbnails(data),
        "images": images(data),
        "origin": _origin(data),
    }
    links = [tag("a", _LINKS[name], href=f"#{name}") for name, part in parts.items() if part is not None]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("link", rel="icon", href="data:,"),
        tag("title", f"{counts_line(data.counts)}: {visible(data.title)}"),
        tag("style", Html(CSS)),
    )
    nav = tag("nav", links, aria_label="Sections") if links else None
    main = tag("main", _header(data, nav), unfinished(data), parts.values())
    return f'<!doctype html>\n<html lang="en">\n{head}\n{tag("body", main)}\n</html>\n'


def _header(data: ReportData, nav: Html | None) -> Html:
    counts = data.counts
    skipped = f"{count_of(counts.skipped, 'image')} had been done in an earlier run." if counts.skipped else None
    return tag(
        "header",
        tag("p", "Cell segmentation with CellServe", class_="soft"),
        tag("h1", counts_line(counts)),
        tag("p", tag("code", visible(data.title)), class_="folder"),
        tag("p", measured(period(data.started, data.ended)), class_="soft"),
        tag("p", skipped) if skipped else None,
        _figures(data),
        nav,
    )


def _figures(data: ReportData) -> Html:
    """Returns the key figures."""
    rate, micrometres = data.images_per_minute, data.diameters_um
    figures: list[tuple[str, str, Html | str | None]] = [("Objects", f"{data.diameters.values:,}", _without(data))]
    if data.diameters.bins:
        also = f"{rough(micrometres.quantile(0.5))} µm" if micrometres.bins else None
        figures.append(("Median diameter", f"{rough(data.diameters.quantile(0.5))} px", also))
    figures.append(("Size of the images", pixels(data.megapixels), None))
    speed = measured(f"{figure(rate)} images per minute") if rate else None
    figures.append(("Time of work", measured(duration(data.work_s)), speed))
    return tag(
        "dl",
        [
            tag("div", tag("dt", name), tag("dd", value, tag("small", more) if more else None))
            for name, value, more in figures
        ],
        class_="figures",
    )


def _without(data: ReportData) -> str | None:
    empty = dict(data.objects_per_image.bins).get(0, 0)
    return f"{count_of(empty, 'image')} without objects" if empty else None


def _origin(data: ReportData) -> Html | None:
    versions = [("Client", data.client_version)] if data.client_version else []
    versions += [("Server", version) for version in data.server_versions]
    models = [
        (f"{model.family}: {model.name}", model.version, model.precision, model.runtime, tag("code", model.sha256))
        for model in data.models
    ]
    if not (data.parameters or models or versions):
        return None
    return section(
        "origin",
        "How it was made",
        [tag("h3", "Parameters"), _pairs(data.parameters)] if data.parameters else None,
        table("Models", ("Model", "Version", "Precision", "Runtime", "SHA-256"), models) if models else None,
        [tag("h3", "Versions of CellServe"), _pairs(versions)] if versions else None,
    )


def _pairs(pairs: Iterable[tuple[str, str]]) -> Html:
    entries = [tag("div", tag("dt", visible(name)), tag("dd", visible(value))) for name, value in pairs]
    return tag("dl", entries, class_="pairs")
