"""Results as HTML, for notebooks."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from cellserve_formats import Image, planes
from cellserve_formats.label_numbers import scale_for_numbers
from cellserve_formats.overlay import draw_overlay
from cellserve_formats.png import png_bytes
from numpy.typing import NDArray

from .params import DIAMETER_SOURCES
from .pictures import channels

if TYPE_CHECKING:
    from .models import ModelList
    from .results import Segmentation

_SIDE = 640  # longest side of a picture, pixels; smaller images are enlarged by whole factors
_ROWS = 10
# Heading and format by column of the table of objects.
_COLUMNS = {
    "label": ("label", "d"),
    "centroid-0": ("centre y", ".1f"),
    "centroid-1": ("centre x", ".1f"),
    "area": ("area px", "d"),
    "equivalent_diameter_area": ("diameter px", ".1f"),
    "mean_probability": ("probability", ".2f"),
    "flow_error": ("flow error", ".3f"),
}


def segmentation_html(result: Segmentation) -> str:
    """Returns a result as HTML: picture, summary and the first objects. Needs nothing from elsewhere.

    The picture has the labels of the objects if they are legible. Objects are drawn on black if the image is not there.
    """
    parts = [*_picture(result), _lines(_summary(result)) + _objects(result)]
    cells = "".join(f'<div style="margin: 0 1.5em 1em 0; max-width: 50em">{part}</div>' for part in parts)
    return f'<div style="display: flex; flex-wrap: wrap; align-items: flex-start">{cells}</div>'


def models_html(models: ModelList) -> str:
    """Returns the model families of a server as an HTML table."""
    rows = (
        (
            model.name + (" (default)" if model.name == models.default else ""),
            "yes" if model.ready else "no",
            f"{model.working_diameter:g}",
            ", ".join(model.channels),
            model.description,
        )
        for model in models
    )
    return _table(("model", "ready", "diameter px", "channels", "description"), rows)


def _summary(result: Segmentation) -> Iterator[str]:
    count, model = len(result.objects), result.model
    size = "" if result.label_image is None else f" in {' x '.join(map(str, result.label_image.shape))} pixels"
    yield f"{count} object{'' if count == 1 else 's'}{size}"
    if result.objects:
        median = np.median([entry.equivalent_diameter_area for entry in result.objects])
        yield f"median diameter {median:.1f} pixels"
    if result.params.diameter is not None:
        yield f"diameter parameter {result.params.diameter:.1f} pixels ({DIAMETER_SOURCES[result.diameter_source]})"
    yield f"model {model.name}, version {model.version}"
    for warning in result.warnings:
        yield f"warning: {warning.message} {warning.suggestion}"


def _objects(result: Segmentation) -> str:
    """Returns the first rows of the table of objects."""
    if not result.objects:
        return ""
    rows = (
        [f"{row[name]:{form}}" for name, (_, form) in _COLUMNS.items()]
        for row in (entry.row() for entry in result.objects[:_ROWS])
    )
    left = len(result.objects) - _ROWS
    more = _lines([f"and {left} more: result.table has all"]) if left > 0 else ""
    return _table((heading for heading, _ in _COLUMNS.values()), rows) + more


def _picture(result: Segmentation) -> Iterator[str]:
    """Yields the overlay as an image in the page, if there are labels."""
    if result.label_image is None:
        return
    picture = png_bytes(_small_overlay(result.label_image, _image(result), *channels(result)))
    data = base64.b64encode(picture).decode()
    yield f'<img alt="The image with its objects" src="data:image/png;base64,{data}">'


def _image(result: Segmentation) -> Image | None:
    """Returns the image of a result, None if it is not there any more or has another size."""
    try:
        image = result.source.image_of()
        fits = planes(image).shape[1:] == result.labels.shape
    except Exception:  # a page without the image is better than none: files vanish and change
        return None
    return image if fits else None


def _small_overlay(labels: NDArray[np.generic], image: Image | None, cytoplasm: int, nucleus: int) -> NDArray[np.uint8]:
    """Draws the overlay at the size of the page."""
    longest = max(labels.shape)
    rows, columns = (_sample(length, longest) for length in labels.shape)
    labels = labels[np.ix_(rows, columns)]
    if image is None:
        small, cytoplasm, nucleus = Image(np.zeros(labels.shape, np.uint8), "YX"), -1, -1
    else:
        small = Image(planes(image)[:, rows[:, np.newaxis], columns], "CYX")
    scale = max(1, min(_SIDE // longest, 4))
    legible = scale_for_numbers(labels) <= scale
    return draw_overlay(small, labels, cytoplasm, nucleus, numbers=legible, scale=scale)


def _sample(length: int, longest: int) -> NDArray[np.intp]:
    """Returns the rows (or columns) that a picture of an image shows."""
    shown = max(1, length * min(_SIDE, longest) // longest)
    return np.arange(shown) * length // shown


def _lines(lines: Iterable[str]) -> str:
    return "<br>".join(html.escape(line) for line in lines)


def _table(headings: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(value)}</td>' for value in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
