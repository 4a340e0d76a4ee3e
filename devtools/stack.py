"""Real servers on this machine, for the commands of the checkout, for tests and for benchmarks.

python devtools/stack.py run -- COMMAND ...   on free ports while COMMAND runs
python devtools/stack.py up                   on the default ports, until `down`
python devtools/stack.py down

COMMAND gets the gateway's gRPC address in CELLSERVE_ADDRESS. If the gateway has an HTTP front, COMMAND gets the URL of
that front in CELLSERVE_HTTP_URL.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
from cellserve_gateway import local
from cellserve_gateway.local import START_TIMEOUT_S, STOP_TIMEOUT_S, Process, StartError
from grpc_health.v1 import health_pb2, health_pb2_grpc

ROOT = Path(__file__).resolve().parents[1]
STATE = ROOT / "build" / "stack"
PID = STATE / "pid"
MODELS = ROOT / "model_repository"


def start_triton(
    directory: Path, *options: str, repository: Path = MODELS, environment: Mapping[str, str] | None = None
) -> Process:
    """Starts Triton on free ports, on the project's own networks: see `cellserve_gateway.local.start_triton`."""
    return local.start_triton(directory, *options, repository=repository, environment=environment)


def start_gateway(directory: Path, triton: str, /, *, instance: str = "gateway", **settings: Any) -> Process:
    """Starts a gateway of a Triton on free ports; `settings` override those of cellserve_gateway.settings."""
    return _start_gateway(directory, instance, (), {"triton_address": triton} | settings)


def start_local(directory: Path, /, **settings: Any) -> Process:
    """Starts a gateway with a Triton beside it (`cellserve-gateway --local`) on free ports; `settings` as above."""
    return _start_gateway(directory, "gateway", ("--local",), {"log_format": "json"} | settings)


def _start_gateway(directory: Path, instance: str, options: Sequence[str], settings: dict[str, object]) -> Process:
    ready = directory / f"{instance}.json"
    free: dict[str, object] = dict.fromkeys(("port", "monitoring_port", "health_port", "http_port"), 0)
    ours = {"model_repository": MODELS, "ready_file": ready} | free
    env = dict(os.environ) | {f"CELLSERVE_{key.upper()}": str(value) for key, value in (ours | settings).items()}
    command = [sys.executable, "-m", "cellserve_gateway", *options]
    return Process(f"the gateway ({instance})", command, ready, directory / f"{instance}.log", env)


def wait_serving(address: str, timeout_s: float = START_TIMEOUT_S) -> None:
    """Waits until a gateway's health is SERVING: kernels compiled, models loaded.

    Raises:
        StartError: The time is up.
    """
    end = time.monotonic() + timeout_s
    with grpc.insecure_channel(address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        while True:
            try:
                state = check(health_pb2.HealthCheckRequest(), timeout=5).status
                if state == health_pb2.HealthCheckResponse.SERVING:
                    return
            except grpc.RpcError as error:
                state = error
            if time.monotonic() > end:
                raise StartError(f"the gateway at {address} is not serving: {state}")
            time.sleep(0.1)


@contextlib.contextmanager
def running(directory: Path, /, **settings: Any) -> Iterator[dict[str, str]]:
    """Runs a gateway and a Triton on free ports while the body runs.

    Yields:
        The addresses that the gateway reports: "grpc", "http", "health", "monitoring", and "triton".
    """
    gateway = start_local(directory, **settings)
    try:
        at = gateway.wait_ready()
        wait_serving(at["grpc"])
        yield at
    finally:
        gateway.stop()


def run(command: Sequence[str]) -> int:
    """Runs a command against a fresh pair and returns its exit status. Standard output is the command's alone."""
    directory = Path(tempfile.mkdtemp(prefix="cellserve-"))
    try:
        print("starting Triton and the gateway ...", file=sys.stderr)
        start = time.monotonic()
        with running(directory) as at:
            addresses = {"CELLSERVE_ADDRESS": at["grpc"], "CELLSERVE_HTTP_URL": f"http://{at['http']}"}
            seconds = time.monotonic() - start
            print(f"ready after {seconds:.1f} s: gateway {at['grpc']}, Triton {at['triton']}", file=sys.stderr)
            status = subprocess.run(command, env=os.environ | addresses, check=False).returncode
        print("stopped Triton and the gateway", file=sys.stderr)
        return status
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def up() -> int:
    """Starts the pair on the default ports and leaves it running."""
    if _running_pid():
        print("already running; `make down` stops it")
        return 1
    STATE.mkdir(parents=True, exist_ok=True)
    gateway = start_local(STATE, port=50051, health_port=50052, http_port=8080, monitoring_port=9464)
    PID.write_text(str(gateway.pid))
    try:
        at = gateway.wait_ready()
        wait_serving(at["grpc"])
    except BaseException:
        down()
        raise
    print(f"serving on {at['grpc']} and http://{at['http']}, metrics on http://{at['monitoring']}/metrics")
    print(f"log in {gateway.log.relative_to(ROOT)}")
    return 0


def down() -> int:
    """Stops what `up` started."""
    if pid := _running_pid():
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + STOP_TIMEOUT_S
        while _running_pid() and time.monotonic() < end:
            time.sleep(0.1)
        if _running_pid():
            os.kill(pid, signal.SIGKILL)
        print("stopped the gateway and Triton")
    PID.unlink(missing_ok=True)
    return 0


def _running_pid() -> int:
    """Returns the process id that `up` has written if that process is still ours, else 0: ids are used again."""
    try:
        pid = int(PID.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return 0
    return pid if b"cellserve_gateway" in command else 0


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("run").add_argument("command", nargs=argparse.REMAINDER)
    actions.add_parser("up")
    actions.add_parser("down")
    arguments = parser.parse_args()
    # A signal must not leave servers behind: make it an exception that unwinds.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if arguments.action == "run":
            command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
            return run(command)
        return up() if arguments.action == "up" else down()
    except StartError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
