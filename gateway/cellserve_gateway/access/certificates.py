"""Certificate, key and client CA of the TLS ports, read again when the files change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import structlog

from cellserve_gateway.settings import Settings

from .watched import WatchedFiles

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Certificates:
    """Contents of the files, PEM.

    Attributes:
        client_ca: Certificates that sign the callers' certificates. None: callers show no certificate.
    """

    certificate: bytes
    key: bytes
    client_ca: bytes | None


class CertificateFiles:
    """Files of certificates.

    Raises:
        OSError: A file cannot be read.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        self.certificate = certificate
        self.key = key
        self.client_ca = client_ca
        self._watched = WatchedFiles(certificate, key, *([client_ca] if client_ca else []))
        self._watched.changed()
        self.read()

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """Returns the files that the settings name; None without TLS.

        Raises:
            ValueError: A file is named without its partner.
            OSError: A file cannot be read.
        """
        certificate, key, client_ca = settings.tls_certificate, settings.tls_key, settings.tls_client_ca
        if certificate is None and key is None and client_ca is None:
            return None
        if certificate is None or key is None:
            raise ValueError("TLS needs both CELLSERVE_TLS_CERTIFICATE and CELLSERVE_TLS_KEY")
        return cls(certificate, key, client_ca)

    def read(self) -> Certificates:
        """Reads the files."""
        return Certificates(
            self.certificate.read_bytes(),
            self.key.read_bytes(),
            self.client_ca.read_bytes() if self.client_ca else None,
        )

    def renewed(self) -> Certificates | None:
        """Returns the contents if the files have changed since the last call, else None.

        Files that cannot be read do not count as changed: a half-written certificate does not close the port.
        """
        try:
            if not self._watched.changed():
                return None
            log.info("certificate read again")
            return self.read()
        except OSError as error:
            log.warning("the certificate cannot be read again, the certificate before stays", error=str(error))
            return None
