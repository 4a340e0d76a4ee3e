#!/usr/bin/env python3
"""Runs NVIDIA's tritonserver on a model repository until it is told to stop.

    python deploy/triton/serve.py --model-repository model_repository --http-port 0 --ready-file triton.json

The server is the one of the nvidia-pytriton wheel in the running interpreter's environment, or an NVIDIA container's
own. Standard library only. Exit status: 0 after SIGTERM, SIGINT or SIGHUP; 1 if the server fails; 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import http.client
import importlib.util
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

CONTAINER_SERVER = Path("/opt/tritonserver/bin/tritonserver")
OWN_BACKENDS = Path(__file__).resolve().parent / "backends"
SHARED_MEMORY = Path("/dev/shm")

# Tensors travel between Triton and a Python-based backend in shared memory, one region for each model instance. A batch
# of 8 tiles takes 3.2 MB in and 4.8 MB out; three models of 16 MiB still fit the 64 MiB of a container's /dev/shm.
REGION_BYTES = 16 * 2**20
SCRATCH_OWNER = "cellserve_"
LOCK_SUFFIX = "lock"

# Interfaces that nobody needs here and that reach the host's memory or files.
RESTRICTED_APIS = "shared-memory,trace,logging"

MODEL_PROCESS = "triton_python_backend_stub"
KILL_AFTER_S = 5.0  # beyond Triton's own exit timeout, or after the death of a model
PORT_ATTEMPTS = 3
LOG_LINES = 200
CAUSE = re.compile(r"^E.*\"failed to (load|start) |^error: |^Bad option|already in use")


class ServeError(Exception):
    """The server cannot be run; the message is for the operator."""


class PortTakenError(ServeError):
    """Another process has bound one of the ports."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The address that the server binds, and its three ports."""

    host: str
    http: int
    grpc: int
    metrics: int

    def resolved(self) -> Endpoints:
        """Every port 0 replaced by one that is free now; raises ServeError if another port is taken.

        Triton binds its ports only after loading the models, which is late to find that out.
        """
        with ExitStack() as held:  # all until the last is chosen, so that they differ

            def free_port(port: int) -> int:
                probe = held.enter_context(socket.socket())
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((self.host, port))
                except OSError as error:
                    raise ServeError(f"port {port} of {self.host} cannot be bound: {error.strerror}") from None
                return int(probe.getsockname()[1])

            return Endpoints(self.host, free_port(self.http), free_port(self.grpc), free_port(self.metrics))

    @property
    def reachable(self) -> str:
        """A host under which this machine reaches the server."""
        return "127.0.0.1" if self.host == "0.0.0.0" else self.host


def find_server(requested: Path | None) -> Path:
    """The tritonserver binary: the requested one, else the wheel's, else the container's."""
    if requested is not None:
        candidates = [requested.absolute()]
    else:
        wheel = importlib.util.find_spec("pytriton")
        roots = wheel.submodule_search_locations or [] if wheel else []
        candidates = [Path(root) / "tritonserver" / "bin" / "tritonserver" for root in roots] + [CONTAINER_SERVER]
    for candidate in candidates:
        if os.access(candidate, os.X_OK) and candidate.is_file():
            return candidate
    raise ServeError(f"no tritonserver at {', '.join(map(str, candidates))}; see deploy/triton/README.md")


