"""Those who follow the health."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from cellserve_gateway.fronts.grpc.health import Health
from grpc_health.v1 import health_pb2


class Requests:
    """One request to follow the health of everything."""

    async def receive(self):
        return SimpleNamespace(
            message=health_pb2.HealthCheckRequest(), reservation=SimpleNamespace(release=lambda: None)
        )


async def test_the_last_status_is_told_before_the_end():
    health = Health("service", 4)
    health.set(ready=True)
    answers = health.Watch(Requests(), None)
    statuses = [await anext(answers)]
    waiting = asyncio.create_task(anext(answers))
    await asyncio.sleep(0)  # the caller waits for a change
    health.set(ready=False)
    health.end_watches()  # before the caller has run
    statuses.append(await waiting)
    assert [health_pb2.HealthCheckResponse.FromString(answer.data).status for answer in statuses] == [
        health_pb2.HealthCheckResponse.SERVING,
        health_pb2.HealthCheckResponse.NOT_SERVING,
    ]
    assert [answer async for answer in answers] == []
