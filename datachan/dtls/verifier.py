"""The one decision of trust: does the peer's certificate match a fingerprint that signaling promised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from OpenSSL import crypto

from .certificate import SUPPORTED_HASHES, Fingerprint

if TYPE_CHECKING:
    from OpenSSL import SSL


class PeerVerifier:
    """Knows which fingerprints are promised; is asked by OpenSSL during the handshake.

    Attributes:
        refusal: why no certificate can or did pass, a sentence for people; empty while nothing speaks against it.
        certificate_der: the certificate that passed, else None.
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
        """Compare one certificate with what was promised, and remember the outcome.

        Args:
            certificate_der: the certificate in DER, as the peer sent it.
        """
        if not self._algorithm:
            return False
        fingerprint = Fingerprint.of(certificate_der, self._algorithm)
        if fingerprint.value not in self._accepted:
            self.certificate_der = None
            promised = " or ".join(sorted(self._accepted))
            self.refusal = (
                "the peer's certificate is not the one its session description announced: "
                f"its {self._algorithm} fingerprint is {fingerprint.value}, announced was {promised}"
            )
            return False
        self.certificate_der = certificate_der
        return True

    def openssl_callback(
        self, _connection: SSL.Connection, certificate: crypto.X509, _error: int, depth: int, _ok: int
    ) -> bool:
        """Answer OpenSSL's question about one certificate of the chain; a no ends the handshake with an alert.

        The errors that OpenSSL found by itself (self-signed, expired, unknown authority, weak key) say nothing here.
        Only the peer's own certificate, at depth 0, is bound to the fingerprint; what else it sent is ignored.
        """
        if depth != 0:
            return True
        try:
            # Through OpenSSL's own encoder: cryptography's parser is stricter and would raise on odd but harmless ones.
            certificate_der = crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)
        except crypto.Error as error:
            self.refusal = f"the peer's certificate cannot be read: {error}"
            return False
        return self.check(certificate_der)


def _nothing_to_check_with(offered: Sequence[str]) -> str:
    supported = ", ".join(reversed(SUPPORTED_HASHES))
    if not offered:
        return f"the peer announced no certificate fingerprint; one with {supported} is needed"
    return f"the peer announced certificate fingerprints with {', '.join(offered)} only; one with {supported} is needed"
