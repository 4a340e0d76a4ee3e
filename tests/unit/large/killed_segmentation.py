"""Segments an image in children, of which two are killed, and then goes on until the end.

python killed_segmentation.py IMAGE FOLDER LABELS
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
from cellserve_contract.params import SegmentParams
from cellserve_formats.lazy import open_image
from cellserve_large import Box, pixels, segment, tiles

from tests.unit.large.networks import SlopeNetworks

PARAMS = SegmentParams(diameter=15.0, cytoplasm_channel=0, nucleus_channel=-1, flow_threshold=1)


class Counted(SlopeNetworks):
    """Counts the calls in a file, and dies in one of them."""

    def __init__(self, file, last):
        self.file, self.last = file, last

    def run(self, planes, grid):
        with self.file.open("ab") as file:
            file.write(b".")
        if self.file.stat().st_size == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(planes, grid)


def main(image, folder, labels):
    tiles.MOST_TILES, pixels.BLOCK_BYTES = 1, 20_000
    calls = folder.with_name("calls")

    def run(last=None, stage=None):
        def progress(name, done, of):
            if (name, done) == stage:
                os.kill(os.getpid(), signal.SIGKILL)

        return segment(
            open_image(np.load(image)), PARAMS, Counted(calls, last), folder,
            working_diameter=15.0, side=150, progress=progress,
        )  # fmt: skip

    for deadly in ({"last": 3}, {"stage": ("label", 2)}):
        child = os.fork()
        if child == 0:
            run(**deadly)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "the run ended before it was killed"
    found = run()
    assert calls.stat().st_size == 4 + 1, "a block was computed again"
    np.save(labels, found.read(Box.whole(found.grid.shape)))


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
