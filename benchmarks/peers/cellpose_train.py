"""Trains a network with Cellpose 3.1's own trainer for a given time and segments images with it. Run by the environment
of the peers.

Reads .npz files of `planes` [2, Y, X] and `labels` [Y, X]; writes the network, and for each image to segment the masks
with the true diameter as TIFF. A training that was ended goes on from its last state when it is started again.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import tifffile
import torch
from cellpose import dynamics, models, train, utils

# The warm-up lasts ten epochs, and the rate is halved at the end only where there are more than a hundred: epochs of
# whole data sets would leave a short training with much of the one and nothing of the other.
IMAGES_PER_EPOCH = 40
STEPS_PER_EPOCH = IMAGES_PER_EPOCH // 8
SAVE_EVERY_S = 120.0
FEWEST_OBJECTS = 5  # Cellpose's default: images with fewer are not trained on

Keep = Callable[[dict[str, Any]], None]  # writes a state


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
    state_file = options.out / "state.pt"
    asked = {"seconds": options.seconds, "threads": options.threads}
    state = torch.load(state_file, weights_only=True) if state_file.exists() else None
    if state and state["asked"] != asked:
        parser.error(
            f"{state_file} is of a training with {state['asked']}, not {asked}: remove it or take another --out"
        )
    images, flows = _read(options.train)

    def training(epochs: int, name: str, keep: Keep | None = None) -> tuple[models.CellposeModel, list[float]]:
        """Trains a network; the optimizer is the default of Cellpose's command line and its paper, the rest is that of
        the function. Returns it and what `_kept` yields."""
        torch.manual_seed(0)
        model = models.CellposeModel(gpu=False, mkldnn=False, pretrained_model=False)
        with _kept(model.net, epochs, state, keep) as ends:
            train.train_seg(
                model.net, train_data=images, train_labels=flows, channels=[1, 2], channel_axis=0, n_epochs=epochs,
                nimg_per_epoch=IMAGES_PER_EPOCH, save_path=options.out, model_name=name,
                min_train_masks=FEWEST_OBJECTS, SGD=True, learning_rate=0.2, weight_decay=1e-5,
            )  # fmt: skip
        return model, ends

    def write(parts: dict[str, Any]) -> None:
        scratch = state_file.with_suffix(".part")
        torch.save({"asked": asked, **parts}, scratch)
        scratch.replace(state_file)

    if state:
        epochs = state["epochs"]
    else:
        # The second epoch tells how long one takes; what the first took beyond that are preparations.
        _, (_, first, second) = training(2, "calibration")
        epochs = max(1, round((options.seconds - first) / (second - first)) + 1)
    model, ends = training(epochs, "network", write)
    about = {
        "seconds": ends[-1], "threads": options.threads, "epochs": epochs, "steps": epochs * STEPS_PER_EPOCH,
        "images": len(images),
    }  # fmt: skip
    (options.out / "training.json").write_text(json.dumps(about, indent=1) + "\n")
    print(about, flush=True)
    for path in sorted(options.test.rglob("*.npz")):
        with np.load(path) as sample:
            planes, diameter = sample["planes"], float(sample["diameter"])
        masks, _, _ = model.eval(planes, channels=[1, 2], channel_axis=0, diameter=diameter)
        target = options.out / "masks" / path.relative_to(options.test).parent / f"{path.stem}_masks.tif"
        target.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(target, masks.astype(np.uint16), compression="deflate")


@contextmanager
def _kept(net: torch.nn.Module, epochs: int, state: dict[str, Any] | None, keep: Keep | None) -> Iterator[list[float]]:
    """Lets Cellpose's loop begin where a state was left, and hands out a state every two minutes and at the end.

    The loop seeds numpy with the number of each epoch and draws from nothing else: network, optimizer and that number
    are all that the rest of a training depends on.

    Yields:
        Seconds of training: first those before the state, then at each epoch's end those until there. Preparations
        count once.
    """
    done, before = (state["epoch"], state["seconds"]) if state else (0, 0.0)
    start = time.perf_counter()
    ends = [before]

    class KeptSGD(torch.optim.SGD):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            nonlocal start
            super().__init__(*arguments, **options)
            self.steps, self.saved = done * STEPS_PER_EPOCH, time.perf_counter()
            if state:
                start = self.saved
                net.load_state_dict(state["network"])
                self.load_state_dict(self.state_dict() | {"state": state["momentum"]})

        def step(self, closure: Any = None) -> None:
            super().step(closure)
            self.steps += 1
            epoch, rest = divmod(self.steps, STEPS_PER_EPOCH)
            if rest:
                return
            now = time.perf_counter()
            ends.append(before + now - start)
            if keep and (now - self.saved > SAVE_EVERY_S or epoch == epochs):
                parts = {"network": net.state_dict(), "momentum": self.state_dict()["state"]}
                keep({"epoch": epoch, "epochs": epochs, "seconds": ends[-1], **parts})
                self.saved = now

    def epochs_left(*bounds: int) -> range:
        return range(done, epochs) if bounds == (epochs,) else range(*bounds)

    with mock.patch.object(torch.optim, "SGD", KeptSGD), mock.patch.object(train, "range", epochs_left, create=True):
        yield ends


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
