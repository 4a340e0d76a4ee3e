"""Opens result files with Cellpose 3.1, and writes what Cellpose makes of the same result; its environment runs this.

    cellpose_opens.py FOLDER

FOLDER has x.tif (image), x_seg.npy and x_cp_outlines.txt (files of this project), and result.npz (labels, maps). Writes
opened.npz: what Cellpose sees in the files, and what it writes itself.
"""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
from cellpose import io, utils
from cellpose.gui import io as window_io
from cellpose.plot import dx_to_circ


class Window:
    """The window of Cellpose, without its widgets."""

    restore = None
    load_3D = False
    ratio = 1.0

    def __init__(self):
        self.colormap = np.zeros((1000, 4), np.uint8)

    def __getattr__(self, name):
        if name == "stack_filtered":  # which the window has only for restored images
            raise AttributeError(name)
        return MagicMock()


def main() -> None:
    folder = Path(sys.argv[1])
    with np.load(folder / "result.npz") as result:
        labels, maps = result["labels"], result["maps"]
    ours = np.load(folder / "x_seg.npy", allow_pickle=True).item()
    opened = {"imread": io.imread(str(folder / "x_seg.npy"))}

    window = Window()
    window_io._load_seg(window, str(folder / "x_seg.npy"))
    opened |= {
        "loaded": window.loaded,
        "masks": window.cellpix,
        "outlines": window.outpix,
        "ismanual": window.ismanual,
        "diameter": window.diameter,
        "filename": window.filename,
        "recompute": window.recompute_masks,
        "probability": window.flows[1],
        "planes": window.flows[4],
        "seen_image": window.stack,
    }

    (folder / "theirs").mkdir()
    flows = [dx_to_circ(maps[:2]), maps[:2], maps[2]]
    their_image = str(folder / "theirs" / "x.tif")
    io.masks_flows_to_seg(labels, labels, flows, their_image, diams=12.0, channels=[0, 0])
    theirs = np.load(folder / "theirs" / "x_seg.npy", allow_pickle=True).item()
    opened |= {
        "missing": sorted(theirs.keys() - ours.keys()),
        "types": [[type(content[key]).__name__ for key in sorted(theirs)] for content in (ours, theirs)],
        "their_masks": theirs["masks"],
        "their_outlines": theirs["outlines"],
        "their_channels": theirs["chan_choose"],
        "their_probability": theirs["flows"][1],
        "their_planes": theirs["flows"][4],
        "their_shapes": [str(np.shape(part)) for part in theirs["flows"]],
        "our_shapes": [str(np.shape(part)) for part in ours["flows"]],
    }
    io.outlines_to_text(str(folder / "theirs" / "x"), utils.outlines_list(labels))
    np.savez(folder / "opened.npz", **opened)


main()
