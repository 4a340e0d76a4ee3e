"""Choice of a representation by the Accept header (RFC 9110, section 12.5.1)."""

from __future__ import annotations

import re

from . import following
from .answers import LABELS_PNG, OVERLAY, REPRESENTATIONS, Representation
from .problems import NotAcceptable

_QUALITY = re.compile(r";\s*q=([01](?:\.\d{0,3})?)", re.IGNORECASE)
_MOST_RANGES = 50


def negotiate(accept: str, overlay: bool) -> Representation:
    """Returns the representation that a caller likes best, whether or not the progress of the work comes before it.

    Args:
        accept: Accept header; "": anything.
        overlay: Whether image/png means the overlay instead of the label image.

    Raises:
        NotAcceptable: The caller accepts none.
    """
    offered = [one for one in REPRESENTATIONS if one is not (LABELS_PNG if overlay else OVERLAY)]
    ranges = [one for one in _ranges(accept) if one[0] != following.MEDIA_TYPE] or _ranges("")
    best = max(offered, key=lambda one: _quality(one.media_type, ranges))  # the first of equals
    if _quality(best.media_type, ranges) <= 0:
        allowed = ", ".join(dict.fromkeys(one.media_type for one in REPRESENTATIONS))
        raise NotAcceptable(f"no answer of the type {accept[:100]!r} can be made", field="Accept", allowed=allowed)
    return best


def follows(accept: str) -> bool:
    """Tells whether a caller wants the progress of the work before the answer. Wildcards do not mean that."""
    return _quality(following.MEDIA_TYPE, [one for one in _ranges(accept) if "*" not in one[0]]) > 0


def _ranges(accept: str) -> list[tuple[str, float]]:
    return [_parse(text) for text in (accept or "*/*").split(",")[:_MOST_RANGES]]


def _parse(text: str) -> tuple[str, float]:
    quality = _QUALITY.search(text)
    return text.partition(";")[0].strip().lower(), float(quality[1]) if quality else 1.0


def _quality(media_type: str, ranges: list[tuple[str, float]]) -> float:
    """Returns the quality of a media type: that of the most specific range which covers the type."""
    kind = media_type.partition("/")[0]
    for covering in (media_type, f"{kind}/*", "*/*"):
        found = [quality for name, quality in ranges if name == covering]
        if found:
            return max(found)
    return 0.0
