"""What a release consists of."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import yaml

Object = dict[str, Any]

GATEWAY, TRITON, BATCH = "gateway", "triton", "batch"  # names of the containers


class Release:
    """Rendered objects, and their text as helm gave it."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def objects(self) -> list[Object]:
        return [document for document in yaml.load_all(self.text, yaml.CSafeLoader) if document]

    def all(self, kind: str) -> list[Object]:
        return [thing for thing in self.objects if thing["kind"] == kind]

    def one(self, kind: str, suffix: str = "") -> Object:
        """The object of a kind whose name ends so; fails unless there is exactly one."""
        (found,) = (thing for thing in self.all(kind) if thing["metadata"]["name"].endswith(suffix))
        return found

    def pods(self) -> Iterator[tuple[str, Object]]:
        """Names of all pods and pod templates, and these. The name of a Job comes without the hash of its content."""
        for thing in self.objects:
            if thing["kind"] == "Pod":
                yield thing["metadata"]["name"], thing
            elif thing["kind"] == "Deployment":
                yield thing["metadata"]["name"], thing["spec"]["template"]
            elif thing["kind"] == "Job":
                yield thing["metadata"]["name"].rpartition("-")[0], thing["spec"]["template"]

    def pod(self, suffix: str) -> Object:
        (found,) = (pod for name, pod in self.pods() if name.endswith(suffix))
        return found

    def container(self, pod: str, name: str) -> Object:
        (found,) = (container for container in containers(self.pod(pod)) if container["name"] == name)
        return found

    def settings(self) -> dict[str, str]:
        """The gateway's environment as far as it is text: its ConfigMap, then its own variables."""
        data: dict[str, str] = dict(self.one("ConfigMap", "-gateway")["data"])
        return data | environment(self.container("-gateway", GATEWAY))


def containers(pod: Object) -> list[Object]:
    spec = pod["spec"]
    return [*spec.get("initContainers", []), *spec["containers"]]


def environment(container: Object) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container.get("env", [])}


def mounts(container: Object) -> dict[str, Object]:
    """A container's mounts by path."""
    return {mount["mountPath"]: mount for mount in container["volumeMounts"]}


def volume(pod: Object, name: str) -> Object:
    (found,) = (volume for volume in pod["spec"]["volumes"] if volume["name"] == name)
    return found


def selects(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector takes these labels; those of the chart use no expressions."""
    assert set(selector) <= {"matchLabels"}, selector
    return selector.get("matchLabels", {}).items() <= labels.items()
