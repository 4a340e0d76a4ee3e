"""Images through the client while gateways, Tritons and the processes of models are killed, stopped and replaced.

Nothing is lost, nothing is wrong, and no answer names another model than the one that computed it. One Triton returns
with other networks now and then: these find nothing, and the gateways must not use them.

CHAOS_IMAGES sets the number of images, CHAOS_SEED the order of events.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cellserve.large
import numpy as np
import pytest
from cellserve import AsyncClient, CellServeError, Client, Segmentation

from devtools import stack
from tests.integration import tiny

from .pods import Pod, send

IMAGES = int(os.environ.get("CHAOS_IMAGES", "100"))
SEED = int(os.environ.get("CHAOS_SEED", "22"))
DISTINCT = 10
EVERY = (1, 6)
"""Fewest and most images that are answered between two events: so the pace suits every machine."""
STOPPED_S = (0.2, 4.0)
"""Shortest and longest time that a process stands still: up to more than two health probes of the gateway."""
SIGNALS = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGSTOP": signal.SIGSTOP}
PROCESSES = {
    # What is hit: the pods it is in, and the process by a part of its command line.
    "gateway": ("gateway", "cellserve_gateway"),
    "Triton": ("triton", "tritonserver/bin/tritonserver"),
    "Triton's launcher": ("triton", "serve.py"),
    "model": ("triton", "triton_python_backend_stub"),
}
FAST = {"ensemble": False, "diameter": 17.0}


def image(number: int) -> np.ndarray:
    """Bright discs on dark ground, uint16: every third image is large, which takes several tiles and another call."""
    side = 500 if number % 3 == 0 else 200
    numbers = np.random.default_rng(number)
    y, x = np.mgrid[:side, :side]
    pixels = numbers.integers(90, 110, (side, side))
    for centre_y, centre_x in itertools.product(range(20, side, 40), repeat=2):
        dy, dx = numbers.integers(-6, 7, 2)
        pixels[(y - centre_y - dy) ** 2 + (x - centre_x - dx) ** 2 <= numbers.integers(30, 110)] = 3000
    return pixels.astype(np.uint16)


class Chaos:
    """Random events, until it is left."""

    def __init__(self, pods: dict[str, list[Pod]], answers: list, seed: int) -> None:
        self._pods = pods
        self._answers = answers
        self._random = random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chaos")
        self.events: Counter[str] = Counter()
        self.begin = time.monotonic()

    def __enter__(self) -> Chaos:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        stopped: list[tuple[float, int]] = []
        following = 0
        while not self._over.wait(0.05):
            now = time.monotonic()
            for entry in [entry for entry in stopped if entry[0] <= now]:
                send(entry[1], signal.SIGCONT)
                stopped.remove(entry)
            if len(self._answers) < following:
                continue
            following = len(self._answers) + self._random.randint(*EVERY)
            what, name = self._random.choice(list(PROCESSES)), self._random.choice(list(SIGNALS))
            kind, command = PROCESSES[what]
            found = self._random.choice(self._pods[kind]).pids(command)
            if not found:  # it is being started again
                continue
            pid = self._random.choice(found)
            send(pid, SIGNALS[name])
            self.events[f"{name} of a {what}"] += 1
            if name == "SIGSTOP":
                stopped.append((now + self._random.uniform(*STOPPED_S), pid))
        for _, pid in stopped:
            send(pid, signal.SIGCONT)


@pytest.mark.timeout(120 + 3 * IMAGES)
def test_nothing_is_lost_in_chaos(tiny_repository, tmp_path_factory, monkeypatch):
    monkeypatch.setattr(cellserve.large, "LARGE_BYTES", 200_000)
    description = json.loads((tiny_repository / "generalist" / "model.json").read_text())
    served = description["networks"]["generalist_single"]["sha256"]
    images = [image(number) for number in range(DISTINCT)]

    others = tiny.write_repository(tmp_path_factory.mktemp("others") / "models", bright=2.0)

    def triton(repositories: Iterator[Path]) -> Pod:
        def start(port: int) -> stack.Process:
            options = ("--grpc-port", str(port), "--exit-timeout-s", "10")
            return stack.start_triton(tmp_path_factory.mktemp("triton"), *options, repository=next(repositories))

        return Pod(start)

    def start_gateway(port: int) -> stack.Process:
        folder = tmp_path_factory.mktemp("gateway")
        return stack.start_gateway(folder, tritons, port=port, model_repository=tiny_repository)

    with contextlib.ExitStack() as cleanup, ThreadPoolExecutor() as threads:
        sound, changing = itertools.repeat(tiny_repository), itertools.cycle([tiny_repository, tiny_repository, others])
        pods = {"triton": [triton(sound), triton(changing)]}
        for pod in pods["triton"]:
            cleanup.callback(pod.close)
        tritons = ",".join(threads.map(Pod.wait_ready, pods["triton"]))
        pods["gateway"] = [Pod(start_gateway) for _ in range(2)]
        for pod in pods["gateway"]:
            cleanup.callback(pod.close)
        addresses = list(threads.map(Pod.wait_ready, pods["gateway"]))
        for address in addresses:
            stack.wait_serving(address)

        with Client(addresses, deadline_s=120) as client:
            calm = [client.segment(pixels, **FAST) for pixels in images]
            assert all(len(result.objects) > 10 for result in calm)

            def half(part: int):
                return ((n, images[n % DISTINCT]) for n in range(part, IMAGES, 2))

            answers: list[tuple[int, Segmentation | CellServeError]] = []

            async def stream() -> None:
                async with AsyncClient(addresses, deadline_s=120) as live:
                    async for entry in live.segment_stream(half(1), concurrency=4, **FAST):
                        answers.append(entry)

            with Chaos(pods, answers, SEED) as chaos:
                streamed = threads.submit(asyncio.run, stream())
                for entry in client.segment_many(half(0), concurrency=4, **FAST):
                    answers.append(entry)
                streamed.result()
                seconds = time.monotonic() - chaos.begin

        starts = {kind: sum(pod.starts - 1 for pod in group) for kind, group in pods.items()}
        print(f"\n{IMAGES} images in {seconds:.0f} s; {dict(chaos.events)}; started again: {starts}")
        assert sorted(key for key, _ in answers) == list(range(IMAGES)), "each image has one outcome"
        lost = [f"{key}: {result!r}" for key, result in answers if isinstance(result, CellServeError)]
        assert lost == []
        assert {result.model.sha256 for _, result in answers} == {served}
        wrong = [
            f"{key}: {len(result.objects)} objects instead of {len(calm[key % DISTINCT].objects)}"
            for key, result in answers
            if not np.array_equal(result.labels, calm[key % DISTINCT].labels)
        ]
        assert wrong == []
        assert len(chaos.events) > 3, "nothing happened"
