"""The events of an association, drained with `Association.events()`.

These are the notifications of RFC 9260, section 11.2, "SCTP-to-ULP". They carry facts only; nothing here decides or
sends.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .addresses import TransportAddress


class Event:
    """The base of all events."""

    __slots__ = ()


class MessageReceived(Event):
    """A message was received (DATA ARRIVE, section 11.2.1), or a part of one with `partial_delivery_point`.

    Its bytes count against the advertised receiver window until `Association.message_consumed` returns them.

    Attributes:
        stream_id: the stream.
        ppid: the payload protocol identifier, host order.
        data: the message.
        unordered: whether it was sent with the U bit.
        ssn: its number in the stream as on the wire: an SSN, or with I-DATA a MID.
        tsn: the TSN of its first DATA chunk, as on the wire.
        last: False for a part of a message that is not the last (`AssociationOptions.partial_delivery_point`).
    """

    __slots__ = ("data", "last", "ppid", "ssn", "stream_id", "tsn", "unordered")

    def __init__(
        self, stream_id: int, ppid: int, data: bytes, unordered: bool, ssn: int = 0, tsn: int = 0, last: bool = True
    ) -> None:
        self.stream_id = stream_id
        self.ppid = ppid
        self.data = data
        self.unordered = unordered
        self.ssn = ssn
        self.tsn = tsn
        self.last = last

    def __repr__(self) -> str:
        kind = "unordered" if self.unordered else "ordered"
        part = "" if self.last else ", to be continued"
        return f"MessageReceived(stream_id={self.stream_id}, ppid={self.ppid}, {len(self.data)} bytes, {kind}{part})"


@dataclass(frozen=True, slots=True)
class PartialDeliveryAborted(Event):
    """The peer abandoned a message of which parts were delivered already; the rest will not arrive.

    Attributes:
        stream_id: the stream.
        ssn: the number of the message in the stream.
    """

    stream_id: int
    ssn: int


@dataclass(frozen=True, slots=True)
class AdaptationIndicated(Event):
    """The peer sent an Adaptation Layer Indication (RFC 5061, section 4.2.6) in the handshake.

    Attributes:
        code: 32 bits that only the two applications interpret.
    """

    code: int


class StreamProgress(Event):
    """Bytes of a stream left the send queue: sent for the first time, or dropped because they were abandoned.

    At most one per stream between two drains.

    Attributes:
        stream_id: the stream.
        bytes_left: user bytes that have left the queue since the last such event.
    """

    __slots__ = ("bytes_left", "stream_id")

    def __init__(self, stream_id: int, bytes_left: int) -> None:
        self.stream_id = stream_id
        self.bytes_left = bytes_left

    def __repr__(self) -> str:
        return f"StreamProgress(stream_id={self.stream_id}, bytes_left={self.bytes_left})"


@dataclass(frozen=True, slots=True)
class StreamsNegotiated(Event):
    """The INIT ACK has arrived: messages sent from now on travel with COOKIE ECHO, one round trip early (5.1, C).

    Attributes:
        inbound_streams: streams the peer may send on.
        outbound_streams: the number of outgoing streams.
    """

    inbound_streams: int
    outbound_streams: int


@dataclass(frozen=True, slots=True)
class AssociationEstablished(Event):
    """The four-way handshake is done (COMMUNICATION UP).

    Attributes:
        inbound_streams: streams the peer may send on.
        outbound_streams: the number of outgoing streams: what we requested, or what the peer accepts if that is less.
        partial_reliability: whether both sides support it (RFC 3758); if not, every message is sent until it arrives.
    """

    inbound_streams: int
    outbound_streams: int
    partial_reliability: bool = True


@dataclass(frozen=True, slots=True)
class AssociationRestarted(Event):
    """The peer lost its state and started again (RESTART, section 5.2.4.1 action A). All streams start again."""

    inbound_streams: int
    outbound_streams: int
    partial_reliability: bool = True


@dataclass(frozen=True, slots=True)
class ShutdownReceived(Event):
    """The peer started a graceful shutdown; queued messages are still sent, new ones are refused."""


@dataclass(frozen=True, slots=True)
class AssociationClosed(Event):
    """A graceful shutdown finished; both sides delivered everything."""


@dataclass(frozen=True, slots=True)
class AssociationLost(Event):
    """The association ended without a graceful shutdown (COMMUNICATION LOST).

    Attributes:
        reason: a sentence for people: which side ended it, and why.
        by_peer: True when the peer sent an ABORT.
        cause_code: the error cause code of the ABORT sent or received (section 3.3.10), or 0.
    """

    reason: str
    by_peer: bool
    cause_code: int


@dataclass(frozen=True, slots=True)
class RemoteError(Event):
    """The peer reported an operational error in an ERROR chunk, or we reported one to it.

    Attributes:
        cause_code: the error cause code of section 3.3.10.
        description: a sentence for people.
        by_peer: True when the peer reported it.
    """

    cause_code: int
    description: str
    by_peer: bool


@dataclass(frozen=True, slots=True)
class SendFailed(Event):
    """A message was abandoned before the peer had all of it (SEND FAILURE).

    Attributes:
        stream_id: the stream it was sent on.
        ppid: its payload protocol identifier.
        size: its length in bytes.
        sent: True when at least one of its fragments had been transmitted.
        context: the `context` of `Association.send`.
        reason: its lifetime ended, its retransmissions ran out, the stream was reset, or the association ended.
    """

    stream_id: int
    ppid: int
    size: int
    sent: bool
    context: object
    reason: str


@dataclass(frozen=True, slots=True)
class IncomingStreamsReset(Event):
    """The peer reset streams it sends on (RFC 6525); everything it sent before was delivered."""

    stream_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OutgoingStreamsReset(Event):
    """The peer performed our request to reset streams we send on (RFC 6525, section 5.2.7)."""

    stream_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StreamResetFailed(Event):
    """The peer refused our request to reset streams, or does not support it.

    Attributes:
        stream_ids: the streams in the request.
        reason: the result of RFC 6525, section 4.4 in words.
    """

    stream_ids: tuple[int, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class StreamsAdded(Event):
    """Streams were added (RFC 6525, sections 5.2.5 to 5.2.7); these are the new numbers."""

    inbound_streams: int
    outbound_streams: int


@dataclass(frozen=True, slots=True)
class AssociationReset(Event):
    """All SSNs and TSNs of both directions were reset (RFC 6525, section 5.2.4).

    Attributes:
        local_tsn: the next TSN we send, 32 bits.
        peer_tsn: the next TSN the peer sends, 32 bits.
    """

    local_tsn: int
    peer_tsn: int


class ReconfigurationKind(Enum):
    """Our requests to re-configure streams, other than resets of streams we send on (RFC 6525)."""

    INCOMING_RESET = "reset of incoming streams"
    TSN_RESET = "reset of SSNs and TSNs"
    ADD_OUTGOING_STREAMS = "more outgoing streams"
    ADD_INCOMING_STREAMS = "more incoming streams"


@dataclass(frozen=True, slots=True)
class ReconfigurationFailed(Event):
    """The peer refused a request other than the reset of streams we send on.

    Attributes:
        request: the request.
        reason: the result of RFC 6525, section 4.4 in words.
    """

    request: ReconfigurationKind
    reason: str


class PathStatus(Enum):
    """The new state of an address of the peer (RFC 6458, section 6.1.2)."""

    AVAILABLE = "available"
    UNREACHABLE = "unreachable"
    POTENTIALLY_FAILED = "potentially failed"
    CONFIRMED = "confirmed"
    ADDED = "added"
    REMOVED = "removed"
    MADE_PRIMARY = "made primary"


@dataclass(frozen=True, slots=True)
class PathStatusChanged(Event):
    """The state of an address of the peer changed (NETWORK STATUS CHANGE, section 8.2).

    Attributes:
        address: the address; None when there is only one path to the peer.
        status: AVAILABLE and UNREACHABLE are active and inactive in RFC 9260; with quick failover POTENTIALLY_FAILED
            is between them. CONFIRMED: the address is verified to be the peer's (section 5.4). ADDED, REMOVED and
            MADE_PRIMARY are requests of the peer (RFC 5061).
    """

    address: TransportAddress | None
    status: PathStatus


@dataclass(frozen=True, slots=True)
class PathMtuChanged(Event):
    """Path MTU discovery changed the size of packets (RFC 8899).

    Attributes:
        mtu: the new size of the largest SCTP packet, common header included.
    """

    mtu: int


class AddressChange(Enum):
    """A change of one of our addresses (RFC 5061)."""

    ADDED = "added"
    REMOVED = "removed"
    MADE_PRIMARY = "made primary"


@dataclass(frozen=True, slots=True)
class LocalAddressChanged(Event):
    """The peer answered our request to change our addresses (RFC 5061).

    Attributes:
        address: the address in the request.
        change: the change requested.
        accepted: whether the peer performed it.
        reason: why it did not, in words; empty when it did.
    """

    address: str
    change: AddressChange
    accepted: bool
    reason: str


class AuthenticationIndication(Enum):
    """Changes of keys (RFC 6458, section 6.1.8)."""

    NEW_KEY = "new key"
    NO_AUTH = "no authentication"
    FREE_KEY = "free key"


@dataclass(frozen=True, slots=True)
class AuthenticationChanged(Event):
    """The keys that chunks are authenticated with changed (RFC 4895).

    Attributes:
        key_id: the Shared Key Identifier.
        indication: NEW_KEY: the peer signs with another key than before. NO_AUTH: the peer does not support
            authentication. FREE_KEY: a deactivated key is no longer in use.
    """

    key_id: int
    indication: AuthenticationIndication


@dataclass(frozen=True, slots=True)
class SenderDry(Event):
    """Everything sent so far has been acknowledged by the peer and nothing is queued."""
