"""Trains a network with Cellpose 3.1's own trainer for a given time and segments images with it. Run by the environment
of the peers.

Reads .npz files of `planes` [2, Y, X] and `labels` [Y, X]; writes the network, and for each image to segment the masks
with the true diameter as TIFF.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from pathlib import Path

import numpy as np
import tifffile
import torch
from cellpose import dynamics, models, train, utils

# The warm-up lasts ten epochs, and the rate is halved at the end only where there are more than a hundred: epochs of
# whole data sets would leave a short training with much of the one and nothing of the other.
IMAGES_PER_EPOCH = 40
FEWEST_OBJECTS = 5  # Cellpose's default: images with fewer are not trained on


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, required=True, help="folder of .npz")
    parser.add_argument("--test", type=Path, required=True, help="folder of .npz")
    parser.add_argument("--seconds", type=float, required=True, help="time to train for, the flow targets not counted")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    images, flows = _read(options.train)

    def training(epochs: int, name: str) -> tuple[models.CellposeModel, float]:
        """Trains a new network; the optimizer is the default of Cellpose's command line and its paper, the rest is that
        of the function."""
        torch.manual_seed(0)
        model = models.CellposeModel(gpu=False, mkldnn=False, pretrained_model=False)
        start = time.perf_counter()
        train.train_seg(
            model.net, train_data=images, train_labels=flows, channels=[1, 2], channel_axis=0, n_epochs=epochs,
            nimg_per_epoch=IMAGES_PER_EPOCH, save_path=options.out, model_name=name, min_train_masks=FEWEST_OBJECTS,
            SGD=True, learning_rate=0.2, weight_decay=1e-5,
        )  # fmt: skip
        return model, time.perf_counter() - start

    # How long a step takes, by the difference of two short trainings: preparations count once.
    _, short = training(1, "calibration")
    _, long = training(2, "calibration")
    per_epoch = long - short
    epochs = max(1, round((options.seconds - (short - per_epoch)) / per_epoch))
    model, seconds = training(epochs, "network")
    steps = epochs * IMAGES_PER_EPOCH // 8
    about = {"seconds": seconds, "threads": options.threads, "epochs": epochs, "steps": steps, "images": len(images)}
    (options.out / "training.json").write_text(json.dumps(about, indent=1) + "\n")
    print(about, flush=True)
    for path in sorted(options.test.rglob("*.npz")):
        with np.load(path) as sample:
            planes, diameter = sample["planes"], float(sample["diameter"])
        masks, _, _ = model.eval(planes, channels=[1, 2], channel_axis=0, diameter=diameter)
        target = options.out / "masks" / path.relative_to(options.test).parent / f"{path.stem}_masks.tif"
        target.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(target, masks.astype(np.uint16), compression="deflate")


def _read(folder: Path) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Images and their flow targets, those of too few objects left out."""
    images, labels = [], []
    for path in sorted(folder.rglob("*.npz")):
        with np.load(path) as sample:
            if len(utils.diameters(sample["labels"])[1]) >= FEWEST_OBJECTS:
                images.append(sample["planes"])
                labels.append(sample["labels"].astype(np.int32))
    return images, dynamics.labels_to_flows(labels, device=torch.device("cpu"))


if __name__ == "__main__":
    main()
