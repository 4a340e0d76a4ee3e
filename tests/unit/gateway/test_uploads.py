"""Memory is reserved before a message is received: who waits, who gives way, who is refused."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from cellserve_gateway.app import admission as module
from cellserve_gateway.app.admission import Admission
from cellserve_gateway.errors import Draining, Overloaded, UploadTooSlow
from cellserve_gateway.ops.metrics import Metrics
from cellserve_gateway.settings import Settings


@pytest.fixture
def gate(monkeypatch) -> Admission:
    monkeypatch.setattr(module, "WAKE_S", 0.02)
    return Admission(Settings(max_bytes_in_flight=100), Metrics())


async def upload(gate: Admission, size: int, seconds: float, **options) -> float:
    """Receives a message for some seconds; returns the loop time at which it began."""
    reservation = gate.reservation()
    try:
        async with gate.upload(reservation, size, **({"grace_s": 0.1} | options)):
            begun = asyncio.get_running_loop().time()
            assert reservation.held["bytes"] == size
            await asyncio.sleep(seconds)
        return begun
    finally:
        reservation.release()


async def test_uploads_wait_for_memory_in_turn(gate):
    begun = await asyncio.gather(*(upload(gate, 50, 0.05) for _ in range(6)))
    pauses = [later - earlier for earlier, later in itertools.pairwise(begun)]
    assert min(pauses[1::2]) > 0.04 > max(pauses[::2]), "two at a time"
    assert gate._in_flight["bytes"] == 0


async def test_a_slow_upload_gives_way_to_one_that_waits_and_only_then(gate):
    slow = asyncio.create_task(upload(gate, 100, 60))
    await asyncio.sleep(0.3)
    assert not slow.done(), "nobody waits"
    await asyncio.wait_for(upload(gate, 100, 0), 1)
    with pytest.raises(UploadTooSlow):
        await slow


async def test_uploads_have_a_time_limit(gate):
    with pytest.raises(UploadTooSlow):
        await upload(gate, 10, 60, time_limit_s=0.05)


async def test_patience_ends(gate):
    with gate.admit(bytes=80), pytest.raises(Overloaded) as error:
        await upload(gate, 50, 0, patience_s=0.05)
    assert error.value.metadata["resource"] == "bytes"
    assert not gate._waiting
    await upload(gate, 50, 0)


async def test_a_caller_that_leaves_while_it_waits_blocks_nobody(gate):
    with gate.admit(bytes=80):
        leaving = asyncio.create_task(upload(gate, 50, 0))
        following = asyncio.create_task(upload(gate, 20, 0))
        await asyncio.sleep(0.01)
        assert not following.done(), "first come, first served"
        leaving.cancel()
        await asyncio.wait({leaving})
    await asyncio.wait_for(following, 1)
    assert gate._in_flight["bytes"] == gate._uploading == 0


async def test_uploads_on_trust_are_shed_and_others_stay(gate):
    trusted = asyncio.create_task(upload(gate, 10, 60, trusted=True))
    other = asyncio.create_task(upload(gate, 10, 0.05))
    await asyncio.sleep(0.01)
    assert gate.shed_uploads() == 1
    with pytest.raises(UploadTooSlow):
        await trusted
    await other


async def test_uploads_in_progress_are_bounded_beside_all_bytes():
    gate = Admission(Settings(max_bytes_in_flight=1000, max_bytes_uploading=100), Metrics())
    begun = await asyncio.gather(*(upload(gate, 60, 0.05) for _ in range(3)))
    pauses = [later - earlier for earlier, later in itertools.pairwise(begun)]
    assert min(pauses) > 0.045, "one after the other"
    assert gate._uploading == 0


async def test_draining_ends_uploads_and_those_that_wait(gate):
    running, waiting = (asyncio.create_task(upload(gate, 100, 60)) for _ in range(2))
    await asyncio.sleep(0.01)
    gate.drain()
    for task in (running, waiting):
        with pytest.raises(Draining):
            await asyncio.wait_for(task, 1)


async def test_few_large_messages_are_received_at_a_time(monkeypatch):
    """Messages that arrive together are copied together. An upload in chunks weighs as one of its messages."""
    monkeypatch.setattr(module, "WAKE_S", 0.02)
    gate = Admission(Settings(max_bytes_in_flight=1000, max_bytes_uploading=900, max_bytes_receiving=50), Metrics())
    whole = await asyncio.gather(*(upload(gate, 25, 0.05) for _ in range(4)))
    assert max(whole) - min(whole) > 0.04, "two at a time"
    chunked = await asyncio.gather(*(upload(gate, 225, 0.05, message=12) for _ in range(4)))
    assert max(chunked) - min(chunked) < 0.04, "four at a time"
    assert (gate._in_flight["bytes"], gate._uploading, gate._receiving) == (0, 0, 0)


async def test_an_upload_wakes_those_who_watch_over_the_memory(gate):
    waiting = asyncio.create_task(gate.wait_upload(10))
    await asyncio.sleep(0)
    await upload(gate, 10, 0)
    await asyncio.wait_for(waiting, 1)
    begun = asyncio.get_running_loop().time()
    await gate.wait_upload(0.05)
    assert asyncio.get_running_loop().time() - begun > 0.04, "no upload came"
