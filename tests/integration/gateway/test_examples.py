"""The clients in other languages, `examples/`: run as their users run them, against real gateways."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import grpc
import imagecodecs
import numpy as np
import pytest
import tifffile
from cellserve.testing.service import refusing
from cellserve_proto import v1 as pb

from tests.unit.client.scripted_server import Service, failure, pack, start

from .fronts import disks
from .programs import NUCLEI, run

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def node() -> list[str]:
    subprocess.run([ROOT / "devtools" / "get-node.sh"], check=True)
    folder = ROOT / "build" / "node"
    return [str(folder / "bin" / "node"), str(folder / "segment.mjs")]


@pytest.fixture(scope="module")
def cpp() -> list[str]:
    missing = [tool for tool in ("cmake", "c++", "grpc_cpp_plugin") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: apt install cmake g++ libgrpc++-dev protobuf-compiler-grpc libtiff-dev")
    target = ROOT / "build" / "cpp"
    for command in (["-S", ROOT / "examples" / "cpp", "-B", target], ["--build", target, "-j2"]):
        subprocess.run(["cmake", *command], check=True)
    return [str(target / "segment")]


@pytest.fixture(params=["node", "cpp"])
def program(request) -> list[str]:
    """The command of a client that speaks gRPC: IMAGE and LABELS follow."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def scripted() -> Iterator[Callable[..., dict[str, str]]]:
    """Starts a service that fails as told and then answers; returns the environment of its callers."""
    servers = []

    def serve(service: Service) -> dict[str, str]:
        server, _, port = start(service)
        servers.append(server)
        return {"CELLSERVE_ADDRESS": f"127.0.0.1:{port}"}

    yield serve
    for server in servers:
        server.stop(None)


def test_the_labels_are_those_of_the_python_client(program, guarded, expected, tmp_path):
    out = tmp_path / ("labels.png" if "node" in program[0] else "labels.tif")
    done = run(program, NUCLEI, out, **guarded[1])
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{NUCLEI}: {expected.max()} objects, 696 x 520 px, labels in {out}\n"
    np.testing.assert_array_equal(imagecodecs.imread(out), expected)


