"""The protocol parameters of an association, with the values RFC 9260, section 16 recommends.

Times are seconds, sizes are bytes. An option set is immutable; `dataclasses.replace` makes a changed one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .addresses import is_unicast
from .congestion import ALGORITHMS
from .path_history import PathHistory, PathName
from .receive_budget import ReceiveBudget
from .wire.extensions import ASCONF, ASCONF_ACK

SCHEDULERS: Final = ("fcfs", "round-robin", "round-robin-per-packet", "priority", "fair-capacity", "wfq")
"""The stream schedulers of RFC 8260, section 3."""

_NEVER_SIGNED: Final = frozenset({1, 2, 14, 15})
"""INIT, INIT ACK, SHUTDOWN COMPLETE and AUTH: the chunk types that cannot be authenticated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationOptions:
    """The protocol parameters of an association.

    Attributes:
        local_port: our SCTP port.
        remote_port: the peer's SCTP port.
        local_addresses: our IP addresses, listed in INIT and INIT ACK (RFC 9260, section 5.1.2); none when the source
            address of our packets is the only one.
        max_packet_size: the largest SCTP packet we build, common header included (MAX_PLPMTU of RFC 8899).
        base_packet_size: with path MTU discovery, the largest packet until the path is known to carry more
            (BASE_PLPMTU). Without it, `max_packet_size` applies from the start.
        path_mtu_discovery: search for the largest packet of each path (RFC 8899). Only for a lower layer that
            respects `Association.dont_fragment`.
        packet_overhead: bytes that lower layers put around a packet, the IP header included. The search uses it to
            probe the usual MTUs of networks. It is for IPv4; IPv6 paths add the difference.
        max_fragment: the most user bytes of a message in one packet, 0 for as many as fit.
        delay_small_packets: delay a packet that is not full while anything is unacknowledged, as Nagle's algorithm
            does; for applications that write small pieces and do not wait for answers.
        outbound_streams: the number of outgoing streams to request (OS of INIT).
        inbound_streams: streams we accept (MIS of INIT).
        max_streams: the maximum number of streams per direction after additions (RFC 6525, sections 5.2.5 and 5.2.6).
        allow_tsn_reset: let the peer restart TSNs and SSNs, which may lose data in flight (RFC 6525, section 5.2.4).
        allow_stream_reset: let the peer reset streams, and request resets (RFC 6525, sections 5.2.2 and 5.2.3).
        allow_added_streams: let the peer add streams, and request additions (RFC 6525, sections 5.2.5 and 5.2.6).
        receive_window: bytes the peer may have in flight at first (a_rwnd when nothing is buffered).
        max_receive_window: bytes the receiver window may grow to when the path holds more; 0 keeps it constant.
        max_message_size: the longest message accepted from the peer in bytes, 0 for no limit. A longer one aborts the
            association before it can fill memory.
        partial_delivery_point: deliver a message in parts of at least this many bytes before its end has arrived; 0
            delivers whole messages only. With parts, `max_message_size` limits what is held of a message.
        adaptation_indication: announce this Adaptation Layer Indication (RFC 5061, section 4.2.6), 32 bits, or None.
        rto_initial: RTO before the first round trip is measured.
        rto_min: RTO never falls below this.
        rto_max: RTO never rises above this.
        max_init_retransmits: retransmissions of INIT or COOKIE ECHO before we give up.
        max_init_timeout: the longest wait before INIT or COOKIE ECHO is retransmitted; 0 for `rto_max`.
        association_max_retrans: consecutive unanswered retransmissions before the peer counts as unreachable.
        path_max_retrans: the same for one path, which then becomes inactive.
        potentially_failed_max_retrans: errors above which a path is potentially failed: data moves to another path at
            once, and heartbeats check this one (quick failover). None waits until it is inactive, as in RFC 9260.
        heartbeat_interval: added to the RTO between heartbeats on an idle path; 0 turns them off.
        heartbeat_max_burst: unverified addresses that are probed per RTO (section 5.4).
        valid_cookie_life: the life of a State Cookie we issue.
        sack_delay: the longest delay of a SACK (section 6.2: at most 0.5).
        sack_frequency: packets after which a SACK is sent at the latest.
        max_burst: full packets that may leave at once in addition to what is acknowledged (section 6.1, rule D).
        congestion_control: "cubic" (RFC 9438), "newreno" (RFC 9260) or "adaptive": CUBIC with a model of the path that
            also fills links that lose packets without congestion, the default of data channels.
        pacing: spread packets over the round trip instead of sending windows in bursts.
        tail_loss_probe: probe for a lost last packet before T3-rtx would (RFC 8985).
        slow_start_limit: L of section 7.2.1: full packets by which cwnd may grow per SACK in slow start. A receiver
            that acknowledges whole batches needs more than the RFC's 1.
        initial_cwnd: the initial congestion window; 0 for RFC 9260's min(4*MTU, max(2*MTU, 4404)).
        zero_checksum: announce that packets with a zero checksum are acceptable (RFC 9653); only for a lower
            layer that protects integrity, as DTLS does.
        partial_reliability: announce RFC 3758.
        scheduler: which stream sends next when several have data (RFC 8260, section 3): "fcfs" the one with the oldest
            message, "round-robin", "round-robin-per-packet", "priority" the highest priority, "fair-capacity" equal
            bytes, or "wfq", bytes in proportion to priorities (`Association.set_stream_priority`).
        send_buffer: the most user bytes queued and not yet sent, 0 for no limit. A message beyond it is refused, unless
            messages of lower priority can be abandoned for it (RFC 7496, section 3.2).
        interleaving: announce I-DATA (RFC 8260): fragments of messages on different streams are interleaved, so that a
            long message does not delay others. DATA is used unless the peer announces it too.
        stream_reset: announce RFC 6525.
        authentication: announce RFC 4895; chunks are signed if the peer announces it too.
        authenticated_chunks: the chunk types we accept only when they are signed; needs `authentication`. A peer that
            cannot sign is refused.
        shared_keys: (Shared Key Identifier, key) of the endpoint pair shared keys. Without any, key 0 is empty: it
            keeps out attackers that did not see the handshake.
        active_key: the Shared Key Identifier to sign with.
        dynamic_addresses: announce RFC 5061: addresses may change during the association; needs `authentication`.
        receive_budget: the memory for incomplete messages that associations share; None for no common bound.
        path_history: what paths carried before, shared by associations, so that a transfer starts faster (Careful
            Resume, RFC 9959); None to start without it.
        path_name: our IP address and the peer's, where the lower layer has only one path; None if they are unknown.
        bytes_at_once: approximate bytes of packets with DATA that one call returns, so that the first can leave while
            the next are built; the next call may return more. 0 returns all.
    """

    local_port: int = 5000
    remote_port: int = 5000
    local_addresses: tuple[str, ...] = ()
    max_packet_size: int = 1200
    base_packet_size: int = 1200
    path_mtu_discovery: bool = False
    packet_overhead: int = 28
    max_fragment: int = 0
    delay_small_packets: bool = False
    outbound_streams: int = 65535
    inbound_streams: int = 65535
    max_streams: int = 65535
    allow_tsn_reset: bool = True
    allow_stream_reset: bool = True
    allow_added_streams: bool = True
    receive_window: int = 4 * 1024 * 1024
    max_receive_window: int = 0
    max_message_size: int = 0
    partial_delivery_point: int = 0
    adaptation_indication: int | None = None
    rto_initial: float = 1.0
    rto_min: float = 1.0
    rto_max: float = 60.0
    max_init_retransmits: int = 8
    max_init_timeout: float = 0.0
    association_max_retrans: int = 10
    path_max_retrans: int = 5
    potentially_failed_max_retrans: int | None = None
    heartbeat_interval: float = 30.0
    heartbeat_max_burst: int = 1
    valid_cookie_life: float = 60.0
    sack_delay: float = 0.2
    sack_frequency: int = 2
    max_burst: int = 4
    congestion_control: str = "cubic"
    pacing: bool = True
    tail_loss_probe: bool = True
    slow_start_limit: int = 1
    initial_cwnd: int = 0
    zero_checksum: bool = False
    partial_reliability: bool = True
    stream_reset: bool = True
    authentication: bool = False
    authenticated_chunks: tuple[int, ...] = ()
    shared_keys: tuple[tuple[int, bytes], ...] = ()
    active_key: int = 0
    dynamic_addresses: bool = False
    interleaving: bool = True
    scheduler: str = "round-robin"
    send_buffer: int = 0
    receive_budget: ReceiveBudget | None = None
    path_history: PathHistory | None = None
    path_name: PathName | None = None
    bytes_at_once: int = 0

    @property
    def listed_chunks(self) -> tuple[int, ...]:
        """The chunk types of our CHUNKS parameter (RFC 4895, section 3.2)."""
        # RFC 5061, 4.1.1: "If this chunk is received unauthenticated it MUST be silently discarded".
        asconf = (ASCONF, ASCONF_ACK) if self.dynamic_addresses else ()
        return tuple(dict.fromkeys((*self.authenticated_chunks, *asconf)))

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: a value is out of range, or two options contradict each other.
        """
        if self.congestion_control not in ALGORITHMS:
            raise ValueError(
                f"no congestion control {self.congestion_control!r}; choose one of {', '.join(ALGORITHMS)}"
            )
        if self.scheduler not in SCHEDULERS:
            raise ValueError(f"no scheduler {self.scheduler!r}; choose one of {', '.join(SCHEDULERS)}")
        # RFC 9260, 6.2: "An implementation MUST NOT allow the maximum delay (protocol parameter 'SACK.Delay') to be
        # configured to be more than 500 ms."
        if not 0 <= self.sack_delay <= 0.5:
            raise ValueError(f"sack_delay is {self.sack_delay}; it may be 0 to 0.5 seconds")
        # RFC 9260, 3.1: "The Source Port Number 0 MUST NOT be used." "The Destination Port Number 0 MUST NOT be used."
        if not (0 < self.local_port < 65536 and 0 < self.remote_port < 65536):
            raise ValueError(f"the ports are {self.local_port} and {self.remote_port}; they may be 1 to 65535")
        self._check_authentication()
        if any(not is_unicast(ip) for ip in self.local_addresses):
            raise ValueError(f"{', '.join(self.local_addresses)}: not all of them are addresses of one host")
        # RFC 9260, 3.3.2: "The Advertised Receiver Window Credit MUST NOT be smaller than 1500."
        if self.receive_window < 1500:
            raise ValueError(f"receive_window is {self.receive_window}; it may not be less than 1500 bytes")
        if not (0 < self.outbound_streams < 65536 and 0 < self.inbound_streams < 65536):
            raise ValueError(f"{self.outbound_streams} and {self.inbound_streams} streams; there may be 1 to 65535")
        if self.max_fragment < 0 or self.max_init_timeout < 0:
            raise ValueError(
                f"max_fragment is {self.max_fragment}, max_init_timeout {self.max_init_timeout}; not below 0"
            )
        if min(self.max_packet_size, self.base_packet_size) < 100:
            sizes = f"max_packet_size is {self.max_packet_size} and base_packet_size {self.base_packet_size}"
            raise ValueError(f"{sizes}; SCTP needs at least 100 bytes")

    @property
    def first_packet_size(self) -> int:
        """The largest packet before anything is known of the path."""
        return min(self.base_packet_size, self.max_packet_size) if self.path_mtu_discovery else self.max_packet_size

    def _check_authentication(self) -> None:
        if (self.authenticated_chunks or self.dynamic_addresses) and not self.authentication:
            raise ValueError("authenticated_chunks and dynamic_addresses need authentication")
        # RFC 4895, 3.2: "The chunk types for INIT, INIT-ACK, SHUTDOWN-COMPLETE, and AUTH chunks MUST NOT be listed in
        # the CHUNKS parameter."
        if any(not 0 <= kind < 256 or kind in _NEVER_SIGNED for kind in self.authenticated_chunks):
            raise ValueError(f"{self.authenticated_chunks}: not all of these chunk types can be authenticated")
        if self.active_key != 0 and self.active_key not in dict(self.shared_keys):
            raise ValueError(f"active_key is {self.active_key}; there is no such shared key")


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointOptions:
    """Limits of the resources that unknown peers can use.

    One network, an IPv4 address or an IPv6 prefix of 64 bits, can use a quarter of each rate and burst.

    Attributes:
        max_associations: the most associations.
        init_rate: answers to INITs per second.
        init_burst: the most answers to INITs at once.
        stray_rate: answers per second to other packets of no association.
        stray_burst: the most of these other answers at once.
    """

    max_associations: int = 65536
    init_rate: float = 5000.0
    init_burst: float = 5000.0
    stray_rate: float = 5000.0
    stray_burst: float = 5000.0


DATA_CHANNEL_INITIAL_CWND: Final = 12_000
"""Bytes of the initial window of data channels: ten packets of 1200 bytes, as in TCP (RFC 6928), QUIC (RFC 9002, 7.2)
and libwebrtc. RFC 9260's four packets take one round trip longer to fill any path."""

