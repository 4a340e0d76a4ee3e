"""How far a run is: lines in a log, a bar on a terminal."""

from __future__ import annotations

import io

import pytest
from cellserve import Progress
from cellserve.cli.progress import Bar, LogLines, Pace, duration, progress
from rich.console import Console


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_log_has_a_line_after_the_first_image_and_then_now_and_then():
    clock, lines = Clock(), []
    log = LogLines(Pace(100, clock), lines.append)
    for number in range(100):
        clock.now += 2
        log.advance(failed=number == 1)
    assert lines[:2] == [
        "progress  1 of 100 images, 30 per minute, about 3 min left",
        "progress  16 of 100 images, 1 failed, 28 per minute, about 3 min left",
    ]
    assert len(lines) == 7, "one each 30 s; none for the last image"


def test_failures_tell_nothing_of_the_time_left():
    pace = Pace(4, Clock())
    pace.advance(failed=True)
    assert str(pace) == "1 of 4 images, 1 failed"


def test_one_image_has_no_line():
    lines = []
    LogLines(Pace(1), lines.append).advance(failed=False)
    assert not lines


def test_a_terminal_has_a_bar():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    with progress(console, 3) as bar:
        assert isinstance(bar, Bar)
        bar.advance(failed=True)
        bar.advance(failed=False)
    assert "0 of 3 images" in screen.getvalue()
    assert "2 of 3 images, 1 failed" in screen.getvalue()
    assert "left" in screen.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59, "59 s"), (61, "1 min"), (3599, "1 h 0 min"), (7800, "2 h 10 min")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def work(done: int, stage: str = "inference", left_s: float | None = 90) -> Progress:
    return Progress(stage, done // 10, 20, done, 200, left_s)


def test_one_image_is_followed_in_a_log_if_it_takes_long():
    clock, lines = Clock(), []
    log = LogLines(Pace(1, clock), lines.append)
    for second in range(70):
        clock.now += 1
        log.work(work(second))
    log.work(work(200, "recovery", None))
    log.advance(failed=False)
    assert lines == [
        "progress  the networks run, 30 of 200 tiles, 3 of 20 sections, about 2 min left",
        "progress  the networks run, 60 of 200 tiles, 6 of 20 sections, about 2 min left",
    ]


def test_one_image_has_a_bar_of_its_tiles():
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    with progress(console, 1) as bar:
        for one in (Progress("upload"), Progress("diameter", tiles_done=3), work(50), work(200, "recovery", None)):
            bar.work(one)
            bar._bar.refresh()
        assert bar._bar.tasks[0].percentage == 100
        bar.advance(failed=False)
    shown = screen.getvalue()
    for text in (
        "the image is sent",
        "the diameter is estimated",
        "the networks run, 50 of 200 tiles, 5 of 20 sections, about 2 min left",
        "the masks are recovered",
    ):
        assert text in shown
