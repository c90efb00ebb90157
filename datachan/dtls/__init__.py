"""DTLS over memory BIOs as a sans-IO machine, and the certificates it authenticates with.

    certificate.py   who we are and who the peer must be: self-signed certificates, fingerprints (RFC 8122)
    records.py       where one record ends and the next begins (RFC 6347, 4.1; RFC 9147, 4)
    verifier.py      the one decision of trust: does this certificate match what signaling promised
    connection.py    OpenSSL as a machine of the house's shape: datagrams in, messages out

Certificates prove nothing by themselves here: no authority is asked, no name, no date. The fingerprint that came by way
of signaling is the whole check (RFC 8827, 6.5; RFC 8842, 5.1), and nothing is delivered before it has passed.
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
