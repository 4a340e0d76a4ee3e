"""The request context: who asks, how urgently, until when, and how long each stage took. Passed explicitly."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from cellserve_parallel import CancellationToken, WorkCancelledError

from cellserve_gateway.access.tokens import ANONYMOUS
from cellserve_gateway.errors import DeadlinePassed, DeadlineTooNear

from .progress import WorkProgress

if TYPE_CHECKING:
    from .networks import Network


class Priority(IntEnum):
    """Priority class of a request: a lower number overtakes."""

    ACQUISITION = 1
    BATCH = 2


@dataclass(slots=True)
class Timing:
    """Wall-clock seconds per stage, waits for a processor included.

    Attributes:
        tiles: Number of tiles that the networks ran on.
    """

    decode: float = 0.0
    preprocess: float = 0.0
    inference: float = 0.0
    reassemble: float = 0.0
    postprocess: float = 0.0
    encode: float = 0.0
    tiles: int = 0


@dataclass(slots=True)
class RequestContext:
    """What accompanies a request on its way through the core.

    Attributes:
        request_id: Name of the request in answers, logs and traces.
        caller: Name of the caller.
        priority: Priority class.
        deadline: Event loop time after which the answer is of no use, or the work budget is spent.
        work_budget_s: Seconds of work that the image may take, counted from `start_work`. None: no budget.
        late_reason: Meaning of a passed deadline: DEADLINE_EXCEEDED or WORK_BUDGET_EXCEEDED.
        cancellation: Ends work on threads. Cancelled when the deadline passes, or the call ends, during that work.
        timing: Filled in by `stage`.
        progress: How far the work is. Filled in by `stage` and the pipeline.
        networks: Networks that computed tiles of the request, by name. Filled in by the pipeline.
        facts: What the log line of the request says of its image.
    """

    request_id: str = ""
    caller: str = ANONYMOUS
    priority: Priority = Priority.BATCH
    deadline: float = math.inf
    work_budget_s: float | None = None
    late_reason: str = "DEADLINE_EXCEEDED"
    cancellation: CancellationToken = field(default_factory=CancellationToken)
    timing: Timing = field(default_factory=Timing)
    progress: WorkProgress = field(default_factory=WorkProgress)
    networks: dict[str, Network] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def start_work(self) -> None:
        """Starts the work budget: the deadline becomes now plus the budget, if that is earlier."""
        if self.work_budget_s is None:
            return
        end = asyncio.get_running_loop().time() + self.work_budget_s
        if end < self.deadline:
            self.deadline, self.late_reason = end, "WORK_BUDGET_EXCEEDED"

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time of the body to a stage of `timing`; cancels work of the body when the deadline passes.

        `progress` learns that the stage begins.

        Raises:
            DeadlinePassed: The deadline passed before or during the body.
        """
        loop = asyncio.get_running_loop()
        what = "work budget was spent" if self.late_reason == "WORK_BUDGET_EXCEEDED" else "deadline passed"
        late = DeadlinePassed(f"the {what} while the image was processed", reason=self.late_reason, stage=name)
        if self.deadline <= loop.time():
            raise late
        timer = loop.call_at(self.deadline, self.cancellation.cancel) if math.isfinite(self.deadline) else None
        self.progress.enter(name)
        start = time.perf_counter()
        try:
            yield
        except DeadlineTooNear:
            raise
        except (WorkCancelledError, DeadlinePassed):
            raise late from None
        finally:
            if timer:
                timer.cancel()
        setattr(self.timing, name, getattr(self.timing, name) + time.perf_counter() - start)
