"""Which shard an image belongs to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import FrozenInstanceError

import pytest
from cellserve.batch.shard import MAX_COUNT, Shard

NAMES = [f"plate-{number // 96:03}/well {number % 96:02}/image {number}.tif" for number in range(10_003)]


def shards(count: int) -> list[Shard]:
    return [Shard(index, count) for index in range(count)]


def share(shard: Shard) -> list[str]:
    return [name for name in NAMES if shard.holds(name)]


@pytest.mark.parametrize("count", [1, 7, 10, 64])
def test_every_name_is_in_exactly_one_shard(count):
    held = Counter(name for shard in shards(count) for name in share(shard))
    assert held == dict.fromkeys(NAMES, 1)


@pytest.mark.parametrize("count", [7, 10, 64])
def test_shares_are_balanced(count):
    """Within five standard deviations of the number that each of `count` shards has by chance."""
    mean = len(NAMES) / count
    bound = 5 * (mean * (1 - 1 / count)) ** 0.5
    for shard in shards(count):
        assert abs(len(share(shard)) - mean) < bound


def test_names_that_differ_little_are_spread():
    """A plate names its images by numbers with equal ends: every tenth, every hundredth."""
    for step in (10, 100):
        names = [f"{number}.tif" for number in range(0, 1000 * step, step)]
        counts = Counter(shard.index for shard in shards(10) for name in names if shard.holds(name))
        assert len(counts) == 10
        assert max(counts.values()) < 150


def test_new_names_move_no_others():
    """A name is asked for alone: there is no list that it could depend on."""
    shard = Shard(3, 10)
    before = set(share(shard))
    assert before == {name for name in [*NAMES, *(f"new-{name}" for name in NAMES)] if shard.holds(name)} & set(NAMES)


# Journals of running batches rely on these values: another hash would give images to shards that have not seen them.
@pytest.mark.parametrize(
    ("name", "of_10", "of_64"),
    [
        ("", 6, 52),
        ("a.tif", 9, 45),
        ("plate-1/A01.tif", 2, 52),
        ("плата/клетка.tif", 9, 63),
        (b"\xff\xfe.tif".decode("utf-8", "surrogateescape"), 7, 51),
    ],
)
def test_the_shard_of_a_name_never_changes(name, of_10, of_64):
    assert [shard.index for count in (10, 64) for shard in shards(count) if shard.holds(name)] == [of_10, of_64]


@pytest.mark.parametrize("name", [chr(0xDCFF), chr(0xD800), "細胞/é.tif", "e\u0301.tif", "\x00", "a\nb"])
def test_any_name_has_a_shard(name):
    assert sum(shard.holds(name) for shard in shards(7)) == 1


def test_another_process_agrees():
    """Python's own hash() differs from process to process."""
    names = NAMES[:50]
    code = "import sys; from cellserve.batch.shard import Shard; print(*map(Shard(1, 3).holds, sys.argv[1:]))"
    seen = subprocess.run(
        [sys.executable, "-c", code, *names],
        env={**os.environ, "PYTHONHASHSEED": "4242"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert seen == [str(Shard(1, 3).holds(name)) for name in names]
    assert len(set(seen)) == 2


@pytest.mark.parametrize(
    ("text", "shard", "folder"),
    [
        ("0/1", Shard(0, 1), "shard-00000-of-00001"),
        ("3/10", Shard(3, 10), "shard-00003-of-00010"),
        ("99999/100000", Shard(99_999, MAX_COUNT), "shard-99999-of-100000"),
    ],
)
def test_a_shard_is_read_as_it_is_written(text, shard, folder):
    assert Shard.parse(text) == shard
    assert (str(shard), shard.folder) == (text, folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is no shard: write I/N, such as 3/10, for number I"),
        ("3", "'3' is no shard"),
        ("3-10", "'3-10' is no shard"),
        ("-1/10", "'-1/10' is no shard"),
        ("3/10/2", "'3/10/2' is no shard"),
        (" 3/10", "' 3/10' is no shard"),
        ("3/10\n", r"'3/10\\n' is no shard"),
        ("1.0/2", "'1.0/2' is no shard"),
        ("٣/١٠", "'٣/١٠' is no shard"),
        ("$(JOB_COMPLETION_INDEX)/10", "INDEX.*/10' is no shard"),
        (f"1/{'9' * 5000}", "'1/9{38}' is no shard"),
        ("10/10", "shard 10/10 does not exist: the shards are numbered from 0 to 9"),
        ("1/1", "shard 1/1 does not exist"),
        ("0/0", "shard 0/0: a batch has 1 to 100,000 shards"),
        ("0/100001", "shard 0/100001: a batch has 1 to 100,000 shards"),
    ],
)
def test_what_is_no_shard_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        Shard.parse(text)


def test_a_shard_that_does_not_exist_cannot_be_made():
    for index, count in ((-1, 10), (10, 10), (0, -1)):
        with pytest.raises(ValueError, match="shard"):
            Shard(index, count)


def test_a_shard_is_a_value():
    assert len({Shard(1, 2), Shard(1, 2), Shard(0, 2)}) == 2
    with pytest.raises(FrozenInstanceError):
        Shard(1, 2).index = 0  # type: ignore[misc]
