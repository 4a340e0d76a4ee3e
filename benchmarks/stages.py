"""Processor time of the gateway per megapixel, stage by stage: each stage by itself on one thread, then all of it live.

The stages are the public functions the gateway calls, on a mosaic of real images and the networks' outputs for it. Live
is the processor time of a gateway process over several such images, the networks (in Triton) not included; what the
stages do not explain is messages, the event loop, and threads.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from cellserve import Client, SegmentParams  # noqa: E402
from cellserve_contract.model_card import Family  # noqa: E402
from cellserve_contract.params import SegmentParams as Params  # noqa: E402
from cellserve_contract.payload import NO_PAYLOAD  # noqa: E402
from cellserve_gateway.app.decode import limits_of  # noqa: E402
from cellserve_gateway.app.families import Families  # noqa: E402
from cellserve_gateway.app.files import ImageFiles  # noqa: E402
from cellserve_gateway.app.networks import Network  # noqa: E402
from cellserve_gateway.app.params import DiameterSource  # noqa: E402
from cellserve_gateway.app.results import Segmentation, Wanted  # noqa: E402
from cellserve_gateway.fronts.grpc import codec  # noqa: E402
from cellserve_gateway.fronts.grpc.answers import Result, fill_response  # noqa: E402
from cellserve_gateway.settings import Settings  # noqa: E402
from cellserve_postprocess import (  # noqa: E402
    MapSums,
    RecoveryParams,
    measure_objects,
    recover_masks,
    trace_outlines,
    warm_up,
)
from cellserve_preprocess import (  # noqa: E402
    Normalization,
    TileGrid,
    normalize,
    rescaled_shape,
    resize,
    select_channels,
)
from cellserve_proto import v1 as pb  # noqa: E402
from fields import OBJECT_SIZE, mosaic, network_maps  # noqa: E402

from devtools import stack  # noqa: E402

SIDE, OBJECTS = 2048, 2_800
SCALE = 1.5
"""Objects of 20 px, so that images are resized on the way in and maps on the way out."""
ROUNDS = 5
T = TypeVar("T")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="labelled data sets: <set>/train/<name>_img.png")
    parser.add_argument("--images", type=int, default=6, help="images sent through a live gateway")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "stages.json")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    warm_up()
    sample = mosaic(options.data, SIDE, OBJECTS)
    image = (sample.image.astype(np.uint16) << 8) + sample.image
    with tempfile.TemporaryDirectory(prefix="cellserve-") as folder, contextlib.ExitStack() as running:
        triton = stack.start_triton(Path(folder))
        running.callback(triton.stop)
        gateway = stack.start_gateway(Path(folder), triton.wait_ready()["grpc"])
        running.callback(gateway.stop)
        address = gateway.wait_ready()["grpc"]
        stack.wait_serving(address)
        client = running.enter_context(Client(address))
        figures = _stages(image, network_maps(client, sample, ensemble=False))
        figures |= _live(client, gateway.pid, image, options.images)
    figures["messages, event loop, threads"] = figures["live"] - sum(
        value for name, value in figures.items() if not name.startswith(("live", "outlines"))
    )
    for name, value in figures.items():
        print(f"{name:36s}{value:8.2f} ms/megapixel")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=2) + "\n")


def _stages(image: np.ndarray, maps: np.ndarray) -> dict[str, float]:
    figures: dict[str, float] = {}

    def measured(name: str, work: Callable[[], T]) -> T:
        times = []
        for _ in range(ROUNDS):
            start = time.process_time()
            result = work()
            times.append(time.process_time() - start)
        figures[name] = statistics.median(times) * 1e3 / (image.size / 1e6)
        return result

    limits, no_file = limits_of(Settings()), ImageFiles(Settings()).decode
    data = pb.Array(data=image.tobytes(), shape=image.shape, data_type=pb.DATA_TYPE_UINT16)
    message = pb.Image(raw=pb.RawImage(axes="YX", pixels=data))
    pixels = measured("decode", lambda: codec.to_image(message, NO_PAYLOAD, limits, no_file).planes)
    planes = measured("select channels", lambda: select_channels(pixels, 0, -1))
    normalized = measured("normalise", lambda: normalize(planes, Normalization("percentiles", 1, 99)).planes)
    shape = rescaled_shape(image.shape, SCALE)  # type: ignore[arg-type]
    scaled = measured("resize", lambda: resize(normalized, shape))
    grid = TileGrid.cover(shape)
    measured("cut tiles", lambda: [grid.cut(scaled, index, index + 1) for index in range(len(grid))])
    tiles = grid.cut(resize(maps, shape), 0, len(grid))
    whole = measured("reassemble", lambda: _reassemble(tiles, grid))
    measured("resize maps", lambda: resize(whole, maps.shape[1:]))  # type: ignore[arg-type]
    found = measured("recover masks", lambda: recover_masks(maps, RecoveryParams()))
    objects = measured("measure objects", lambda: measure_objects(found.labels, maps[2], found.flow_errors))
    measured("outlines (on request)", lambda: trace_outlines(found.labels))
    params = Params(model="generalist", diameter=20.0, cytoplasm_channel=0, nucleus_channel=-1)
    network = Network("generalist", "1", "0" * 64, 8)
    family = Families.load(ROOT / "model_repository", "generalist")["generalist"]
    result = Segmentation(found.labels, objects, params, DiameterSource.CALLER, network)
    measured("encode", lambda: _encode(result, family))
    return figures


def _reassemble(tiles: np.ndarray, grid: TileGrid) -> np.ndarray:
    sums = MapSums(grid)
    for index, tile in enumerate(tiles):
        sums.add(index, tile)
    return sums.maps()


def _encode(result: Segmentation, family: Family) -> bytes:
    response = pb.SegmentResponse()
    fill_response(response, Result(result, family, Wanted(), pb.COMPRESSION_ZLIB))
    return response.SerializeToString()


def _live(client: Client, pid: int, image: np.ndarray, images: int) -> dict[str, float]:
    """Returns the gateway's processor time, ms per megapixel, over some images one after another."""

    def used() -> np.ndarray:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return np.array([int(fields[11]), int(fields[12])]) / os.sysconf("SC_CLK_TCK")

    params = SegmentParams(ensemble=False, diameter=OBJECT_SIZE / SCALE)
    client.segment(image, params, compression="zlib")
    before = used()
    for _ in range(images):
        client.segment(image, params, compression="zlib")
    user, kernel = (used() - before) * 1e3 / (images * image.size / 1e6)
    return {"live": float(user + kernel), "live, of it in the system's kernel": float(kernel)}


if __name__ == "__main__":
    main()
