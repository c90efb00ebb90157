"""DTLS as a sans-IO machine around OpenSSL's memory BIOs, and the certificates for authentication.

    errors.py              the exceptions that misuse of this package raises
    certificate.py         self-signed certificates and their fingerprints (RFC 8122)
    records.py             the boundaries of records (RFC 6347, 4.1; RFC 9147, 4)
    openssl.py             many records through OpenSSL with few calls
    verifier.py            the check of the peer's certificate against the fingerprints from signaling
    connection.py          `DtlsConnection`: datagrams in, messages out
    certificate_check.py   a handshake in memory that shows whether OpenSSL accepts a certificate

The fingerprint from signaling is the whole check (RFC 8827, 6.5; RFC 8842, 5.1). Authorities, names and dates in a
certificate are ignored. No message is delivered before the check has passed.
"""

from __future__ import annotations

from .certificate import Certificate, Fingerprint
from .connection import (
    DtlsClosed,
    DtlsConnected,
    DtlsConnection,
    DtlsEvent,
    DtlsFailed,
    DtlsState,
)
from .errors import BadCertificate, BadFingerprint, DtlsError, NotConnected, RecordTooLarge

__all__ = [
    "BadCertificate",
    "BadFingerprint",
    "Certificate",
    "DtlsClosed",
    "DtlsConnected",
    "DtlsConnection",
    "DtlsError",
    "DtlsEvent",
    "DtlsFailed",
    "DtlsState",
    "Fingerprint",
    "NotConnected",
    "RecordTooLarge",
]
