"""The names of socket options, and their values (RFC 6458, section 8; RFC 6525, 6951, 7496, 7829 and 8260).

Fields have the names of the RFCs without prefix, or PySCTP's where it has one. Times are milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntFlag

from .ancillary import Address, PeerAddress
from .constants import PaddrState, StatusState


class SocketOption(Enum):
    """The names of all socket options."""

    SO_LINGER = "SO_LINGER"
    SO_RCVBUF = "SO_RCVBUF"
    SO_SNDBUF = "SO_SNDBUF"
    SCTP_RTOINFO = "SCTP_RTOINFO"
    SCTP_ASSOCINFO = "SCTP_ASSOCINFO"
    SCTP_INITMSG = "SCTP_INITMSG"
    SCTP_NODELAY = "SCTP_NODELAY"
    SCTP_AUTOCLOSE = "SCTP_AUTOCLOSE"
    SCTP_PRIMARY_ADDR = "SCTP_PRIMARY_ADDR"
    SCTP_ADAPTATION_LAYER = "SCTP_ADAPTATION_LAYER"
    SCTP_DISABLE_FRAGMENTS = "SCTP_DISABLE_FRAGMENTS"
    SCTP_PEER_ADDR_PARAMS = "SCTP_PEER_ADDR_PARAMS"
    SCTP_PEER_ADDR_THLDS = "SCTP_PEER_ADDR_THLDS"
    SCTP_MAXSEG = "SCTP_MAXSEG"
    SCTP_DELAYED_SACK = "SCTP_DELAYED_SACK"
    SCTP_FRAGMENT_INTERLEAVE = "SCTP_FRAGMENT_INTERLEAVE"
    SCTP_PARTIAL_DELIVERY_POINT = "SCTP_PARTIAL_DELIVERY_POINT"
    SCTP_MAX_BURST = "SCTP_MAX_BURST"
    SCTP_CONTEXT = "SCTP_CONTEXT"
    SCTP_EVENT = "SCTP_EVENT"
    SCTP_RECVRCVINFO = "SCTP_RECVRCVINFO"
    SCTP_RECVNXTINFO = "SCTP_RECVNXTINFO"
    SCTP_DEFAULT_SNDINFO = "SCTP_DEFAULT_SNDINFO"
    SCTP_DEFAULT_PRINFO = "SCTP_DEFAULT_PRINFO"
    SCTP_STATUS = "SCTP_STATUS"
    SCTP_GET_PEER_ADDR_INFO = "SCTP_GET_PEER_ADDR_INFO"
    SCTP_GET_ASSOC_NUMBER = "SCTP_GET_ASSOC_NUMBER"
    SCTP_GET_ASSOC_ID_LIST = "SCTP_GET_ASSOC_ID_LIST"
    SCTP_RESET_STREAMS = "SCTP_RESET_STREAMS"
    SCTP_RESET_ASSOC = "SCTP_RESET_ASSOC"
    SCTP_ADD_STREAMS = "SCTP_ADD_STREAMS"
    SCTP_ENABLE_STREAM_RESET = "SCTP_ENABLE_STREAM_RESET"
    SCTP_REMOTE_UDP_ENCAPS_PORT = "SCTP_REMOTE_UDP_ENCAPS_PORT"
    SCTP_PR_SUPPORTED = "SCTP_PR_SUPPORTED"
    SCTP_PR_ASSOC_STATUS = "SCTP_PR_ASSOC_STATUS"
    SCTP_INTERLEAVING_SUPPORTED = "SCTP_INTERLEAVING_SUPPORTED"
    SCTP_STREAM_SCHEDULER = "SCTP_STREAM_SCHEDULER"
    SCTP_STREAM_SCHEDULER_VALUE = "SCTP_STREAM_SCHEDULER_VALUE"
    SCTP_AUTH_SUPPORTED = "SCTP_AUTH_SUPPORTED"
    SCTP_AUTH_CHUNK = "SCTP_AUTH_CHUNK"
    SCTP_AUTH_KEY = "SCTP_AUTH_KEY"
    SCTP_AUTH_ACTIVE_KEY = "SCTP_AUTH_ACTIVE_KEY"
    SCTP_AUTH_DEACTIVATE_KEY = "SCTP_AUTH_DEACTIVATE_KEY"
    SCTP_AUTH_DELETE_KEY = "SCTP_AUTH_DELETE_KEY"
    SCTP_HMAC_IDENT = "SCTP_HMAC_IDENT"
    SCTP_PEER_AUTH_CHUNKS = "SCTP_PEER_AUTH_CHUNKS"
    SCTP_LOCAL_AUTH_CHUNKS = "SCTP_LOCAL_AUTH_CHUNKS"
    SCTP_ASCONF_SUPPORTED = "SCTP_ASCONF_SUPPORTED"
    SCTP_SET_PEER_PRIMARY_ADDR = "SCTP_SET_PEER_PRIMARY_ADDR"


class PaddrFlag(IntFlag):
    """The flags of `PaddrParams` (RFC 6458, section 8.1.12)."""

    SPP_HB_ENABLE = 0x01
    SPP_HB_DISABLE = 0x02
    SPP_HB_DEMAND = 0x04
    SPP_PMTUD_ENABLE = 0x08
    SPP_PMTUD_DISABLE = 0x10
    SPP_HB_TIME_IS_ZERO = 0x80


class ResetFlag(IntFlag):
    """The flags of `ResetStreams` (RFC 6525, section 6.3.2)."""

    SCTP_STREAM_RESET_INCOMING = 0x01
    SCTP_STREAM_RESET_OUTGOING = 0x02


class EnableFlag(IntFlag):
    """The requests that the peer may make (RFC 6525, section 6.3.1)."""

    SCTP_ENABLE_RESET_STREAM_REQ = 0x01
    SCTP_ENABLE_RESET_ASSOC_REQ = 0x02
    SCTP_ENABLE_CHANGE_ASSOC_REQ = 0x04


@dataclass(frozen=True, slots=True)
class RtoInfo:
    """Bounds of the retransmission timeout in milliseconds (SCTP_RTOINFO); 0 leaves a value unchanged."""

    initial: int = 0
    max: int = 0
    min: int = 0


@dataclass(frozen=True, slots=True)
class AssocParams:
    """Parameters of an association (SCTP_ASSOCINFO); 0 leaves a value unchanged.

    Attributes:
        assocmaxrxt: consecutive unanswered retransmissions after which the peer counts as unreachable.
        number_peer_destinations: the number of the peer's addresses; read only.
        peer_rwnd: the free space of the peer's receiver window, in bytes; read only.
        local_rwnd: the receiver window last advertised to the peer, in bytes; read only.
        cookie_life: the lifetime of a State Cookie, in milliseconds.
    """

    assocmaxrxt: int = 0
    number_peer_destinations: int = 0
    peer_rwnd: int = 0
    local_rwnd: int = 0
    cookie_life: int = 0


@dataclass(frozen=True, slots=True)
class PaddrParams:
    """How an address of the peer is monitored (SCTP_PEER_ADDR_PARAMS).

    Attributes:
        address: the address; None means all current and future addresses.
        hbinterval: the time between heartbeats while the address is idle, in milliseconds; 0 leaves it unchanged.
        pathmaxrxt: unanswered retransmissions that make the address inactive; 0 leaves it unchanged.
        pathmtu: bytes for chunks in a packet. It applies with SPP_PMTUD_DISABLE, for future associations; 0
            selects a size that every path carries.
        flags: any of `PaddrFlag`.
    """

    address: Address | None = None
    hbinterval: int = 0
    pathmaxrxt: int = 0
    pathmtu: int = 0
    flags: int = 0


@dataclass(frozen=True, slots=True)
class PaddrThresholds:
    """The numbers of errors that make an address of the peer fail (SCTP_PEER_ADDR_THLDS, RFC 7829).

    Attributes:
        pathmaxrxt: errors that make it inactive; 0 leaves it unchanged.
        pathpfthld: errors above which it is potentially failed and data takes another path. None turns that off.
    """

    pathmaxrxt: int = 0
    pathpfthld: int | None = None


@dataclass(frozen=True, slots=True)
class PaddrInfo:
    """The state of one address of the peer (SCTP_GET_PEER_ADDR_INFO); sizes in bytes, times in milliseconds."""

    address: PeerAddress
    state: PaddrState
    cwnd: int
    srtt: int
    rto: int
    mtu: int
    assoc_id: int


@dataclass(frozen=True, slots=True)
class Status:
    """The state of an association (SCTP_STATUS).

    Attributes:
        state: its state.
        rwnd: the free space of the peer's receiver window, in bytes.
        unackdata: DATA chunks sent and not acknowledged.
        penddata: DATA chunks received and not read.
        instrms, outstrms: the numbers of inbound and outbound streams.
        fragmentation_point: the most user bytes of a message in one packet.
        primary: the primary address of the peer; None before the peer has answered.
        assoc_id: the association.
    """

    state: StatusState
    rwnd: int
    unackdata: int
    penddata: int
    instrms: int
    outstrms: int
    fragmentation_point: int
    primary: PaddrInfo | None
    assoc_id: int


@dataclass(frozen=True, slots=True)
class SackInfo:
    """When SACKs are sent (SCTP_DELAYED_SACK); 0 leaves a value unchanged.

    Attributes:
        delay: the longest delay of a SACK, in milliseconds; at most 500.
        freq: the number of packets after which a SACK is sent at once; 1 acknowledges each packet.
    """

    delay: int = 0
    freq: int = 0


@dataclass(frozen=True, slots=True)
class Subscription:
    """The subscription of one kind of notification (SCTP_EVENT).

    Attributes:
        type: the class of the notification, `AssocChange` for example.
        on: True subscribes, False unsubscribes.
    """

    type: type
    on: bool = True


@dataclass(frozen=True, slots=True)
class ResetStreams:
    """Streams to reset, so that their sequence numbers start at 0 again (SCTP_RESET_STREAMS).

    Attributes:
        flags: outgoing streams, incoming streams, or both (`ResetFlag`).
        streams: the streams; an empty tuple means all of them.
    """

    flags: int
    streams: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class AddStreams:
    """The numbers of streams to add in each direction (SCTP_ADD_STREAMS)."""

    instrms: int = 0
    outstrms: int = 0


@dataclass(frozen=True, slots=True)
class StreamValue:
    """The priority or the weight of a stream (SCTP_STREAM_SCHEDULER_VALUE).

    Attributes:
        stream_id: the stream.
        value: with SCTP_SS_PRIO its priority, 0 the highest; with SCTP_SS_WFQ its weight, at least 1.
    """

    stream_id: int
    value: int


@dataclass(frozen=True, slots=True)
class PrStatus:
    """The numbers of messages abandoned by one policy (SCTP_PR_ASSOC_STATUS, RFC 7496, section 4.3)."""

    abandoned_unsent: int
    abandoned_sent: int


@dataclass(frozen=True, slots=True)
class AuthKey:
    """An endpoint pair shared key (SCTP_AUTH_KEY).

    Attributes:
        keynumber: its identifier, 0 to 65535.
        key: the key; empty for the null key.
    """

    keynumber: int
    key: bytes


@dataclass(frozen=True, slots=True)
class UdpEncaps:
    """The UDP port of a peer's address (SCTP_REMOTE_UDP_ENCAPS_PORT, RFC 6951, section 6.1).

    Attributes:
        address: the address; None means future associations.
        port: the UDP port.
    """

    address: Address | None
    port: int


(
    SO_LINGER,
    SO_RCVBUF,
    SO_SNDBUF,
    SCTP_RTOINFO,
    SCTP_ASSOCINFO,
    SCTP_INITMSG,
    SCTP_NODELAY,
    SCTP_AUTOCLOSE,
    SCTP_PRIMARY_ADDR,
    SCTP_ADAPTATION_LAYER,
    SCTP_DISABLE_FRAGMENTS,
    SCTP_PEER_ADDR_PARAMS,
    SCTP_PEER_ADDR_THLDS,
    SCTP_MAXSEG,
    SCTP_DELAYED_SACK,
    SCTP_FRAGMENT_INTERLEAVE,
    SCTP_PARTIAL_DELIVERY_POINT,
    SCTP_MAX_BURST,
    SCTP_CONTEXT,
    SCTP_EVENT,
    SCTP_RECVRCVINFO,
    SCTP_RECVNXTINFO,
    SCTP_DEFAULT_SNDINFO,
    SCTP_DEFAULT_PRINFO,
    SCTP_STATUS,
    SCTP_GET_PEER_ADDR_INFO,
    SCTP_GET_ASSOC_NUMBER,
    SCTP_GET_ASSOC_ID_LIST,
    SCTP_RESET_STREAMS,
    SCTP_RESET_ASSOC,
    SCTP_ADD_STREAMS,
    SCTP_ENABLE_STREAM_RESET,
    SCTP_REMOTE_UDP_ENCAPS_PORT,
    SCTP_PR_SUPPORTED,
    SCTP_PR_ASSOC_STATUS,
    SCTP_INTERLEAVING_SUPPORTED,
    SCTP_STREAM_SCHEDULER,
    SCTP_STREAM_SCHEDULER_VALUE,
    SCTP_AUTH_SUPPORTED,
    SCTP_AUTH_CHUNK,
    SCTP_AUTH_KEY,
    SCTP_AUTH_ACTIVE_KEY,
    SCTP_AUTH_DEACTIVATE_KEY,
    SCTP_AUTH_DELETE_KEY,
    SCTP_HMAC_IDENT,
    SCTP_PEER_AUTH_CHUNKS,
    SCTP_LOCAL_AUTH_CHUNKS,
    SCTP_ASCONF_SUPPORTED,
    SCTP_SET_PEER_PRIMARY_ADDR,
) = SocketOption
(
    SPP_HB_ENABLE,
    SPP_HB_DISABLE,
    SPP_HB_DEMAND,
    SPP_PMTUD_ENABLE,
    SPP_PMTUD_DISABLE,
    SPP_HB_TIME_IS_ZERO,
) = PaddrFlag
SCTP_STREAM_RESET_INCOMING, SCTP_STREAM_RESET_OUTGOING = ResetFlag
SCTP_ENABLE_RESET_STREAM_REQ, SCTP_ENABLE_RESET_ASSOC_REQ, SCTP_ENABLE_CHANGE_ASSOC_REQ = EnableFlag
