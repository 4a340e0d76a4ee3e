"""Cancellation ends mask recovery within 50 ms of work, at any stage."""

import threading
import time

import numpy as np
import pytest
from cellserve_parallel import CancellationToken, ThreadGroup, WorkCancelledError
from cellserve_postprocess import RecoveryParams, recover_masks, warm_up

SIDE = 2048


def whirls():
    """Positions that never settle."""
    y, x = np.indices((SIDE, SIDE), dtype=np.float32) % 32 - 15.5
    return np.stack([-x, y, np.full_like(x, 6)]) / np.float32(8)


def one_object():
    """An object as large as the image, with holes."""
    y, x = np.indices((SIDE, SIDE), dtype=np.float32) - SIDE / 2
    length = np.maximum(np.hypot(y, x), 1) / 5
    logit = np.where((y % 16 == 0) & (x % 16 == 0), np.float32(-6), np.float32(6))
    return np.stack([-y / length, -x / length, logit])


def many_objects():
    y, x = np.indices((SIDE, SIDE), dtype=np.float32) % 32 - 15.5
    length = np.maximum(np.hypot(y, x), 1) / 5
    return np.stack([-y / length, -x / length, np.where(np.hypot(y, x) < 15, np.float32(6), np.float32(-6))])


def whirls_in_a_volume():
    _, y, x = np.indices((64, 256, 256), dtype=np.float32) % 32 - 15.5
    return np.stack([np.zeros_like(x), -x, y, np.full_like(x, 6)]) / np.float32(8)


def one_ball():
    """An object as large as the volume, with cavities."""
    grid = np.indices((128, 160, 160), dtype=np.float32)
    way = np.array([64, 80, 80], np.float32)[:, np.newaxis, np.newaxis, np.newaxis] - grid
    flow = 5 * way / np.maximum(np.linalg.norm(way, axis=0), 1)
    logit = np.where((grid % 16 == 0).all(axis=0), np.float32(-6), np.float32(6))
    return np.concatenate([flow, logit[np.newaxis]])


CASES = {
    "whirls": (whirls, RecoveryParams(niter=10_000)),
    "whirls, nearest": (whirls, RecoveryParams(niter=10_000, interpolation="nearest")),
    "one object": (one_object, RecoveryParams(niter=2000, max_size_fraction=1)),
    "many objects": (many_objects, RecoveryParams()),
    "volume of whirls": (whirls_in_a_volume, RecoveryParams(niter=10_000)),
    "volume of whirls, nearest": (whirls_in_a_volume, RecoveryParams(niter=10_000, interpolation="nearest")),
    "volume of one object": (one_ball, RecoveryParams(max_size_fraction=1)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_cancellation_ends_the_recovery_within_50_ms_of_work(case):
    warm_up()
    maps, params = case[0](), case[1]
    delays = [0.0, 0.02, 0.06, 0.12, 0.2, 0.3]
    late = []
    for delay in delays:
        token = CancellationToken()
        outcome = []

        def recover(token=token, outcome=outcome):
            try:
                recover_masks(maps, params, ThreadGroup(cancellation=token))
            except WorkCancelledError:
                outcome.append("cancelled")

        thread = threading.Thread(target=recover)
        thread.start()
        time.sleep(delay)
        before = time.process_time()
        token.cancel()
        thread.join()
        if outcome:
            late.append(time.process_time() - before)
    assert len(late) >= 3
    assert max(late) < 0.05
