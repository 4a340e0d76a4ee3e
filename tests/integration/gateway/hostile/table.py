"""The table of docs/decisions/0017: what each attack costs a gateway of default settings.

    python -m tests.integration.gateway.hostile.table [--runs 3] [NAME ...]

The peak is the largest of the runs, the stall is the median. Both are the gateway's own: processes that decode image
files are not counted. The gateway serves the tiny networks. The probe, the
attacker, Triton and the gateway share the processors of the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import numpy as np
from cellserve import Client

from devtools import stack
from tests.integration import tiny

from . import attacks, files
from .watch import MIB, watched

MESSAGE = 19 * MIB // 2
"""Bytes of a message just below the limit."""
TOKEN = "a-token-of-some-length"
MODELS = "/cellserve.v1.SegmentationService/ListModels"
HEALTH = "/grpc.health.v1.Health/Check"
FAST = {"ensemble": False, "diameter": 200}


def connections(address: str) -> None:
    """Opens 1500 connections."""
    with attacks.callers(address, 1500):
        time.sleep(1)


def honest(address: str, clients: int, shape: tuple[int, ...]) -> None:
    """Sends images of some planes through the client library; each is received, then refused for its channel."""
    pixels = np.zeros(shape, np.uint8)

    def send(_: int) -> None:
        with Client(address) as client, contextlib.suppress(Exception):
            client.segment(pixels, axes="CYX", cytoplasm_channel=15, **FAST)

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(send, range(clients)))


def http_bodies(address: str, calls: int, size: int, token: str | None) -> None:
    """Sends bodies over HTTP."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body = bytes(size)

    def send(_: int) -> None:
        with contextlib.suppress(httpx.HTTPError):
            httpx.post(f"http://{address}/v1/segment", content=body, headers=headers, timeout=60)

    with ThreadPoolExecutor(calls) as pool:
        list(pool.map(send, range(calls)))


def many(path: str, calls: int, size: int) -> Callable[[str], None]:
    """Returns an attack that sends bodies to a method, all at a time."""

    def attack(address: str) -> None:
        body = attacks.file_message(size)
        with ThreadPoolExecutor(calls) as pool:
            list(pool.map(lambda _: attacks.send_raw(address, body, path), range(calls)))

    return attack


def http_file(address: str, make: Callable[[], bytes]) -> None:
    """Sends a hostile image file."""
    httpx.post(f"http://{address}/v1/segment", content=make(), timeout=120)


