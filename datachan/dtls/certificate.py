"""Self-signed certificates and their fingerprints; it knows no connection."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

# cryptography imports this for the first certificate: 3 ms that the first connection would wait for.
from cryptography.hazmat.backends.openssl import backend as _backend  # noqa: F401
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from .errors import BadCertificate, BadFingerprint

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

# RFC 8122, 5: "Implementations compliant with this specification MUST NOT use the
# MD2 and MD5 hash functions to calculate fingerprints or to verify
# received fingerprints that have been calculated using them."
# SHA-1 is left out for the same reason. The most preferred hash comes first.
SUPPORTED_HASHES: Final = ("sha-512", "sha-384", "sha-256")

DEFAULT_HASH: Final = "sha-256"

_HASH_NAMES: Final = {"sha-256": "sha256", "sha-384": "sha384", "sha-512": "sha512"}
_DIGEST_BYTES: Final = {"md2": 16, "md5": 16, "sha-1": 20, "sha-224": 28, "sha-256": 32, "sha-384": 48, "sha-512": 64}

# RFC 8122, 5: "fingerprint = 2UHEX *(":" 2UHEX)". Some peers write lower case, which means the same.
_FINGERPRINT: Final = re.compile(
    r"([!#-'*+\-.0-9A-Z^-~]{1,32})[ \t]+([0-9A-F]{2}(?::[0-9A-F]{2}){0,127})", re.IGNORECASE
)

# A peer whose clock is slow must not see a certificate that is not valid yet. WebRTC peers ignore dates, others do not.
_CLOCK_SKEW: Final = timedelta(days=1)
_RSA_EXPONENT: Final = 65537


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The hash of a certificate, as the SDP attribute ``a=fingerprint`` carries it (RFC 8122, section 5).

    Upper and lower case are equivalent in both parts, which are stored in the form of the RFC.

    Attributes:
        algorithm: the name of the hash function in lower case, such as ``sha-256``.
        value: upper-case hexadecimal bytes with colons between them.
    """

    algorithm: str
    value: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "algorithm", self.algorithm.lower())
        object.__setattr__(self, "value", self.value.upper())

    def __str__(self) -> str:
        return f"{self.algorithm} {self.value}"

    @property
    def is_supported(self) -> bool:
        """Whether certificates can be checked with this hash function."""
        return self.algorithm in SUPPORTED_HASHES

    @staticmethod
    def parse(text: str) -> Fingerprint:
        """Read the value of an ``a=fingerprint`` attribute.

        Unsupported hash functions are read, too, so that an error message can name them.

        Args:
            text: the value after ``a=fingerprint:``, such as ``sha-256 12:DF:…``.

        Raises:
            BadFingerprint: the text is not a token, a space and hexadecimal bytes, or has a wrong number of bytes.
        """
        match = _FINGERPRINT.fullmatch(text.strip())
        if match is None:
            raise BadFingerprint(f"not a fingerprint: {text[:80]!r}")
        fingerprint = Fingerprint(match[1], match[2])
        length = (len(fingerprint.value) + 1) // 3
        expected = _DIGEST_BYTES.get(fingerprint.algorithm, length)
        if length != expected:
            raise BadFingerprint(f"a {fingerprint.algorithm} fingerprint has {expected} bytes, this one {length}")
        return fingerprint

    @staticmethod
    def of(certificate_der: bytes, algorithm: str = DEFAULT_HASH) -> Fingerprint:
        """Compute the fingerprint of a certificate.

        Args:
            certificate_der: the certificate in DER.
            algorithm: ``sha-256``, ``sha-384`` or ``sha-512``.

        Raises:
            BadFingerprint: the hash function is not supported.
        """
        # RFC 8122, 5: "A certificate fingerprint is a secure one-way hash of the
        # Distinguished Encoding Rules (DER) form of the certificate."
        name = _HASH_NAMES.get(algorithm.lower())
        if name is None:
            raise BadFingerprint(
                f"{algorithm!r} is not supported for fingerprints; use one of {', '.join(SUPPORTED_HASHES)}"
            )
        return Fingerprint(algorithm, hashlib.new(name, certificate_der).digest().hex(":"))


class Certificate:
    """A certificate and its private key, by which a side of a DTLS session authenticates.

    Create one with `generate` or `from_pem`. By RFC 8827, 6.5, every connection gets a new one unless the user decides
    otherwise.
    """

    __slots__ = ("__weakref__", "_certificate", "_key", "der")

    def __init__(self, certificate: x509.Certificate, key: PrivateKey) -> None:
        self._certificate = certificate
        self._key = key
        self.der = certificate.public_bytes(serialization.Encoding.DER)

    @staticmethod
    def generate(
        now: datetime, lifetime: timedelta = timedelta(days=30), *, rsa_bits: int | None = None
    ) -> Certificate:
        """Create a self-signed certificate for a new ECDSA key on P-256, or for a new RSA key.

        Args:
            now: the wall-clock time, with a time zone. The certificate is valid from one day earlier.
            lifetime: the validity after `now`. The default of W3C WebRTC is 30 days, the maximum a year.
            rsa_bits: the length of the RSA key; None for ECDSA.
        """
        # RFC 8827, 6.5: "All implementations MUST support DTLS 1.2 with the
        # TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 cipher suite and the P-256 curve [FIPS186]."
        key: PrivateKey = (
            ec.generate_private_key(ec.SECP256R1())
            if rsa_bits is None
            else rsa.generate_private_key(_RSA_EXPONENT, rsa_bits)
        )
        serial_number = x509.random_serial_number()
        # The name must not identify the user, so it is taken from the random serial number.
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{serial_number:040x}"[:16])])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(serial_number)
            .not_valid_before(now - _CLOCK_SKEW)
            .not_valid_after(now + lifetime)
            .sign(key, hashes.SHA256())
        )
        return Certificate(certificate, key)

    @staticmethod
    def from_pem(text: bytes | str) -> Certificate:
        """Read a certificate and its private key from one PEM text, in either order.

        Args:
            text: an unencrypted private key (EC or RSA) and its certificate, as written by `to_pem` or by
                ``openssl req -x509 -nodes``.

        Raises:
            BadCertificate: one of the two is missing, unreadable or of another kind, or the key does not match.
        """
        pem = text.encode() if isinstance(text, str) else text
        try:
            certificate = x509.load_pem_x509_certificate(pem)
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise BadCertificate(f"no certificate with its unencrypted private key in the PEM text: {error}") from error
        if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
            raise BadCertificate("the private key is neither EC nor RSA")
        if key.public_key() != certificate.public_key():
            raise BadCertificate("the private key does not belong to the certificate")
        return Certificate(certificate, key)

    def to_pem(self) -> bytes:
        """Return the private key (unencrypted PKCS #8) and the certificate as one PEM text."""
        key = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return key + self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def expires(self) -> datetime:
        """The time at which the certificate expires, in UTC."""
        return self._certificate.not_valid_after_utc

    @property
    def x509(self) -> x509.Certificate:
        """The certificate as an object of `cryptography`."""
        return self._certificate

    @property
    def private_key(self) -> PrivateKey:
        """The private key as an object of `cryptography`."""
        return self._key

    def fingerprint(self, algorithm: str = DEFAULT_HASH) -> Fingerprint:
        """Compute the certificate's fingerprint.

        Args:
            algorithm: ``sha-256``, ``sha-384`` or ``sha-512``.

        Raises:
            BadFingerprint: the hash function is not supported.
        """
        return Fingerprint.of(self.der, algorithm)
