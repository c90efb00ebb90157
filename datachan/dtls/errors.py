"""What this package raises at its own caller; what a peer does wrong becomes an event instead.

DtlsError
 ├── NotConnected      the call does not fit the connection's state
 ├── RecordTooLarge   a message does not fit into one DTLS record
 ├── BadFingerprint    a text is no fingerprint as RFC 8122, section 5 writes it
 └── BadCertificate    a PEM text does not hold a certificate and its private key
"""

from __future__ import annotations


class DtlsError(Exception):
    """The root of everything `datachan.dtls` raises."""


class NotConnected(DtlsError):
    """The call does not fit the state the connection is in."""


class RecordTooLarge(DtlsError):
    """The message is longer than one record may be: 2**14 bytes (RFC 6347, 4.1; RFC 9147, 4)."""


class BadFingerprint(DtlsError):
    """The text is no ``a=fingerprint`` value (RFC 8122, section 5)."""


class BadCertificate(DtlsError):
    """The PEM text does not hold one certificate and the private key that belongs to it."""
