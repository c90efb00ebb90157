"""Notifications as values (RFC 6458, section 6.1, and RFC 6525, section 6.1).

Fields have the names of the RFCs without prefix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .ancillary import PeerAddress, SndInfo
from .constants import (
    AddrState,
    AssocResetFlag,
    AssocState,
    AuthIndication,
    PartialDeliveryIndication,
    SendFailedFlag,
    StreamChangeFlag,
    StreamResetFlag,
)


@dataclass(frozen=True, slots=True)
class AssocChange:
    """The start, the restart or the end of an association (SCTP_ASSOC_CHANGE).

    Attributes:
        state: the change.
        error: the error cause code of the ABORT that ended the association, or 0.
        outbound_streams, inbound_streams: the numbers of streams.
        assoc_id: the association.
        info: one sentence that says why the association ended.
    """

    state: AssocState
    error: int
    outbound_streams: int
    inbound_streams: int
    assoc_id: int
    info: str = ""


@dataclass(frozen=True, slots=True)
class PaddrChange:
    """The change of an address of the peer (SCTP_PEER_ADDR_CHANGE).

    Attributes:
        addr: its (host, SCTP port).
        state: the change.
        error: always 0.
        assoc_id: the association.
    """

    addr: PeerAddress
    state: AddrState
    error: int
    assoc_id: int


@dataclass(frozen=True, slots=True)
class RemoteErrorEvent:
    """An ERROR chunk from the peer (SCTP_REMOTE_ERROR).

    Attributes:
        error: the error cause code.
        data: the cause in words.
        assoc_id: the association.
    """

    error: int
    data: str
    assoc_id: int


@dataclass(frozen=True, slots=True)
class SendFailedEvent:
    """A message that was abandoned (SCTP_SEND_FAILED_EVENT).

    Attributes:
        flags: whether any part of it had been sent.
        error: the error cause code, or 0.
        info: the `SndInfo` it was sent with, which holds its context.
        data: the message, if this notification was subscribed when the message was sent; otherwise empty.
        assoc_id: the association.
        reason: one sentence that says why.
    """

    flags: SendFailedFlag
    error: int
    info: SndInfo
    data: bytes
    assoc_id: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ShutdownEvent:
    """The peer's SHUTDOWN: nothing more can be sent (SCTP_SHUTDOWN_EVENT)."""

    assoc_id: int


@dataclass(frozen=True, slots=True)
class AdaptationEvent:
    """The peer's Adaptation Layer Indication, 32 bits (SCTP_ADAPTATION_INDICATION)."""

    adaptation_ind: int
    assoc_id: int


@dataclass(frozen=True, slots=True)
class PartialDeliveryEvent:
    """The end of a partial delivery: the rest of the message will not arrive (SCTP_PARTIAL_DELIVERY_EVENT).

    Attributes:
        indication: always `SCTP_PARTIAL_DELIVERY_ABORTED`.
        stream: the stream of the message.
        seq: its sequence number in the stream.
        assoc_id: the association.
    """

    indication: PartialDeliveryIndication
    stream: int
    seq: int
    assoc_id: int


@dataclass(frozen=True, slots=True)
class AuthenticationEvent:
    """The change of a shared key (SCTP_AUTHENTICATION_EVENT)."""

    keynumber: int
    indication: AuthIndication
    assoc_id: int


@dataclass(frozen=True, slots=True)
class SenderDryEvent:
    """The acknowledgment of everything sent so far (SCTP_SENDER_DRY_EVENT)."""

    assoc_id: int


@dataclass(frozen=True, slots=True)
class NotificationsStoppedEvent:
    """The end of all subscriptions: too many notifications were unread (SCTP_NOTIFICATIONS_STOPPED_EVENT)."""

    assoc_id: int = 0


@dataclass(frozen=True, slots=True)
class StreamResetEvent:
    """The reset of streams, or its failure (SCTP_STREAM_RESET_EVENT).

    Attributes:
        flags: the direction, and whether the reset failed.
        streams: the streams; an empty tuple means all of them.
        assoc_id: the association.
    """

    flags: StreamResetFlag
    streams: tuple[int, ...]
    assoc_id: int


@dataclass(frozen=True, slots=True)
class AssocResetEvent:
    """The reset of TSNs and SSNs in both directions, or its failure (SCTP_ASSOC_RESET_EVENT)."""

    flags: AssocResetFlag
    local_tsn: int
    remote_tsn: int
    assoc_id: int


@dataclass(frozen=True, slots=True)
class StreamChangeEvent:
    """The new numbers of streams, or the failure to add some (SCTP_STREAM_CHANGE_EVENT)."""

    flags: StreamChangeFlag
    instrms: int
    outstrms: int
    assoc_id: int


Notification = (
    AssocChange
    | PaddrChange
    | RemoteErrorEvent
    | SendFailedEvent
    | ShutdownEvent
    | AdaptationEvent
    | PartialDeliveryEvent
    | AuthenticationEvent
    | SenderDryEvent
    | NotificationsStoppedEvent
    | StreamResetEvent
    | AssocResetEvent
    | StreamChangeEvent
)

NOTIFICATIONS: Final[dict[str, type]] = {
    "association": AssocChange,
    "address": PaddrChange,
    "send_failure": SendFailedEvent,
    "peer_error": RemoteErrorEvent,
    "shutdown": ShutdownEvent,
    "partial_delivery": PartialDeliveryEvent,
    "adaptation_layer": AdaptationEvent,
    "authentication": AuthenticationEvent,
    "sender_dry": SenderDryEvent,
    "stream_reset": StreamResetEvent,
    "assoc_reset": AssocResetEvent,
    "stream_change": StreamChangeEvent,
}
"""The notifications that can be subscribed, by their names in `sock.events`."""
