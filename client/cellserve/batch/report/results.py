"""What a run found: histograms, pictures, the table of images."""

from __future__ import annotations

import base64

from cellserve_formats.encoded import file_format

from .bars import bars_of
from .charts import histogram_svg, is_rest, span
from .data import MOST_ROWS, MOST_THUMBNAILS, ImageRow, ReportData, Thumbnail
from .histogram import Histogram
from .markup import Html, measured, named, section, table, tag, visible
from .problems import warning_name
from .words import count_of, figure, rough

_NONE = "–"


def charts(data: ReportData) -> Html | None:
    """Returns the histograms that have values."""
    charted = [
        _chart("Objects per image", data.objects_per_image, "images", ""),
        _chart("Diameters of objects", data.diameters, "objects", "px"),
        _chart("Diameters of objects", data.diameters_um, "objects", "µm"),
    ]
    if not any(charted):
        return None
    return section("sizes", "Counts and sizes", tag("div", charted, class_="charts"))


def thumbnails(data: ReportData) -> Html | None:
    """Returns the pictures of the images with the largest mean flow errors."""
    if not data.thumbnails:
        return None
    chosen = sorted(data.thumbnails, key=_worst_first)[:MOST_THUMBNAILS]
    about = "Outlines of the objects on the images"
    if len(chosen) < data.counts.done + data.counts.skipped:
        about += ", of those with the largest mean flow errors"
    note = f"{about}. The flow error tells how badly shapes fit what the networks saw; 0 is a perfect fit."
    pictures = tag("ul", [tag("li", _picture(entry)) for entry in chosen], class_="pictures")
    return section("pictures", "Pictures", tag("p", note, class_="soft"), pictures)


def images(data: ReportData) -> Html | None:
    """Returns the table of the images."""
    if not data.rows:
        return None
    rows = sorted(data.rows, key=_worst_first)[:MOST_ROWS]
    total = max(len(data.rows), data.objects_per_image.values)
    caption = "Images with the largest mean flow errors come first."
    if len(rows) < total:
        where = f" {data.rest} has all images." if data.rest else ""
        caption = f"The {len(rows):,} of {count_of(total, 'image')} with the largest mean flow errors.{where}"
    micrometres = any(row.median_diameter_um is not None for row in rows)
    headings = ["Image", "Objects", "Median diameter, px", *(["Median diameter, µm"] if micrometres else [])]
    headings += ["Mean flow error", "Largest flow error", "Seconds", "Warnings"]
    cells = table(caption, headings, (_row(row, micrometres) for row in rows), range(1, len(headings) - 1))
    scroll = tag("div", cells, class_="scroll", role="region", tabindex=0, aria_label="Table of the images")
    return section("images", "Images", scroll)


def _chart(title: str, histogram: Histogram, noun: str, unit: str) -> Html | None:
    if not histogram.bins:
        return None
    end = f" {unit}" if unit else ""
    low, middle, high = (rough(value) if unit else f"{value:,.0f}" for value in map(histogram.quantile, (0, 0.5, 1)))
    near = "about " if unit else ""
    values = count_of(histogram.values, noun.removesuffix("s"))
    about = f"{values}, median {near}{middle}{end}, from {near}{low} to {high}{end}."
    bars = [bar for bar in bars_of(histogram).bars if bar.count]
    axis = " The axis is logarithmic." if unit else ""
    if any(is_rest(bar, unit) for bar in bars):
        axis += " Bars of another colour hold all values beyond."
    filled = [(span(bar, unit), f"{bar.count:,}") for bar in bars]
    headings = (f"Diameter, {unit}" if unit else "Objects", noun.capitalize())
    return tag(
        "figure",
        tag("h3", title, f", {unit}" if unit else None),
        histogram_svg(histogram, noun, unit, f"Histogram: {title.lower()}. {about}"),
        tag("figcaption", about, axis),
        tag("details", tag("summary", "Numbers"), table(f"{title}: {noun} in each bar", headings, filled, [1])),
    )


def _picture(entry: Thumbnail) -> Html:
    kind = file_format(entry.data)
    if kind not in ("png", "jpeg"):
        raise ValueError(f"the thumbnail of {visible(entry.name)} is neither PNG nor JPEG")
    name, objects = visible(entry.name), count_of(entry.objects, "object")
    error = "" if entry.mean_flow_error is None else f", flow error {entry.mean_flow_error:.3f}"
    source = f"data:image/{kind};base64,{base64.b64encode(entry.data).decode()}"
    return tag(
        "figure",
        tag("img", src=source, alt=f"{name} with the outlines of {objects}"),
        tag("figcaption", named(entry.name), objects, error),
    )


def _row(row: ImageRow, micrometres: bool) -> list[Html | str]:
    warnings = ", ".join(map(warning_name, row.warnings))
    return [
        named(row.name),
        f"{row.objects:,}",
        _figure(row.median_diameter),
        *([_figure(row.median_diameter_um)] if micrometres else []),
        _error(row.mean_flow_error),
        _error(row.worst_flow_error),
        measured(f"{row.seconds:,.1f}"),
        tag("span", warnings, class_="warn") if warnings else "",
    ]


def _worst_first(entry: ImageRow | Thumbnail) -> tuple[float, str]:
    """Sorts by descending error, then by name. Images without objects have no error and come last."""
    return (1.0 if entry.mean_flow_error is None else -entry.mean_flow_error, entry.name)


def _figure(number: float | None) -> str:
    return _NONE if number is None else figure(number)


def _error(number: float | None) -> str:
    return _NONE if number is None else f"{number:.3f}"