Attack = tuple[str, Callable[[str], object]]
GRPC: dict[str, Attack] = {
    "12 bodies of 200 MiB without a token": ("guarded", many(attacks.SEGMENT, 12, 200 * MIB)),
    "12 bodies of 9.5 MiB without a token": ("guarded", many(attacks.SEGMENT, 12, MESSAGE)),
    "12 bodies of 200 MiB": ("open", many(attacks.SEGMENT, 12, 200 * MIB)),
    "12 bodies of 9.5 MiB": ("open", many(attacks.SEGMENT, 12, MESSAGE)),
    "40 bodies of 9.5 MiB": ("open", many(attacks.SEGMENT, 40, MESSAGE)),
    "6 bodies of 200 MiB to ListModels": ("open", many(MODELS, 6, 200 * MIB)),
    "6 bodies of 9.5 MiB to ListModels": ("open", many(MODELS, 6, MESSAGE)),
    "6 bodies of 200 MiB to health, port of the service": ("open", many(HEALTH, 6, 200 * MIB)),
    "6 bodies of 9.5 MiB to health, port of the service": ("open", many(HEALTH, 6, MESSAGE)),
    "8 gzip messages, 240 MiB unpacked": ("open", lambda at: attacks.gzip_bombs(at, 8, 240 * MIB)),
    "10 unread answers of 224 MiB": ("open", lambda at: attacks.unread_answers(at, 10, 4096, 10)),
    "10 unread answers of 9.9 MiB": ("open", lambda at: attacks.unread_answers(at, 10, 860, 5)),
    "`outputs` of 64 million entries": ("open", lambda at: attacks.send_raw(at, attacks.many_outputs(64_000_000))),
    "`outputs` of 9 million entries": ("open", lambda at: attacks.send_raw(at, attacks.many_outputs(9_000_000))),
    "`shape` of 9 million entries": ("open", lambda at: attacks.send_raw(at, attacks.long_shape(9_000_000))),
    "1500 connections": ("open", connections),
    "20 connections x 500 unfinished calls": ("open", lambda at: attacks.many_streams(at, 20, 500, 2)),
    "12 bodies of 9.5 MiB without their last byte": ("open", lambda at: attacks.unfinished_bodies(at, 12, MESSAGE, 2)),
    "the same without a token": ("guarded", lambda at: attacks.unfinished_bodies(at, 12, MESSAGE, 2)),
    "12 uploads of 200 MiB in chunks": ("open", lambda at: honest(at, 12, (4, 7168, 7314))),
    "12 uploads of 200 MiB in chunks, never finished": (
        "open",
        lambda at: attacks.unfinished_uploads(at, 12, 200 * MIB),
    ),
    "10 unread answers of 224 MiB in chunks": ("open", lambda at: attacks.unread_large_answers(at, 10, 4096, 12)),
    "one image of 200 MiB, no attack": ("open", lambda at: honest(at, 1, (4, 7168, 7314))),
    "one image of 8 MiB, no attack": ("open", lambda at: honest(at, 1, (2, 2048, 2048))),
}
HTTP: dict[str, Attack] = {
    "HTTP: 12 bodies of 200 MiB": ("open", lambda at: http_bodies(at, 12, 200 * MIB, None)),
    "HTTP: 12 bodies of 200 MiB without a token": ("guarded", lambda at: http_bodies(at, 12, 200 * MIB, None)),
} | {f"file: {name}": ("open", partial(http_file, make=make)) for name, make in files.FILES.items()}


@contextlib.contextmanager
def gateways() -> Iterator[dict[str, tuple[stack.Process, dict[str, str]]]]:
    """Runs a gateway for everybody and one with tokens."""
    with tempfile.TemporaryDirectory(prefix="cellserve-") as name, contextlib.ExitStack() as running:
        folder = Path(name)
        repository = tiny.write_repository(folder / "models")
        triton = stack.start_triton(folder, repository=repository)
        running.callback(triton.stop)
        tokens = folder / "tokens"
        tokens.write_text(f"alice {TOKEN}\n")
        at = triton.wait_ready()["grpc"]
        started = {}
        for kind, settings in {"open": {}, "guarded": {"tokens_file": tokens}}.items():
            process = stack.start_gateway(folder, at, instance=kind, model_repository=repository, **settings)
            running.callback(process.stop)
            started[kind] = process, process.wait_ready()
        stack.wait_serving(started["open"][1]["grpc"])
        time.sleep(10)
        yield started


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("names", nargs="*", help="attacks whose name contains one of these; default: all")
    options = parser.parse_args()
    print("| attack | peak, MiB | stall, s |\n|---|---|---|")
    chosen = [
        (name, port, *attack)
        for port, table in (("grpc", GRPC), ("http", HTTP))
        for name, attack in table.items()
        if not options.names or any(part in name for part in options.names)
    ]
    with gateways() as started:
        for name, port, kind, attack in chosen:
            process, at = started[kind]
            costs = []
            for _ in range(options.runs):
                with watched(process.pid, at["health"]) as cost:
                    attack(at[port])
                costs.append(cost)
                time.sleep(1)
            peak, stall = max(cost.peak for cost in costs) / MIB, statistics.median(cost.stall_s for cost in costs)
            print(f"| {name} | {peak:.0f} | {stall:.2f} |", flush=True)


if __name__ == "__main__":
    main()
