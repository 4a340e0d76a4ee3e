"""The planes of an image that the networks look at: cytoplasm and nucleus."""

from __future__ import annotations

from collections.abc import Collection

from .params import ParameterError

MEAN = -1
"""Cytoplasm channel that stands for the mean of all planes."""
NONE = -1
"""Nucleus channel that stands for a plane of zeros."""


def default_channels(planes: int) -> tuple[int, int]:
    """Choose (cytoplasm, nucleus) channels for an image of `planes` planes.

    One plane is the cytoplasm, two are cytoplasm and nucleus, three are a colour image whose mean is the cytoplasm.

    Raises:
        ParameterError: There are more planes. Only the caller can know which of them show cells and nuclei.
    """
    match planes:
        case 1:
            return 0, NONE
        case 2:
            return 0, 1
        case 3:
            return MEAN, NONE
    raise ParameterError(
        "cytoplasm_channel",
        "not set",
        f"0 to {planes - 1}, the plane that shows cells, or -1, the mean of all {planes} planes of the image",
    )


def resolve_channels(
    cytoplasm: int | None, nucleus: int | None, planes: int, family: str, inputs: Collection[str]
) -> tuple[int, int]:
    """Resolve the channels of a request for an image and a model family.

    Args:
        cytoplasm: As the caller sent it; None: by the number of planes.
        nucleus: As the caller sent it; None: by the number of planes, and none if the caller named the cytoplasm only.
        planes: Number of planes of the image.
        family: Name of the model family.
        inputs: What the planes of the networks show: "cytoplasm", "nucleus".

    Returns:
        (cytoplasm, nucleus), zero-based planes; -1 as in `MEAN` and `NONE`.

    Raises:
        ParameterError: A channel does not exist, or must be named, or the family was trained without nuclei.
    """
    if cytoplasm is None or nucleus is None:
        default_cytoplasm, default_nucleus = default_channels(planes) if cytoplasm is None else (cytoplasm, NONE)
        if "nucleus" not in inputs:
            default_nucleus = NONE
        cytoplasm = default_cytoplasm if cytoplasm is None else cytoplasm
        nucleus = default_nucleus if nucleus is None else nucleus
    for name, channel in (("cytoplasm_channel", cytoplasm), ("nucleus_channel", nucleus)):
        if not -1 <= channel < planes:
            count = "1 plane" if planes == 1 else f"{planes} planes"
            raise ParameterError(name, channel, f"-1 to {planes - 1} for an image of {count}")
    check_nucleus(nucleus, family, inputs)
    return cytoplasm, nucleus


def check_nucleus(nucleus: int | None, family: str, inputs: Collection[str]) -> None:
    """Refuse a nucleus channel for a family without one; arguments as in `resolve_channels`.

    Raises:
        ParameterError: The family was trained without nuclei.
    """
    if nucleus is not None and nucleus != NONE and "nucleus" not in inputs:
        raise ParameterError("nucleus_channel", nucleus, f"-1, since '{family}' was trained without nuclei")
