"""The threads that numerics run on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from cellserve_preprocess import Crew, Stop


class Lane:
    """The threads of one priority.

    Each image has a thread of its own, so that a short one does not wait until a long one ends. Helpers take parts of
    the images under way: one image alone is done on all processors, many share them.

    Attributes:
        images: Runs the stages of images.
    """

    def __init__(self, name: str, threads: int) -> None:
        self.images = ThreadPoolExecutor(threads, thread_name_prefix=f"images-{name}")
        self._most = threads - 1
        self._helpers = ThreadPoolExecutor(max(1, self._most), thread_name_prefix=f"helpers-{name}")

    def crew(self, stop: Stop) -> Crew:
        """Returns the threads for one image: the one that calls, and helpers."""
        return Crew(self._helpers, self._most, stop)

    def close(self) -> None:
        """Takes no more work, forgets what has not begun."""
        self.images.shutdown(wait=False, cancel_futures=True)
        self._helpers.shutdown(wait=False, cancel_futures=True)
