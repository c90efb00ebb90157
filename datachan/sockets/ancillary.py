"""What travels beside a message: ancillary data as values (RFC 6458, section 5.3), and a received message.

The names are the RFC's without prefix. Times are milliseconds, as there.
"""

from __future__ import annotations

from dataclasses import dataclass

from .constants import MessageFlag, NextFlag, PrPolicy, SendFlag
from .notifications import Notification

Address = tuple[str, int]
"""A host and an SCTP port."""


@dataclass(frozen=True, slots=True)
class InitMsg:
    """How an association is set up (SCTP_INIT, section 5.3.1, and SCTP_INITMSG); 0 leaves a value as it is.

    Attributes:
        num_ostreams: streams to ask for.
        max_instreams: streams to accept.
        max_attempts: how often INIT is sent again.
        max_init_timeo: the longest wait between two of them, in milliseconds.
    """

    num_ostreams: int = 0
    max_instreams: int = 0
    max_attempts: int = 0
    max_init_timeo: int = 0


@dataclass(frozen=True, slots=True)
class SndInfo:
    """How a message is sent (SCTP_SNDINFO, section 5.3.4).

    Attributes:
        sid: the stream.
        flags: any of `SendFlag`.
        ppid: payload protocol identifier, in host byte order.
        context: anything; comes back in `SendFailed`.
        assoc_id: the association, on a one-to-many socket; 0 leaves it to the address.
    """

    sid: int = 0
    flags: int = 0
    ppid: int = 0
    context: object = None
    assoc_id: int = 0


@dataclass(frozen=True, slots=True)
class PrInfo:
    """When to give a message up (SCTP_PRINFO, section 5.3.7).

    Attributes:
        policy: one of `PrPolicy`.
        value: milliseconds it lives, retransmissions it may have, or its priority (0 is the highest).
    """

    policy: int = PrPolicy.SCTP_PR_SCTP_NONE
    value: int = 0


@dataclass(frozen=True, slots=True)
class AuthInfo:
    """The shared key a message is authenticated with (SCTP_AUTHINFO, section 5.3.8)."""

    keynumber: int


@dataclass(frozen=True, slots=True)
class DstAddr:
    """One more address of the peer that a send sets an association up with (SCTP_DSTADDRV4 and V6, section 5.3.9)."""

    host: str


Ancillary = InitMsg | SndInfo | PrInfo | AuthInfo | DstAddr
"""What may go with a send."""


@dataclass(frozen=True, slots=True)
class RcvInfo:
    """How a message came (SCTP_RCVINFO, section 5.3.5).

    Attributes:
        sid: the stream.
        ssn: its sequence number in the stream, as in the DATA chunk.
        flags: `SCTP_UNORDERED` or 0.
        ppid: payload protocol identifier, in host byte order.
        tsn: of one of its DATA chunks.
        cumtsn: the cumulative TSN when it was received.
        context: what SCTP_CONTEXT set for the association.
        assoc_id: the association.
    """

    sid: int
    ssn: int
    flags: SendFlag
    ppid: int
    tsn: int
    cumtsn: int
    context: object
    assoc_id: int


@dataclass(frozen=True, slots=True)
class NxtInfo:
    """What the next message is, when it is there already (SCTP_NXTINFO, section 5.3.6).

    Attributes:
        sid: its stream.
        flags: any of `NextFlag`.
        ppid: its payload protocol identifier.
        length: bytes that can be read of it.
        assoc_id: its association.
    """

    sid: int
    flags: NextFlag
    ppid: int
    length: int
    assoc_id: int


@dataclass(frozen=True, slots=True)
class Message:
    """What `recvmsg` returns: data, or a notification.

    Attributes:
        data: the message or a part of it; empty with a notification, and at the end of a one-to-one association.
        flags: `MSG_EOR` when the message ends here, `MSG_NOTIFICATION`.
        address: the peer's (host, SCTP port).
        assoc_id: the association.
        rcvinfo: how it came; None with a notification, or when SCTP_RECVRCVINFO is off.
        nxtinfo: what comes next, when SCTP_RECVNXTINFO is on and something is there.
        notification: what happened, or None.
    """

    data: bytes
    flags: MessageFlag
    address: Address
    assoc_id: int
    rcvinfo: RcvInfo | None = None
    nxtinfo: NxtInfo | None = None
    notification: Notification | None = None
