"""A batch: its shards, its Job, and the examples without the chart."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cellserve.batch.shard import MAX_COUNT, Shard

from .conftest import CI, ROOT, VERSIONS, RenderError
from .network import DNS, GATEWAY_PORTS, STRANGERS, Endpoint, may_reach, pod
from .objects import BATCH, GATEWAY, Object, environment, mounts, volume

EXAMPLES = ROOT / "examples" / "kubernetes"
NAMES = [f"plate-{number // 384}/{number % 384:03}.tif" for number in range(10_003)]
SIMPLE = {
    "enabled": True,
    "input": {"claimName": "images", "paths": ["."]},
    "output": {"claimName": "results", "folder": "results"},
}
"""A batch with the defaults."""
EXAMPLE = {**SIMPLE, "extraArgs": ["--diameter=30"], "ttlSecondsAfterFinished": 604800}
"""The values of the batch that examples/kubernetes/batch-job.yaml is."""


def batch(**values: object) -> dict[str, Any]:
    return {"batch": {**SIMPLE, **values}}


def example(name: str) -> Object:
    thing: Object = yaml.safe_load((EXAMPLES / name).read_text())
    return thing


def job_of(render, source: str) -> Object:
    """The Job of `SIMPLE`, of the file of values `everything`, or of the example without the chart."""
    if source == "example":
        return example("batch-job.yaml")
    job: Object = (render("everything") if source == "everything" else render(values=batch())).one("Job")
    return job


def expanded(text: str, variables: Mapping[str, str]) -> str:
    """A part of a command as the kubelet hands it over: $(NAME) is replaced if there is such a variable."""
    return re.sub(r"\$\((\w+)\)", lambda match: variables.get(match[1], match[0]), text)


def commands(job: Object) -> list[list[str]]:
    """The command of every index."""
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert "args" not in container
    return [
        [expanded(part, {"JOB_COMPLETION_INDEX": str(index)}) for part in container["command"]]
        for index in range(job["spec"]["completions"])
    ]


def option(command: list[str], name: str) -> str:
    (value,) = (part.removeprefix(f"{name}=") for part in command if part.startswith(f"{name}="))
    return value


SOURCES = ["simple", "everything", "example"]


@pytest.mark.parametrize("source", SOURCES)
def test_the_shards_of_the_rendered_commands_cover_every_image_once(render, source):
    job = job_of(render, source)
    assert job["spec"]["completionMode"] == "Indexed"
    shards = [Shard.parse(option(command, "--shard")) for command in commands(job)]
    assert len(shards) == job["spec"]["completions"] == {"everything": 64}.get(source, 10)
    held = Counter(name for shard in shards for name in NAMES if shard.holds(name))
    assert held == dict.fromkeys(NAMES, 1)


@pytest.mark.parametrize("shards", [1, 7, 1000])
def test_the_number_of_shards_can_be_chosen(render, shards):
    job = render(values=batch(shards=shards)).one("Job")
    assert {Shard.parse(option(command, "--shard")) for command in commands(job)} == {
        Shard(index, shards) for index in range(shards)
    }


@pytest.mark.parametrize("source", SOURCES)
def test_the_job_meets_the_rules_that_no_schema_has(render, source):
    """Those of Kubernetes' own validation of Jobs."""
    job = job_of(render, source)
    spec = job["spec"]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # podFailurePolicy, backoffLimitPerIndex
    assert 0 <= spec["maxFailedIndexes"] <= spec["completions"]  # stands with backoffLimitPerIndex only
    assert spec["backoffLimitPerIndex"] >= 0
    assert spec["podReplacementPolicy"] == "Failed"  # podFailurePolicy allows no other
    assert "selector" not in spec
    (container,) = spec["template"]["spec"]["containers"]
    ignored, fatal = spec["podFailurePolicy"]["rules"]
    assert (ignored["action"], ignored["onPodConditions"]) == (
        "Ignore",
        [{"type": "DisruptionTarget", "status": "True"}],
    )
    assert (fatal["action"], fatal["onExitCodes"]["containerName"]) == ("FailJob", container["name"])
    assert fatal["onExitCodes"]["values"] == [2], "wrong usage; 1 is a failed image or a server that is away"
    # The names of pods end in the index.
    assert len(f"{job['metadata']['name']}-{spec['completions'] - 1}") <= 63


def test_pods_of_a_long_name_have_names(render):
    job = render(values=batch(shards=MAX_COUNT), release="x" * 53).one("Job")
    assert len(f"{job['metadata']['name']}-{MAX_COUNT - 1}") == 63


