"""What a new description of the peer changes below the channels: the ICE, DTLS or SCTP of its transport; pure rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datachan.dtls.certificate import SUPPORTED_HASHES, Fingerprint
from datachan.sdp import Section, TransportParameters


@dataclass(frozen=True, slots=True)
class TransportChanges:
    """The parts of the transport that a description changes.

    Attributes:
        ice: whether the description restarts ICE.
        dtls: whether it requests a new DTLS association.
        sctp: whether it requests a new SCTP association, as a new DTLS association does.
    """

    ice: bool = False
    dtls: bool = False
    sctp: bool = False


def transport_changes(before: Section | None, after: Section, certificate_der: bytes | None) -> TransportChanges:
    """Compare the peer's new data section with the one before.

    Args:
        before: the section in use; None before the connection has started.
        after: the new section.
        certificate_der: the certificate with which the peer has authenticated itself, or None.
    """
    if before is None or before.transport is None or after.transport is None:
        return TransportChanges()
    old, new = before.transport, after.transport
    dtls = _new_tls_id(old, new) or not _same_certificate(old.fingerprints, new.fingerprints, certificate_der)
    return TransportChanges(
        ice=(old.ice_ufrag, old.ice_pwd) != (new.ice_ufrag, new.ice_pwd),
        dtls=dtls,
        # RFC 8841, 9.3: "The existing SCTP association is closed, and the new SCTP association is established, if one
        # or both endpoints signal a new SCTP port."
        sctp=dtls or before.sctp_port != after.sctp_port,
    )


def _new_tls_id(old: TransportParameters, new: TransportParameters) -> bool:
    # RFC 8842, 1: "Providing a new value of the "tls-id" attribute in an SDP offer or answer can be used to indicate
    # whether a new DTLS association is to be established." A peer without the attribute says nothing.
    return None not in (old.tls_id, new.tls_id) and old.tls_id != new.tls_id


def _same_certificate(
    before: Sequence[Fingerprint], after: Sequence[Fingerprint], certificate_der: bytes | None
) -> bool:
    """Return whether fingerprints may be those of the same certificate.

    Their order has no meaning, and a peer may add or omit the fingerprint of one hash function or of a spare
    certificate.
    """
    if set(before) & set(after):
        return True
    usable = [one for one in after if one.algorithm in SUPPORTED_HASHES]
    return certificate_der is not None and any(Fingerprint.of(certificate_der, one.algorithm) == one for one in usable)
