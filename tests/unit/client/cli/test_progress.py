"""How far a run is: lines in a log, a bar on a terminal."""

from __future__ import annotations

import io

import pytest
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
