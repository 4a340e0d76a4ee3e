"""TLS and tokens on the wire: who gets in, who does not, and how."""

from __future__ import annotations

import subprocess
import sys
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest
import trustme
from cellserve import AuthenticationError, Client, UnavailableError

from .certified import wait_ready, write_certificate

TOKEN = "a-token-of-some-length"
IMAGE = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def secured(triton, start_gateway, authority, tmp_path_factory):
    """A gateway that wants certificates and tokens, and the folder of its files."""
    folder = tmp_path_factory.mktemp("secrets")
    write_certificate(folder, authority)
    authority.cert_pem.write_to_path(folder / "ca.crt")
    (folder / "tokens").write_text(f"alice {TOKEN}\n")
    gateway = start_gateway(
        triton.grpc,
        serving=False,
        tls_certificate=folder / "tls.crt",
        tls_key=folder / "tls.key",
        tls_client_ca=folder / "ca.crt",
        tokens_file=folder / "tokens",
    )
    wait_ready(gateway)
    return gateway, folder


def credentials(trusted, shown=None) -> grpc.ChannelCredentials:
    certificate = shown.issue_cert("caller@example.org") if shown else None
    return grpc.ssl_channel_credentials(
        trusted.cert_pem.bytes(),
        certificate.private_key_pem.bytes() if certificate else None,
        certificate.cert_chain_pems[0].bytes() if certificate else None,
    )


def segment(gateway, given, token=TOKEN):
    metadata = [("authorization", f"Bearer {token}")] if token else []
    with Client(gateway.address, credentials=given, metadata=metadata) as client:
        return client.segment(IMAGE, ensemble=False, diameter=30)


def test_who_shows_both_gets_in(secured, authority):
    gateway, _ = secured
    assert segment(gateway, credentials(authority, authority)).labels.shape == (64, 64)
    assert '"caller": "alice"' in gateway.log.read_text()
    assert TOKEN not in gateway.log.read_text()


@pytest.mark.parametrize(
    "case", ["no encryption", "no certificate", "a stranger's certificate", "a server not trusted"]
)
def test_without_the_right_certificate_nobody_gets_in(secured, authority, case):
    stranger = trustme.CA()
    given = {
        "no encryption": None,
        "no certificate": credentials(authority),
        "a stranger's certificate": credentials(authority, stranger),
        "a server not trusted": credentials(stranger, authority),
    }[case]
    with pytest.raises(UnavailableError):
        segment(secured[0], given)


@pytest.mark.parametrize(
    ("token", "reason"), [(None, "TOKEN_MISSING"), ("another-token-of-some-length", "TOKEN_UNKNOWN")]
)
def test_without_the_right_token_nobody_gets_in(secured, authority, token, reason):
    with pytest.raises(AuthenticationError) as error:
        segment(secured[0], credentials(authority, authority), token)
    assert (error.value.code, error.value.reason) == (grpc.StatusCode.UNAUTHENTICATED, reason)


def test_streams_and_lists_ask_too(secured, authority):
    with Client(secured[0].address, credentials=credentials(authority, authority)) as client:
        ((_, refused),) = client.segment_stream([(0, IMAGE)])
        assert isinstance(refused, AuthenticationError)
        with pytest.raises(AuthenticationError, match="TOKEN_MISSING"):
            client.models()


def test_renewed_files_count_without_a_restart(secured, authority):
    gateway, folder = secured
    new = trustme.CA()
    write_certificate(folder, new)
    assert segment(gateway, credentials(new, authority)).labels.shape == (64, 64)
    with pytest.raises(UnavailableError):
        segment(gateway, credentials(authority, authority))
    write_certificate(folder, authority)
    assert segment(gateway, credentials(authority, authority)).labels.shape == (64, 64)


def test_the_command_line_gets_in(secured, authority, tmp_path):
    shown = authority.issue_cert("caller@example.org")
    authority.cert_pem.write_to_path(tmp_path / "ca")
    shown.cert_chain_pems[0].write_to_path(tmp_path / "certificate")
    shown.private_key_pem.write_to_path(tmp_path / "key")
    options = [f"--{name}={tmp_path / name}" for name in ("ca", "certificate", "key")]
    command = [sys.executable, "-m", "cellserve", *options, "models", "--address", secured[0].address]
    allowed = subprocess.run(command, env={"CELLSERVE_TOKEN": TOKEN}, capture_output=True, text=True, check=False)
    assert allowed.returncode == 0, allowed.stderr
    assert "generalist" in allowed.stdout
    refused = subprocess.run(command, env={}, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "TOKEN_MISSING" in refused.stderr


@pytest.mark.parametrize(("path", "status"), [("livez", 200), ("readyz", 200), ("metrics", 200), ("", 404)])
def test_pages_beside_the_service(secured, path, status):
    try:
        with urllib.request.urlopen(f"http://{secured[0].monitoring}/{path}", timeout=10) as answer:
            assert answer.status == status
    except urllib.error.HTTPError as error:
        assert error.code == status
