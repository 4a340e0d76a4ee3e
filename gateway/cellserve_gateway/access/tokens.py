"""Bearer tokens of the callers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import structlog

from cellserve_gateway.errors import Unauthenticated

from .watched import WatchedFiles

log = structlog.get_logger()
ANONYMOUS = "anonymous"
"""Name of a caller that no token names."""
_TOKEN_LINE = re.compile(r"(\S{1,64})\s+([\x21-\x7e]{16,4096})")


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
            self._watched = WatchedFiles(path)
            self._watched.changed()
            self._names = _read_tokens(path)

    def caller(self, metadata: Mapping[str, str | bytes]) -> str:
        """Returns the name of a caller; `ANONYMOUS` where no tokens are set.

        Args:
            metadata: Of the call; its `authorization` is `Bearer <token>`.

        Raises:
            Unauthenticated: No token, or an unknown one.
        """
        if self._path is None:
            return ANONYMOUS
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