@pytest.mark.parametrize("ci", [ci for ci in CI if ci != "everything"])
def test_there_is_no_batch_unless_told(render, ci):
    release = render(ci)
    assert not release.all("Job")
    assert not [name for name, _ in release.pods() if "batch" in name]
    assert not [policy for policy in release.all("NetworkPolicy") if "component': 'batch'" in str(policy)]


def test_the_job_is_that_of_the_values(render):
    release = render("everything")
    spec = release.one("Job")["spec"]
    assert (spec["completions"], spec["parallelism"]) == (64, 16)
    assert (spec["backoffLimitPerIndex"], spec["maxFailedIndexes"]) == (3, 12)
    assert spec["activeDeadlineSeconds"] == spec["ttlSecondsAfterFinished"] == 1209600
    container = release.container("-batch", BATCH)
    assert container["command"] == [
        "cellserve",
        "--ca=/etc/cellserve/ca/ca.crt",
        "--certificate=/etc/cellserve/certificate/tls.crt",
        "--key=/etc/cellserve/certificate/tls.key",
        "batch",
        "/input/plate-1",
        "/input/plate-2/*.tif",
        "/input/wells/to-do.txt",
        "--out=/output/screen-7",
        "--shard=$(JOB_COMPLETION_INDEX)/64",
        "--save=geojson",
        "--save=csv",
        "--diameter=17.5",
        "--measure=shape",
        "--single",
    ]
    service = release.one("Service", "-gateway")["metadata"]["name"]
    assert environment(container) == {
        "CELLSERVE_ADDRESS": f"dns:///{service}.cells.svc.cluster.example.com:50051",
        "CELLSERVE_TOKEN": {"secretKeyRef": {"name": "cellserve-batch", "key": "token"}},
    }
    assert release.pod("-batch")["spec"]["securityContext"]["supplementalGroups"] == [5000]
    # Of the server's secret the certificate of the authority and nothing else.
    assert volume(release.pod("-batch"), "ca")["secret"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]


def test_limits_of_time_are_off_unless_told(render):
    release = render(values=batch())
    assert not {"activeDeadlineSeconds", "ttlSecondsAfterFinished"} & set(release.one("Job")["spec"])
    assert set(environment(release.container("-batch", BATCH))) == {"CELLSERVE_ADDRESS"}
    assert "supplementalGroups" not in release.pod("-batch")["spec"]["securityContext"]
    assert release.one("Job")["spec"]["maxFailedIndexes"] == release.one("Job")["spec"]["completions"]


def test_an_authority_that_everyone_trusts(render):
    command = render("everything", {"batch": {"caKey": ""}}).container("-batch", BATCH)["command"]
    assert command[:2] == ["cellserve", "--tls"]
    assert "/etc/cellserve/ca" not in mounts(render("everything", {"batch": {"caKey": ""}}).container("-batch", BATCH))


def test_images_are_read_and_results_written(render):
    def writable(container: Object) -> set[str]:
        return {path for path, mount in mounts(container).items() if not mount.get("readOnly")}

    apart = render(values=batch())
    container = apart.container("-batch", BATCH)
    assert container["command"][2:4] == ["/input", "--out=/output/results"]
    assert writable(container) == {"/tmp", "/output"}
    claims = {name: volume(apart.pod("-batch"), name)["persistentVolumeClaim"] for name in ("input", "output")}
    assert claims == {"input": {"claimName": "images", "readOnly": True}, "output": {"claimName": "results"}}

    # Two volumes of one claim would be mounted twice, once read-only for all.
    together = render(values=batch(output={"claimName": "images", "folder": "results"}))
    container = together.container("-batch", BATCH)
    assert writable(container) == {"/tmp", "/output"}
    assert mounts(container)["/input"]["name"] == mounts(container)["/output"]["name"]
    assert volume(together.pod("-batch"), "output")["persistentVolumeClaim"] == {"claimName": "images"}
    assert [entry["name"] for entry in together.pod("-batch")["spec"]["volumes"]] == ["tmp", "output"]


def test_another_content_is_another_job(render):
    def name(**values: object) -> str:
        text: str = render(values=batch(**values)).one("Job")["metadata"]["name"]
        return text

    assert re.fullmatch(r"cellserve-batch-[0-9a-f]{6}", name())
    changed = [
        name(run="2"),
        name(shards=11),
        name(extraArgs=["--diameter=31"]),
        name(input={"claimName": "images", "paths": ["plate-2"]}),
        name(backoffLimitPerIndex=1),
    ]
    assert len({name(), *changed}) == 6, "Kubernetes would refuse the change of a Job"
    # Kubernetes takes these changes, and the Job goes on.
    assert name() == name(parallelism=20) == name(ttlSecondsAfterFinished=5)
    specs = [render(values=batch(parallelism=count)).one("Job")["spec"] for count in (4, 20)]
    assert specs[0] | {"parallelism": 20} == specs[1]


