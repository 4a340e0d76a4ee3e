"""Answers that begin with the progress of the work: lines of JSON, of which the last is the answer or the problem."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import Any

from starlette.responses import Response

from cellserve_gateway.app.calls import translated
from cellserve_gateway.app.context import RequestContext, Timing
from cellserve_gateway.app.progress import Report, follow
from cellserve_gateway.app.tasks import start_task
from cellserve_gateway.errors import ServiceError

from .answers import JSON, Representation, stage_seconds
from .connections import Receive, Scope, Send
from .problems import content_of
from .sending import send_in_pieces

MEDIA_TYPE = "application/x-ndjson"
ABOUT = (
    "Lines of JSON, each an object of one member. 'progress' comes at once, at each change but not more than twice a "
    "second, and at least every ten seconds: stage, sections and tiles that are done and in all, and seconds until the "
    "last tile (left_s) once they are known. Then comes 'answer' or 'problem'. The answer has the form that the rest "
    "of Accept names: media_type, file_name, provenance, timing, and JSON as content or any other form as base64."
)


class FollowedResponse(Response):
    """Sends the progress of some work while it lasts, then its outcome.

    Args:
        work: Does the work; returns the line of the answer.
        context: Tells the progress.
        limit_s: Time for the caller to read the answer.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, bytes]], context: RequestContext, limit_s: float) -> None:
        headers = {"X-Request-Id": context.request_id, "Vary": "Accept", "X-Accel-Buffering": "no"}
        super().__init__(None, headers=headers, media_type=MEDIA_TYPE)
        del self.headers["content-length"]  # nobody knows it yet
        self._work = work
        self._context = context
        self._limit_s = limit_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the lines.

        Raises:
            ServiceError: The work failed; the caller knows.
        """
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        failure: ServiceError | None = None
        try:
            with translated():
                line = await self._followed(send)
        except ServiceError as error:
            failure = error
            problem = content_of(error, self._context.request_id, scope.get("root_path", ""))
            line = json.dumps({"problem": problem}).encode() + b"\n"
        await send_in_pieces(line, scope, send, self._limit_s)
        if failure:
            raise failure

    async def _followed(self, send: Send) -> bytes:
        """Sends the progress; returns the line of the answer."""
        work = start_task(self._work())
        try:
            async with contextlib.aclosing(follow(work, self._context.progress)) as reports:
                async for report in reports:
                    await send({"type": "http.response.body", "body": progress_line(report), "more_body": True})
            return await work
        finally:
            del work  # see app/tasks.py


def progress_line(report: Report) -> bytes:
    """Returns the line of how far the work is. Seconds that are unknown are left out."""
    known = {name: value for name, value in asdict(report).items() if value is not None}
    return json.dumps({"progress": known}).encode() + b"\n"


def answer_line(representation: Representation, content: bytes, provenance: dict[str, Any], timing: Timing) -> bytes:
    """Returns the line of an answer in one of its forms."""
    about = {
        "media_type": representation.media_type,
        "file_name": representation.file_name,
        "provenance": provenance,
        "timing": stage_seconds(timing),
    }
    if representation is JSON:
        name, value = b"content", content
    else:
        name, value = b"base64", b'"%s"' % base64.b64encode(content)
    return b'{"answer": %s, "%s": %s}}\n' % (json.dumps(about).encode()[:-1], name, value)
