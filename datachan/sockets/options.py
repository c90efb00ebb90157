"""The values of socket options (RFC 6458, section 8; RFC 6525, 6951, 7496, 8260), and their names. Nothing acts here.

Fields have the names of the RFCs without prefix, or PySCTP's where it has one. Times are milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntFlag

from .ancillary import Address
from .constants import PathState, StatusState


class SocketOption(Enum):
    """What `setsockopt` and `getsockopt` know."""

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
    """What `PaddrParams` changes (RFC 6458, section 8.1.12)."""

    SPP_HB_ENABLE = 0x01
    SPP_HB_DISABLE = 0x02
    SPP_HB_DEMAND = 0x04
    SPP_PMTUD_ENABLE = 0x08
    SPP_PMTUD_DISABLE = 0x10
    SPP_HB_TIME_IS_ZERO = 0x80


class ResetFlag(IntFlag):
    """Which streams `ResetStreams` means (RFC 6525, section 6.3.2)."""

    SCTP_STREAM_RESET_INCOMING = 0x01
    SCTP_STREAM_RESET_OUTGOING = 0x02


class EnableFlag(IntFlag):
    """What the peer may do (RFC 6525, section 6.3.1)."""

    SCTP_ENABLE_RESET_STREAM_REQ = 0x01
    SCTP_ENABLE_RESET_ASSOC_REQ = 0x02
    SCTP_ENABLE_CHANGE_ASSOC_REQ = 0x04


@dataclass(frozen=True, slots=True)
class RtoInfo:
    """Bounds of the retransmission timeout in milliseconds (SCTP_RTOINFO); 0 leaves a value as it is."""

    initial: int = 0
    max: int = 0
    min: int = 0


@dataclass(frozen=True, slots=True)
class AssocParams:
    """Parameters of an association (SCTP_ASSOCINFO); 0 leaves a value as it is.

    Attributes:
        assocmaxrxt: unanswered retransmissions after which the peer counts as gone.
        number_peer_destinations: how many addresses the peer has; cannot be set.
        peer_rwnd: what the peer can still take, in bytes; cannot be set.
        local_rwnd: what we last told the peer, in bytes; cannot be set.
        cookie_life: how long State Cookies are good for, in milliseconds.
    """

    assocmaxrxt: int = 0
    number_peer_destinations: int = 0
    peer_rwnd: int = 0
    local_rwnd: int = 0
    cookie_life: int = 0


@dataclass(frozen=True, slots=True)
class PaddrParams:
    """How an address of the peer is watched (SCTP_PEER_ADDR_PARAMS).

    Attributes:
        address: which; None for all there are and will be.
        hbinterval: between heartbeats while it is idle, in milliseconds; 0 leaves it as it is.
        pathmaxrxt: unanswered retransmissions that make it inactive; 0 leaves it as it is.
        pathmtu: bytes for chunks in a packet. It is set with SPP_PMTUD_DISABLE, for associations to come; 0 is for a
            size that every path takes.
        flags: any of `PaddrFlag`.
    """

    address: Address | None = None
    hbinterval: int = 0
    pathmaxrxt: int = 0
    pathmtu: int = 0
    flags: int = 0


@dataclass(frozen=True, slots=True)
class PaddrThresholds:
    """When an address of the peer is given up (SCTP_PEER_ADDR_THLDS of quick failover).

    Attributes:
        pathmaxrxt: errors that make it inactive; 0 leaves it as it is.
        pathpfthld: errors that make it potentially failed: data then takes another path. None turns that off.
    """

    pathmaxrxt: int = 0
    pathpfthld: int | None = None


@dataclass(frozen=True, slots=True)
class PaddrInfo:
    """An address of the peer as it stands (SCTP_GET_PEER_ADDR_INFO); sizes in bytes, times in milliseconds."""

    address: Address
    state: PathState
    cwnd: int
    srtt: int
    rto: int
    mtu: int
    assoc_id: int


@dataclass(frozen=True, slots=True)
class Status:
    """An association as it stands (SCTP_STATUS).

    Attributes:
        state: its state.
        rwnd: what the peer can still take, in bytes.
        unackdata: DATA chunks sent and not acknowledged.
        penddata: DATA chunks received and not read.
        instrms, outstrms: how many streams there are.
        fragmentation_point: user bytes that go into one packet.
        primary: the primary address of the peer; None before there is one.
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
    """When to acknowledge (SCTP_DELAYED_SACK); 0 leaves a value as it is.

    Attributes:
        delay: how long an acknowledgment may wait, in milliseconds.
        freq: packets after which it does not; 1 for each.
    """

    delay: int = 0
    freq: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """One notification to subscribe or not (SCTP_EVENT).

    Attributes:
        type: its class, `AssocChange` for example.
        on: whether it is wanted.
    """

    type: type
    on: bool = True


@dataclass(frozen=True, slots=True)
class ResetStreams:
    """Streams to begin anew (SCTP_RESET_STREAMS).

    Attributes:
        flags: those we send on, those we receive on, or both (`ResetFlag`).
        streams: which; all of them if none is given.
    """

    flags: int
    streams: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class AddStreams:
    """How many streams to add in each direction (SCTP_ADD_STREAMS)."""

    instrms: int = 0
    outstrms: int = 0


@dataclass(frozen=True, slots=True)
class StreamValue:
    """What a scheduler should know of a stream (SCTP_STREAM_SCHEDULER_VALUE).

    Attributes:
        stream_id: the stream.
        value: with SCTP_SS_PRIO its priority, 0 the highest; with SCTP_SS_WFQ its weight, at least 1.
    """

    stream_id: int
    value: int


@dataclass(frozen=True, slots=True)
class PrStatus:
    """Messages given up by one policy, or by all (SCTP_PR_ASSOC_STATUS, RFC 7496, section 4.3)."""

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
    """The UDP port a peer's address is reached at (SCTP_REMOTE_UDP_ENCAPS_PORT, RFC 6951, section 6.1).

    Attributes:
        address: which; None for associations to come.
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
