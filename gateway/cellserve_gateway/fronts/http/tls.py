"""TLS contexts of an HTTP port, renewed with the files of the certificates."""

from __future__ import annotations

import ssl

import structlog

from cellserve_gateway.access.certificates import CertificateFiles

log = structlog.get_logger()


class TlsContexts:
    """Returns the TLS context of the next connection.

    Args:
        files: Files of this port alone: each change is reported once.

    Raises:
        OSError: A file cannot be read, or is no certificate (ssl.SSLError).
    """

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._context = self._load()

    def __call__(self) -> ssl.SSLContext:
        """Returns the current context. Files that cannot be loaded leave the context as it was."""
        if self._files.renewed():
            try:
                self._context = self._load()
            except OSError as error:
                log.warning("the certificate cannot be loaded, the certificate before stays", error=str(error))
        return self._context

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(self._files.certificate, self._files.key)
        if self._files.client_ca:
            context.load_verify_locations(self._files.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context
