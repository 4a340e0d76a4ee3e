"""A backend that answers from the tiles themselves: bright regions are cells, and flows lead to their centres."""

import asyncio

import numpy as np
from cellserve_gateway.app.context import Priority, RequestContext
from cellserve_gateway.app.networks import Network, Precision, TileOutput, TileOutputs
from scipy import ndimage

SHA256 = "ab" * 32


class BrightRegions:
    """Implements `cellserve_gateway.app.networks.Backend`.

    Attributes:
        pause_s: Time that each tile takes.
        cancelled: Tiles whose call was cancelled.
    """

    def __init__(self):
        self.pause_s = 0.0
        self.tiles = self.cancelled = 0

    def ready(self, name: str) -> bool:
        return True

    def check(self, name: str) -> None:
        pass

    def network(self, name: str) -> Network:
        return Network(name, "1", SHA256, 8, "numpy", Precision.FLOAT32)

    def tiles_ahead(self, network: Network) -> int:
        return 16

    def least_seconds(self, name: str, tiles: int, priority: Priority) -> float | None:
        return None

    async def infer(
        self, name: str, tiles: np.ndarray, outputs: tuple[TileOutput, ...], context: RequestContext
    ) -> TileOutputs:
        try:
            await asyncio.sleep(self.pause_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.tiles += len(tiles)
        maps = [_maps(tile[0]) for tile in tiles]
        style = np.full((len(tiles), 256), 1 / 16, np.float32)
        return TileOutputs(
            maps if "maps" in outputs else None, style if "style" in outputs else None, self.network(name)
        )


def _maps(plane: np.ndarray) -> np.ndarray:
    cells = plane > 0.5
    numbers, count = ndimage.label(cells)
    maps = np.zeros((3, *plane.shape), np.float32)
    maps[2] = np.where(cells, 6, -6)
    at = np.indices(plane.shape)[:, cells]
    of = numbers[cells]
    sizes = np.maximum(np.bincount(of, minlength=count + 1), 1)
    away = np.stack([(np.bincount(of, axis, count + 1) / sizes)[of] - axis for axis in at])
    maps[:2, cells] = 5 * away / np.maximum(np.hypot(*away), 1)
    return maps
