"""The exceptions of this package: misuse by the caller. An error of the peer becomes an event instead.

DtlsError
 ├── NotConnected      the handshake is not complete
 ├── RecordTooLarge   a message does not fit into one DTLS record
 ├── BadFingerprint    a text is not a fingerprint as in RFC 8122, section 5
 └── BadCertificate    a PEM text does not hold a certificate and its private key
"""

from __future__ import annotations


class DtlsError(Exception):
    """Base class of the exceptions of `datachan.dtls`."""


class NotConnected(DtlsError):
    """The handshake is not complete, so no message can be sent."""


class RecordTooLarge(DtlsError):
    """The message is longer than one record may be: 2**14 bytes (RFC 6347, 4.1; RFC 9147, 4)."""


class BadFingerprint(DtlsError):
    """The text is not an ``a=fingerprint`` value (RFC 8122, section 5)."""


class BadCertificate(DtlsError):
    """The PEM text does not hold a certificate and its private key."""
