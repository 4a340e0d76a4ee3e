"""Settings of the whole suite, and the labelled example images."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]

# Kernels compile and pages load inside the first example: a deadline per example would measure the machine.
settings.register_profile("quick", deadline=None, max_examples=40)
settings.register_profile("nightly", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


@pytest.fixture(scope="session")
def copy_labelled() -> Callable[[Path], None]:
    """Copies the three example images and their masks into a folder, named as labelled data sets name them."""

    def copy(folder: Path) -> None:
        for masks in sorted((ROOT / "tests" / "data").glob("*_masks.png")):
            name = masks.name.removesuffix("_masks.png")
            shutil.copy(ROOT / "examples" / "images" / f"{name}.png", folder / f"{name}_img.png")
            shutil.copy(masks, folder / masks.name)

    return copy
