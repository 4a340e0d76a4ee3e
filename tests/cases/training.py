"""Labelled images for training and evaluation, checkpoints for the export: cases 15 to 17, 38 and 39."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from cellserve_networks.network import CPnet

from . import drawings, files
from .doors import Outcome, Service
from .drawings import SMALL_COUNT, as_dtype
from .right import found, says, status
from .rows import Row, Run


def labels() -> Iterator[Row]:
    image = as_dtype(drawings.cells(3, 3, seed=2), np.uint8, high=240)
    labels = drawings.labels_of(3, 3, seed=2)
    numbers = np.append(0, np.random.default_rng(0).permutation(np.arange(1, 256))[:SMALL_COUNT]).astype(np.uint8)
    drawn, colours = numbers[labels], np.random.default_rng(1).integers(0, 256, (256, 3), np.uint8)
    mask = np.where(labels, 255, 0).astype(np.uint8)
    classes = np.where(labels, labels % 2 + 1, 0).astype(np.uint8)
    refusal = status(1) & says("separate objects; give each object a number of its own")
    nine = status(0) & found(SMALL_COUNT)
    for case, what, image_name, labels_name, data, right in (
        (15, "0 and 255, TIFF", "a_img.tif", "a_masks.tif", files.tiff(mask), refusal),
        (15, "0 and 255, PNG", "a_img.tif", "a_masks.png", files.png(mask), refusal),
        (15, "one bit, TIFF", "a_img.tif", "a_masks.tif", files.tiff(mask > 0), refusal),
        (15, "0 and 1, single precision", "a_img.tif", "a_masks.tif", files.tiff(np.float32(mask > 0)), refusal),
        (15, "two classes", "a_img.tif", "a_masks.tif", files.tiff(classes), refusal),
        (15, "numbers in single precision", "a_img.tif", "a_masks.tif", files.tiff(labels.astype(np.float32)), nine),
        (15, "in colours", "a_img.tif", "a_masks.png", files.png(colours[labels]), status(1) & says("3 planes")),
        (15, "JPEG", "a_img.tif", "a_masks.jpg", files.jpeg(drawn), status(1) & says("JPEG changes labels")),
        (15, "another size", "a_img.tif", "a_masks.png", files.png(drawn[1:]), status(1) & says("labels of shape")),
        (15, "one object over all", "a_img.tif", "a_masks.png", files.png(mask | 255), status(1) & says("whole image")),
        (15, "negative", "a_img.tif", "a_masks.tif", files.tiff(labels.astype(np.int32) - 1), status(1) & says("-1")),
        (16, "labels in .TIF", "a_img.tif", "a_masks.TIF", files.tiff(drawn), nine),
        (16, "all in capitals", "A_IMG.TIF", "A_MASKS.PNG", files.png(drawn), nine),
        (16, "image in capitals", "A.TIFF", "a_masks.tif", files.tiff(drawn), nine),
        (16, "OME-TIFF endings", "a_img.ome.tif", "a_masks.ome.tif", files.tiff(drawn), nine),
        (17, "palette, PNG", "a_img.tif", "a_masks.png", files.palette_png(drawn, colours), nine),
        (17, "palette of 4 bits, PNG", "a_img.tif", "a_masks.png", files.palette_png(labels, colours, depth=4), nine),
        (17, "palette, TIFF", "a_img.tif", "a_masks.tif", files.palette_tiff(drawn, colours), nine),
    ):
        run = _evaluate({image_name: files.tiff(image), labels_name: data})
        yield Row(case, f"labels: {what}", "cellserve-train", right, run)


def exports() -> Iterator[Row]:
    first, last = "downsample.down.res_down_0.conv.conv_0.2.weight", "output.2.weight"

    def network(inputs: int, outputs: int) -> object:
        return {first: torch.zeros(32, inputs, 3, 3), last: torch.zeros(outputs, 32, 1, 1)}

    for what, content, text in (
        ("one input channel", network(1, 3), "a CPnet of one input channel"),
        ("three input channels", network(3, 3), "a CPnet of 3 input channels"),
        ("Omnipose", network(2, 4), "an Omnipose network"),
        ("SegFormer", {"net.encoder.norm1.weight": torch.zeros(1)}, "a SegFormer network"),
        ("Cellpose-SAM", {"encoder.pos_embed": torch.zeros(1)}, "a Cellpose-SAM network (Cellpose 4)"),
        ("a whole pickled module", torch.nn.Conv2d(1, 1, 1), "a whole pickled object"),
    ):
        yield Row(38, what, "cellserve-export", status(1) & says(text), _export(content, "repository"))
    cpnet = CPnet().state_dict()
    for what, repository, text in (
        ("the family exists", "existing", "--overwrite replaces the family"),
        ("no folder to make it in", "none/repository", "the folder above does not exist either"),
        ("a folder of other things", ".", "is no model repository"),
    ):
        yield Row(39, what, "cellserve-export", status(1) & says(text), _export(cpnet, repository))


def _export(content: object, repository: str) -> Run:
    """Returns a command that exports a file of torch into a repository, beside a repository that holds the family."""

    def run(service: Service, folder: Path) -> Outcome:
        family = folder / "existing" / "cells"
        family.mkdir(parents=True)
        (family / "config.pbtxt").write_text("")
        torch.save(content, folder / "network.pt")
        return service.export("cells", "--checkpoint", folder / "network.pt", "--repository", folder / repository)

    return run


def _evaluate(contents: dict[str, bytes]) -> Run:
    """Returns a command that compares the service with an image and its labels."""

    def run(service: Service, folder: Path) -> Outcome:
        for name, data in contents.items():
            (folder / name).write_bytes(data)
        return service.evaluate(folder)

    return run