NO_LIMIT: Final = 2**31 - 1
"""A number of retransmissions that no association reaches."""


def data_channel_options(
    *,
    remote_port: int = 5000,
    max_message_size: int = 0,
    congestion_control: str = "adaptive",
    max_receive_window: int = 16 * 1024 * 1024,
    streams: int = 65535,
    receive_budget: ReceiveBudget | None = None,
    path_history: PathHistory | None = None,
) -> AssociationOptions:
    """Return the parameters for WebRTC data channels (RFC 8831).

    They have one path, which ICE monitors, with round trips of milliseconds to a second. So timeouts are shorter. As
    both ends acknowledge whole batches of packets, windows open by whole batches too.

    Args:
        remote_port: the port in ``a=sctp-port``.
        max_message_size: the longest message accepted in bytes, as we announced it; 0 for no limit.
        congestion_control: see `AssociationOptions`.
        max_receive_window: see `AssociationOptions`.
        streams: the maximum number of streams per direction, and so of data channels.
        receive_budget: see `AssociationOptions`.
        path_history: see `AssociationOptions`.
    """
    return AssociationOptions(
        remote_port=remote_port,
        outbound_streams=streams,
        inbound_streams=streams,
        max_streams=streams,
        max_message_size=max_message_size,
        # Above the 200 ms that a peer may delay its SACK. The RFC's 1 s makes every loss of a last packet noticeable.
        rto_min=0.4,
        # ICE detects a peer that is gone: its consent expires after 30 s. As an ICE restart may find the peer again, no
        # count of retransmissions (RFC 9260, 8.1) ends the association. libwebrtc has no such count either.
        rto_max=10.0,
        association_max_retrans=NO_LIMIT,
        path_max_retrans=NO_LIMIT,
        sack_delay=0.05,
        # No WebRTC stack uses it, and data in flight would be lost.
        allow_tsn_reset=False,
        receive_window=2 * 1024 * 1024,
        max_receive_window=max_receive_window,
        receive_budget=receive_budget,
        path_history=path_history,
        initial_cwnd=DATA_CHANNEL_INITIAL_CWND,
        max_burst=64,
        slow_start_limit=64,
        congestion_control=congestion_control,
        # RFC 8260, 3.6: "This scheduler, in combination with user message interleaving, is used for WebRTC data
        # channels".
        scheduler="wfq",
        zero_checksum=True,
    )
