"""Images and tiles on their way through a gateway."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

from cellserve_gateway.backends.triton.dispatcher import Dispatcher

from .deployment import Image

if TYPE_CHECKING:
    from .pods import Gateway

Status: TypeAlias = Literal["finished", "refused", "unavailable"]


class Attempt:
    """One image at one gateway. A client that retries makes another attempt."""

    __slots__ = ("at_triton", "done", "failed", "image", "scale", "unanswered", "unsent")

    def __init__(self, image: Image, scale: float, done: Callable[[Status], None]) -> None:
        self.image, self.scale, self.done = image, scale, done
        self.unsent = self.unanswered = image.tiles
        self.at_triton: dict[Tile, None] = {}  # tiles sent and not answered, in the order sent
        self.failed = False


class Tile:
    """A request to Triton."""

    __slots__ = ("attempt", "dispatcher", "gateway")

    def __init__(self, attempt: Attempt, gateway: Gateway) -> None:
        self.attempt, self.gateway = attempt, gateway
        self.dispatcher: Dispatcher[Tile] | None = None
