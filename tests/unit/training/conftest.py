"""A folder of labelled images: the examples, and a few made ones."""

from pathlib import Path

import pytest
from cellserve_training.synthetic import write_synthetic


@pytest.fixture(scope="session")
def labelled(tmp_path_factory, copy_labelled) -> Path:
    """Seven pairs: fluorescence, histology, phase contrast, and four images of two channels."""
    folder = tmp_path_factory.mktemp("labelled")
    copy_labelled(folder)
    write_synthetic(folder, 4, seed=1, shape=(128, 128))
    return folder
