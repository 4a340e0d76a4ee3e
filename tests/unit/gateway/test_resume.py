"""Uploads of `SegmentLarge` that break: who may go on, from which byte, and until when their memory is kept."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import weakref
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from cellserve_contract.chunks import Assembly
from cellserve_gateway.access.tokens import Tokens
from cellserve_gateway.app import parking
from cellserve_gateway.errors import Overloaded
from cellserve_gateway.fronts.grpc import large
from cellserve_gateway.fronts.grpc.front import GrpcFront
from cellserve_gateway.ops.instruments import Instruments
from cellserve_gateway.ops.tracing import Tracing
from cellserve_gateway.settings import Settings
from cellserve_proto import v1 as pb
from cellserve_proto.v1 import segmentation_pb2_grpc
from google.rpc import error_details_pb2, status_pb2

from .perfect import Setup, disks, setup

PIXELS = disks(30)[0]
DATA, SENT, MESSAGE = PIXELS.tobytes(), 20_000, 100_000
TOKENS = {"alice": "a-token-of-alice-0123", "bob": "a-token-of-bob-012345"}


def header(key: str = "key", diameter: float = 30) -> pb.SegmentLargeRequest:
    array = pb.Array(data_type=pb.DATA_TYPE_UINT8, shape=PIXELS.shape)
    image = pb.Image(raw=pb.RawImage(pixels=array, axes="YX"))
    segment = pb.SegmentRequest(image=image, params={"model": "cells", "diameter": diameter})
    return pb.SegmentLargeRequest(
        header=pb.SegmentLargeHeader(idempotency_key=key, segment=segment, image_bytes=len(DATA))
    )


def chunk(first: int, last: int = len(DATA), crc32: int | None = None) -> pb.SegmentLargeRequest:
    piece = DATA[first:last]
    crc32 = zlib.crc32(piece) if crc32 is None else crc32
    return pb.SegmentLargeRequest(chunk=pb.Chunk(offset=first, data=piece, crc32=crc32))


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - bytes that are counted elsewhere
            await asyncio.sleep(0.005)


async def rest_of(call: Any) -> list[pb.SegmentLargeResponse]:
    parts = []
    while (part := await call.read()) is not grpc.aio.EOF:
        parts.append(part)
    return parts


@dataclass
class Gateway:
    """A gRPC port, and callers of its service.

    Attributes:
        received: Bytes of an upload after each chunk.
    """

    made: Setup
    address: str
    channel: grpc.aio.Channel
    received: list[int]

    @property
    def held(self) -> int:
        """Bytes in flight."""
        return self.made.admission.in_flight("bytes")

    async def begin(self, first: pb.SegmentLargeRequest, caller: str = "alice") -> tuple[Any, int]:
        """Sends a header; returns the call, and how many bytes the gateway has already."""
        stub = segmentation_pb2_grpc.SegmentationServiceStub(self.channel)
        call = stub.SegmentLarge(metadata=[("authorization", f"Bearer {TOKENS[caller]}")])
        await call.write(first)
        return call, (await call.read()).upload.received_bytes

    async def send(self, call: Any, first: int, last: int) -> None:
        """Sends a chunk, and waits until the gateway has it."""
        await call.write(chunk(first, last))
        await until(lambda: last in self.received)

    async def break_off(self, key: str = "key", caller: str = "alice") -> None:
        """Sends a part of the image, leaves, and waits until the gateway knows that the call broke."""
        before = self.held
        call, there = await self.begin(header(key), caller)
        await self.send(call, there, SENT)
        self.received.clear()
        call.cancel()
        await until(lambda: self.held == before + len(DATA))

    async def finish(self, call: Any, there: int) -> None:
        """Sends the rest of the image, and checks the answer."""
        parts = await self.answer(call, there)
        (answer,) = (part.result for part in parts if part.HasField("result"))
        labels = b"".join(part.chunk.chunk.data for part in parts if part.HasField("chunk"))
        found = np.frombuffer(labels, "<u2").reshape(answer.labels.shape)
        assert np.mean((found > 0) == (PIXELS > 100)) > 0.99
        await until(lambda: not self.held)

    @staticmethod
    async def answer(call: Any, there: int) -> list[pb.SegmentLargeResponse]:
        """Sends the rest of the image; returns the answer."""
        await call.write(chunk(there))
        await call.done_writing()
        return await rest_of(call)

    @staticmethod
    async def reason(call: Any) -> str:
        """Returns the reason with which a call fails."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await rest_of(call)
        (status,) = (value for name, value in caught.value.trailing_metadata() if name == "grpc-status-details-bin")
        info = error_details_pb2.ErrorInfo()
        status_pb2.Status.FromString(status).details[0].Unpack(info)
        return info.reason