def test_a_batch_reaches_gateways_and_names_only(render):
    release = render("everything")
    ours, gateway = pod(release, "-batch"), pod(release, "-gateway")
    assert [port for port in GATEWAY_PORTS if may_reach(release, ours, gateway, port)] == [50051]
    assert may_reach(release, ours, DNS, 53, "UDP")
    assert not any(may_reach(release, ours, target, port) for target in STRANGERS for port in (80, 443, 50051))
    assert not any(may_reach(release, ours, pod(release, "-triton"), port) for port in (8000, 8001, 8002))
    assert not any(may_reach(release, stranger, ours, 50051) for stranger in STRANGERS)
    off = render("everything", {"batch": {"enabled": False}})
    assert not may_reach(off, Endpoint(ours.labels, "cells"), pod(off, "-gateway"), 50051), "callers are narrowed"


@pytest.mark.parametrize(
    ("ci", "change", "message"),
    [
        ("minimal", {"input": {"claimName": "", "paths": ["."]}}, "which claim has the images"),
        ("minimal", {"input": {"claimName": "images", "paths": []}}, "which images of the claim"),
        ("minimal", {"output": {"claimName": "", "folder": ""}}, "which claim takes the results"),
        ("minimal", {"output": {"claimName": "images", "folder": ""}}, "a folder of their own"),
        ("minimal", {"extraArgs": ["--shard=0/2"]}, "--shard follows from other values"),
        ("minimal", {"extraArgs": ["--out", "/tmp"]}, "--out follows from other values"),
        ("everything", {"tokenSecretName": ""}, "which secret has the token"),
        ("everything", {"certificateSecretName": ""}, "which secret has the certificate"),
    ],
)
def test_contradictions_are_refused(render, ci, change, message):
    with pytest.raises(RenderError, match=message):
        render(ci, batch(**change) if ci == "minimal" else {"batch": change})
    render(ci, {"batch": {**change, "enabled": False}})


@pytest.mark.parametrize(
    "change",
    [
        {"shards": 0},
        {"shards": MAX_COUNT + 1},
        {"input": {"claimName": "images", "paths": ["/absolute"]}},
        {"input": {"claimName": "images", "paths": ["@list.txt"]}},
        {"output": {"claimName": "results", "folder": "/absolute"}},
        {"supplementalGroups": [0]},
        {"podLabels": {"app.kubernetes.io/component": "gateway"}},
        {"completions": 5},
    ],
)
def test_wrong_values_are_refused(render, change):
    with pytest.raises(RenderError, match="don't meet the specifications of the schema"):
        render(values=batch(**change))


def test_the_example_has_the_content_of_the_chart(render):
    rendered = copy.deepcopy(render(values={"batch": EXAMPLE}, namespace="cellserve").one("Job")["spec"])
    written = example("batch-job.yaml")["spec"]
    for spec in (rendered, written):
        del spec["template"]["metadata"]
    del rendered["template"]["spec"]["serviceAccountName"]  # the chart's own
    assert written == rendered


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["batch-job.yaml", "batch-status.yaml"])
def test_kubernetes_takes_the_examples(validate, name, version):
    thing = example(name)
    assert validate(thing, version) == version
    thing["spec"]["resartPolicy"] = "Never"
    with pytest.raises(kubernetes_validate.ValidationError, match="resartPolicy"):
        validate(thing, version)


def test_the_status_is_that_of_the_examples_batch():
    job, status = example("batch-job.yaml")["spec"]["template"]["spec"], example("batch-status.yaml")["spec"]
    (batch_container,), (container,) = job["containers"], status["containers"]
    out = option(batch_container["command"], "--out")
    assert container["command"] == ["cellserve", "batch", "--status", out]
    assert container["image"] == batch_container["image"]
    claims = [entry["persistentVolumeClaim"]["claimName"] for entry in status["volumes"]]
    assert claims == [volume({"spec": job}, "output")["persistentVolumeClaim"]["claimName"]]
    assert container["securityContext"] == batch_container["securityContext"]
    assert all(mount["readOnly"] for mount in container["volumeMounts"])


def test_examples_and_chart_have_one_image(render):
    images = {example("batch-job.yaml")["spec"]["template"]["spec"]["containers"][0]["image"]}
    assert images == {render().container("-gateway", GATEWAY)["image"]}