@pytest.mark.parametrize(
    ("environment", "image", "said"),
    [
        ({}, "text.png", "IMAGE_UNDECODABLE: the data is not a PNG file"),
        ({"CELLSERVE_TOKEN": "another"}, "text.png", "TOKEN_UNKNOWN: "),
        ({"CELLSERVE_ADDRESS": "127.0.0.1:1"}, "text.png", "onnect"),
        ({}, "absent.png", "absent.png: "),
    ],
)
def test_a_failure_is_named(program, guarded, environment, image, said, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    done = run(program, tmp_path / image, tmp_path / "labels.png", **guarded[1] | environment)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1, "one line, no stack"
    assert not (tmp_path / "labels.png").exists()


def test_answers_above_4_mb_arrive_after_a_retry(program, scripted, tmp_path):
    labels = np.arange(2048 * 2048, dtype=np.uint32).reshape(2048, 2048).astype("<u2")

    class Large(Service):
        def Segment(self, request, context):
            with refusing(context):
                self._receive(request, context)
            return pb.SegmentResponse(labels=pack(labels), objects=[pb.Object(label=1)])

    full = failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", "GATEWAY_FULL", retry_after_s=0.01)
    service = Large(full)
    out = tmp_path / ("labels.png" if "node" in program[0] else "labels.tif")
    done = run(program, NUCLEI, out, **scripted(service))
    assert done.returncode == 0, done.stderr
    assert len(service.requests) == 2
    np.testing.assert_array_equal(imagecodecs.imread(out), labels)


def test_a_refusal_without_a_hint_is_not_repeated(program, scripted, tmp_path):
    service = Service(failure(grpc.StatusCode.UNAVAILABLE, "no", "TRITON_UNAVAILABLE"))
    done = run(program, NUCLEI, tmp_path / "labels.png", **scripted(service))
    assert (done.returncode, len(service.requests)) == (1, 1)
    assert f"{NUCLEI}: TRITON_UNAVAILABLE: no" in done.stderr


def test_node_sends_and_takes_large_images_in_chunks(node, guarded, tmp_path):
    """A file of 1.2 MB in two chunks; a plain label image of 2.5 MB, above the gateway's message limit, in three."""
    pixels = np.tile(disks(18), (18, 1))
    tifffile.imwrite(tmp_path / "disks.tif", pixels)
    options = ("--diameter", 30, "--compression", "none")
    done = run(node, tmp_path / "disks.tif", tmp_path / "labels.png", *options, **guarded[1])
    assert done.returncode == 0, done.stderr
    labels = imagecodecs.imread(tmp_path / "labels.png")
    assert labels.shape == pixels.shape == (1080, 1080)
    middles = labels[30::60, 30::60]
    assert len(np.unique(middles)) == middles.size == labels.max() == 18 * 18
    assert f": {18 * 18} objects, " in done.stdout


SHELL = str(ROOT / "examples" / "shell" / "segment.sh")


@pytest.mark.parametrize(
    ("name", "objects"),
    [
        ("labels.tif", lambda path: tifffile.imread(path).max()),
        ("labels.png", lambda path: imagecodecs.imread(path).max()),
        ("objects.csv", lambda path: len(path.read_text().splitlines()) - 1),
        ("objects.geojson", lambda path: len(json.loads(path.read_text())["features"])),
        ("result.json", lambda path: len(json.loads(path.read_text())["objects"])),
        ("all.zip", lambda path: len(json.loads(zipfile.ZipFile(path).read("result.json"))["objects"])),
    ],
)
def test_shell_gets_every_form(guarded, expected, name, objects, tmp_path):
    done = run([SHELL], NUCLEI, tmp_path / name, **guarded[1])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert objects(tmp_path / name) == expected.max()


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_shell_passes_options_and_prints(shell, guarded, expected, tmp_path):
    if not shutil.which(shell):
        pytest.skip(f"no {shell}")
    overlay = run([shell, SHELL], NUCLEI, tmp_path / "overlay.png", "view=overlay", "ensemble=false", **guarded[1])
    assert overlay.returncode == 0, overlay.stderr
    assert imagecodecs.imread(tmp_path / "overlay.png").shape == (*expected.shape, 3)
    printed = run([shell, SHELL], NUCLEI, "-", "ensemble=false", "diameter=20", **guarded[1])
    params = json.loads(printed.stdout)["params"]
    assert (params["diameter"], params["ensemble"]) == (20, False)


@pytest.mark.parametrize(
    ("status", "environment", "option", "said"),
    [
        (1, {}, "diameter=-5", "PARAMETER_OUT_OF_RANGE: diameter is -5.0; allowed: 1 to 10000 pixels"),
        (1, {"CELLSERVE_TOKEN": ""}, "diameter=30", "TOKEN_MISSING: "),
        (7, {"CELLSERVE_HTTP_URL": "http://127.0.0.1:1"}, "diameter=30", "curl: (7) "),
    ],
)
def test_shell_tells_what_failed(guarded, status, environment, option, said, tmp_path):
    done = run([SHELL], NUCLEI, tmp_path / "labels.tif", option, **guarded[1] | environment)
    assert done.returncode == status
    # Without jq, the script prints the whole problem document.
    assert said in done.stderr or (not shutil.which("jq") and f'"reason": "{said.partition(":")[0]}"' in done.stderr)
    assert not (tmp_path / "labels.tif").exists()


def test_shell_comes_back_when_it_is_told_to(tmp_path):
    answers = [(429, {"Retry-After": "1"}, b"{}"), (200, {}, b"labels")]
    bodies = []

    class Door(BaseHTTPRequestHandler):
        def do_POST(self):
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            status, headers, body = answers[len(bodies) - 1]
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    with HTTPServer(("127.0.0.1", 0), Door) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        done = run([SHELL], NUCLEI, tmp_path / "labels.tif", CELLSERVE_HTTP_URL=url)
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert bodies == [NUCLEI.read_bytes()] * 2
    assert (tmp_path / "labels.tif").read_bytes() == b"labels"
