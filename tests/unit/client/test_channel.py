"""Addresses, retries, balancing, deadlines, encryption."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time

import cellserve
import grpc
import numpy as np
import pytest
from cellserve import AsyncClient, Client
from cellserve.channel import target

from .scripted_server import Service, failure

BUSY = failure(grpc.StatusCode.UNAVAILABLE, "draining", "DRAINING", retry_after_s=0.1)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("localhost", "dns:///localhost:50051"),
        ("gateway.lab:7000", "dns:///gateway.lab:7000"),
        (["gateway.lab:7000"], "dns:///gateway.lab:7000"),
        ("10.0.0.1:1", "dns:///10.0.0.1:1"),
        ("[::1]:7000", "dns:///[::1]:7000"),
        ("[::1]", "dns:///[::1]:50051"),
        ("fe80::1", "dns:///[fe80::1]:50051"),
        ("unix:/run/cellserve.sock", "unix:/run/cellserve.sock"),
        ("dns:///gateway:1", "dns:///gateway:1"),
        (["10.0.0.1:7000", "10.0.0.2"], "ipv4:10.0.0.1:7000,10.0.0.2:50051"),
        (["10.0.0.1:7000", "10.0.0.1:7000"], "ipv4:10.0.0.1:7000"),
        (["[::1]:7000", "[::2]:7001"], "ipv6:[::1]:7000,[::2]:7001"),
    ],
)
def test_targets(address, expected):
    assert target(address) == expected


@pytest.mark.parametrize(
    "address",
    [[], "", "host:", ":7000", "host:port", "host:70000", "host:0", "http://host:7000", ["10.0.0.1:1", "[::1]:1"]],
)
def test_senseless_addresses(address):
    with pytest.raises(ValueError, match=r"HOST:PORT|some IPv6 only"):
        target(address)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://host", "host:50051"),
        ("http://host:8080/v1/segment", "host:50051"),
        ("HTTP://host:80", "host:50051"),
        ("http://host:7000", "host:7000"),
        ("grpc://host:7000", "host:7000"),
        ("http://[::1]:7000/", "[::1]:7000"),
        ("http://", "HOST:50051"),
    ],
)
def test_a_url_is_answered_with_the_right_form(url, address):
    message = rf"takes HOST:PORT: give '{re.escape(address)}'; TLS needs credentials=grpc.ssl_channel_credentials\(\)"
    with pytest.raises(ValueError, match=message):
        target([url, "other"])


@pytest.mark.parametrize("url", ["https://host", "https://host:443", "grpcs://host", "HTTPS://host:8080/"])
def test_an_encrypted_url_is_answered_with_credentials(url):
    message = r"give Client\('host:50051', credentials=grpc.ssl_channel_credentials\(\)\), --address host:50051 --tls"
    with pytest.raises(ValueError, match=message):
        target(url)


def test_addresses_in_one_text():
    with pytest.raises(ValueError, match=r"'one:1, two:2' is not an address; .*; several addresses are a list"):
        target("one:1, two:2")


def test_names_among_several_are_resolved(monkeypatch):
    known = {"a": ["10.0.0.1"], "b": ["10.0.0.2", "10.0.0.3"]}

    def getaddrinfo(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, port)) for place in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert target(["a:1", "b:2"]) == "ipv4:10.0.0.1:1,10.0.0.2:2,10.0.0.3:2"


def test_large_images_are_retried(serve):
    service = Service(BUSY, BUSY)
    pixels = np.zeros((2048, 2048), np.uint16)
    with Client(serve(service)) as client:
        assert client.segment(pixels, deadline_s=60).labels.shape == (2048, 2048)
    assert len(service.requests) == 3
    assert len({request.request_id for request in service.requests}) == 1


def test_a_call_that_a_stopping_server_drops_is_retried(serve, image):
    service = Service(failure(grpc.StatusCode.CANCELLED, "CANCELLED"))
    with Client(serve(service)) as client:
        assert client.segment(image).labels.shape == image.shape
    assert len(service.requests) == 2


async def test_async_client_retries_large_images(serve):
    service = Service(BUSY, BUSY)
    async with AsyncClient(serve(service)) as client:
        await client.segment(np.zeros((1024, 1024), np.float32))
    assert len(service.requests) == 3


def test_calls_go_round_the_servers(serve, image):
    services = [Service(), Service(), Service()]
    with Client([serve(service) for service in services]) as client:
        client.segment(image)
        # A subchannel that is still connecting is left out of the round: wait until every server has had a call.
        end = time.monotonic() + 10
        while not all(service.requests for service in services) and time.monotonic() < end:
            client.segment(image)
        before = [len(service.requests) for service in services]
        for _ in range(12):
            client.segment(image)
    assert [len(service.requests) - n for service, n in zip(services, before, strict=True)] == [4, 4, 4]


def test_server_restarted_between_calls(spawn, image):
    process, address = spawn()
    with Client(address) as client:
        client.segment(image)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        spawn(int(address.rpartition(":")[2]))
        assert len(client.segment(image).objects) == 3


def test_server_restarted_during_calls(spawn, image):
    process, address = spawn()
    port = int(address.rpartition(":")[2])
    done = 0
    with Client(address) as client:
        for _, result in client.segment_many(((n, image) for n in range(60)), concurrency=4):
            assert isinstance(result, cellserve.Segmentation), result
            done += 1
            if done == 10:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                spawn(port)
    assert done == 60


def test_one_of_two_servers_dies(spawn, image):
    (victim, first), (_, second) = spawn(), spawn()
    results = []
    with Client([first, second]) as client:
        for key, result in client.segment_many(((n, image) for n in range(100)), concurrency=6):
            results.append((key, result))
            if len(results) == 20:
                os.kill(victim.pid, signal.SIGKILL)
    assert sorted(key for key, _ in results) == list(range(100))
    assert [result for _, result in results if not isinstance(result, cellserve.Segmentation)] == []


def test_deadline(serve, image):
    service = Service(delay_s=5)
    with Client(serve(service)) as client:
        start = time.monotonic()
        with pytest.raises(cellserve.DeadlineError, match=r"deadline of 0\.2 s") as caught:
            client.segment(image, deadline_s=0.2)
        assert time.monotonic() - start < 2
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.request_id == service.requests[0].request_id != ""
    assert service.cancelled.wait(2), "the server learns that nobody waits any more"


def test_deadline_of_the_client(serve, image):
    with Client(serve(Service(delay_s=5)), deadline_s=0.2) as client, pytest.raises(cellserve.DeadlineError):
        client.segment(image)


def test_metadata_is_sent(serve, image):
    service = Service()
    with Client(serve(service), metadata=[("authorization", "Bearer secret")]) as client:
        client.segment(image)
    assert service.metadata[0]["authorization"] == "Bearer secret"
    assert service.metadata[0]["user-agent"].startswith("cellserve/")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[bytes, bytes]:
    """A key and a certificate for "localhost", signed by itself."""
    folder = tmp_path_factory.mktemp("certificate")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out cert -days 2 -subj /CN=localhost"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=DNS:localhost"], cwd=folder, check=True, capture_output=True
    )
    return (folder / "key").read_bytes(), (folder / "cert").read_bytes()


@pytest.mark.parametrize("several", [False, True])
def test_encryption(serve, image, certificate, several):
    key, chain = certificate
    secure = grpc.ssl_server_credentials([(key, chain)])
    addresses = [serve(Service(), secure).replace("127.0.0.1", "localhost") for _ in range(1 + several)]
    with Client(addresses, credentials=grpc.ssl_channel_credentials(chain)) as client:
        assert len(client.segment(image).objects) == 3


def test_unknown_certificate_is_refused(serve, image, certificate):
    address = serve(Service(), grpc.ssl_server_credentials([certificate])).replace("127.0.0.1", "localhost")
    untrusting = grpc.ssl_channel_credentials()
    with Client(address, credentials=untrusting) as client, pytest.raises(cellserve.UnavailableError):
        client.segment(image)
