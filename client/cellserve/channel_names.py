"""Channels that the command line names as the image file does: "DAPI" instead of a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .errors import InvalidRequestError, refusal
from .params import SegmentParams

CHANNELS = frozenset({"cytoplasm_channel", "nucleus_channel"})
"""Parameters that are the number of a channel."""


@dataclass(frozen=True, slots=True)
class ChannelNames:
    """Names of the channels of a run; each image says which numbers they are.

    Attributes:
        cytoplasm_channel: Name of the channel that shows cells; None: the parameters have its number, if any.
        nucleus_channel: Name of the channel that shows nuclei; None: the parameters have its number, if any.
    """

    cytoplasm_channel: str | None = None
    nucleus_channel: str | None = None

    def resolved(self, params: SegmentParams, channels: Sequence[str]) -> SegmentParams:
        """Returns parameters with the numbers of the channels in an image.

        A name is that of the channel with exactly this name, else of the only channel whose name differs in upper and
        lower case alone. A number that no channel has is a name, too: "488".

        Args:
            params: Parameters of the run.
            channels: Names of the channels of the image, `Image.channels`; () where unknown.

        Raises:
            InvalidRequestError: PARAMETER_OUT_OF_RANGE: no channel or several channels have the name, or the file does
                not name its channels.
        """
        return replace(
            params,
            cytoplasm_channel=_resolved(
                self.cytoplasm_channel, params.cytoplasm_channel, channels, "cytoplasm_channel"
            ),
            nucleus_channel=_resolved(self.nucleus_channel, params.nucleus_channel, channels, "nucleus_channel"),
        )


def number_or_name(value: str) -> int | str:
    """Returns the number that a text says, or the text: the name of a channel."""
    try:
        return int(value)
    except ValueError:
        return value


def _resolved(name: str | None, number: int | None, channels: Sequence[str], parameter: str) -> int | None:
    if name is None and number is not None and number >= len(channels) and str(number) in channels:
        name = str(number)
    return number if name is None else _number_of(name, channels, parameter)


def _number_of(name: str, channels: Sequence[str], parameter: str) -> int:
    option = f"--{parameter.replace('_', '-')}"
    if not channels:
        raise _refused(
            f"the file does not name its channels, so that {option} cannot be '{name}'; give the number of the "
            f"channel, from 0: {option} 0",
            parameter,
            "a number",
        )
    exact = [number for number, channel in enumerate(channels) if channel == name]
    found = exact or [number for number, channel in enumerate(channels) if channel.casefold() == name.casefold()]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(f"{number} '{channel}'" for number, channel in enumerate(channels))
    count = f"{len(found)} channels of the file have" if found else "no channel of the file has"
    raise _refused(f"{count} the name '{name}' of {option}; its channels are {listed}", parameter, listed)


def _refused(message: str, parameter: str, allowed: str) -> InvalidRequestError:
    return refusal(message, "PARAMETER_OUT_OF_RANGE", parameter=parameter, allowed=allowed)
