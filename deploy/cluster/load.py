"""Callers: processes of their own, each with some images in flight, until they are told to stop.

python -m deploy.cluster.load TARGET IMAGE RECORD    writes a line of JSON for each image; ends when standard input does
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cellserve import CellServeError, Client, InvalidRequestError
from cellserve.files import read_image

from devtools.stack import ROOT

IN_FLIGHT = 4
SIZE = 200  # pixels: one tile, so that shares of requests are shares of work
MISTAKE_S = 5.0  # seconds between calls that are wrong: the dashboard shows errors, too


@dataclass(frozen=True)
class Call:
    """What became of one image: its times (Unix, seconds), its objects, and the reason if it failed."""

    start: float
    end: float
    objects: int
    reason: str


class Callers:
    """Several calling processes.

    Args:
        target: gRPC target of the gateways.
        directory: For their records.
        processes: How many.
    """

    def __init__(self, target: str, directory: Path, processes: int) -> None:
        self._records = [directory / f"calls-{number}.jsonl" for number in range(processes)]
        image = ROOT / "examples" / "images" / "nuclei_fluorescence.png"
        command = [sys.executable, "-m", "deploy.cluster.load", target, str(image)]
        self._processes = [
            subprocess.Popen([*command, str(record)], stdin=subprocess.PIPE, cwd=ROOT) for record in self._records
        ]

    def calls(self, since: float = 0.0, until: float = float("inf")) -> list[Call]:
        """Returns the calls that ended within a span of time."""
        records = [json.loads(line) for path in self._records if path.exists() for line in _whole_lines(path)]
        return [call for call in (Call(**record) for record in records) if since <= call.end < until]

    def stop(self) -> list[int]:
        """Lets each finish what it has in flight; returns their exit statuses."""
        for process in self._processes:
            if process.stdin and not process.stdin.closed:
                process.stdin.close()
        return [process.wait(120) for process in self._processes]


def _whole_lines(path: Path) -> Iterator[str]:
    return (line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n"))


def main() -> None:
    """One calling process."""
    target, image, record = sys.argv[1:]
    pixels = read_image(Path(image)).pixels[:SIZE, :SIZE]
    stopped = threading.Event()
    lock = threading.Lock()

    def call_on(client: Client) -> None:
        while not stopped.is_set():
            start, objects, reason = time.time(), -1, ""
            try:
                objects = len(client.segment(pixels, ensemble=False, diameter=30.0).objects)
            except CellServeError as error:
                reason = f"{error.code.name} {error.reason}: {error.message}"
            with lock:
                lines.write(
                    json.dumps({"start": start, "end": time.time(), "objects": objects, "reason": reason}) + "\n"
                )
                lines.flush()

    def err(client: Client) -> None:
        while not stopped.wait(MISTAKE_S):
            with contextlib.suppress(InvalidRequestError):  # others end up in the record of failures, by raising
                client.model("a model that there is none of")

    with Path(record).open("w") as lines, Client(target) as client, ThreadPoolExecutor(IN_FLIGHT + 1) as pool:
        running = [pool.submit(call_on, client) for _ in range(IN_FLIGHT)] + [pool.submit(err, client)]
        sys.stdin.read()
        stopped.set()
        for future in running:
            future.result()


if __name__ == "__main__":
    main()
