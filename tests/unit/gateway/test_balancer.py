"""The choice of a server."""

from __future__ import annotations

import random

import pytest
from cellserve_gateway.backends.triton.balancer import LeastLoaded
from hypothesis import given
from hypothesis import strategies as st


def balancer(names: str, seed: int = 0) -> LeastLoaded[str]:
    made: LeastLoaded[str] = LeastLoaded(random.Random(seed))
    for name in names:
        made.add(name)
    return made


@given(loads=st.lists(st.integers(0, 3), min_size=1, max_size=8), rounds=st.integers(1, 30), seed=st.integers())
def test_the_least_loaded_and_equals_in_rotation(loads: list[int], rounds: int, seed: int) -> None:
    names = "abcdefgh"[: len(loads)]
    made = balancer(names, seed)
    load = dict(zip(names, loads, strict=True))
    equals = [name for name in names if load[name] == min(loads)]
    chosen = [made.choose(names, load.__getitem__) for _ in range(rounds)]
    assert set(chosen) <= set(equals)
    for start in range(max(0, rounds - len(equals) + 1)):
        assert sorted(chosen[start : start + len(equals)]) == equals, "each once before any is chosen again"


def test_new_servers_come_first() -> None:
    made = balancer("ab")
    for _ in range(5):
        made.choose("ab", lambda _: 0)
    made.add("c")
    assert made.choose("abc", lambda _: 0) == "c"


def test_the_first_order_is_random() -> None:
    firsts = {balancer("abcd", seed).choose("abcd", lambda _: 0) for seed in range(100)}
    assert firsts == set("abcd")


def test_unknown_and_missing_servers() -> None:
    made = balancer("ab")
    made.remove("a")
    with pytest.raises(KeyError):
        made.choose("ab", lambda _: 0)
    with pytest.raises(ValueError, match="empty"):
        made.choose("", lambda _: 0)
