"""TLS credentials of the gRPC port."""

from __future__ import annotations

import grpc

from cellserve_gateway.access.certificates import CertificateFiles, Certificates


def server_credentials(files: CertificateFiles) -> grpc.ServerCredentials:
    """Returns the credentials of the gRPC port. Renewed files count from the next handshake on.

    With a client CA, callers must show a certificate that the CA signed.
    """

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        certificates = files.renewed()
        return _configuration(certificates) if certificates else None

    return grpc.dynamic_ssl_server_credentials(
        _configuration(files.read()), renewed, require_client_authentication=files.client_ca is not None
    )


def _configuration(certificates: Certificates) -> grpc.ServerCertificateConfiguration:
    pair = (certificates.key, certificates.certificate)
    return grpc.ssl_server_certificate_configuration([pair], certificates.client_ca)
