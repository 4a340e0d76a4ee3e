"""Histograms of a report, their bars and their axes."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from cellserve.batch.report import Histogram
from cellserve.batch.report.bars import bars_of, height_ticks
from hypothesis import given
from hypothesis import strategies as st

SIZES = st.lists(st.floats(1e-2, 1e5), max_size=40)
COUNTS = st.lists(st.integers(0, 200_000), max_size=40)


def test_sizes_fall_into_eight_bins_for_each_doubling():
    histogram = Histogram.of_sizes([16.0, 17.4, 17.5, 32.1, 32.1])
    assert histogram.bins == ((32, 2), (33, 1), (40, 2))
    assert histogram.edges(32) == (16.0, pytest.approx(17.448, abs=0.001))
    assert histogram.edges(40)[0] == 32.0


@given(SIZES)
def test_every_size_lies_between_the_edges_of_its_bin(sizes):
    for size in sizes:
        ((number, count),) = Histogram.of_sizes(size).bins
        low, high = Histogram("sizes").edges(number)
        assert count == 1
        assert low * (1 - 1e-12) <= size < high * (1 + 1e-12)


@given(st.integers(0, 10**9))
def test_every_count_lies_between_the_edges_of_its_bin_and_small_ones_are_exact(count):
    ((number, _),) = Histogram.of_counts(count).bins
    low, high = Histogram("counts").edges(number)
    assert low <= count < high
    assert high - low == 1 if count < 1024 else (high - low) / low <= 1 / 512


def test_the_bins_of_counts_join_without_gaps():
    histogram = Histogram("counts")
    assert all(histogram.edges(number)[1] == histogram.edges(number + 1)[0] for number in range(6000))


@given(SIZES, SIZES)
def test_the_sum_of_histograms_is_the_histogram_of_all_sizes(one, two):
    assert Histogram.of_sizes(one) + Histogram.of_sizes(two) == Histogram.of_sizes([*one, *two])


@given(st.lists(COUNTS, max_size=4))
def test_the_total_of_histograms_is_the_histogram_of_all_counts(parts):
    every = np.array([count for part in parts for count in part], np.int64)
    histograms = (Histogram.of_counts(np.array(part, np.int64)) for part in parts)
    assert Histogram.total("counts", histograms) == Histogram.of_counts(every)


@given(SIZES)
def test_json_brings_a_histogram_back(sizes):
    histogram = Histogram.of_sizes(sizes)
    assert Histogram.from_json(histogram.to_json()) == histogram


def test_json_is_short():
    sizes = np.random.default_rng(0).normal(30, 6, 500).clip(10)
    text = Histogram.of_sizes(sizes).to_json()
    assert len(text) < 130
    assert Histogram.of_counts(123).to_json() == '["counts",123,1]'
    assert json.loads(text)[0] == "sizes"


@pytest.mark.parametrize("text", ['["weights",1,2]', '["sizes",1]', '["sizes",1,2.5]', '["sizes",1,true]', "[", "[]"])
def test_other_json_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        Histogram.from_json(text)


@pytest.mark.parametrize("sizes", [[0.0], [-1.0], [math.nan], [math.inf]])
def test_what_is_no_size_is_refused(sizes):
    with pytest.raises(ValueError, match="above 0"):
        Histogram.of_sizes(sizes)


@pytest.mark.parametrize("counts", [[-1], [1.5]])
def test_what_is_no_count_is_refused(counts):
    with pytest.raises(ValueError, match="integers from 0"):
        Histogram.of_counts(counts)


def test_histograms_of_different_rules_do_not_add_up():
    with pytest.raises(ValueError, match="counts cannot be added to one of sizes"):
        Histogram.of_sizes([1.0]) + Histogram.of_counts(1)


def test_quantiles():
    counts = Histogram.of_counts(np.arange(101))
    assert [counts.quantile(share) for share in (0, 0.5, 0.99, 1)] == [0, 50, 99, 100]
    sizes = np.random.default_rng(1).lognormal(3, 0.4, 9001)
    for share in (0, 0.1, 0.5, 0.9, 1):
        assert Histogram.of_sizes(sizes).quantile(share) == pytest.approx(np.quantile(sizes, share), rel=0.045)
    with pytest.raises(ValueError, match="empty"):
        Histogram("sizes").quantile(0.5)


@given(st.one_of(SIZES.map(Histogram.of_sizes), COUNTS.map(lambda each: Histogram.of_counts(np.array(each, np.int64)))))
def test_bars_hold_every_value_once_side_by_side(histogram):
    shown = bars_of(histogram)
    assert sum(bar.count for bar in shown.bars) == histogram.values
    assert len(shown.bars) <= 43
    for before, after in zip(shown.bars, shown.bars[1:], strict=False):
        assert before.high == after.low
        assert before.right == after.left
    if shown.bars:
        assert (shown.bars[0].left, shown.bars[-1].right) == (0, 1)
        assert shown.bars[0].low <= histogram.range[0] < histogram.range[1] <= shown.bars[-1].high
        assert 1 <= len(shown.ticks) <= 13
        assert all(0 <= tick.place <= 1 for tick in shown.ticks)


def test_an_empty_histogram_has_no_bars():
    assert bars_of(Histogram("sizes")).bars == bars_of(Histogram("counts")).bars == ()


def test_one_image_stands_in_the_middle_of_its_axis():
    shown = bars_of(Histogram.of_counts(37))
    (bar,) = (bar for bar in shown.bars if bar.count)
    assert (bar.low, bar.high, bar.count) == (37, 38, 1)
    assert 0.3 < bar.left < bar.right < 0.7
    assert [tick.text for tick in shown.ticks] == ["34", "36", "38", "40", "42"]


def test_a_mark_of_sizes_stands_at_its_size():
    shown = bars_of(Histogram.of_sizes([10.0] * 50 + [40.0] * 50))
    marks = {tick.text: tick.place for tick in shown.ticks}
    low, high = shown.bars[0].low, shown.bars[-1].high
    assert list(marks) == ["10", "20"]
    assert low * (high / low) ** marks["20"] == pytest.approx(20)


def test_few_outliers_do_not_squeeze_the_other_values():
    counts = Histogram.of_counts(np.array([*range(100, 200)] * 3 + [50_000]))
    last = bars_of(counts).bars[-1]
    assert (last.count, last.high) == (1, math.inf)
    assert last.low <= 210
    sizes = np.concatenate([np.random.default_rng(2).lognormal(3, 0.2, 5000), [0.5, 3000.0]])
    first, *_, end = bars_of(Histogram.of_sizes(sizes)).bars
    assert (first.low, end.high) == (0, math.inf)
    assert 5 < first.high < end.low < 60


def test_height_marks_are_round_and_reach_the_highest_bar():
    assert [height_ticks(highest) for highest in (1, 4, 82, 1000)] == [
        [0, 1],
        [0, 1, 2, 3, 4],
        [0, 50, 100],
        [0, 500, 1000],
    ]
