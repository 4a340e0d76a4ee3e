"""What every pod has: no rights, no writable root, probes, time to leave."""

from __future__ import annotations

import re

import pytest

from deploy import dist
from deploy.triton import serve

from .conftest import CI, RenderError
from .objects import GATEWAY, TRITON, containers, environment, mounts, volume


@pytest.mark.parametrize("ci", CI)
def test_pods_meet_the_restricted_standard(render, ci):
    pods = dict(render(ci).pods())
    assert len(pods) == {"sidecar": 2, "everything": 4}.get(ci, 3)  # with those of `helm test` and of the batch
    for pod in pods.values():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False, "CELLSERVE_..._PORT would look like settings"
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] == security["runAsGroup"] == security["fsGroup"] == 10001
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for entry in spec["volumes"]:
            assert set(entry) - {"name"} <= {"emptyDir", "secret", "persistentVolumeClaim"}
            assert "emptyDir" not in entry or entry["emptyDir"]["sizeLimit"]
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            resources = container["resources"]
            assert resources["limits"]["memory"]
            assert {"cpu", "memory"} <= set(resources["requests"])
            assert not any("hostPort" in port for port in container.get("ports", []))


@pytest.mark.parametrize("ci", CI)
def test_every_mount_has_its_volume(render, ci):
    for _, pod in render(ci).pods():
        names = [entry["name"] for entry in pod["spec"]["volumes"]]
        used = {mount["name"] for container in containers(pod) for mount in container["volumeMounts"]}
        assert len(names) == len(set(names))
        assert used == set(names)


