"""Commands beside the local servers find these servers and own standard output."""

import contextlib
import sys

import pytest

from devtools import stack

ECHO = "import os; print([os.environ.get(name) for name in ('CELLSERVE_ADDRESS', 'CELLSERVE_HTTP_URL')])"


@pytest.fixture
def servers(monkeypatch):
    """Stands for running servers."""

    @contextlib.contextmanager
    def running(directory):
        yield {"grpc": "127.0.0.1:1", "triton": "127.0.0.1:2", "http": "127.0.0.1:3"}

    monkeypatch.setattr(stack, "running", running)


def test_a_command_finds_the_servers(servers, capfd):
    assert stack.run([sys.executable, "-c", ECHO]) == 0
    assert capfd.readouterr().out == f"{['127.0.0.1:1', 'http://127.0.0.1:3']}\n"


def test_the_exit_status_is_the_commands(servers):
    assert stack.run([sys.executable, "-c", "raise SystemExit(3)"]) == 3
