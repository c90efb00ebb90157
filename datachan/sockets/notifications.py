"""What happens besides data, as values (RFC 6458, section 6.1, and RFC 6525, section 6.1).

Fields have the names of the RFCs, without prefix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

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

if TYPE_CHECKING:
    from .ancillary import SndInfo


@dataclass(frozen=True, slots=True)
class AssocChange:
    """An association begins, restarts or ends (SCTP_ASSOC_CHANGE).

    Attributes:
        state: which of these.
        error: the error cause code of the ABORT that ended it, or 0.
        outbound_streams, inbound_streams: how many there are.
        assoc_id: the association.
        info: one sentence for people on why it ended.
    """

    state: AssocState
    error: int
    outbound_streams: int
    inbound_streams: int
    assoc_id: int
    info: str = ""


@dataclass(frozen=True, slots=True)
class PaddrChange:
    """Something became of an address of the peer (SCTP_PEER_ADDR_CHANGE).

    Attributes:
        addr: its (host, SCTP port).
        state: what became of it.
        error: always 0.
        assoc_id: the association.
    """

    addr: tuple[str, int]
    state: AddrState
    error: int
    assoc_id: int


@dataclass(frozen=True, slots=True)
class RemoteError:
    """The peer sent an ERROR chunk (SCTP_REMOTE_ERROR).

    Attributes:
        error: the error cause code.
        data: it in words.
        assoc_id: the association.
    """

    error: int
    data: str
    assoc_id: int


@dataclass(frozen=True, slots=True)
class SendFailed:
    """A message was given up (SCTP_SEND_FAILED_EVENT).

    Attributes:
        flags: whether any of it had been sent.
        error: the error cause code, or 0.
        info: how it was sent, with its context.
        data: the message, if this notification was subscribed when it was sent; else empty.
        assoc_id: the association.
        reason: one sentence for people.
    """

    flags: SendFailedFlag
    error: int
    info: SndInfo
    data: bytes
    assoc_id: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ShutdownEvent:
    """The peer has asked for a graceful end: nothing more can be sent (SCTP_SHUTDOWN_EVENT)."""

    assoc_id: int


@dataclass(frozen=True, slots=True)
class AdaptationEvent:
    """The peer's Adaptation Layer Indication (SCTP_ADAPTATION_INDICATION): 32 bits."""

    adaptation_ind: int
    assoc_id: int


@dataclass(frozen=True, slots=True)
class PartialDeliveryEvent:
    """A message of which parts were received will never be whole (SCTP_PARTIAL_DELIVERY_EVENT).

    Attributes:
        indication: always `SCTP_PARTIAL_DELIVERY_ABORTED`.
        stream: its stream.
        seq: its sequence number in the stream.
        assoc_id: the association.
    """

    indication: PartialDeliveryIndication
    stream: int
    seq: int
    assoc_id: int


@dataclass(frozen=True, slots=True)
class AuthenticationEvent:
    """Something about keys (SCTP_AUTHENTICATION_EVENT)."""

    keynumber: int
    indication: AuthIndication
    assoc_id: int


@dataclass(frozen=True, slots=True)
class SenderDryEvent:
    """Everything sent has been acknowledged (SCTP_SENDER_DRY_EVENT)."""

    assoc_id: int


@dataclass(frozen=True, slots=True)
class NotificationsStoppedEvent:
    """So many notifications were unread that no more are kept; subscribe again (SCTP_NOTIFICATIONS_STOPPED_EVENT)."""

    assoc_id: int = 0


@dataclass(frozen=True, slots=True)
class StreamResetEvent:
    """Streams began anew, or would not (SCTP_STREAM_RESET_EVENT).

    Attributes:
        flags: which direction, and whether it failed.
        streams: which; all of them if none is listed.
        assoc_id: the association.
    """

    flags: StreamResetFlag
    streams: tuple[int, ...]
    assoc_id: int


@dataclass(frozen=True, slots=True)
class AssocResetEvent:
    """TSNs and SSNs of both directions began anew, or would not (SCTP_ASSOC_RESET_EVENT)."""

    flags: AssocResetFlag
    local_tsn: int
    remote_tsn: int
    assoc_id: int


@dataclass(frozen=True, slots=True)
class StreamChangeEvent:
    """There are more streams, or would not be (SCTP_STREAM_CHANGE_EVENT)."""

    flags: StreamChangeFlag
    instrms: int
    outstrms: int
    assoc_id: int


Notification = (
    AssocChange
    | PaddrChange
    | RemoteError
    | SendFailed
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
    "send_failure": SendFailed,
    "peer_error": RemoteError,
    "shutdown": ShutdownEvent,
    "partial_delivery": PartialDeliveryEvent,
    "adaptation_layer": AdaptationEvent,
    "authentication": AuthenticationEvent,
    "sender_dry": SenderDryEvent,
    "stream_reset": StreamResetEvent,
    "assoc_reset": AssocResetEvent,
    "stream_change": StreamChangeEvent,
}
"""What can be subscribed, by its name in `events`."""
