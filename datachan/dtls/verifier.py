"""The check of the peer's certificate against the fingerprints from signaling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from OpenSSL import crypto

from .certificate import SUPPORTED_HASHES, Fingerprint

if TYPE_CHECKING:
    from OpenSSL import SSL


class PeerVerifier:
    """The fingerprints from signaling, and the result of the check; a connection has it as its `app_data`.

    Attributes:
        refusal: a sentence on why no certificate can pass, or why the peer's was refused; empty otherwise.
        certificate_der: the certificate that passed, or None.
    """

    def __init__(self, promised: Sequence[Fingerprint]) -> None:
        self.certificate_der: bytes | None = None
        # RFC 8122, 5.1: "An endpoint MUST select the set of fingerprints that use its most
        # preferred hash function (out of those offered by the peer) and verify
        # that each certificate used matches one fingerprint out of that set."
        offered = {fingerprint.algorithm for fingerprint in promised}
        self._algorithm = next((name for name in SUPPORTED_HASHES if name in offered), "")
        self._accepted = {one.value for one in promised if one.algorithm == self._algorithm}
        self.refusal = "" if self._algorithm else _nothing_to_check_with(sorted(offered))

    def check(self, certificate_der: bytes) -> bool:
        """Compare a certificate with the fingerprints and record the result.

        Args:
            certificate_der: the peer's certificate in DER.
        """
        if not self._algorithm:
            return False
        fingerprint = Fingerprint.of(certificate_der, self._algorithm)
        if fingerprint.value not in self._accepted:
            self.certificate_der = None
            promised = " or ".join(sorted(self._accepted))
            self.refusal = (
                "the peer's certificate does not match the fingerprint in its session description: "
                f"its {self._algorithm} fingerprint is {fingerprint.value}, the description has {promised}"
            )
            return False
        self.certificate_der = certificate_der
        return True

    def check_openssl(self, certificate: crypto.X509) -> bool:
        """Compare OpenSSL's certificate with the fingerprints and record the result."""
        try:
            # OpenSSL's encoder is used because cryptography's stricter parser raises on odd but harmless certificates.
            certificate_der = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
        except crypto.Error as error:
            self.refusal = f"the peer's certificate cannot be read: {error}"
            return False
        return self.check(certificate_der)


def verify_peer(connection: SSL.Connection, certificate: crypto.X509, _error: int, depth: int, _ok: int) -> bool:
    """Return whether OpenSSL may accept a certificate of the chain; False ends the handshake with an alert.

    The errors that OpenSSL finds by itself (self-signed, expired, unknown authority, weak key) do not matter. Only
    the peer's own certificate, at depth 0, must match the fingerprint; the rest of the chain is ignored.
    """
    verifier = connection.get_app_data()
    return isinstance(verifier, PeerVerifier) and (depth != 0 or verifier.check_openssl(certificate))


def _nothing_to_check_with(offered: Sequence[str]) -> str:
    supported = ", ".join(reversed(SUPPORTED_HASHES))
    if not offered:
        return f"the peer's description has no certificate fingerprint; one with {supported} is needed"
    return f"the peer's description has fingerprints with {', '.join(offered)} only; one with {supported} is needed"
