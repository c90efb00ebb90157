"""Statistics: counters, sizes and times of an association, and the state of each path."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from .addresses import TransportAddress
from .congestion import Adaptive
from .core import Core
from .records.path import Path
from .states import AssociationState
from .tcb import Tcb
from .tx.policies import AbandonedMessages

_MASK: Final = 0xFFFFFFFF


class PathState(Enum):
    """The state of a path (RFC 9260, sections 5.4 and 8.2; potentially failed: quick failover)."""

    UNCONFIRMED = "unconfirmed"
    ACTIVE = "active"
    POTENTIALLY_FAILED = "potentially failed"
    INACTIVE = "inactive"


@dataclass(frozen=True, slots=True)
class PathStats:
    """The state of one path; sizes in bytes, times in seconds.

    Attributes:
        address: the peer's address; None when there is only one path.
        state: whether the path can be used.
        primary: data is sent there while it can be used.
        current: data is sent there now.
        bandwidth: bytes per second that a model-based controller estimates; 0.0 for other controllers.
        backed_off: the RTO was doubled, and no round trip has been measured since.
        t3_rtx_expires_at: the moment T3-rtx expires, in monotonic seconds; None while it is stopped.
        t3_rtx_expirations: expirations of T3-rtx since something was last acknowledged.
        error_count: consecutive unanswered retransmissions and heartbeats.
        heartbeat_interval: seconds between heartbeats while the path is idle; 0 when there are none.
        max_retrans: errors that make the path inactive.
    """

    address: TransportAddress | None
    state: PathState
    primary: bool
    current: bool
    cwnd: int
    ssthresh: int
    bandwidth: float
    flight_size: int
    srtt: float | None
    rto: float
    backed_off: bool
    t3_rtx_expires_at: float | None
    t3_rtx_expirations: int
    mtu: int
    error_count: int
    heartbeat_interval: float
    max_retrans: int


@dataclass(frozen=True, slots=True)
class AssociationStats:
    """The state of an association; sizes in bytes, times in seconds, TSNs as on the wire.

    `cwnd`, `ssthresh`, `srtt`, `rto` and `mtu` are those of the current path.

    Attributes:
        buffered: user bytes queued and not yet sent.
        unacknowledged_chunks: DATA chunks sent and not yet cumulatively acknowledged.
        cumulative_tsn_ack: the peer's Cumulative TSN Ack.
        receive_buffered: bytes received and not yet consumed, overhead included.
        unread_chunks: fragments and messages received and not yet consumed.
        advertised_rwnd: the receiver window last advertised to the peer.
        peer_rwnd: bytes the peer can still receive.
        reconfiguring: a request to re-configure streams is outstanding or waiting.
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
    unacknowledged_chunks: int
    cumulative_tsn_ack: int
    receive_buffered: int
    unread_chunks: int
    advertised_rwnd: int
    peer_rwnd: int
    srtt: float | None
    rto: float
    mtu: int
    reconfiguring: bool
    paths: tuple[PathStats, ...]


def collect_stats(core: Core) -> AssociationStats:
    """Return the counters and the state of an association."""
    tcb, writer, options = core.tcb, core.writer, core.options
    congestion = None if tcb is None else tcb.path.congestion
    return AssociationStats(
        state=core.state,
        packets_sent=writer.packets_sent,
        packets_received=core.packets_received,
        bytes_sent=writer.bytes_sent,
        bytes_received=core.bytes_received,
        packets_discarded=core.packets_discarded,
        data_chunks_sent=writer.data_chunks_sent,
        retransmissions=0 if tcb is None else tcb.sender.retransmissions,
        spurious_recoveries=0 if tcb is None else tcb.sender.spurious_recoveries,
        abandoned=core.abandoned.total(),
        cwnd=0 if congestion is None else congestion.cwnd,
        ssthresh=0 if congestion is None else congestion.ssthresh,
        flight_size=0 if tcb is None else tcb.sender.outstanding.flight_size,
        buffered=core.queue.buffered,
        unacknowledged_chunks=0 if tcb is None else len(tcb.sender.outstanding),
        cumulative_tsn_ack=0 if tcb is None else tcb.sender.outstanding.cumulative_tsn_ack & _MASK,
        receive_buffered=0 if tcb is None else tcb.reassembly.buffered + tcb.unconsumed,
        unread_chunks=0 if tcb is None else tcb.reassembly.pieces + tcb.unconsumed_messages,
        advertised_rwnd=options.receive_window if tcb is None else tcb.advertised_a_rwnd,
        peer_rwnd=0 if tcb is None else tcb.sender.peer_rwnd,
        srtt=None if tcb is None else tcb.path.srtt,
        rto=options.rto_initial if tcb is None else tcb.path.rto,
        mtu=options.first_packet_size if tcb is None else tcb.path.pmtu.size,
        reconfiguring=tcb is not None and (tcb.reconfig.timer.running or bool(tcb.reconfig.waiting)),
        paths=() if tcb is None else tuple([_collect_path_stats(tcb, path) for path in tcb.paths.all]),
    )


def _collect_path_stats(tcb: Tcb, path: Path) -> PathStats:
    sender, congestion = tcb.sender.sender_on(path), path.congestion
    return PathStats(
        address=path.address,
        state=_state_of(path),
        primary=path is tcb.paths.primary,
        current=path is tcb.path,
        cwnd=congestion.cwnd,
        ssthresh=congestion.ssthresh,
        bandwidth=congestion.bandwidth if isinstance(congestion, Adaptive) else 0.0,
        flight_size=0 if sender is None else sender.flight.size,
        srtt=path.srtt,
        rto=path.rto,
        backed_off=path.backed_off,
        t3_rtx_expires_at=path.t3_rtx.expires_at,
        t3_rtx_expirations=path.t3_rtx.expirations,
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
