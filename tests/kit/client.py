"""Runs Imaging Server Kit's own client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]


def run_kit(calls: list[dict[str, Any]], folder: Path, **environment: str) -> list[dict[str, Any]]:
    """Returns what calls of the kit's client return, in one process; arguments as of `program.py`.

    Args:
        calls: The calls. Arrays are written to files.
        folder: Gets all files.
        environment: Further environment of the process.

    Returns:
        What the program says of each call; the member `labels` is the label image.
    """
    subprocess.run([ROOT / "devtools" / "get-kit.sh"], check=True)
    for number, call in enumerate(calls):
        image = call["params"].get("image")
        if isinstance(image, np.ndarray):
            np.save(folder / f"image{number}.npy", image)
            call["params"]["image"] = str(folder / f"image{number}.npy")
    (folder / "calls.json").write_text(json.dumps(calls))
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("program.py"), folder / "calls.json", folder],
        env=os.environ | {"PYTHONPATH": str(ROOT / "build" / "kit")} | environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads((folder / "answers.json").read_text())
    for number, answer in enumerate(answers):
        if "error" not in answer:
            answer["labels"] = np.load(folder / f"{number}.npy")
    return answers
