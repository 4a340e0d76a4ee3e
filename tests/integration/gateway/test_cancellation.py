"""Work nobody waits for ends: mask recovery of a minute, cancelled or late after seconds."""

import os
import time
from pathlib import Path

import cv2
import grpc
import pytest
from cellserve_proto import v1 as pb

from .messages import error_info, labels_of, raw

PATIENCE_S = 30


@pytest.fixture(scope="module")
def long_request(image):
    """All pixels of a large image wander about for ten thousand steps; the networks see it small, in no time.

    Read at the nearest pixel, flows of unit length never come to rest.
    """
    pixels = cv2.resize(image("nuclei_fluorescence"), (2000, 2000), interpolation=cv2.INTER_CUBIC)
    params = pb.SegmentParams(
        ensemble=False,
        diameter=120,
        cellprob_threshold=-20,
        niter=10_000,
        interpolation=pb.INTERPOLATION_NEAREST,
    )
    return pb.SegmentRequest(image=raw(pixels), params=params)


def used(gateway) -> float:
    """Seconds of processor time that the gateway has used."""
    fields = Path(f"/proc/{gateway.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def busy(gateway, seconds):
    """Seconds of processor time that the gateway uses in so many seconds."""
    before = used(gateway)
    time.sleep(seconds)
    return used(gateway) - before


def postprocessing(scrape, gateway):
    return scrape(gateway)['cellserve_stage_seconds_count{stage="reassemble"}']


def wait_for_recovery(scrape, gateway, before):
    end = time.monotonic() + PATIENCE_S
    while postprocessing(scrape, gateway) == before and time.monotonic() < end:
        time.sleep(0.05)
    before = used(gateway)
    while used(gateway) < before + 0.15:
        assert time.monotonic() < end, "the gateway works on no recovery"
        time.sleep(0.05)


@pytest.fixture
def start_long(stub, long_request):
    """Starts the long request; calls that a test leaves are cancelled at its end."""
    calls = []

    def start(timeout=None):
        calls.append(stub.Segment.future(long_request, timeout=timeout))
        return calls[-1]

    yield start
    for call in calls:
        call.cancel()


@pytest.fixture(autouse=True)
def seen(stub, image):
    """The stages have been counted at least once."""
    stub.Segment(pb.SegmentRequest(image=raw(image("nuclei_fluorescence")[:64, :64]), params=QUICK))


QUICK = pb.SegmentParams(ensemble=False, diameter=30)


def test_a_cancelled_request_ends_its_mask_recovery(start_long, gateway, scrape):
    before = postprocessing(scrape, gateway)
    call = start_long()
    wait_for_recovery(scrape, gateway, before)
    call.cancel()
    time.sleep(0.3)
    assert busy(gateway, 0.5) < 0.1


def test_a_late_request_ends_its_mask_recovery(start_long, gateway, scrape):
    before = postprocessing(scrape, gateway)
    call = start_long(timeout=4)
    wait_for_recovery(scrape, gateway, before)
    with pytest.raises(grpc.RpcError) as caught:
        call.result()
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    info = error_info(caught.value)
    assert (info.reason, info.metadata["stage"]) == ("DEADLINE_EXCEEDED", "postprocess")
    time.sleep(0.3)
    assert busy(gateway, 0.5) < 0.1


def test_a_spent_work_budget_ends_the_work(stub, long_request):
    request = pb.SegmentRequest()
    request.CopyFrom(long_request)
    request.work_budget_s = 0.05
    with pytest.raises(grpc.RpcError) as caught:
        stub.Segment(request)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert error_info(caught.value).reason == "WORK_BUDGET_EXCEEDED"


def test_a_quick_request_passes_beside_a_long_one(stub, start_long, gateway, scrape, image):
    """A recovery that could take every thread leaves room for the next image of its priority class."""
    before = postprocessing(scrape, gateway)
    call = start_long()
    wait_for_recovery(scrape, gateway, before)
    start = time.monotonic()
    quick = stub.Segment(pb.SegmentRequest(image=raw(image("nuclei_fluorescence")), params=QUICK))
    assert time.monotonic() - start < 20
    assert labels_of(quick).max() > 100
    assert not call.done()
