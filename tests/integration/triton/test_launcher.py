"""serve.py with the real server: starting, stopping, and failing with a clear line."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as client

from .models import graph, write_model

STAND_IN = """#!{python}
# Stands in for a container's server: its port is taken at the first start, at the second it answers.
import http.server, pathlib, sys, threading
options = dict(argument[2:].split("=", 1) for argument in sys.argv[1:] if "=" in argument)
assert "backend-directory" not in options
first = pathlib.Path({marker!r})
if not first.exists():
    first.touch()
    sys.exit("failed to start HTTP service: Unavailable - Socket already in use")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
servers = [http.server.ThreadingHTTPServer(("127.0.0.1", int(options[f"{{name}}-port"])), Handler)
           for name in ("http", "metrics")]
for server in servers:
    threading.Thread(target=server.serve_forever).start()
"""


def eventually(condition, timeout_s: float = 20) -> bool:
    """Whether the condition comes true in time."""
    end = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def gone(pids: list[int]) -> bool:
    """Whether no process has one of these ids (zombies have ended, too)."""
    stats = [Path(f"/proc/{pid}/stat") for pid in pids]
    return all(not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z" for stat in stats)


def infer(address: str, model: str) -> np.ndarray:
    with client.InferenceServerClient(address) as server:
        image = client.InferInput("image", [1, 2, 16, 16], "FP32")
        image.set_data_from_numpy(np.ones((1, 2, 16, 16), np.float32))
        return server.infer(model, [image]).as_numpy("flows")


def test_starts_on_free_ports_and_leaves_nothing(launch, tmp_path):
    write_model(tmp_path, "tiny")
    launcher = launch(tmp_path)
    at = launcher.wait_ready()
    assert at.keys() == {"pid", "http", "grpc", "metrics"}
    assert at["pid"] == launcher.process.pid
    assert len({at["http"], at["grpc"], at["metrics"]}) == 3
    assert infer(at["grpc"], "tiny").shape == (1, 3, 16, 16)
    with urllib.request.urlopen(f"http://{at['metrics']}/metrics", timeout=10) as answer:
        assert b'nv_inference_pending_request_count{model="tiny"' in answer.read()
    children = launcher.children()
    assert len(children) == 2, "tritonserver and one stub"
    assert launcher.regions()
    assert list(launcher.temporary.iterdir())

    launcher.process.send_signal(signal.SIGTERM)
    assert launcher.process.wait(timeout=30) == 0
    assert gone(children)
    assert not launcher.regions()
    assert not list(launcher.temporary.iterdir())
    assert not launcher.ready_file.exists()


def test_sigterm_lets_inferences_finish(launch, tmp_path):
    write_model(tmp_path, "patient", delay_us=1_500_000)  # a lone request waits so long for company
    launcher = launch(tmp_path)
    address = launcher.wait_ready()["grpc"]
    answers: list[np.ndarray] = []
    caller = threading.Thread(target=lambda: answers.append(infer(address, "patient")))
    caller.start()
    time.sleep(0.5)
    launcher.process.send_signal(signal.SIGINT)
    assert launcher.process.wait(timeout=30) == 0
    caller.join(timeout=10)
    assert answers[0].shape == (1, 3, 16, 16)


def test_sigterm_while_starting(launch, tmp_path):
    write_model(tmp_path, "tiny")
    launcher = launch(tmp_path)
    assert eventually(launcher.children)
    children = launcher.children()
    launcher.process.send_signal(signal.SIGTERM)
    assert launcher.process.wait(timeout=30) == 0
    assert gone(children)
    assert not launcher.regions()
    assert not list(launcher.temporary.iterdir())


def test_server_does_not_outlive_a_killed_launcher(launch, tmp_path):
    write_model(tmp_path, "tiny")
    launcher = launch(tmp_path)
    launcher.wait_ready()
    children = launcher.children()
    launcher.process.kill()
    assert eventually(lambda: gone(children))
    assert all(region.name.endswith("_lock") for region in launcher.regions()), "an empty file, for the next launcher"


def test_next_launcher_removes_what_killed_processes_left(launch, tmp_path):
    """A container that runs out of memory ends so: all at once. /dev/shm and /tmp belong to the pod and stay."""
    write_model(tmp_path, "tiny")
    killed, running = launch(tmp_path), launch(tmp_path)
    killed.wait_ready()
    running.wait_ready()
    left, kept, children = killed.regions(), running.regions(), killed.children()
    server = children[0]
    os.kill(server, signal.SIGSTOP)  # it would remove its regions on the SIGTERM that follows the launcher's end
    killed.process.kill()
    os.killpg(server, signal.SIGKILL)
    killed.process.wait()
    assert eventually(lambda: gone(children))
    assert all(region.exists() for region in left)
    launch(tmp_path, temporary=killed.temporary).wait_ready()
    assert not any(region.exists() for region in left)
    assert len(list(killed.temporary.iterdir())) == 1, "its own directory"
    assert all(region.exists() for region in kept)


def test_launcher_ends_with_a_killed_server(launch, tmp_path):
    write_model(tmp_path, "tiny")
    launcher = launch(tmp_path)
    launcher.wait_ready()
    children = launcher.children()
    os.kill(children[0], signal.SIGKILL)
    assert launcher.process.wait(timeout=30) == 1
    assert "tritonserver exited with status -9" in launcher.errors.read_text()
    assert gone(children)
    assert not launcher.regions()
    assert not launcher.ready_file.exists()


def test_launcher_ends_with_a_killed_model(launch, tmp_path):
    """Triton itself stays live and ready, and fails every request to the model until somebody starts it anew."""
    for name in ("whole", "broken"):
        write_model(tmp_path, name)
    launcher = launch(tmp_path)
    launcher.wait_ready()
    children = launcher.children()
    (stub,) = (pid for pid in children if b"/broken/" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(stub, signal.SIGKILL)
    assert launcher.process.wait(timeout=30) == 1
    message = launcher.errors.read_text()
    assert "the process of a model has ended" in message
    assert "/broken/1/model.onnx" in message
    assert "/whole/" not in message
    assert gone(children)
    assert not launcher.regions()
    assert not launcher.ready_file.exists()


def test_broken_models_are_named(launch, tmp_path):
    """Every model of the repository fails in its own way; all are reported at once."""
    write_model(tmp_path, "missing").unlink()
    write_model(tmp_path, "truncated", content=graph()[:-100])
    write_model(tmp_path, "altered", sha256="0" * 64)
    write_model(tmp_path, "renamed", output="flow")
    write_model(tmp_path, "reshaped", channels=4)
    write_model(tmp_path, "mute", statement="TYPE_FP32")
    write_model(tmp_path, "unknown_precision", precision="fp8")
    write_model(tmp_path, "unknown_parameter", key="speed")
    write_model(tmp_path, "unknown_accelerator", accelerator="abacus")
    launcher = launch(tmp_path)
    assert launcher.process.wait(timeout=60) == 1
    errors = launcher.errors.read_text()
    for expected in (
        "missing: ",
        "model.onnx cannot be read: No such file or directory",
        "truncated: ",
        "model.onnx is not an ONNX file that OpenVINO can read: ",
        f"but config.pbtxt demands {'0' * 64}",
        "renamed: the graph's outputs are ['flows'], but config.pbtxt names ['flow']",
        "reshaped: output 'flows' is [?,3,16,16] in the graph, [?,4,16,16] in config.pbtxt",
        "mute: output 'provenance' must be TYPE_STRING of dims [ 1 ] in config.pbtxt",
        "unknown_precision: openvino precision is 'fp8'; allowed: auto, bf16, f32",
        "unknown_parameter: openvino parameter ['speed'] is unknown",
        "unknown_accelerator: cpu_execution_accelerator 'abacus' is unknown; allowed: openvino",
    ):
        assert expected in errors
    assert "Traceback" not in errors
    assert not launcher.ready_file.exists()


def test_taken_port_is_refused_at_once(launch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        launcher = launch(tmp_path, f"--grpc-port={port}")
        assert launcher.process.wait(timeout=5) == 1
    assert f"port {port} of 127.0.0.1 cannot be bound: Address already in use" in launcher.errors.read_text()


def test_no_server(launch, tmp_path, python_here):
    launcher = launch(tmp_path, python=python_here)
    assert launcher.process.wait(timeout=5) == 1
    assert "no tritonserver at /opt/tritonserver/bin/tritonserver" in launcher.errors.read_text()


def test_chosen_port_taken_meanwhile(launch, tmp_path, python_here):
    server = tmp_path / "bin" / "tritonserver"
    server.parent.mkdir()
    server.write_text(STAND_IN.format(python=python_here, marker=str(tmp_path / "marker")))
    server.chmod(0o755)
    launcher = launch(tmp_path, f"--tritonserver={server}", python=python_here)
    launcher.wait_ready()
    launcher.process.terminate()
    assert launcher.process.wait(timeout=10) == 0


def test_not_ready_in_time(launch, tmp_path):
    write_model(tmp_path, "tiny")
    launcher = launch(tmp_path, "--ready-timeout-s=0.2")
    assert launcher.process.wait(timeout=30) == 1
    assert "tritonserver is not ready after 0.2 s" in launcher.errors.read_text()
    assert not launcher.regions()


@pytest.mark.parametrize("option", ["--host=203.0.113.1", "--tritonserver=/nowhere/tritonserver"])
def test_impossible_options(launch, tmp_path, option):
    launcher = launch(tmp_path, option)
    assert launcher.process.wait(timeout=5) == 1
    assert launcher.errors.read_text().startswith("serve.py: ")


def test_hanging_server_is_killed(launch, tmp_path):
    write_model(tmp_path, "tiny")
    launcher = launch(tmp_path, "--exit-timeout-s=0")
    launcher.wait_ready()
    children = launcher.children()
    os.kill(children[0], signal.SIGSTOP)
    launcher.process.terminate()
    assert launcher.process.wait(timeout=15) == 0
    assert gone(children)
    assert not launcher.regions()
