"""A look at an association from outside: counters, sizes and times, and the state of each path."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from .addresses import TransportAddress
from .path import Path
from .states import AssociationState
from .tcb import Tcb
from .tx.policies import AbandonedMessages

if TYPE_CHECKING:
    from .association import Association


class PathState(Enum):
    """The state of a path (RFC 9260, sections 5.4 and 8.2; potentially failed: quick failover)."""

    UNCONFIRMED = "unconfirmed"
    ACTIVE = "active"
    POTENTIALLY_FAILED = "potentially failed"
    INACTIVE = "inactive"


@dataclass(frozen=True, slots=True)
class PathStats:
    """A look at one path; sizes in bytes, times in seconds.

    Attributes:
        address: where it leads; None when there is only one way.
        state: whether it can be used.
        primary: data goes there while it can be used.
        current: data goes there now.
        heartbeat_interval: between heartbeats while it is idle; 0 without.
        max_retrans: errors that make it inactive.
    """

    address: TransportAddress | None
    state: PathState
    primary: bool
    current: bool
    cwnd: int
    ssthresh: int
    flight_size: int
    srtt: float | None
    rto: float
    mtu: int
    error_count: int
    heartbeat_interval: float
    max_retrans: int


@dataclass(frozen=True, slots=True)
class AssociationStats:
    """The counters and the state of an association; sizes in bytes, times in seconds.

    What belongs to a path is that of the current one.

    Attributes:
        advertised_rwnd: the receiver window last advertised to the peer.
        unacknowledged_chunks: DATA chunks sent and not acknowledged yet.
        unread_chunks: received messages that the user has not consumed, and fragments of unfinished ones.
    """

    state: AssociationState
    packets_sent: int
    packets_received: int
    bytes_sent: int
    bytes_received: int
    packets_discarded: int
    data_chunks_sent: int
    retransmissions: int
    spurious_recoveries: int
    abandoned: AbandonedMessages
    cwnd: int
    ssthresh: int
    flight_size: int
    buffered: int
    receive_buffered: int
    peer_rwnd: int
    advertised_rwnd: int
    unacknowledged_chunks: int
    unread_chunks: int
    srtt: float | None
    rto: float
    mtu: int
    paths: tuple[PathStats, ...]


def look_at(association: Association) -> AssociationStats:
    """The counters and the state of an association."""
    tcb, writer, options = association.tcb, association.writer, association.options
    congestion = None if tcb is None else tcb.path.congestion
    return AssociationStats(
        state=association.state,
        packets_sent=writer.packets_sent,
        packets_received=association.packets_received,
        bytes_sent=writer.bytes_sent,
        bytes_received=association.bytes_received,
        packets_discarded=association.packets_discarded,
        data_chunks_sent=writer.data_chunks_sent,
        retransmissions=0 if tcb is None else tcb.sender.retransmissions,
        spurious_recoveries=0 if tcb is None else tcb.sender.spurious_recoveries,
        abandoned=association.abandoned.total(),
        cwnd=0 if congestion is None else congestion.cwnd,
        ssthresh=0 if congestion is None else congestion.ssthresh,
        flight_size=0 if tcb is None else tcb.sender.outstanding.flight_size,
        buffered=association.queue.buffered,
        receive_buffered=0 if tcb is None else tcb.reassembly.buffered + tcb.unconsumed,
        peer_rwnd=0 if tcb is None else tcb.sender.peer_rwnd,
        advertised_rwnd=options.receive_window if tcb is None else tcb.advertised_a_rwnd,
        unacknowledged_chunks=0 if tcb is None else len(tcb.sender.outstanding),
        unread_chunks=0 if tcb is None else tcb.reassembly.pieces + tcb.unconsumed_messages,
        srtt=None if tcb is None else tcb.path.srtt,
        rto=options.rto_initial if tcb is None else tcb.path.rto,
        mtu=options.first_packet_size if tcb is None else tcb.path.pmtu.size,
        paths=() if tcb is None else tuple([_look_at_path(tcb, path) for path in tcb.paths.all]),
    )


def _look_at_path(tcb: Tcb, path: Path) -> PathStats:
    sender = tcb.sender.sender_on(path)
    return PathStats(
        address=path.address,
        state=_state_of(path),
        primary=path is tcb.paths.primary,
        current=path is tcb.path,
        cwnd=path.congestion.cwnd,
        ssthresh=path.congestion.ssthresh,
        flight_size=0 if sender is None else sender.flight.size,
        srtt=path.srtt,
        rto=path.rto,
        mtu=path.pmtu.size,
        error_count=path.error_count,
        heartbeat_interval=path.heartbeat_interval,
        max_retrans=path.max_retrans,
    )


def _state_of(path: Path) -> PathState:
    if not path.confirmed:
        return PathState.UNCONFIRMED
    if not path.active:
        return PathState.INACTIVE
    return PathState.POTENTIALLY_FAILED if path.potentially_failed else PathState.ACTIVE