@pytest.mark.parametrize("ci", CI)
def test_account_has_no_token(render, ci):
    release = render(ci)
    account = release.one("ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    assert {pod["spec"]["serviceAccountName"] for _, pod in release.pods()} == {account["metadata"]["name"]}


def test_account_of_somebody_else(render):
    release = render(values={"serviceAccount": {"create": False, "name": "theirs"}})
    assert not release.all("ServiceAccount")
    assert {pod["spec"]["serviceAccountName"] for _, pod in release.pods()} == {"theirs"}


@pytest.mark.parametrize("ci", CI)
def test_gateway_is_probed_where_neither_tls_nor_tokens_are_asked_for(render, ci):
    gateway = render(ci).container("-gateway", GATEWAY)
    assert gateway["startupProbe"]["grpc"] == gateway["livenessProbe"]["grpc"] == {"port": 50052, "service": "liveness"}
    assert gateway["readinessProbe"]["grpc"] == {"port": 50052}
    assert render(ci).settings()["CELLSERVE_HEALTH_PORT"] == "50052"


@pytest.mark.parametrize("ci", CI)
def test_triton_that_is_not_ready_is_not_killed(render, ci):
    release = render(ci)
    triton = release.container("-gateway" if ci == "sidecar" else "-triton", TRITON)
    assert triton["startupProbe"]["grpc"] == triton["readinessProbe"]["grpc"] == {"port": 8001}
    assert triton["livenessProbe"]["httpGet"] == {"path": "/v2/health/live", "port": 8000}


@pytest.mark.parametrize("seconds", [30, 33, 300, 1800, 7200])
@pytest.mark.parametrize(("ci", "profile"), [("minimal", "cpu"), ("gpu", "gpu")])
def test_launcher_gives_up_before_the_kubelet_does(render, ci, profile, seconds):
    release = render(ci, {"triton": {profile: {"startupSeconds": seconds}}})
    triton = release.container("-triton", TRITON)
    assert f"--ready-timeout-s={seconds}" in triton["args"]
    probe = triton["startupProbe"]
    assert seconds < probe["periodSeconds"] * probe["failureThreshold"] <= seconds + 60
    assert release.one("Deployment", "-triton")["spec"]["progressDeadlineSeconds"] > seconds
    assert release.one("Deployment", "-gateway")["spec"]["progressDeadlineSeconds"] > seconds


def test_gateway_has_time_to_compile(render):
    probe = render(values={"gateway": {"startupSeconds": 241}}).container("-gateway", GATEWAY)["startupProbe"]
    assert 241 <= probe["periodSeconds"] * probe["failureThreshold"] < 250


TIMES = [(0, 0, 1, 0), (10, 300, 30, 30), (3, 3600, 600, 600), (7, 59, 45, 1)]


@pytest.mark.parametrize(("delay", "drain", "exit_timeout", "cache"), TIMES)
@pytest.mark.parametrize("topology", ["tiers", "sidecar"])
def test_grace_periods_cover_what_happens_in_them(render, topology, delay, drain, exit_timeout, cache):
    release = render(
        values={
            "topology": topology,
            "dnsCacheSeconds": cache,
            "gateway": {"drainDelaySeconds": delay, "drainSeconds": drain},
            "triton": {"exitTimeoutSeconds": exit_timeout},
        }
    )
    settings = release.settings()
    assert settings["CELLSERVE_DRAIN_DELAY_S"] == str(delay)
    assert settings["CELLSERVE_DRAIN_S"] == str(drain)
    pod = release.pod("-gateway")
    needed = delay + drain
    killed_after = exit_timeout + serve.KILL_AFTER_S
    if topology == "sidecar":
        triton = release.container("-gateway", TRITON)
        assert "lifecycle" not in triton, "it ends after the gateway, its only caller"
        needed += killed_after
    else:
        triton = release.container("-triton", TRITON)
        stay = triton["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert stay >= cache + 5  # gateways look names up every few seconds
        grace = release.pod("-triton")["spec"]["terminationGracePeriodSeconds"]
        assert stay + killed_after < grace <= stay + killed_after + 15
    assert f"--exit-timeout-s={exit_timeout}" in triton["args"]
    assert needed < pod["spec"]["terminationGracePeriodSeconds"] <= needed + 15


def test_triton_arguments(render):
    cpu = render(values={"triton": {"extraArgs": ["--log-verbose=1"]}}).container("-triton", TRITON)["args"]
    assert cpu[:2] == ["--host=0.0.0.0", "--model-repository=/models"]
    assert cpu[-2:] == ["--", "--log-verbose=1"]
    assert not any("config-name" in entry for entry in cpu)
    gpu = render("gpu").container("-triton", TRITON)["args"]
    assert "--model-config-name=gpu" in gpu
    assert "--" not in gpu, "what tritonserver gets stands after a --"


@pytest.mark.parametrize("ci", CI)
def test_launcher_takes_its_arguments(render, monkeypatch, ci):
    args = render(ci).container("-gateway" if ci == "sidecar" else "-triton", TRITON)["args"]
    monkeypatch.setattr("sys.argv", ["serve.py", *args])
    options = serve.parse_options()
    assert [str(path) for path in options.model_repository] == ["/models"]
    assert options.host == "0.0.0.0"
    assert options.exit_timeout_s == 30
    assert options.ready_timeout_s == (1800 if ci in ("gpu", "sidecar") else 300)
    assert options.model_config_name == ("gpu" if ci in ("gpu", "sidecar") else None)
    assert options.server_arguments == (["--log-verbose=1"] if ci == "everything" else [])


def test_sidecar_starts_before_and_ends_after_the_gateway(render):
    spec = render("sidecar").pod("-gateway")["spec"]
    assert [container["name"] for container in spec["initContainers"]] == ["copy-models", "verify-models", TRITON]
    assert spec["initContainers"][-1]["restartPolicy"] == "Always"
    assert [container["name"] for container in spec["containers"]] == [GATEWAY]
    assert render("sidecar").settings()["CELLSERVE_TRITON_ADDRESS"] == "127.0.0.1:8001"


def test_gateway_finds_all_tritons(render):
    release = render("everything", release="lab")
    name = release.one("Service", "-triton")
    assert name["spec"]["clusterIP"] == "None"
    assert release.settings()["CELLSERVE_TRITON_ADDRESS"] == (
        f"dns:///{name['metadata']['name']}.cells.svc.cluster.example.com:8001"
    )
    # Gateways look the name up every second: at once, not in every search domain first.
    assert release.pod("-gateway")["spec"]["dnsConfig"] == {"options": [{"name": "ndots", "value": "2"}]}


@pytest.mark.parametrize("ci", CI)
def test_writable_places(render, ci):
    release = render(ci)
    gateway = release.container("-gateway", GATEWAY)
    assert {path for path, mount in mounts(gateway).items() if not mount.get("readOnly")} == {"/tmp"}
    assert environment(gateway)["NUMBA_CACHE_DIR"].startswith("/tmp/")
    pod = release.pod("-gateway" if ci == "sidecar" else "-triton")
    (triton,) = (container for container in containers(pod) if container["name"] == TRITON)
    writable = {path for path, mount in mounts(triton).items() if not mount.get("readOnly")}
    assert writable == {"/tmp", "/dev/shm"} | ({"/tmp/cellserve-tensorrt"} if ci in ("gpu", "sidecar") else set())
    assert volume(pod, mounts(triton)["/dev/shm"]["name"])["emptyDir"]["medium"] == "Memory"
    assert mounts(triton)["/tmp"]["name"] != mounts(gateway)["/tmp"]["name"]


def test_engines_are_kept_where_a_claim_is(render):
    kept, passing = render("gpu").pod("-triton"), render("sidecar").pod("-gateway")
    assert volume(kept, "engines")["persistentVolumeClaim"]["claimName"] == "cellserve-engines-h100"
    assert volume(passing, "engines")["emptyDir"] == {"sizeLimit": "2Gi"}


def test_threads_follow_cpu_limits(render):
    def threads(name: str) -> dict:
        return {"resourceFieldRef": {"containerName": name, "resource": "limits.cpu"}}

    limited = render()
    assert limited.settings()["CELLSERVE_WORKER_THREADS"] == threads(GATEWAY)
    assert environment(limited.container("-triton", TRITON))["OMP_NUM_THREADS"] == threads(TRITON)
    none = {"resources": {"limits": {"cpu": None}}}
    free = render(values={"gateway": none, "triton": {"cpu": none}})
    assert "CELLSERVE_WORKER_THREADS" not in free.settings()
    assert "OMP_NUM_THREADS" not in environment(free.container("-triton", TRITON))
    stated = render(values={"gateway": {"settings": {"worker_threads": 3}}})
    assert stated.settings()["CELLSERVE_WORKER_THREADS"] == "3"
    assert "OMP_NUM_THREADS" not in environment(render("gpu").container("-triton", TRITON))


def test_gpu_pods_go_where_gpus_are(render):
    spec = render("gpu").pod("-triton")["spec"]
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert spec["runtimeClassName"] == "nvidia"
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]
    assert "tolerations" not in render("gpu").pod("-gateway")["spec"]


def test_sidecar_pods_go_where_both_can_be(render):
    both = {
        tier: {"nodeSelector": {f"for/{tier}": "yes"}, "tolerations": [{"key": tier, "operator": "Exists"}]}
        for tier in ("gateway", "triton")
    }
    both["triton"]["gpu"] = {"runtimeClassName": "nvidia"}
    spec = render("sidecar", both).pod("-gateway")["spec"]
    assert spec["nodeSelector"] == {"for/gateway": "yes", "for/triton": "yes"}
    assert [entry["key"] for entry in spec["tolerations"]] == ["gateway", "triton", "nvidia.com/gpu"]
    assert spec["runtimeClassName"] == "nvidia"


def test_pods_are_replaced_when_settings_change(render):
    def checksum(**settings: object) -> str:
        return render(values={"gateway": {"settings": settings}}).pod("-gateway")["metadata"]["annotations"][
            "checksum/config"
        ]

    assert checksum() == checksum()
    assert checksum() != checksum(log_level="debug")


def test_images(render):
    images = {entry["name"]: entry["image"] for _, pod in render("everything").pods() for entry in containers(pod)}
    assert re.fullmatch(r"cellserve/gateway@sha256:[0-9a-f]{64}", images["gateway"])
    assert images["segment"] == images["batch"] == images["gateway"]
    assert images["triton"] == f"cellserve/triton-cpu:{dist.project_version()}"
    assert images["copy-models"] == "rclone/rclone:1.71.0"
    tagged = render(values={"triton": {"cpu": {"image": {"repository": "r.example.com/t", "tag": "7"}}}})
    assert tagged.container("-triton", TRITON)["image"] == "r.example.com/t:7"
    digest = f"sha256:{'ab' * 32}"
    pinned = render(values={"triton": {"cpu": {"image": {"tag": "7", "digest": digest}}}})
    assert pinned.container("-triton", TRITON)["image"] == f"cellserve/triton-cpu@{digest}"
    assert all(pod["spec"]["imagePullSecrets"] == [{"name": "registry"}] for _, pod in render("everything").pods())


@pytest.mark.parametrize(
    ("ci", "values", "message"),
    [
        ("sidecar", {"triton": {"autoscaling": {"enabled": True}}}, "use gateway.autoscaling"),
        ("gpu", {"triton": {"autoscaling": {"minReplicas": 300}}}, "triton.autoscaling: minReplicas exceeds"),
        ("minimal", {"gateway": {"autoscaling": {"maxReplicas": 1}}}, "gateway.autoscaling: minReplicas exceeds"),
        ("minimal", {"gateway": {"rollingUpdate": {"maxSurge": "0%"}}}, "no update could begin"),
        ("gpu", {"triton": {"rollingUpdate": {"maxUnavailable": 0}}}, "no update could begin"),
        ("minimal", {"gateway": {"extraEnv": [{"name": "CELLSERVE_PORT", "value": "1"}]}}, "takes it as port"),
        ("gpu", {"triton": {"gpu": {"resources": {"limits": {"nvidia.com/gpu": None}}}}}, "needs a GPU"),
        ("minimal", {"models": {"source": "persistentVolumeClaim"}}, "which claim"),
        ("sidecar", {"models": {"objectStorage": {"remote": ""}}}, "where are the models"),
        ("sidecar", {"models": {"objectStorage": {"sha256": ""}}}, "which models are meant"),
        ("cpu", {"tls": {"secretName": ""}}, "which secret has the certificate"),
        ("cpu", {"tls": {"enabled": False}}, "no effect without it"),
        ("minimal", {"tls": {"clientCA": {"secretName": "x"}}}, "no effect without it"),
        ("cpu", {"tls": {"certManager": {"issuerName": ""}}}, "who issues"),
        ("everything", {"ingress": {"host": ""}}, "for which host"),
        ("everything", {"grpcRoute": {"parentRefs": []}}, "which gateway takes"),
    ],
)
def test_contradictions_are_refused(render, ci, values, message):
    render(ci)
    with pytest.raises(RenderError, match=message):
        render(ci, values)
