"""Who may call: certificates and tokens, read from files and read again when these change."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import grpc
import structlog

from .errors import Unauthenticated
from .settings import Settings

log = structlog.get_logger()
_TOKEN_LINE = re.compile(r"(\S{1,64})\s+([\x21-\x7e]{16,4096})")


class Watched:
    """Files that somebody else renews: Kubernetes, cert-manager, a person."""

    def __init__(self, *paths: Path) -> None:
        self._paths = paths
        self._seen: tuple[tuple[int, int, int], ...] = ()

    def changed(self) -> bool:
        """Returns whether any of them is another than when last asked.

        Raises:
            OSError: One cannot be read.
        """
        # The inode, too: Kubernetes swaps a link to a new folder, whose files can be as old as those before.
        now = tuple((status.st_mtime_ns, status.st_size, status.st_ino) for status in (p.stat() for p in self._paths))
        changed, self._seen = now != self._seen, now
        return changed


class Tokens:
    """Bearer tokens of the callers.

    Args:
        path: Lines of a caller's name and its token (16 printable characters at least), blanks between; lines
            that begin with `#` are comments. None: everybody may call.

    Raises:
        ValueError, OSError: The file cannot be read, or a line is none.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._names: dict[bytes, str] = {}
        if path:
            self._watched = Watched(path)
            self._watched.changed()
            self._names = _read_tokens(path)

    def caller(self, metadata: Mapping[str, str | bytes]) -> str | None:
        """Returns the name of a caller; None where everybody may call.

        Args:
            metadata: Of the call; its `authorization` is `Bearer <token>`.

        Raises:
            Unauthenticated: No token, or an unknown one.
        """
        if self._path is None:
            return None
        scheme, _, token = str(metadata.get("authorization", "")).partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("the call carries no token: send authorization: Bearer TOKEN", reason="TOKEN_MISSING")
        self._renew(self._path)
        # A look-up by hash takes the same time whatever part of a token is right.
        name = self._names.get(_hash(token.strip()))
        if name is None:
            raise Unauthenticated("the token is not known to this server", reason="TOKEN_UNKNOWN")
        return name

    def _renew(self, path: Path) -> None:
        try:
            if self._watched.changed():
                self._names = _read_tokens(path)
                log.info("tokens read again", callers=len(self._names))
        except (OSError, ValueError) as error:  # a half-written file locks nobody out
            log.warning("tokens cannot be read again, the ones before stay", error=str(error))


def server_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Returns the credentials of the gRPC port; None without TLS.

    With a client CA, callers must show a certificate that it signed. Renewed files count from the next handshake on.

    Raises:
        OSError, ValueError: A file cannot be read, or one is named without its partner.
    """
    certificate, key, client_ca = settings.tls_certificate, settings.tls_key, settings.tls_client_ca
    if certificate is None and key is None and client_ca is None:
        return None
    if certificate is None or key is None:
        raise ValueError("TLS needs both, CELLSERVE_TLS_CERTIFICATE and CELLSERVE_TLS_KEY")
    watched = Watched(certificate, key, *([client_ca] if client_ca else []))
    watched.changed()

    def read() -> grpc.ServerCertificateConfiguration:
        pair = (key.read_bytes(), certificate.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], client_ca.read_bytes() if client_ca else None)

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        try:
            if not watched.changed():
                return None
            log.info("certificate read again")
            return read()
        except OSError as error:
            log.warning("the certificate cannot be read again, the one before stays", error=str(error))
            return None

    return grpc.dynamic_ssl_server_credentials(read(), renewed, require_client_authentication=client_ca is not None)


def _read_tokens(path: Path) -> dict[bytes, str]:
    names = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not (entry := line.strip()) or entry.startswith("#"):
            continue
        match = _TOKEN_LINE.fullmatch(entry)
        if match is None:  # the line itself is secret
            raise ValueError(f"{path}, line {number}: not a name and a token of 16 characters or more")
        names[_hash(match[2])] = match[1]
    if not names:
        raise ValueError(f"{path} names no caller")
    return names


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()
