"""Gateways and Tritons as Kubernetes would run them: pods with addresses of their own behind headless names.

What kubelet and the control plane do is done here by hand, in their order: a pod is named once it is ready; one that is
to end loses its name first, then sleeps its preStop, then gets SIGTERM and its grace period.
"""

from __future__ import annotations

import os
import signal
import socket
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cellserve_gateway.local import START_TIMEOUT_S, Process, StartError

from devtools import stack
from devtools.names import NameServer

GRACE_S = 60.0


def free_port() -> int:
    """Returns a port that is free on every loopback address now, as pods of one kind share theirs."""
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Pod:
    """A running pod.

    Attributes:
        name: As Kubernetes would name it.
        kind: "gateway" or "triton".
        host: Its address.
        process: The server.
        at: The addresses it reported: "grpc", and "monitoring" or "metrics".
        named: Whether its address is among those of its name.
    """

    name: str
    kind: str
    host: str
    process: Process
    at: dict[str, str] = field(default_factory=dict)
    named: bool = False

    @property
    def scraped(self) -> str:
        """Address of its metrics."""
        return self.at["monitoring" if self.kind == "gateway" else "metrics"]

    def ready(self) -> bool:
        """Says what its readiness probe would."""
        try:
            # Triton opens its ports when all models are loaded.
            path = "readyz" if self.kind == "gateway" else "metrics"
            with urllib.request.urlopen(f"http://{self.scraped}/{path}", timeout=2):
                return True
        except OSError:
            return False

    def counter(self, name: str) -> float:
        """Returns the sum of a counter's samples; 0 where there are none."""
        with urllib.request.urlopen(f"http://{self.scraped}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))


class Cluster:
    """All pods, and the names they are behind.

    Args:
        directory: For logs and ready files.
        pre_stop_s: Seconds that each kind of pod sleeps between losing its name and SIGTERM.
        gateway_settings: Settings of all gateways.
        changed: Called with all pods whenever they change: Prometheus' service discovery.
    """

    def __init__(
        self,
        directory: Path,
        pre_stop_s: dict[str, float],
        gateway_settings: dict[str, Any],
        changed: Callable[[list[Pod]], None],
    ) -> None:
        self._directory = directory
        self._pre_stop_s = pre_stop_s
        self._settings = gateway_settings
        self._changed = changed
        self._names = NameServer()
        self._ports = {"gateway": free_port(), "triton": free_port()}
        self._started = 0
        self.pods: list[Pod] = []

    def target(self, kind: str) -> str:
        """Returns the gRPC target of the pods of a kind."""
        return f"dns://{self._names.address}/{kind}.cellserve:{self._ports[kind]}"

    def of(self, kind: str) -> list[Pod]:
        """Returns the pods of a kind, oldest first."""
        return [pod for pod in self.pods if pod.kind == kind]

    def start(self, kind: str) -> Pod:
        """Starts a pod; `admit` waits until it is ready."""
        self._started += 1
        name, host = f"{kind}-{self._started}", f"127.0.1.{self._started}"
        (self._directory / name).mkdir()
        pod = Pod(name, kind, host, self._run(name, kind, host))
        self.pods.append(pod)
        return pod

    def admit(self, pod: Pod) -> None:
        """Waits until a pod is ready, then names it."""
        pod.at = pod.process.wait_ready()
        end = time.monotonic() + START_TIMEOUT_S
        while not pod.ready():
            if time.monotonic() > end:
                raise StartError(f"{pod.name} is not ready; see {pod.process.log}")
            time.sleep(0.2)
        pod.named = True
        self._publish()

    def delete(self, pod: Pod) -> tuple[int, float]:
        """Ends a pod as Kubernetes does; returns its exit status and the seconds it took after SIGTERM."""
        self.pods.remove(pod)
        self._publish()
        time.sleep(self._pre_stop_s[pod.kind])
        start = time.monotonic()
        return pod.process.stop(GRACE_S), time.monotonic() - start

    def kill(self, pod: Pod) -> None:
        """Kills a Triton outright. Prometheus goes on asking for it, as for any failed pod."""
        server = int(Path(f"/proc/{pod.at['pid']}/task/{pod.at['pid']}/children").read_text())
        os.kill(server, signal.SIGKILL)
        pod.process.stop()
        pod.named = False
        self._publish()

    def restart(self, pod: Pod) -> None:
        """Starts the server of a pod again, as kubelet does with a container that failed."""
        pod.process = self._run(pod.name, pod.kind, pod.host)
        self.admit(pod)

    def replace(self, kind: str) -> list[tuple[int, float]]:
        """Replaces all pods of a kind, one after the other, the new one first; returns how the old ones ended."""
        ends = []
        for old in self.of(kind):
            self.admit(self.start(kind))
            ends.append(self.delete(old))
        return ends

    def close(self) -> None:
        """Ends everything, gateways first."""
        for pod in [*self.of("gateway"), *self.of("triton")]:
            pod.process.stop()
        self._names.close()

    def _run(self, name: str, kind: str, host: str) -> Process:
        directory, port = self._directory / name, self._ports[kind]
        if kind == "gateway":
            return stack.start_gateway(directory, self.target("triton"), host=host, port=port, **self._settings)
        # A processor each: several share a small machine.
        options = ("--host", host, "--grpc-port", str(port))
        return stack.start_triton(directory, *options, environment={"OMP_NUM_THREADS": "1"})

    def _publish(self) -> None:
        for kind in self._ports:
            self._names.set(f"{kind}.cellserve", *(pod.host for pod in self.of(kind) if pod.named))
        self._changed(self.pods)
