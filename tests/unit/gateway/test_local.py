"""`cellserve-gateway --local` where it cannot start: the message says what to do."""

from __future__ import annotations

import signal
import socket
import sys

import pytest
from cellserve_gateway import local, server


@pytest.fixture
def refused(monkeypatch, tmp_path, capsys):
    """Calls the command in an empty folder; returns its message."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(server, "configure_logging", lambda _: None)  # for good, on a stream that pytest closes
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["cellserve-gateway", "--local"])
    monkeypatch.setattr(local, "_CHECKOUT", tmp_path)
    for name in ("port", "http_port", "monitoring_port", "health_port"):
        monkeypatch.setenv(f"CELLSERVE_{name.upper()}", "0")

    def call(**settings: object) -> str:
        for name, value in settings.items():
            monkeypatch.setenv(f"CELLSERVE_{name.upper()}", str(value))
        with pytest.raises(SystemExit) as end:
            server.main()
        return str(end.value)

    return call


def test_without_models(refused, tmp_path):
    assert f"no <family>/model.json in {tmp_path / 'model_repository'}" in refused()


def test_without_triton(refused, tmp_path, request):
    """The message holds the commands that install Triton."""
    launcher = tmp_path / "deploy" / "triton"
    message = refused(model_repository=request.config.rootpath / "model_repository")
    assert f"there is no .venv-triton in {tmp_path}" in message
    assert "\n    python3.12 -m venv .venv-triton\n" in message
    assert f"\n    .venv-triton/bin/pip install --no-deps -r {launcher / 'requirements.txt'}\n" in message
    assert "CELLSERVE_TRITON_PYTHON" in message


def test_with_an_interpreter_that_is_not_there(refused, tmp_path, request):
    models = request.config.rootpath / "model_repository"
    message = refused(model_repository=models, triton_python=tmp_path / "python")
    assert f"CELLSERVE_TRITON_PYTHON={tmp_path / 'python'} is no program" in message


def test_with_a_taken_port(refused, request):
    """Known before Triton starts, and with the setting that helps."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = refused(model_repository=request.config.rootpath / "model_repository", http_port=port)
    assert f"127.0.0.1:{port} cannot be bound (Address already in use)" in message
    assert "CELLSERVE_HTTP_PORT=0 takes a free port" in message


def test_with_a_triton_elsewhere(refused):
    assert "unset CELLSERVE_TRITON_ADDRESS" in refused(triton_address="triton:8001")
