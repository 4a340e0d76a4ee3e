"""Runs a recovery in children that are killed, one after another, and then goes on until the end.

python killed.py MAPS FOLDER LABELS KILLS
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
from cellserve_large import ArrayMaps, Box, recover
from cellserve_postprocess import RecoveryParams


def main(maps, folder, labels, kills):
    source = ArrayMaps(np.load(maps))
    took = 0
    for name in ("compiled", "measured"):
        begun = time.monotonic()
        recover(source, RecoveryParams(), folder.with_name(name), side=40)
        took = time.monotonic() - begun
    for _ in range(kills):
        child = os.fork()
        if child == 0:
            recover(source, RecoveryParams(), folder, side=40)
            os._exit(0)
        time.sleep(random.uniform(0, took / 2))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    found = recover(source, RecoveryParams(), folder, side=40)
    np.save(labels, found.read(Box.whole(source.shape)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
