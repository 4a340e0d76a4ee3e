"""Makes a folder of labelled images to try a training with: five to train on, one to test.

    python examples/five_images.py build/my_images

They are parts of `images/nuclei_fluorescence.png` and of its hand-made labels in `../tests/data`.
"""

import sys
from pathlib import Path

import imagecodecs
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
NAME = "nuclei_fluorescence"
ROWS, COLUMNS = 2, 3

image = imagecodecs.imread(ROOT / "examples" / "images" / f"{NAME}.png")
labels = imagecodecs.imread(ROOT / "tests" / "data" / f"{NAME}_masks.png")
height, width = labels.shape[0] // ROWS, labels.shape[1] // COLUMNS
for number in range(ROWS * COLUMNS):
    row, column = divmod(number, COLUMNS)
    part = slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width)
    folder = Path(sys.argv[1]) / ("train" if number < ROWS * COLUMNS - 1 else "test")
    for kind, pixels in (("images", image), ("masks", labels)):
        path = folder / kind / f"nuclei_{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels[part])))
    print(f"{folder}/images/nuclei_{number}.png: {len(np.unique(labels[part])) - 1} nuclei, {height} x {width} px")
