"""A DTLS handshake in memory that shows whether OpenSSL accepts a certificate, in both roles."""

from __future__ import annotations

from OpenSSL import SSL

from .certificate import Certificate
from .connection import DtlsConnection, DtlsFailed, DtlsState
from .errors import BadCertificate


def check_usable(certificate: Certificate) -> None:
    """Check that a session can be established with a certificate.

    OpenSSL refuses, for example, short RSA keys and some curves. Without this check, every connection would fail.

    Raises:
        BadCertificate: OpenSSL refuses the certificate or its key.
    """
    try:
        client, server = (
            DtlsConnection(
                certificate=certificate, is_client=is_client, remote_fingerprints=[certificate.fingerprint()], now=0.0
            )
            for is_client in (True, False)
        )
    except SSL.Error as error:
        raise BadCertificate(f"OpenSSL refuses the certificate: {error}") from None
    while datagrams := client.datagrams_to_send(0.0):
        server.receive_datagrams(datagrams, 0.0)
        client.receive_datagrams(server.datagrams_to_send(0.0), 0.0)
    for session in (client, server):
        if session.state is not DtlsState.CONNECTED:
            reasons = [event.reason for event in session.events() if isinstance(event, DtlsFailed)]
            raise BadCertificate(f"OpenSSL refuses the certificate: {', '.join(reasons) or 'the handshake stopped'}")
