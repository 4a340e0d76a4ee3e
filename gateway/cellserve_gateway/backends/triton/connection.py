"""The connection that a client of Triton has: which one, and whether it is still the same."""

from __future__ import annotations

import asyncio

import grpc
from tritonclient.grpc.aio import InferenceServerClient

from cellserve_gateway.app.tasks import start_task

# Reconnect within seconds of a server's return; notice within half a minute a connection that is dead.
CHANNEL_ARGS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.use_local_subchannel_pool", 1),  # a connection of its own, shared with no other channel
]


class Connection:
    """A connection to one address, which gRPC makes anew when it ends.

    Behind a new connection there may be another server.

    Args:
        address: "host:port".

    Attributes:
        client: The library's client.
        number: Number of connections that have ended. The same number before a request and after its answer means that
            the connection was the same.
    """

    def __init__(self, address: str) -> None:
        self.client = InferenceServerClient(address, channel_args=CHANNEL_ARGS)
        self.number = 0
        self._watching = start_task(self._watch())

    async def close(self) -> None:
        """Ends the connection."""
        self._watching.cancel()
        await asyncio.wait({self._watching})
        await self.client.close()

    async def _watch(self) -> None:
        channel = self.client._channel  # the library shows its connection in no other way
        while True:
            state = channel.get_state()
            await channel.wait_for_state_change(state)
            if state is grpc.ChannelConnectivity.READY:
                self.number += 1
