"""Answers that a caller does not take in time."""

from __future__ import annotations

import asyncio

import pytest
from cellserve_gateway.errors import AnswerNotTaken
from cellserve_gateway.fronts.grpc.call import Sender


class Context:
    """A call whose messages the caller takes, or gRPC drops, when the test says so."""

    def __init__(self) -> None:
        self.taken = asyncio.get_running_loop().create_future()

    async def write(self, _: bytes) -> None:
        await self.taken


@pytest.fixture
async def context():
    return Context()


@pytest.fixture
async def stuck(context):
    sender = Sender(context, 0.01)
    with pytest.raises(AnswerNotTaken):
        await sender.send(b"answer")
    return sender


async def test_an_answer_that_is_taken_late_is_waited_for(context, stuck):
    asyncio.get_running_loop().call_later(0.01, context.taken.set_result, None)
    await stuck.wait_stuck()


async def test_a_call_whose_answer_was_dropped_ends_without_a_status(context, stuck):
    context.taken.set_exception(RuntimeError("the connection is gone"))
    with pytest.raises(asyncio.CancelledError):
        await stuck.wait_stuck()


async def test_a_call_without_a_stuck_answer_does_not_wait(context):
    context.taken.set_result(None)
    sender = Sender(context, 1)
    await sender.send(b"answer")
    await sender.wait_stuck()
