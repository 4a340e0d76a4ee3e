"""The client against real gateways that are full, or that die: no image is lost."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import cellserve.large
import numpy as np
from cellserve import Client, Segmentation
from cellserve_preprocess import TILE, TileGrid, rescaled_shape

from devtools import stack

from .pods import Pod, send

FAST = {"ensemble": False, "diameter": 17.0}


def outcomes(results) -> Counter[str]:
    return Counter("done" if isinstance(result, Segmentation) else str(result) for _, result in results)


def test_ten_users_at_a_limit_of_eight(triton, start_gateway, image, scrape):
    gateway = start_gateway(triton.grpc, max_requests_in_flight=8)
    pixels = image("nuclei_fluorescence")[:150, :150].copy()

    def user(_: int) -> Counter[str]:
        with Client(gateway.address) as client:
            return outcomes(client.segment_many(((n, pixels) for n in range(20)), **FAST))

    with ThreadPoolExecutor(10) as users:
        assert sum(users.map(user, range(10)), Counter()) == {"done": 200}
    refused = scrape(gateway)['cellserve_errors_total{method="Segment",reason="GATEWAY_FULL"}']
    assert refused > 0, "the limit was never met"


def test_one_user_with_large_images(triton, start_gateway, image, scrape, monkeypatch):
    """Eight images at a time, where the gateway has room for the pixels of two."""
    monkeypatch.setattr(cellserve.large, "LARGE_BYTES", 200_000)
    pixels = np.tile(image("nuclei_fluorescence"), (1, 2))
    room = 2 * TileGrid.count(rescaled_shape(pixels.shape, 30 / FAST["diameter"])) * TILE * TILE
    gateway = start_gateway(triton.grpc, max_pixels_in_flight=room)
    with Client(gateway.address) as client:
        assert outcomes(client.segment_many(((n, pixels) for n in range(10)), **FAST)) == {"done": 10}
    refused = scrape(gateway)['cellserve_errors_total{method="SegmentLarge",reason="GATEWAY_FULL"}']
    assert refused > 0, "the limit was never met"


def test_both_gateways_are_killed_and_one_comes_back(triton, tiny_repository, tmp_path_factory, image):
    pixels = image("nuclei_fluorescence")[:150, :150].copy()

    def start(port: int) -> stack.Process:
        folder = tmp_path_factory.mktemp("gateway")
        return stack.start_gateway(folder, triton.grpc, port=port, model_repository=tiny_repository)

    with closing(Pod(start)) as lasting:
        leaving = start(0)
        try:
            addresses = [lasting.wait_ready(), leaving.wait_ready()["grpc"]]
            stack.wait_serving(addresses[0])
            answered = threading.Semaphore(0)

            def kill() -> None:
                for _ in range(20):
                    answered.acquire()
                for pid in (leaving.pid, *lasting.pids("cellserve_gateway")):
                    send(pid, signal.SIGKILL)

            killer = threading.Thread(target=kill)
            killer.start()
            found = []
            with Client(addresses) as client:
                for entry in client.segment_many(((n, pixels) for n in range(60)), **FAST):
                    found.append(entry)
                    answered.release()
            killer.join()
            assert outcomes(found) == {"done": 60}
            assert lasting.starts == 2
        finally:
            leaving.stop()
