"""Attributes of ours that a peer copied into its description: a copy states nothing about the peer.

libdatachannel copies every attribute it does not know from an offer into its answer. Each attribute that we write and
read back is therefore judged as follows.

    sctp-init          A copy has our Initiate Tag, which is 32 random bits. The peer does not support SNAP.
    tls-id             A copy has our value, which is 128 random bits. The peer stated no tls-id.
    max-message-size   Two peers may well state the same size. If the peer copied one of the attributes above, an equal
                       size may be a copy, too: the default of 65,536 bytes is what remains certain.
    end-of-candidates  If the peer copied one of the attributes above, it is not taken as the end of its candidates.
    ice-ufrag, ice-pwd A copy of both means that the description is one of ours: no check could succeed. It is an error.
    setup              A copied "actpass" leaves the DTLS role open. `check_answer` reports it as an error.
    fingerprint        A copy is not an error, because two connections may share a certificate. Nor does it weaken
                       security: the DTLS handshake proves possession of the private key.
    ice-options        "trickle" is the same word from every peer, so a copy cannot be recognized. It has no effect on
                       the connection: the description lists the candidates, too. "renomination" and "sped" are not
                       believed of a peer that copied one of the attributes above.
    mid, sctp-port, BUNDLE groups
                       The answer has to repeat them, or the port's usual value, in any case.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from datachan.sctp import read_init_untrusted

from .description import DEFAULT_MAX_MESSAGE_SIZE, Section, SessionDescription
from .errors import SdpError


def without_copied_attributes(theirs: SessionDescription, ours: Iterable[SessionDescription]) -> SessionDescription:
    """Return the peer's description without the attributes that it copied from ours.

    Args:
        theirs: the peer's description.
        ours: the descriptions we created on this connection.

    Raises:
        SdpError: the description is one of ours.
    """
    if theirs.data is None or theirs.data_index is None:
        return theirs
    data = theirs.data
    for description in ours:
        if description.data is not None:
            data = _without_copies(data, description.data)
    sections = list(theirs.sections)
    sections[theirs.data_index] = data
    return replace(theirs, sections=tuple(sections))


def _without_copies(theirs: Section, ours: Section) -> Section:
    if theirs.transport is None or ours.transport is None:
        return theirs
    if (theirs.transport.ice_ufrag, theirs.transport.ice_pwd) == (ours.transport.ice_ufrag, ours.transport.ice_pwd):
        raise SdpError("the description has our own a=ice-ufrag and a=ice-pwd: it is ours, not the peer's")
    copied_init = _same_initiate_tag(theirs.sctp_init, ours.sctp_init)
    copied_tls_id = theirs.transport.tls_id is not None and theirs.transport.tls_id == ours.transport.tls_id
    if not copied_init and not copied_tls_id:
        return theirs
    tls_id = None if copied_tls_id else theirs.transport.tls_id
    return replace(
        theirs,
        transport=replace(theirs.transport, tls_id=tls_id, renomination=False, sped=False),
        sctp_init=None if copied_init else theirs.sctp_init,
        max_message_size=_certain_message_size(theirs.max_message_size, ours.max_message_size),
        end_of_candidates=False,
    )


def _same_initiate_tag(theirs: bytes | None, ours: bytes | None) -> bool:
    if not theirs or not ours:
        return False
    return read_init_untrusted(theirs).initiate_tag == read_init_untrusted(ours).initiate_tag


def _certain_message_size(theirs: int, ours: int) -> int:
    """Return the size that a peer known to copy attributes accepts with certainty; 0 stands for no limit."""
    if theirs != ours:
        return theirs
    return min(theirs, DEFAULT_MAX_MESSAGE_SIZE) if theirs else DEFAULT_MAX_MESSAGE_SIZE
