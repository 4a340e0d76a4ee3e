"""A local Triton and a gateway, started together and stopped together. Standard library only.

python devtools/stack.py run -- COMMAND ...   on free ports while COMMAND runs
python devtools/stack.py up                   on the default ports, until `down`
python devtools/stack.py down

COMMAND gets the gateway's gRPC address in CELLSERVE_ADDRESS. If the gateway has an HTTP front, COMMAND gets the URL of
that front in CELLSERVE_HTTP_URL.
"""

from __future__ import annotations

import argparse
import contextlib
import json
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

ROOT = Path(__file__).resolve().parents[1]
STATE = ROOT / "build" / "stack"
SERVE = ROOT / "deploy" / "triton" / "serve.py"
START_TIMEOUT_S = 180.0  # the first start of a model on a slow machine
STOP_TIMEOUT_S = 90.0


class StartError(RuntimeError):
    """A process did not start; the message ends with the last lines of its log."""


class Process:
    """A server that reports its addresses in a ready file.

    Args:
        name: For messages and file names.
        command: Its command line, `--ready-file` or environment included.
        ready_file: Where it reports.
        log: Where its output goes.
        env: Its environment; None inherits ours.
    """

    def __init__(
        self, name: str, command: Sequence[str], ready_file: Path, log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name, self.log, self._ready_file = name, log, ready_file
        ready_file.unlink(missing_ok=True)
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, start_new_session=True
            )
        self.pid = self._popen.pid

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> dict[str, str]:
        """Returns the content of the ready file once it is there.

        Raises:
            StartError: The process ended, or the time is up.
        """
        end = time.monotonic() + timeout_s
        while not self._ready_file.exists():
            if self._popen.poll() is not None or time.monotonic() > end:
                why = f"ended with status {self._popen.returncode}" if self._popen.returncode is not None else "is late"
                tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])
                self.stop()
                raise StartError(f"{self.name} {why}; the end of {self.log}:\n{tail}")
            time.sleep(0.05)
        content: dict[str, str] = json.loads(self._ready_file.read_text())
        return content

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Asks the process to end, waits, and kills it when the time is up. Returns its exit status."""
        if self._popen.poll() is None:
            self._popen.terminate()
            try:
                self._popen.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._popen.kill()
        return self._popen.wait()


def start_triton(
    directory: Path,
    *options: str,
    repository: Path = ROOT / "model_repository",
    environment: Mapping[str, str] | None = None,
) -> Process:
    """Starts Triton on free ports; `options` override those of deploy/triton/serve.py, `environment` adds to ours."""
    ready = directory / "triton.json"
    python = os.environ.get("CELLSERVE_TRITON_PYTHON", str(ROOT / ".venv-triton" / "bin" / "python"))
    free = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")
    files = ("--model-repository", str(repository), "--ready-file", str(ready))
    command = [python, str(SERVE), *files, *free, *options]
    return Process("Triton", command, ready, directory / "triton.log", dict(os.environ) | dict(environment or {}))


def start_gateway(directory: Path, triton: str, /, *, instance: str = "gateway", **settings: Any) -> Process:
    """Starts a gateway on free ports; `settings` override those of cellserve_gateway.settings."""
    ready = directory / f"{instance}.json"
    ours: dict[str, object] = {
        "triton_address": triton,
        "model_repository": ROOT / "model_repository",
        "port": 0,
        "monitoring_port": 0,
        "health_port": 0,
        "http_port": 0,
        "ready_file": ready,
    }
    env = dict(os.environ) | {f"CELLSERVE_{key.upper()}": str(value) for key, value in (ours | settings).items()}
    command = [sys.executable, "-m", "cellserve_gateway.server"]
    return Process(f"the gateway ({instance})", command, ready, directory / f"{instance}.log", env)


def wait_serving(address: str, timeout_s: float = START_TIMEOUT_S) -> None:
    """Waits until a gateway's health is SERVING: kernels compiled, models loaded.

    Raises:
        StartError: The time is up.
    """
    command = [sys.executable, "-m", "cellserve", "health", "--address", address]
    end = time.monotonic() + timeout_s
    while (result := subprocess.run(command, capture_output=True, text=True, check=False)).returncode:
        if time.monotonic() > end:
            raise StartError(f"the gateway at {address} is not serving: {result.stdout}{result.stderr}")
        time.sleep(0.2)


@contextlib.contextmanager
def running(directory: Path, /, **settings: Any) -> Iterator[dict[str, str]]:
    """Runs a Triton and a gateway on free ports while the body runs.

    Yields:
        The addresses: "gateway", "http", "metrics", "triton", "triton_http", "triton_metrics".
    """
    with contextlib.ExitStack() as stack:
        triton = start_triton(directory)
        stack.callback(triton.stop)
        at = triton.wait_ready()
        gateway = start_gateway(directory, at["grpc"], **settings)
        stack.callback(gateway.stop)
        gate = gateway.wait_ready()
        wait_serving(gate["grpc"])
        yield {
            "gateway": gate["grpc"],
            "http": gate["http"],
            "metrics": gate["monitoring"],
            "triton": at["grpc"],
            "triton_http": at["http"],
            "triton_metrics": at["metrics"],
        }


def run(command: Sequence[str]) -> int:
    """Runs a command against a fresh pair and returns its exit status. Standard output is the command's alone."""
    directory = Path(tempfile.mkdtemp(prefix="cellserve-"))
    try:
        print("starting Triton and the gateway ...", file=sys.stderr)
        start = time.monotonic()
        with running(directory) as at:
            addresses = {"CELLSERVE_ADDRESS": at["gateway"], "CELLSERVE_HTTP_URL": f"http://{at['http']}"}
            seconds = time.monotonic() - start
            print(f"ready after {seconds:.1f} s: gateway {at['gateway']}, Triton {at['triton']}", file=sys.stderr)
            status = subprocess.run(command, env=os.environ | addresses, check=False).returncode
        print("stopped Triton and the gateway", file=sys.stderr)
        return status
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def up() -> int:
    """Starts the pair on the default ports and leaves it running."""
    if any(_alive(path) for path in STATE.glob("*.pid")):
        print("already running; `make down` stops it")
        return 1
    STATE.mkdir(parents=True, exist_ok=True)
    ports = ("--http-port", "8000", "--grpc-port", "8001", "--metrics-port", "8002")
    triton = start_triton(STATE, *ports)
    try:
        (STATE / "triton.pid").write_text(str(triton.pid))
        at = triton.wait_ready()
        gateway = start_gateway(STATE, at["grpc"], port=50051, health_port=50052, http_port=8080, monitoring_port=9464)
        (STATE / "gateway.pid").write_text(str(gateway.pid))
        gate = gateway.wait_ready()
        wait_serving(gate["grpc"])
    except BaseException:
        down()
        raise
    print(f"serving on {gate['grpc']} and http://{gate['http']}, metrics on http://{gate['monitoring']}/metrics")
    print(f"logs in {STATE.relative_to(ROOT)}")
    return 0


def down() -> int:
    """Stops what `up` started: the gateway first, so that it drains while Triton still answers."""
    for name in ("gateway", "triton"):
        path = STATE / f"{name}.pid"
        if pid := _alive(path):
            os.kill(pid, signal.SIGTERM)
            end = time.monotonic() + STOP_TIMEOUT_S
            while _alive(path) and time.monotonic() < end:
                time.sleep(0.1)
            if _alive(path):
                os.kill(pid, signal.SIGKILL)
            print(f"stopped {name}")
        path.unlink(missing_ok=True)
    return 0


def _alive(path: Path) -> int:
    """Returns the process id a file names if that process is still ours, else 0: ids are used again."""
    try:
        pid = int(path.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return 0
    return pid if b"serve.py" in command or b"cellserve_gateway" in command else 0


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
