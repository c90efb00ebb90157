"""The results of `recvmsg`, as values (RFC 6458, sections 5.3.5 and 5.3.6): a message, or a notification."""

from __future__ import annotations

from dataclasses import dataclass

from .ancillary import PeerAddress
from .constants import MessageFlag, NextFlag, SendFlag
from .notifications import Notification


@dataclass(frozen=True, slots=True)
class RcvInfo:
    """How a message arrived (SCTP_RCVINFO, section 5.3.5).

    Attributes:
        sid: the stream.
        ssn: its sequence number in the stream, as in the DATA chunk.
        flags: `SCTP_UNORDERED` or 0.
        ppid: payload protocol identifier, in host byte order.
        tsn: the TSN of one of its DATA chunks.
        cumtsn: the Cumulative TSN of the association when the message was read.
        context: the value of SCTP_CONTEXT for the association.
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
    """The next message in the receive queue (SCTP_NXTINFO, section 5.3.6).

    Attributes:
        sid: its stream.
        flags: any of `NextFlag`.
        ppid: its payload protocol identifier.
        length: the bytes of it that can be read now.
        assoc_id: its association.
    """

    sid: int
    flags: NextFlag
    ppid: int
    length: int
    assoc_id: int


@dataclass(frozen=True, slots=True)
class Message:
    """A received message, a part of one, or a notification.

    Attributes:
        data: the message or a part of it; empty for a notification, and at the end of a one-to-one association.
        flags: `MSG_EOR` when the message ends here; `MSG_NOTIFICATION`.
        address: the peer's (host, SCTP port).
        assoc_id: the association.
        rcvinfo: how the message arrived; None for a notification, or when SCTP_RECVRCVINFO is off.
        nxtinfo: the next message, when SCTP_RECVNXTINFO is on and one has arrived.
        notification: the notification, or None.
    """

    data: bytes
    flags: MessageFlag
    address: PeerAddress
    assoc_id: int
    rcvinfo: RcvInfo | None = None
    nxtinfo: NxtInfo | None = None
    notification: Notification | None = None
