"""The client runs where the modules and functions of POSIX are missing, as on Windows."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import tifffile

# Libraries choose by platform and are loaded first. What is imported afterwards is our own.
WITHOUT_POSIX = """
import asyncio, concurrent.futures, multiprocessing, os, signal, subprocess, sys, tempfile
import grpc, grpc_health.v1.health_pb2_grpc, imagecodecs, numpy, tifffile, typer, typer.testing
import rich.console, rich.live, rich.progress, rich.table

for name in ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"):
    sys.modules[name] = None
for name in ("fork", "geteuid", "getuid", "killpg", "memfd_create", "mkfifo", "setsid", "sysconf"):
    delattr(os, name)
for name in ("SIGALRM", "SIGCHLD", "SIGHUP", "SIGIO", "SIGKILL", "SIGPIPE", "SIGPROF", "SIGUSR1", "setitimer"):
    delattr(signal, name)
"""
COMMAND_LINE = "from cellserve.cli import main; main()"


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_POSIX + program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_segment_needs_nothing_of_posix(serve, service, tmp_path):
    image = np.zeros((40, 40), np.uint16)
    image[5:15, 5:15] = 500
    tifffile.imwrite(tmp_path / "a.tif", image, compression="zlib")
    result = run(COMMAND_LINE, "segment", str(tmp_path / "a.tif"), "--address", serve(service))
    assert result.returncode == 0, result.stderr
    assert tifffile.imread(tmp_path / "a_cp_masks.tif").max() == 1


def test_the_modules_are_missed_where_they_are_needed():
    """The gateway's reader of strangers' files needs them."""
    assert "import of fcntl halted" in run("import cellserve_formats.isolated.reader").stderr
