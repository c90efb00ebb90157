"""RTCCertificate: a certificate by which the peer authenticates us, its generation, and the check that it works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from datachan.dtls.certificate import Certificate
from datachan.dtls.certificate_check import check_usable
from datachan.dtls.errors import BadCertificate

from .errors import ArgumentError, InvalidAccessError, NotSupportedError


@dataclass(frozen=True)
class RTCDtlsFingerprint:
    """The hash of a certificate.

    Attributes:
        algorithm: the hash function, such as "sha-256".
        value: the bytes in upper-case hexadecimal, with colons between them.
    """

    algorithm: str
    value: str


class RTCCertificate:
    """A certificate and its private key, by which the peer authenticates us."""

    def __init__(self, certificate: Certificate) -> None:
        self._certificate = certificate
        self._usable = False

    @classmethod
    def generateCertificate(cls, algorithm: str | Mapping[str, Any] | None = None) -> RTCCertificate:
        """Create a self-signed certificate.

        Args:
            algorithm: W3C's AlgorithmIdentifier: ``{"name": "ECDSA", "namedCurve": "P-256"}``, the default, or
                ``{"name": "RSASSA-PKCS1-v1_5", "modulusLength": 2048, …}``. A member ``expires`` sets the lifetime in
                milliseconds, at most a year.

        Raises:
            NotSupportedError: the algorithm is another one.
            ArgumentError: the algorithm or its `expires` is malformed.
        """
        return cls(_generate(algorithm))

    def check(self) -> None:
        """Check that a connection can use the certificate.

        Raises:
            InvalidAccessError: the certificate has expired, or OpenSSL refuses it.
        """
        if self.expires <= datetime.now(UTC):
            raise InvalidAccessError("a certificate in the configuration has expired")
        if self._usable:
            return
        try:
            check_usable(self._certificate)
        except BadCertificate as error:
            raise InvalidAccessError(str(error)) from None
        self._usable = True

    @property
    def expires(self) -> datetime:
        """The time at which the certificate expires."""
        return self._certificate.expires

    @property
    def certificate(self) -> Certificate:
        """The certificate of the DTLS layer, with `to_pem` and `from_pem` to store it."""
        return self._certificate

    def getFingerprints(self) -> list[RTCDtlsFingerprint]:
        """Return the fingerprints as in the description."""
        fingerprint = self._certificate.fingerprint("sha-256")
        return [RTCDtlsFingerprint(fingerprint.algorithm, fingerprint.value)]


def _generate(algorithm: str | Mapping[str, Any] | None) -> Certificate:
    """Create a certificate for W3C's AlgorithmIdentifier; see `RTCCertificate.generateCertificate`."""
    given = {"name": "ECDSA", "namedCurve": "P-256"} if algorithm is None else algorithm
    members = {"name": given} if isinstance(given, str) else given
    if not isinstance(members, Mapping) or not isinstance(members.get("name"), str):
        raise ArgumentError(f"an algorithm is a name or a dictionary with a name, not {algorithm!r}")
    rsa_bits = None
    match members["name"].upper(), members.get("namedCurve"), members.get("modulusLength"):
        case "ECDSA", "P-256", _:
            pass
        case "RSASSA-PKCS1-V1_5", _, 2048 | 3072 | 4096 as rsa_bits:
            pass
        case _:
            raise NotSupportedError("certificates have ECDSA keys on P-256 or RSASSA-PKCS1-v1_5 keys of 2048 bits")
    # W3C WebRTC, 4.10.2: expires is in milliseconds, 30 days by default and at most 365.
    expires = members.get("expires", 30 * 24 * 3600 * 1000)
    if isinstance(expires, bool) or not isinstance(expires, (int, float)) or not expires >= 0:
        raise ArgumentError("expires is a number of milliseconds")
    lifetime = min(timedelta(milliseconds=min(expires, 1e12)), timedelta(days=365))
    return Certificate.generate(datetime.now(UTC), lifetime, rsa_bits=rsa_bits)