def assemble_backends(server: Path, ours: Path, target: Path) -> bool:
    """Lays out a backend directory for the wheel's server; False if this server brings its own backends.

    Triton refuses symbolic links that leave the backend directory, so these are copies.
    """
    root = server.parent.parent
    stubs = root / "python_backend_stubs"
    if not stubs.is_dir():
        return False
    version = "{}.{}".format(*sys.version_info)
    stub = stubs / version / "triton_python_backend_stub"
    if not stub.is_file():
        raise ServeError(
            f"the wheel has no stub for Python {version}; it has {sorted(path.name for path in stubs.iterdir())}"
        )
    shutil.copytree(root / "backends" / "python", target / "python", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(stub, target / "python")
    shutil.copytree(ours, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return True


def wheel_environment(server: Path) -> dict[str, str]:
    """The environment in which the wheel's server finds its libraries, and its stub this interpreter's packages."""
    libraries = [str(server.parents[3] / "nvidia_pytriton.libs"), str(sysconfig.get_config_var("LIBDIR"))]
    return {
        **os.environ,
        "LD_LIBRARY_PATH": os.pathsep.join([*libraries, os.environ.get("LD_LIBRARY_PATH", "")]).rstrip(os.pathsep),
        # The stub embeds Python in isolated mode: PYTHONHOME and PYTHONPATH mean nothing to it, and the environment
        # that it uses, virtual or not, is that of the first `python3` on the search path.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
    }


def server_arguments(options: argparse.Namespace, endpoints: Endpoints, region_prefix: str) -> list[str]:
    """Command line of tritonserver after the binary."""
    lock = f"{RESTRICTED_APIS}:cellserve-admin={secrets.token_hex(16)}"
    return [
        *(f"--model-repository={path.resolve()}" for path in options.model_repository),
        *([f"--model-config-name={options.model_config_name}"] if options.model_config_name else []),
        "--model-control-mode=none",
        "--strict-readiness=true",
        "--exit-on-error=true",
        "--disable-auto-complete-config",
        f"--exit-timeout-secs={options.exit_timeout_s}",
        f"--http-address={endpoints.host}",
        f"--http-port={endpoints.http}",
        f"--grpc-address={endpoints.host}",
        f"--grpc-port={endpoints.grpc}",
        f"--metrics-address={endpoints.host}",
        f"--metrics-port={endpoints.metrics}",
        f"--http-restricted-api={lock}",
        f"--grpc-restricted-protocol={lock}",
        "--allow-sagemaker=false",
        "--allow-vertex-ai=false",
        f"--allow-gpu-metrics={'true' if Path('/dev/nvidiactl').exists() else 'false'}",
        f"--backend-config=python,shm-region-prefix-name={region_prefix}",
        f"--backend-config=python,shm-default-byte-size={REGION_BYTES}",
        f"--backend-config=python,shm-growth-byte-size={REGION_BYTES}",
        *options.server_arguments,
    ]


def dying_with_parent() -> Callable[[], None]:
    """A function for the forked child: if the launcher is killed outright, the server gets SIGTERM (Linux)."""
    libc, launcher, pr_set_pdeathsig = ctypes.CDLL(None), os.getpid(), 1

    def request() -> None:
        libc.prctl(pr_set_pdeathsig, signal.SIGTERM)
        if os.getppid() != launcher:  # it died before the call
            os._exit(1)

    return request


def command_line(pid: int) -> list[str]:
    """A process's program and arguments; empty if the process has ended, or the system does not tell (not Linux)."""
    try:
        return [os.fsdecode(word) for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]]
    except OSError:
        return []


def model_processes(server: int) -> dict[int, str]:
    """The processes that Triton's Python backend has started for its models: process id to the model's file.

    C++ backends start none.
    """
    children = " ".join(tasks.read_text() for tasks in Path(f"/proc/{server}/task").glob("*/children"))
    commands = {int(pid): command_line(int(pid)) for pid in children.split()}
    return {pid: words[1] for pid, words in commands.items() if words and Path(words[0]).name == MODEL_PROCESS}


class Server:
    """A running tritonserver; its output goes to `sink`, the last lines are kept to tell why it failed."""

    def __init__(self, command: list[str], environment: dict[str, str], sink: IO[bytes], lock: int) -> None:
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a terminal's Ctrl-C reaches the launcher alone, which then stops the server
            preexec_fn=dying_with_parent(),
            pass_fds=[lock],
        )
        self._tail: deque[bytes] = deque(maxlen=LOG_LINES)
        self._models: dict[int, str] = {}
        self._reader = threading.Thread(target=self._copy_output, args=(sink,), daemon=True)
        self._reader.start()

    def _copy_output(self, sink: IO[bytes]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._tail.append(line)
            sink.write(line)
            sink.flush()

    def wait_ready(self, endpoints: Endpoints, timeout_s: float, stop: threading.Event) -> None:
        """Returns once the server and all models are ready, or `stop` is set; raises ServeError otherwise."""
        deadline = time.monotonic() + timeout_s
        while not stop.wait(0.1) and not is_ready(endpoints):
            self.check_alive()
            if time.monotonic() > deadline:
                raise ServeError(f"tritonserver is not ready after {timeout_s:g} s; its last lines:\n{self.summary()}")
        self._models = model_processes(self._process.pid)

    def check_models(self) -> None:
        """Raises ServeError if the process of a model has ended.

        Triton does not start such a process again and stays live and ready, but every request to the model fails.
        """
        ended = [path for pid, path in self._models.items() if not command_line(pid)]
        if ended:
            with suppress(subprocess.TimeoutExpired):  # they also end with their server
                self._process.wait(0.5)
            self.check_alive()
            self.stop(KILL_AFTER_S)  # Triton would wait for this model until its exit timeout
            raise ServeError(f"the process of a model has ended, and Triton starts no other: {', '.join(ended)}")

    def check_alive(self) -> None:
        """Raises ServeError if the server has exited."""
        status = self._process.poll()
        if status is not None:
            self._reader.join(timeout=1)
            summary = self.summary()
            error = PortTakenError if "already in use" in summary else ServeError
            raise error(f"tritonserver exited with status {status}:\n{summary}")

    def summary(self) -> str:
        """The lines of the server's output that tell why it failed, else its last ones."""
        lines = [line.decode(errors="replace").rstrip() for line in self._tail.copy()]
        causes = [line.partition(r"\n\nAt:")[0] for line in lines if CAUSE.search(line)]
        return "\n".join(causes or lines)

    def stop(self, timeout_s: float) -> None:
        """Lets running inferences finish, then ends the server and every process it started."""
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(timeout=1)


def is_ready(endpoints: Endpoints) -> bool:
    """Whether the readiness check succeeds and the metrics, which Triton starts last, are there."""
    return answers(endpoints.reachable, endpoints.http, "/v2/health/ready") and answers(
        endpoints.reachable, endpoints.metrics, "/metrics"
    )


def answers(host: str, port: int, path: str) -> bool:
    """Whether a GET request succeeds within a second."""
    connection = http.client.HTTPConnection(host, port, timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def ready_file(path: Path | None, endpoints: Endpoints) -> Iterator[None]:
    """Announces the endpoints in a JSON file, written whole or not at all, for as long as the context lasts."""
    if path is None:
        yield
        return
    host = endpoints.reachable
    ports = {name: f"{host}:{getattr(endpoints, name)}" for name in ("http", "grpc", "metrics")}
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(json.dumps({"pid": os.getpid(), **ports}) + "\n")
    draft.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def stop_after(parent: int, stop: threading.Event) -> None:
    """Sets `stop` once the process that started this one has ended, in whatever way."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        stop.set()

    threading.Thread(target=watch, daemon=True).start()


def serve(options: argparse.Namespace, endpoints: Endpoints, stop: threading.Event) -> None:
    """Runs the server on these endpoints until `stop` is set; raises ServeError if it fails before."""
    with ExitStack() as cleanup:
        scratch = cleanup.enter_context(Scratch.create())
        sink = cleanup.enter_context(options.log_file.open("ab")) if options.log_file else sys.stderr.buffer
        binary = find_server(options.tritonserver)
        command = [str(binary), *server_arguments(options, endpoints, scratch.prefix)]
        environment = dict(os.environ)
        if assemble_backends(binary, options.backends, scratch.directory):
            command.append(f"--backend-directory={scratch.directory}")
            environment = wheel_environment(binary)
        server = Server(command, environment, sink, scratch.lock)
        cleanup.callback(server.stop, options.exit_timeout_s + KILL_AFTER_S)
        server.wait_ready(endpoints, options.ready_timeout_s, stop)
        if stop.is_set():
            return
        print(f"Triton is ready: HTTP {endpoints.http}, gRPC {endpoints.grpc}, metrics {endpoints.metrics}", flush=True)
        with ready_file(options.ready_file, endpoints):
            while not stop.wait(0.2):
                server.check_alive()
                server.check_models()


@dataclass(frozen=True, slots=True)
class Scratch:
    """What one server keeps outside its processes: shared memory regions and a temporary directory.

    All names begin with `prefix`. `lock` is the descriptor of a locked file beside the regions.
    """

    prefix: str
    directory: Path
    lock: int

    @staticmethod
    @contextmanager
    def create() -> Iterator[Scratch]:
        """New scratch, removed at the end. The scratch that killed launchers and servers left is removed first.

        In a pod, /dev/shm outlives a killed container, and a few restarts would fill /dev/shm. Therefore the server
        inherits the lock: the kernel releases the lock with the last of their processes.
        """
        for path in SHARED_MEMORY.glob(f"{SCRATCH_OWNER}*{LOCK_SUFFIX}"):
            with suppress(OSError), path.open("rb") as lock:  # removed meanwhile, another user's, or held
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_scratch(path.name.removesuffix(LOCK_SUFFIX))
        prefix = f"{SCRATCH_OWNER}{os.getpid()}_{secrets.token_hex(4)}_"
        directory = Path(tempfile.gettempdir()) / f"{prefix}backends"
        draft = SHARED_MEMORY / f".{prefix}{LOCK_SUFFIX}"  # another launcher sees the file only once it is locked
        with draft.open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            draft.rename(SHARED_MEMORY / f"{prefix}{LOCK_SUFFIX}")
            try:
                directory.mkdir(mode=0o700)
                yield Scratch(prefix, directory, lock.fileno())
            finally:
                remove_scratch(prefix)


def remove_scratch(prefix: str) -> None:
    """Removes the files and folders whose names begin with `prefix`, and their lock last."""
    found = [path for root in (SHARED_MEMORY, Path(tempfile.gettempdir())) for path in root.glob(f"{prefix}*")]
    for path in sorted(found, key=lambda path: path.name.endswith(LOCK_SUFFIX)):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def parse_options() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        description="Run NVIDIA's tritonserver on a model repository until SIGTERM or SIGINT.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--model-repository", type=Path, action="append", required=True, help="may be given several times")
    add("--model-config-name", help="take <model>/configs/NAME.pbtxt where there is one, e.g. gpu")
    add("--tritonserver", type=Path, help="the binary; default: the wheel's, else the container's")
    add("--backends", type=Path, default=OWN_BACKENDS, help="what the wheel's server has besides the Python backend")
    add("--host", default="127.0.0.1", help="address to bind")
    add("--http-port", type=int, default=8000, help="0 takes a free port")
    add("--grpc-port", type=int, default=8001, help="0 takes a free port")
    add("--metrics-port", type=int, default=8002, help="0 takes a free port")
    add("--ready-file", type=Path, help="JSON with pid, http, grpc and metrics while the server is ready")
    add("--ready-timeout-s", type=float, default=120.0, help="give up if the models are not ready by then")
    add("--exit-timeout-s", type=int, default=30, help="time for running inferences to finish at the end")
    add("--parent", type=int, help="process id of the caller: stop once it has ended; default: outlive it")
    add("--log-file", type=Path, help="append the server's output here; default: standard error")
    add("server_arguments", nargs="*", metavar="-- ARGUMENT", help="passed to tritonserver as they are")
    return parser.parse_args()


def main() -> int:
    """Serves until a signal; returns the exit status."""
    options = parse_options()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    if options.parent:
        stop_after(options.parent, stop)
    wanted = Endpoints(options.host, options.http_port, options.grpc_port, options.metrics_port)
    try:
        for attempt in range(1, PORT_ATTEMPTS + 1):
            endpoints = wanted.resolved()
            try:
                serve(options, endpoints, stop)
                return 0
            except PortTakenError:
                # Triton binds only after its models are loaded; meanwhile a chosen port may have been taken.
                if endpoints == wanted or attempt == PORT_ATTEMPTS:
                    raise
    except (ServeError, OSError) as error:
        print(f"serve.py: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
