"""What a process goes through: its peak of resident memory, and the longest time its event loop answers nobody.

python -m tests.integration.gateway.hostile.watch ADDRESS   asks the health of ADDRESS every 20 ms until standard input
closes, then prints the longest wait, in seconds. A process of its own: the caller under test must not slow the probe.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.processes import resident

PROBE_S = 0.02
PROBE_TIMEOUT_S = 60.0
ROOT = Path(__file__).parents[4]
MIB = 1 << 20


@dataclass
class Cost:
    """What happened while the body of `watched` ran.

    Attributes:
        before: Resident bytes at the start.
        peak: Most resident bytes.
        stall_s: Longest wait for the answer to a health probe, seconds.
    """

    before: int = 0
    peak: int = 0
    stall_s: float = 0.0

    def __str__(self) -> str:
        return f"before {self.before / MIB:.0f} MiB, peak {self.peak / MIB:.0f} MiB, stall {self.stall_s:.3f} s"


@contextmanager
def watched(pid: int, health: str) -> Iterator[Cost]:
    """Measures a gateway while the body runs. `health`: address of its health service without tokens."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # forgets the peak so far
    cost = Cost(before=resident(pid))
    command = [sys.executable, "-m", __spec__.name, health]
    probe = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert probe.stdout
    try:
        probe.stdout.readline()  # the first answer came
        yield cost
    finally:
        time.sleep(5 * PROBE_S)
        with suppress(OSError, KeyError):  # the process may have ended
            cost.peak = resident(pid, "VmHWM")
        cost.stall_s = float(probe.communicate()[0])


def main() -> None:
    """Probes until standard input closes; the last probe under way counts with the time it has waited."""
    longest, since, ended = 0.0, time.perf_counter(), threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        ended.set()
        print(max(longest, time.perf_counter() - since - PROBE_S), flush=True)

    with grpc.insecure_channel(sys.argv[1]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        ask = health_pb2.HealthCheckRequest(service="liveness")
        stub.Check(ask, timeout=PROBE_TIMEOUT_S, wait_for_ready=True)
        print("ready", flush=True)
        threading.Thread(target=wait_for_end, daemon=True).start()
        while not ended.is_set():
            since = time.perf_counter()
            try:
                stub.Check(ask, timeout=PROBE_TIMEOUT_S)
            except grpc.RpcError as error:
                print(error.code().name, file=sys.stderr)
            longest = max(longest, time.perf_counter() - since)
            ended.wait(PROBE_S)
            since = time.perf_counter()


if __name__ == "__main__":
    main()
