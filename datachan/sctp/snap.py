"""Setting an association up without packets: both INITs travelled in signaling (draft-hancke-tsvwg-snap, "SNAP").

Only where the lower layer has proved who the peer is, as DTLS does: there is no State Cookie that would. It knows INIT
chunks as bytes; how these travel is for others to know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from . import handshake, setup
from .errors import BadPacket
from .options import AssociationOptions
from .wire.chunks import INIT, InitChunk, parse_init_untrusted

if TYPE_CHECKING:
    from .association import Association

LONGEST_INIT: Final = 2048
"""Bytes of an INIT that are read; what we know of takes less than a hundred."""


def make_init(options: AssociationOptions, entropy: Callable[[int], bytes]) -> bytes:
    """An INIT of ours, to be shown to the peer and then given to `Association.connect_negotiated`.

    Args:
        options: those of the association it is for.
        entropy: where Initiate Tag and Initial TSN come from.
    """
    tag = 0
    while tag == 0:
        tag = int.from_bytes(entropy(4), "big")
    init = handshake.build_init(options, tag, int.from_bytes(entropy(4), "big"), b"")
    serialized = init.serialize()
    # The padding behind the last parameter is no part of the chunk (RFC 9260, section 3.2).
    return serialized[: serialized[2] << 8 | serialized[3]]


def read_init_untrusted(data: bytes) -> InitChunk:
    """Read the INIT a peer has shown.

    Raises:
        BadPacket: it is none, or one that no association can be built on.
    """
    if not 20 <= len(data) <= LONGEST_INIT or data[0] != INIT:
        raise BadPacket("this is no INIT chunk")
    length = data[2] << 8 | data[3]
    if not 20 <= length <= len(data) <= length + 3:
        raise BadPacket(f"the INIT chunk has length {length} of {len(data)}")
    init = parse_init_untrusted(data, 0, length)
    if init.initiate_tag == 0:
        raise BadPacket("the INIT chunk has an Initiate Tag of 0")
    if handshake.refuse(AssociationOptions(), init) is not None:
        raise BadPacket("the INIT chunk asks for what cannot be")
    return init


def establish(association: Association, local: bytes, remote: bytes, now: float) -> None:
    """Enter ESTABLISHED with what both INITs say.

    Raises:
        BadPacket: one of them is no INIT.
    """
    ours, theirs = read_init_untrusted(local), read_init_untrusted(remote)
    content = handshake.content_of_init_ack(association.options, theirs, ours.initiate_tag, ours.initial_tsn, now)
    setup.make_tcb(association, content)
    setup.established(association, now)
