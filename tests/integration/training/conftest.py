"""Labelled images, and the command that trains on them."""

from __future__ import annotations

from pathlib import Path

import pytest
from cellserve_training.synthetic import write_synthetic

from .commands import BIN


@pytest.fixture(scope="module")
def labelled(tmp_path_factory, copy_labelled) -> Path:
    """The example images with their masks, and a few made images of two channels."""
    folder = tmp_path_factory.mktemp("labelled")
    copy_labelled(folder)
    write_synthetic(folder, 3, seed=1, shape=(128, 128))
    return folder


@pytest.fixture(scope="module")
def command(labelled, tmp_path_factory):
    """The command of a training on one thread, whose outcome seed and steps decide."""
    cache = tmp_path_factory.getbasetemp() / "targets"

    def command(out: Path, *options: str) -> list[str]:
        fixed = ["--validation", "0.15", "--threads", "1", "--cache", str(cache)]
        return [str(BIN / "cellserve-train"), "train", str(labelled), "--out", str(out), *fixed, *options]

    return command
