"""Runs commands of the training, and reads what a training has logged."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent
"""The folder of the commands."""


def run(command: list[str]) -> str:
    """Runs a command that must succeed, and returns its output."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def log(folder: Path) -> list[dict[str, str]]:
    """Returns the rows of a training's log."""
    with (folder / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))
