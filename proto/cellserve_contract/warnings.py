"""What answers warn of. docs/reference/errors.md is generated from the texts below."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class WarningText:
    """What a warning means.

    Attributes:
        meaning: What happened.
        suggestion: What to try.
    """

    meaning: str
    suggestion: str


class WarningKind(WarningText, Enum):
    """Kinds of warnings. The lower-case name of a member is the kind in Python; the contract adds a prefix."""

    NOTHING_FOUND = (
        "No object was found.",
        "Check diameter and channels, lower cellprob_threshold, or set flow_threshold to 0.",
    )
    DIAMETER_NOT_MEASURED = (
        "The request has no diameter and the model family has no size model: the training diameter was used.",
        "State the diameter of the objects.",
    )
    DIAMETER_UNCERTAIN = (
        "The estimate of the diameter is uncertain: the two steps of the estimate disagree, or few objects were found.",
        "Compare the overlay with the image, and state the diameter of the objects.",
    )
    DIAMETER_AT_LIMIT = (
        "The estimate of the diameter is at its limit, or was raised until the image fitted the limits of the server.",
        "State the diameter of the objects, or cut the image.",
    )
    SIZE_UNTESTED = (
        "The diameter is outside the range of sizes that was tested.",
        "Compare the overlay with the image; scale the image if objects are missing.",
    )
    CONSTANT_PLANE = (
        "All pixels of a plane have one value, or differ by no more than rounding: the plane was taken as empty.",
        "Check the channels, and whether the exposure reached the camera.",
    )
    PERCENTILES_EQUAL = (
        "Nearly all pixels of a plane have one value, so that both percentiles are equal: the other pixels' range "
        "was used instead.",
        "If objects are missing, state the intensities: normalization range:LOW,HIGH.",
    )
    BORDER_LEFT_OUT = (
        "A border of one exact value was left out of the percentiles: fill of a crop, a rotation or a mosaic.",
        "Cut the border off; or use normalization cellpose3 if the border belongs to the image.",
    )
    VALUES_CLIPPED = (
        "Many pixels have the largest value that the plane can hold: bright objects are saturated and may merge.",
        "Lower exposure or gain, or send the image without the conversion that clipped it.",
    )
    ALPHA_IGNORED = (
        "The transparency of the image was left out.",
        "Save the image without transparency if hidden pixels count.",
    )
    PLANES_IGNORED = (
        "Some planes of the image were not used.",
        "Name the planes: cytoplasm_channel and nucleus_channel.",
    )
    ORIENTATION_IGNORED = (
        "The file asks viewers to turn or mirror the image. Pixels and labels are as stored.",
        "Save the image as it should be seen if labels are compared with a viewer.",
    )
    TILES_MISSING = (
        "Some tiles of the file are not there: their pixels were taken as 0. Slide scanners leave out empty tiles.",
        "Save or copy the file again if the tiles should be there; or cut the image to the part that was scanned.",
    )
    ANISOTROPY_UNKNOWN = (
        "The distance of the planes of the stack is unknown: the distance of the pixels was taken.",
        "State anisotropy, or the pixel size along z, y and x.",
    )
    SINGLE_PLANE = (
        "The image has one plane: the stack mode was ignored.",
        "Check the axes if the image should be a stack.",
    )


Warned = tuple[WarningKind, Mapping[str, str]]
"""A warning: its kind, and facts for programs."""

Warnings = tuple[Warned, ...]
