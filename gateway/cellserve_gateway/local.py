"""Servers that this machine runs for one user, without a container: `cellserve-gateway --local` starts Triton with it.

The tools of the checkout (`devtools/stack.py`) start their servers with the same functions.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .settings import PREFIX, TRITON_PYTHON, Settings

START_TIMEOUT_S = 180.0  # the first start of a model on a slow machine
STOP_TIMEOUT_S = 90.0
LOG_LINES = 20
"""Lines of a log that a message repeats."""

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = _PACKAGE.parents[1]
_ENVIRONMENT = ".venv-triton"


class StartError(RuntimeError):
    """A server did not start; the message says why."""


class Process:
    """A server that reports its addresses in a ready file.

    Args:
        name: For messages.
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

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._popen.poll() is None

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> dict[str, str]:
        """Returns the content of the ready file once it is there.

        Raises:
            StartError: The process ended, or the time is up.
        """
        end = time.monotonic() + timeout_s
        while not self._ready_file.exists():
            if not self.is_running:
                raise StartError(self.obituary())
            if time.monotonic() > end:
                self.stop()
                raise StartError(f"{self.name} is not ready after {timeout_s:g} s; {self._end_of_log()}")
            time.sleep(0.05)
        content: dict[str, str] = json.loads(self._ready_file.read_text())
        return content

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Asks the process to end, waits, and kills it when the time is up. Returns its exit status."""
        if self.is_running:
            self._popen.terminate()
            try:
                self._popen.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._popen.kill()
        return self._popen.wait()

    def obituary(self) -> str:
        """Returns how a process that has ended did so: its exit status, and the end of its log."""
        return f"{self.name} ended with status {self._popen.returncode}; {self._end_of_log()}"

    def _end_of_log(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return "\n".join([f"the end of its log {self.log}:", *lines])


def refuse_taken_ports(settings: Settings) -> None:
    """Checks that the ports of the gateway are free: the gateway binds them only after Triton has started.

    Raises:
        StartError: Another program has one of them; the message names the setting.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    for name in ("port", "http_port", "monitoring_port", "health_port"):
        port = getattr(settings, name)
        try:
            socket.create_server((settings.host, port), family=family).close()
        except OSError as error:
            raise StartError(
                f"{settings.address(port)} cannot be bound ({os.strerror(error.errno or 0)}). Another program may have "
                f"the port; {PREFIX}{name.upper()}=0 takes a free port"
            ) from None


def start_triton(
    directory: Path, *options: str, repository: Path, environment: Mapping[str, str] | None = None
) -> Process:
    """Starts Triton on free ports of loopback. Triton ends when this process ends, in whatever way.

    Args:
        directory: For ready file and log.
        options: Override those of the launcher, `serve.py`.
        repository: Its model repository.
        environment: Variables besides ours.

    Raises:
        StartError: There is no environment of Triton, and the message says how to make one.
    """
    ready = directory / "triton.json"
    launcher = _launcher()
    files = ("--model-repository", str(repository), "--ready-file", str(ready))
    free = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0", "--parent", str(os.getpid()))
    command = [str(_triton_python(launcher)), str(launcher / "serve.py"), *files, *free, *options]
    return Process("Triton", command, ready, directory / "triton.log", dict(os.environ) | dict(environment or {}))


@contextlib.contextmanager
def running_triton(repository: Path) -> Iterator[tuple[Process, str]]:
    """Runs Triton while the body runs.

    Yields:
        Its process, and its gRPC address "host:port".

    Raises:
        StartError: Triton did not start, or ended before the body did.
    """
    with tempfile.TemporaryDirectory(prefix="cellserve-local-") as directory, contextlib.ExitStack() as end:
        triton = start_triton(Path(directory), repository=repository)
        end.callback(triton.stop)
        yield triton, triton.wait_ready()["grpc"]
        if not triton.is_running:
            raise StartError(triton.obituary())


def _launcher() -> Path:
    """Returns the folder of Triton's launcher: a wheel has it in this package, a checkout in deploy/triton."""
    installed = _PACKAGE / "triton"
    return installed if installed.is_dir() else _CHECKOUT / "deploy" / "triton"


def _triton_python(launcher: Path) -> Path:
    """Returns the interpreter of Triton's environment.

    Raises:
        StartError: There is none.
    """
    if named := os.environ.get(TRITON_PYTHON):
        if not os.access(named, os.X_OK):
            raise StartError(f"{TRITON_PYTHON}={named} is no program; name the interpreter of Triton's environment")
        return Path(named)
    for folder in dict.fromkeys((Path.cwd(), _CHECKOUT)):
        python = folder / _ENVIRONMENT / "bin" / "python"
        if python.exists():
            return python
    requirements = shlex.quote(str(launcher / "requirements.txt"))
    raise StartError(
        f"NVIDIA Triton is not installed: there is no {_ENVIRONMENT} in {Path.cwd()}. Triton needs Linux and an "
        "environment of its own, of Python 3.11 or 3.12. These commands make it:\n\n"
        f"    python3.12 -m venv {_ENVIRONMENT}\n"
        f"    {_ENVIRONMENT}/bin/pip install --no-deps -r {requirements}\n\n"
        f"If the environment is elsewhere, set {TRITON_PYTHON} to its bin/python."
    )
