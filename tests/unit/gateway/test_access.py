"""Tokens: who is let in, and what happens when the file changes."""

from __future__ import annotations

import pytest
from cellserve_gateway.access.certificates import CertificateFiles
from cellserve_gateway.access.tokens import ANONYMOUS, Tokens
from cellserve_gateway.errors import Unauthenticated
from cellserve_gateway.settings import Settings

ALICE, SCOPE = "a" * 16, "scope-token-0123456789"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"# who may call\n\nalice {ALICE}\n  confocal-2\t{SCOPE}  \n")
    return path


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def test_without_a_file_everybody_is_let_in():
    assert Tokens(None).caller({}) == ANONYMOUS


def test_callers_are_known_by_their_tokens(path):
    tokens = Tokens(path)
    assert tokens.caller(bearer(ALICE)) == "alice"
    assert tokens.caller({"authorization": f"bearer {SCOPE}"}) == "confocal-2"


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({}, "TOKEN_MISSING"),
        ({"authorization": ""}, "TOKEN_MISSING"),
        ({"authorization": "Bearer "}, "TOKEN_MISSING"),
        ({"authorization": ALICE}, "TOKEN_MISSING"),
        ({"authorization": f"Basic {ALICE}"}, "TOKEN_MISSING"),
        (bearer(ALICE + "a"), "TOKEN_UNKNOWN"),
        (bearer(ALICE[:-1]), "TOKEN_UNKNOWN"),
        (bearer("alice"), "TOKEN_UNKNOWN"),
        (bearer("\udcff"), "TOKEN_UNKNOWN"),
    ],
)
def test_others_are_refused(path, metadata, reason):
    with pytest.raises(Unauthenticated) as error:
        Tokens(path).caller(metadata)
    assert error.value.reason == reason
    assert ALICE not in error.value.message


def test_a_changed_file_counts_at_once(path):
    tokens = Tokens(path)
    new = path.with_name("new")
    new.write_text(f"bob {'b' * 16}\n")
    new.replace(path)
    assert tokens.caller(bearer("b" * 16)) == "bob"
    with pytest.raises(Unauthenticated):
        tokens.caller(bearer(ALICE))


@pytest.mark.parametrize("content", ["", "alice short", "alice", "nonsense without end \x00"])
def test_a_broken_file_stops_the_start_but_locks_nobody_out(path, content):
    tokens = Tokens(path)
    path.write_text(content)
    assert tokens.caller(bearer(ALICE)) == "alice"
    with pytest.raises(ValueError, match="tokens"):
        Tokens(path)
    path.unlink()
    assert tokens.caller(bearer(ALICE)) == "alice"


def test_a_secret_is_not_in_the_error(path):
    path.write_text("alice hidden-but-too short\n")
    with pytest.raises(ValueError, match="line 1") as error:
        Tokens(path)
    assert "hidden" not in str(error.value)


def test_half_a_certificate_is_refused(tmp_path):
    assert CertificateFiles.of(Settings()) is None
    for given in ("tls_certificate", "tls_key", "tls_client_ca"):
        with pytest.raises(ValueError, match="CELLSERVE_TLS_KEY"):
            CertificateFiles.of(Settings(**{given: tmp_path / "x"}))
