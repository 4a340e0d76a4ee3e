"""Containers as a strict cluster runs them: a pod with a loopback of its own, images started by an OCI runtime.

The root file system is read-only; /tmp and a /dev/shm of 64 MiB are all that can be written; no capability, no new
privilege. Command, environment and user are the image's own. Needs root, buildah, crun, iproute2 and util-linux.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STOP_TIMEOUT_S = 60.0
CAPABILITY_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")


@dataclass(frozen=True)
class Image:
    """An image's configuration, and its root file system on this machine."""

    name: str
    config: dict[str, Any]
    root: Path

    @property
    def health_command(self) -> list[str]:
        """Command of its HEALTHCHECK."""
        kind, *command = map(str, self.config["Healthcheck"]["Test"])
        assert kind == "CMD"  # needs no shell
        return command


@contextlib.contextmanager
def mounted(name: str) -> Iterator[Image]:
    """Mounts an image of buildah's store."""
    inspected = json.loads(output("buildah", "inspect", "--type", "image", name))
    container = output("buildah", "from", "--pull-never", name)
    try:
        yield Image(name, inspected["Docker"]["config"], Path(output("buildah", "mount", container)))
    finally:
        output("buildah", "rm", container)


def output(*command: str) -> str:
    """Standard output of a command that has to succeed."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class Pod:
    """A network with nothing but its loopback, in which containers reach each other and nobody else reaches them.

    Args:
        directory: For logs and the runtime's state.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # crun refuses machines with cgroups of both versions. Nothing here is limited by any, so the pod sees one.
        script = "ip link set lo up; umount --quiet /sys/fs/cgroup/unified; echo; exec sleep infinity"
        command = ["unshare", "--net", "--mount", "sh", "-c", script]
        self._pause = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert self._pause.stdout is not None
        assert self._pause.stdout.readline() == b"\n"

    def inside(self, *command: str) -> list[str]:
        """Command line that runs a command of this machine in the pod's network."""
        return ["nsenter", f"--target={self._pause.pid}", "--net", "--mount", "--", *command]

    def runtime(self, *arguments: str) -> list[str]:
        """Command line of the OCI runtime."""
        return self.inside("crun", f"--root={self.directory / 'crun'}", "--cgroup-manager=disabled", *arguments)

    def close(self) -> None:
        """Removes the pod; its containers have been stopped."""
        self._pause.terminate()
        self._pause.wait()


class Container:
    """A running image.

    Args:
        pod: Where it runs.
        name: For messages and files.
        image: What runs: its entry point and command, its environment, its user.
    """

    def __init__(self, pod: Pod, name: str, image: Image) -> None:
        self._pod, self._name = pod, name
        config = image.config
        user, group = map(int, config["User"].split(":"))
        self._process = {
            "args": [*config["Entrypoint"], *(config["Cmd"] or [])],
            "env": config["Env"],
            "cwd": config["WorkingDir"] or "/",
            "user": {"uid": user, "gid": group},
            "capabilities": {kind: [] for kind in CAPABILITY_SETS},
            "noNewPrivileges": True,
        }
        bundle = pod.directory / name
        bundle.mkdir()
        specification = {
            "ociVersion": "1.0.2",
            "root": {"path": str(image.root), "readonly": True},
            "process": self._process,
            "mounts": [
                mount("/proc", "proc"),
                mount("/dev", "tmpfs", "nosuid", "mode=755", "size=64k"),
                mount("/dev/shm", "tmpfs", "nosuid", "nodev", "noexec", "mode=1777", "size=64m"),
                mount("/tmp", "tmpfs", "nosuid", "nodev", "mode=1777"),
                mount("/sys", "sysfs", "nosuid", "nodev", "noexec", "ro"),
            ],
            "linux": {
                "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")],
                "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware"],
                "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"],
            },
        }
        (bundle / "config.json").write_text(json.dumps(specification))
        self.log = pod.directory / f"{name}.log"
        with self.log.open("wb") as log:
            self._popen = subprocess.Popen(
                pod.runtime("run", f"--bundle={bundle}", name), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def run(self, command: Sequence[str], timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Runs another command in the container, as its user and under the same restrictions."""
        process = self._pod.directory / f"{self._name}.process.json"
        process.write_text(json.dumps(self._process | {"args": list(command)}))
        return subprocess.run(
            self._pod.runtime("exec", f"--process={process}", self._name),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def alive(self) -> bool:
        """Whether its first process runs."""
        return self._popen.poll() is None

    def stop(self) -> int:
        """Sends SIGTERM to its first process, as a cluster does, and returns that process's exit status."""
        if self.alive():
            output(*self._pod.runtime("kill", self._name, "TERM"))
            try:
                self._popen.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                output(*self._pod.runtime("kill", self._name, "KILL"))
        return self._popen.wait()


def mount(where: str, kind: str, *options: str) -> dict[str, Any]:
    """A mount of an OCI specification."""
    return {"destination": where, "type": kind, "source": kind, "options": list(options)}