Serve = Callable[..., contextlib.AbstractAsyncContextManager[Gateway]]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Returns a context manager that runs a gateway; arguments are settings."""
    tokens, received, add = tmp_path / "tokens", [], Assembly.add
    tokens.write_text("".join(f"{name} {token}\n" for name, token in TOKENS.items()))

    def observed(assembly: Assembly, *args: Any) -> None:
        add(assembly, *args)
        received.append(len(assembly.data))

    monkeypatch.setattr(Assembly, "add", observed)

    @contextlib.asynccontextmanager
    async def running(**changes: Any) -> AsyncIterator[Gateway]:
        changes = {"max_message_bytes": MESSAGE} | changes
        with setup(None, **changes) as made:
            settings, instruments = Settings(**changes), Instruments(made.metrics, Tracing(None))
            front = GrpcFront(settings, made.segmenter, made.admission, instruments, Tokens(tokens), None, made.workers)
            port, _ = await front.start("127.0.0.1:0", "127.0.0.1:0")
            address = f"127.0.0.1:{port}"
            try:
                async with grpc.aio.insecure_channel(address) as channel:
                    yield Gateway(made, address, channel, received)
            finally:
                await front.stop(0)
                await front.health.stop()

    return running


async def test_an_upload_goes_on_where_it_broke(serve):
    async with serve() as gateway:
        await gateway.break_off()
        call, there = await gateway.begin(header())
        assert there == SENT
        assert gateway.held <= len(DATA) + MESSAGE + 1000, "the memory is the same, and a message"
        await gateway.finish(call, there)
        again, there = await gateway.begin(header())
        assert there == 0, "of an upload that is complete, nothing is kept"
        await gateway.finish(again, there)


async def test_an_upload_breaks_more_than_once(serve):
    async with serve() as gateway:
        await gateway.break_off()
        call, there = await gateway.begin(header())
        await gateway.send(call, there, SENT + 5000)
        call.cancel()
        await until(lambda: gateway.held == len(DATA))
        call, there = await gateway.begin(header())
        assert there == SENT + 5000
        await gateway.finish(call, there)


async def test_the_end_of_the_messages_is_a_break(serve):
    """gRPC tells a lost connection as an end of the messages, or as a cancelled call."""
    async with serve() as gateway:
        call, _ = await gateway.begin(header())
        await gateway.send(call, 0, SENT)
        await call.done_writing()
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()
        call, there = await gateway.begin(header())
        assert there == SENT
        await gateway.finish(call, there)


@pytest.mark.parametrize(
    ("first", "caller"),
    [(header("another"), "alice"), (header(""), "alice"), (header(), "bob")],
    ids=["another key", "no key", "another caller"],
)
async def test_nobody_else_goes_on(serve, first, caller):
    async with serve() as gateway:
        await gateway.break_off()
        call, there = await gateway.begin(first, caller)
        assert there == 0
        call.cancel()
        await until(lambda: gateway.held == len(DATA))
        call, there = await gateway.begin(header())
        assert there == SENT, "nobody took the bytes away"
        await gateway.finish(call, there)


async def test_another_header_begins_anew(serve):
    async with serve() as gateway:
        await gateway.break_off()
        call, there = await gateway.begin(header(diameter=31))
        assert there == 0
        assert gateway.held < 2 * len(DATA) + MESSAGE, "the bytes under the old header are gone"
        await gateway.finish(call, there)


async def test_a_newer_call_takes_the_upload_over(serve):
    """A caller notices a lost connection before the gateway does."""
    async with serve() as gateway:
        older, _ = await gateway.begin(header())
        await gateway.send(older, 0, SENT)
        newer, there = await gateway.begin(header())
        assert there == SENT
        assert await gateway.reason(older) == "UPLOAD_CONTINUED"
        await gateway.finish(newer, there)


async def test_a_newer_call_waits_for_the_thread_that_adds_a_chunk(serve, monkeypatch):
    """The call broke already, so that the upload is cancelled twice: for its end, and for the newer call."""
    add, adding, go_on = Assembly.add, threading.Event(), threading.Event()

    def slow(assembly: Assembly, *args: Any) -> None:
        if len(assembly.data) == SENT and not go_on.is_set():
            adding.set()
            go_on.wait(5)
        add(assembly, *args)

    async with serve() as gateway:
        monkeypatch.setattr(Assembly, "add", slow)
        older, _ = await gateway.begin(header())
        await gateway.send(older, 0, SENT)
        await older.write(chunk(SENT, SENT + 5000))
        await until(adding.is_set)
        older.cancel()
        await asyncio.sleep(0.1)
        begun = asyncio.create_task(gateway.begin(header()))
        await asyncio.sleep(0.1)
        go_on.set()
        newer, there = await begun
        assert there == SENT + 5000
        await gateway.finish(newer, there)


async def test_another_work_under_a_key_in_use_disturbs_nobody(serve):
    async with serve() as gateway:
        older, _ = await gateway.begin(header())
        await gateway.send(older, 0, SENT)
        newer, there = await gateway.begin(header(diameter=31))
        assert there == 0
        assert await gateway.answer(older, SENT)
        await gateway.finish(newer, there)


async def test_two_calls_go_on_at_once(serve):
    async with serve() as gateway:
        await gateway.break_off()
        begun = await asyncio.gather(*(gateway.begin(header()) for _ in range(3)), return_exceptions=True)
        going_on = [call for call, there in (one for one in begun if isinstance(one, tuple)) if there == SENT]
        endings = [asyncio.create_task(gateway.reason(call)) for call in going_on]
        await asyncio.wait(endings, timeout=0.3)
        assert sum(not ending.done() for ending in endings) == 1, "one goes on"
        assert {ending.result() for ending in endings if ending.done()} <= {"UPLOAD_CONTINUED"}
        for ending in endings:
            ending.cancel()


@pytest.mark.parametrize("wrong", [chunk(SENT, SENT + 10, crc32=1), chunk(SENT + 1, SENT + 10), header()])
async def test_a_refused_upload_is_not_kept(serve, wrong):
    async with serve() as gateway:
        call, _ = await gateway.begin(header())
        await gateway.send(call, 0, SENT)
        await call.write(wrong)
        assert await gateway.reason(call) == "CHUNK_INVALID"
        await until(lambda: not gateway.held)
        call, there = await gateway.begin(header())
        assert there == 0
        await gateway.finish(call, there)


@pytest.mark.parametrize("kept_s", [0.2, 0])
async def test_the_memory_is_freed_after_the_stated_time(serve, kept_s):
    async with serve(upload_resume_s=kept_s) as gateway:
        if kept_s:
            await gateway.break_off()
        else:
            call, _ = await gateway.begin(header())
            await gateway.send(call, 0, SENT)
            call.cancel()
        await until(lambda: not gateway.held)
        call, there = await gateway.begin(header())
        assert there == 0
        await gateway.finish(call, there)


async def test_a_draining_gateway_keeps_nothing(serve):
    async with serve() as gateway:
        await gateway.break_off("kept")
        call, _ = await gateway.begin(header("live"))
        gateway.made.admission.drain()
        assert await gateway.reason(call) == "DRAINING"
        await until(lambda: not gateway.held)


async def test_a_process_without_memory_keeps_nothing(serve, monkeypatch):
    uploads: list[weakref.ref[Assembly]] = []

    def assembly(size: int) -> Assembly:
        made = Assembly(size)
        uploads.append(weakref.ref(made))
        return made

    monkeypatch.setattr(large, "Assembly", assembly)
    async with serve() as gateway:
        gc.disable()
        try:
            await gateway.break_off()
            gateway.made.admission.shed_uploads()
            assert not gateway.held
            assert [upload() for upload in uploads] == [None], "the bytes are freed at once"
        finally:
            gc.enable()


async def test_the_oldest_gives_way_to_work_and_to_uploads(serve):
    size, limit = len(DATA), 4 * len(DATA) + MESSAGE
    async with serve(max_bytes_in_flight=limit) as gateway:
        for key in ("first", "second", "third"):
            await gateway.break_off(key)
        assert gateway.held == 3 * size
        with gateway.made.admission.admit(bytes=limit - 2 * size):
            assert gateway.held == limit, "the first has gone"
            with pytest.raises(Overloaded), gateway.made.admission.admit(bytes=limit):
                pass
            assert gateway.held == limit, "nothing goes in vain"
        reservation = gateway.made.admission.reservation()
        async with gateway.made.admission.upload(reservation, limit - size, grace_s=1, patience_s=1):
            assert gateway.held == limit, "the second has gone"
        reservation.release()
        for key, there in (("first", 0), ("second", 0), ("third", SENT)):
            call, received = await gateway.begin(header(key))
            assert received == there, key
            assert await gateway.answer(call, received)


async def test_an_upload_that_goes_on_is_first_in_line(serve):
    """An upload behind its header waits for more memory than there is until the call ends."""
    async with serve(max_bytes_in_flight=3 * len(DATA) + MESSAGE) as gateway:
        await gateway.break_off()
        admission, size = gateway.made.admission, len(DATA)
        with admission.admit(bytes=2 * size):
            with admission.admit(bytes=MESSAGE):
                going_on = asyncio.create_task(gateway.begin(header()))
                await until(lambda: admission._waiting)
                waiting = asyncio.create_task(hold(admission, size + MESSAGE + 1))
                await until(lambda: len(admission._waiting) == 2)
            call, there = await asyncio.wait_for(going_on, 2)
            assert there == SENT
        assert not waiting.done()
        await gateway.finish(call, there)
        await waiting


async def hold(admission: Any, size: int) -> None:
    reservation = admission.reservation()
    async with admission.upload(reservation, size, grace_s=1, patience_s=5):
        reservation.release()


async def test_a_caller_keeps_a_few_uploads(serve, monkeypatch):
    monkeypatch.setattr(parking, "MOST_OF_A_CALLER", 2)
    monkeypatch.setattr(parking, "MOST", 3)
    async with serve() as gateway:
        for caller, key in (("bob", "1"), ("alice", "1"), ("alice", "2")):
            await gateway.break_off(key, caller)
        call, _ = await gateway.begin(header("3"))
        await gateway.send(call, 0, SENT)
        call.cancel()
        await until(lambda: gateway.held == 3 * len(DATA))
        found = {}
        for caller, key in (("bob", "1"), ("alice", "1"), ("alice", "2"), ("alice", "3")):
            call, found[caller, key] = await gateway.begin(header(key), caller)
            assert await gateway.answer(call, found[caller, key])
        assert found == {("bob", "1"): SENT, ("alice", "1"): 0, ("alice", "2"): SENT, ("alice", "3"): SENT}
