"""The report of a batch: one HTML file that a scientist sends to a colleague."""

from .data import (
    MOST_FILES,
    MOST_ROWS,
    MOST_THUMBNAILS,
    Counts,
    FailureGroup,
    ImageRow,
    ModelUsed,
    ReportData,
    Thumbnail,
)
from .histogram import Histogram
from .page import report_html
from .thumbnails import thumbnail

__all__ = [
    "MOST_FILES",
    "MOST_ROWS",
    "MOST_THUMBNAILS",
    "Counts",
    "FailureGroup",
    "Histogram",
    "ImageRow",
    "ModelUsed",
    "ReportData",
    "Thumbnail",
    "report_html",
    "thumbnail",
]
