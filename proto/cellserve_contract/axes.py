"""Names of image axes: letters of TCZYX, and S for the samples of a colour pixel."""

from __future__ import annotations

LETTERS = "TCZYXS"


def axes_problem(axes: str, count: int) -> str | None:
    """Says what is wrong with the axes of an image.

    Args:
        axes: One letter per axis, outermost first.
        count: Number of axes of the array.

    Returns:
        The end of a sentence that begins with "axes are ..."; None where nothing is wrong.
    """
    if not set(axes) <= set(LETTERS) or len(set(axes)) < len(axes):
        return f"{axes[:32]!r}; allowed are distinct letters of {', '.join(LETTERS)}"
    if not {"Y", "X"} <= set(axes):
        return f"{axes!r}; Y and X must be among them"
    if len(axes) != count:
        return f"{axes!r}, which are {len(axes)}; the array has {count}"
    return None
