"""Checks of parameters and images against what the server says of itself, before the first image is sent."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

import typer
from cellserve_contract.channels import check_nucleus, resolve_channels
from cellserve_contract.params import ParameterError, SegmentParams
from cellserve_formats import Image, ImageError, stack

from cellserve.client import Client
from cellserve.errors import from_image_error, refusal
from cellserve.limits import check_limits
from cellserve.models import Model, ModelList
from cellserve.results import Limits

from .options import option_of, wrong_parameter


@dataclass(frozen=True, slots=True)
class Server:
    """What matters of a server for the images of one run.

    Attributes:
        family: The model family that will answer.
        params: The parameters of the run.
        limits: What the server takes at most. None if the server does not say.
    """

    family: Model
    params: SegmentParams
    limits: Limits | None

    @classmethod
    def ask(cls, client: Client, params: SegmentParams) -> Server:
        """Asks a server, once for all images.

        Raises:
            typer.BadParameter: The server has no such model family, or the family has no nucleus channel.
            CellServeError: No server answers.
        """
        family = _family(client.models(), params.model)
        try:
            check_nucleus(params.nucleus_channel, family.name, family.channels)
        except ParameterError as error:
            raise wrong_parameter(error) from error
        return cls(family, params, client.limits())

    def deadline_note(self, deadline_s: float) -> str | None:
        """Returns a note if the server gives an image less time than the caller; None otherwise."""
        if self.limits is None or not 0 < self.limits.max_deadline_s < deadline_s:
            return None
        return (
            f"the server works on an image for {self.limits.max_deadline_s:g} s at most; the rest of --deadline-s "
            f"{deadline_s:g} is left for further attempts"
        )

    def check(self, path: Path, image: Image, *, packed: bool = False) -> int:
        """Checks an image before it is sent; returns the number of its channels.

        Args:
            path: The file, for messages.
            image: The image.
            packed: True: its pixels will be packed.

        Raises:
            InvalidRequestError: The image exceeds a limit of the server or is a time series; a channel does not exist
                in the image, or must be named.
        """
        check_limits(image, self.limits, source=path, packed=packed)
        try:
            count = int(stack(image).shape[1])
        except ImageError as error:
            raise from_image_error(error, path) from error
        cytoplasm, nucleus = self.params.cytoplasm_channel, self.params.nucleus_channel
        try:
            resolve_channels(cytoplasm, nucleus, count, self.family.name, self.family.channels)
        except ParameterError as error:
            message = f"{option_of(error.parameter)} is {error.value}; allowed: {error.allowed}"
            if cytoplasm is None and nucleus is None:
                message += f"; {option_of('nucleus_channel')} names a plane that shows nuclei, if there is one"
            facts = {"parameter": error.parameter, "allowed": error.allowed}
            raise refusal(message, "PARAMETER_OUT_OF_RANGE", **facts) from error
        return count


def _family(models: ModelList, name: str) -> Model:
    """Returns the family of a name, or the default one.

    Raises:
        typer.BadParameter: There is none of this name.
    """
    families = {family.name: family for family in models}
    wanted = name or models.default
    if wanted not in families:
        near = difflib.get_close_matches(wanted, families, 1)
        guess = f"; did you mean '{near[0]}'?" if near else ""
        raise typer.BadParameter(
            f"the server has no model '{wanted}', only {', '.join(families)}{guess}", param_hint="'--model'"
        )
    return families[wanted]
