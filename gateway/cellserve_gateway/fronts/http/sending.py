"""Answers sent in pieces, each when the caller has taken the piece before."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.responses import Response

from .connections import AnswerUnreadError, Connection, Receive, Scope, Send

PIECE_BYTES = 64 << 10
"""One large write would copy all pixels on the event loop."""


class PiecewiseResponse(Response):
    """An answer that is sent in pieces.

    Args:
        content: The whole answer.
        media_type: Media type of the answer.
        headers: Headers of the answer.
        limit_s: Time for the caller to read the answer. After that the connection is closed.
    """

    def __init__(self, content: bytes, media_type: str, headers: Mapping[str, str], limit_s: float) -> None:
        super().__init__(None, headers={**headers, "Content-Length": str(len(content))}, media_type=media_type)
        self._content = content
        self._limit_s = limit_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the answer."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send_in_pieces(self._content, scope, send, self._limit_s)


async def send_in_pieces(content: bytes, scope: Scope, send: Send, limit_s: float) -> None:
    """Sends the last bytes of an answer.

    Args:
        content: The bytes.
        scope: Scope of the request.
        send: Sends a message of the answer.
        limit_s: As of `PiecewiseResponse`.
    """
    view = memoryview(content)
    try:
        async with asyncio.timeout(limit_s):
            for start in range(0, max(1, len(view)), PIECE_BYTES):
                piece = view[start : start + PIECE_BYTES]
                more = start + PIECE_BYTES < len(view)
                await send({"type": "http.response.body", "body": piece, "more_body": more})
    except TimeoutError:
        Connection.of(scope).abort("stalled")
        raise AnswerUnreadError("the caller took too long to read the answer") from None
