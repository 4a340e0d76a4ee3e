"""What Cellpose 3.1's own trainer reaches in the same time on the same images.

Writes label images for `cellserve-train evaluate --predictions OUT/masks`.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from cellserve_postprocess import median_diameter
from cellserve_training.dataset import read_samples
from cellserve_training.pairs import find_pairs

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".venv-peers" / "bin" / "python"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="data sets, as `cellserve-train train` takes them")
    parser.add_argument("--seconds", type=float, required=True, help="time to train for")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "cellpose_training")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        train, test = Path(scratch, "train"), Path(scratch, "test")
        for folder in options.folders:
            write_split(folder, "train", train)
            if any((entry / "test").is_dir() for entry in folder.iterdir()):
                write_split(folder, "test", test)
        subprocess.run(
            [
                str(PEERS), str(Path(__file__).parent / "peers" / "cellpose_train.py"), "--train", str(train),
                "--test", str(test), "--seconds", str(options.seconds), "--threads", str(options.threads),
                "--out", str(options.out),
            ],
            check=True,
        )  # fmt: skip


def write_split(folder: Path, split: str, target: Path) -> None:
    """Writes labelled images as both trainers see them: cytoplasm and nucleus, before normalisation."""
    samples, _ = read_samples(find_pairs(folder, split))
    for sample in samples:
        path = target / sample.group / f"{sample.name}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, planes=sample.planes(), labels=sample.labels, diameter=median_diameter(sample.labels))


if __name__ == "__main__":
    main()
