"""Looking up Tritons, against a real name server."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from cellserve_gateway.backends.triton.resolver import Resolver

from devtools.names import NameServer


@pytest.fixture
def names():
    with contextlib.closing(NameServer()) as names:
        yield names


async def resolve(target: str) -> set[str]:
    addresses = Resolver(target)
    try:
        return set(await addresses.resolve())
    finally:
        await addresses.close()


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("127.0.0.1:8001", {"127.0.0.1:8001"}),
        ("dns:///127.0.0.1:8001", {"127.0.0.1:8001"}),
        ("dns:127.0.0.1:8001", {"127.0.0.1:8001"}),
        ("[::1]:8001", {"[::1]:8001"}),
        ("127.0.0.1:1, 127.0.0.2:2", {"127.0.0.1:1", "127.0.0.2:2"}),
        ("localhost:8001", {"127.0.0.1:8001"}),
    ],
)
async def test_what_needs_no_name_server(target, expected):
    assert await resolve(target) == expected


@pytest.mark.parametrize(
    "target", ["", "triton", "triton:", "triton:0", "triton:65536", "http://triton:1", "a:1,", "::1:8"]
)
def test_nonsense_is_refused(target):
    with pytest.raises(ValueError, match="HOST:PORT"):
        Resolver(target)


async def test_servers_come_and_go(names):
    addresses = Resolver(f"dns://{names.address}/triton.test:8001")
    names.set("triton.test", "127.0.0.2", "127.0.0.3")
    assert await addresses.resolve() == {"127.0.0.2:8001", "127.0.0.3:8001"}
    names.set("triton.test", "127.0.0.3", "127.0.0.4")
    await asyncio.sleep(1.1)  # the records may be kept for a second
    assert await addresses.resolve() == {"127.0.0.3:8001", "127.0.0.4:8001"}
    names.set("triton.test")
    await asyncio.sleep(1.1)
    assert await addresses.resolve() == set()
    await addresses.close()


async def test_a_server_of_two_families_counts_once(names):
    names.set("triton.test", "127.0.0.2", "::1")
    assert await resolve(f"dns://{names.address}/triton.test:1") == {"127.0.0.2:1"}
    names.set("six.test", "::1")
    assert await resolve(f"dns://{names.address}/six.test:1") == {"[::1]:1"}


async def test_a_silent_name_server_is_no_answer(names):
    names.close()
    with pytest.raises(OSError, match=r"triton\.test"):
        await resolve(f"dns://{names.address}/triton.test:1")
