"""A folder of labelled images: the examples, and a few made ones."""

import shutil
from pathlib import Path

import pytest
from cellserve_training.synthetic import write_synthetic

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def labelled(tmp_path_factory) -> Path:
    """Seven pairs: fluorescence, histology, phase contrast, and four images of two channels."""
    folder = tmp_path_factory.mktemp("labelled")
    for masks in sorted((ROOT / "tests" / "data").glob("*_masks.png")):
        name = masks.name.removesuffix("_masks.png")
        shutil.copy(ROOT / "examples" / "images" / f"{name}.png", folder / f"{name}_img.png")
        shutil.copy(masks, folder / masks.name)
    write_synthetic(folder, 4, seed=1, shape=(128, 128))
    return folder
