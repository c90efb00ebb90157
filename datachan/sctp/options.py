"""The protocol parameters of an association, with the values RFC 9260, section 16 recommends.

Times are seconds, sizes are bytes. An option set is immutable; `dataclasses.replace` makes a changed one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .addresses import is_unicast
from .congestion import ALGORITHMS
from .wire.extensions import ASCONF, ASCONF_ACK

SCHEDULERS: Final = ("fcfs", "round-robin", "round-robin-per-packet", "priority", "fair-capacity", "wfq")
"""The stream schedulers of RFC 8260, section 3."""

_NEVER_SIGNED: Final = frozenset({1, 2, 14, 15})
"""INIT, INIT ACK, SHUTDOWN COMPLETE and AUTH."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AssociationOptions:
    """Everything about an association that its user may choose.

    Attributes:
        local_port: our SCTP port.
        remote_port: the peer's SCTP port.
        local_addresses: our IP addresses, to be listed in INIT and INIT ACK (RFC 9260, section 5.1.2); none are when
            there is but the one that packets come from.
        max_packet_size: the largest SCTP packet we build, common header included (MAX_PLPMTU of RFC 8899).
        base_packet_size: with path MTU discovery, how long packets are until the path is known to take more
            (BASE_PLPMTU); without it, packets are of `max_packet_size` from the beginning.
        path_mtu_discovery: look for the largest packet each path takes (RFC 8899). Only for a lower layer that heeds
            `Association.dont_fragment`.
        packet_overhead: bytes that lower layers put around a packet, the IP header included: with them the search goes
            by the usual MTUs of networks. Where addresses are known it is IPv4's, to which IPv6 paths add the rest.
        max_fragment: most user bytes of a message that go into one packet, 0 for as many as fit.
        delay_small_packets: hold back a packet that is not full while anything is unacknowledged, as Nagle's algorithm
            does; for users who write in small pieces and do not wait for answers.
        outbound_streams: streams we ask for (OS of INIT).
        inbound_streams: streams we accept (MIS of INIT).
        max_streams: how many streams either direction may grow to (RFC 6525, sections 5.2.5 and 5.2.6).
        allow_tsn_reset: let the peer begin TSNs and SSNs anew, which may cost data under way (RFC 6525, section 5.2.4).
        allow_stream_reset: let the peer reset streams, and ask us to (RFC 6525, sections 5.2.2 and 5.2.3).
        allow_added_streams: let the peer add streams, and ask us to (RFC 6525, sections 5.2.5 and 5.2.6).
        receive_window: bytes the peer may have under way to us (a_rwnd when nothing is buffered), to begin with.
        max_receive_window: bytes the receiver window may grow to when the path holds more; 0 lets it stay as it is.
        max_message_size: longest message accepted from the peer, 0 for no limit. A longer one aborts the
            association before it can fill memory.
        partial_delivery_point: hand up a message in parts of at least so many bytes while the rest is still to come;
            0 hands up whole messages only. Then `max_message_size` is for what is held of a message.
        adaptation_indication: announce this Adaptation Layer Indication (RFC 5061, section 4.2.6), 32 bits, or None.
        rto_initial: RTO before the first round trip is measured.
        rto_min: RTO never falls below this.
        rto_max: RTO never rises above this.
        max_init_retransmits: INIT or COOKIE ECHO retransmissions before we give up.
        max_init_timeout: the longest wait before INIT or COOKIE ECHO is sent again; 0 for `rto_max`.
        association_max_retrans: consecutive unanswered retransmissions before the peer counts as unreachable.
        path_max_retrans: the same for the path, after which it is inactive.
        potentially_failed_max_retrans: errors above which a path counts as potentially failed: data goes to another
            path at once, and heartbeats say what becomes of it (quick failover). None waits until it is inactive, as
            RFC 9260 has it.
        heartbeat_interval: added to the RTO between heartbeats on an idle path; 0 turns them off.
        heartbeat_max_burst: addresses not yet verified that are probed per RTO (section 5.4).
        valid_cookie_life: how long a State Cookie we issued is good for.
        sack_delay: how long an acknowledgment may wait (section 6.2: at most 0.5).
        sack_frequency: acknowledge at least every this many packets.
        max_burst: full packets that may leave at once on top of what is acknowledged (section 6.1, rule D).
        congestion_control: "cubic" (RFC 9438), "newreno" (RFC 9260) or "bbr" (a model of the path, for links that lose
            packets without being congested).
        pacing: spread packets over the round trip instead of sending windows in bursts.
        tail_loss_probe: probe for a lost last packet before T3-rtx would (RFC 8985).
        slow_start_limit: L of section 7.2.1: full packets by which cwnd may grow per SACK in slow start. A receiver
            that acknowledges whole batches needs more than the RFC's 1.
        initial_cwnd: the initial congestion window; 0 for RFC 9260's min(4*MTU, max(2*MTU, 4404)).
        zero_checksum: announce that packets with a zero checksum are acceptable (RFC 9653); only for a lower
            layer that protects integrity, as DTLS does.
        partial_reliability: announce RFC 3758.
        scheduler: whose turn it is when several streams have something to send (RFC 8260, section 3): "fcfs" the
            oldest message, "round-robin", "round-robin-per-packet", "priority" the highest first, "fair-capacity" equal
            bytes, or "wfq", bytes in proportion to priorities (`Association.set_stream_priority`).
        send_buffer: user bytes that may be queued and not yet sent once, 0 for no limit. What is beyond is refused,
            or has messages of lower priority given up (RFC 7496, section 3.2).
        interleaving: announce I-DATA (RFC 8260): messages of different streams may be mixed, so that a long one holds
            none of the others up. With a peer that does not announce it too, DATA is used.
        stream_reset: announce RFC 6525.
        authentication: announce RFC 4895; chunks are signed if the peer wants it, too.
        authenticated_chunks: the chunk types we accept only if they are signed; needs `authentication`. A peer that
            cannot sign is refused.
        shared_keys: (Shared Key Identifier, key) of the endpoint pair shared keys. Without any there is one, 0, which
            is empty: that keeps out who did not see the handshake.
        active_key: the Shared Key Identifier that is signed with.
        dynamic_addresses: announce RFC 5061: addresses may change while the association lasts; needs
            `authentication`.
        bytes_at_once: about how many bytes of packets with DATA one call gives, so that the first can leave while the
            next are made; there may be more for the next call. 0 gives all.
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
    bytes_at_once: int = 0

    @property
    def listed_chunks(self) -> tuple[int, ...]:
        """The chunk types of our CHUNKS parameter (RFC 4895, section 3.2)."""
        # RFC 5061, 4.1.1: "If this chunk is received unauthenticated it MUST be silently discarded".
        asconf = (ASCONF, ASCONF_ACK) if self.dynamic_addresses else ()
        return tuple(dict.fromkeys((*self.authenticated_chunks, *asconf)))

    def __post_init__(self) -> None:
        """Refuse what could never work.

        Raises:
            ValueError: an option has no sensible value.
        """
        if self.congestion_control not in ALGORITHMS:
            raise ValueError(f"no congestion control {self.congestion_control!r}; there is {', '.join(ALGORITHMS)}")
        if self.scheduler not in SCHEDULERS:
            raise ValueError(f"no scheduler {self.scheduler!r}; there is {', '.join(SCHEDULERS)}")
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
        """The largest packet before the path is known."""
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
    """What strangers may cost an endpoint.

    Attributes:
        max_associations: how many associations there may be.
        init_rate: answers to INITs per second.
        init_burst: answers to INITs that may be sent at once.
        stray_rate: answers per second to other packets that belong to no association.
        stray_burst: such answers that may be sent at once.
    """

    max_associations: int = 65536
    init_rate: float = 5000.0
    init_burst: float = 5000.0
    stray_rate: float = 5000.0
    stray_burst: float = 5000.0


def data_channel_options(
    *,
    remote_port: int = 5000,
    max_message_size: int = 0,
    congestion_control: str = "cubic",
    max_receive_window: int = 16 * 1024 * 1024,
) -> AssociationOptions:
    """The parameters WebRTC data channels run with (RFC 8831), where they differ from the RFC's.

    One path, watched by ICE, with round trips of milliseconds to a second: timeouts are shorter, and since both ends
    acknowledge whole batches of packets, windows open by whole batches too.

    Args:
        remote_port: from ``a=sctp-port``.
        max_message_size: the longest message accepted, which we announced, in bytes; 0 for no limit.
        congestion_control: see `AssociationOptions`.
        max_receive_window: see `AssociationOptions`.
    """
    return AssociationOptions(
        remote_port=remote_port,
        max_message_size=max_message_size,
        # Above the 200 ms a peer may delay its SACK; 1 s, the RFC's, makes every lost last packet felt.
        rto_min=0.4,
        # An outage of a minute is outlived: it takes ten retransmissions, and heartbeats count as well (RFC 9260, 8.1).
        # A peer that is gone for good is noticed by ICE, whose consent expires after 30 s.
        rto_max=10.0,
        association_max_retrans=16,
        path_max_retrans=16,
        sack_delay=0.05,
        # No WebRTC stack uses it, and data under way would be lost.
        allow_tsn_reset=False,
        receive_window=2 * 1024 * 1024,
        max_receive_window=max_receive_window,
        max_burst=64,
        slow_start_limit=64,
        congestion_control=congestion_control,
        # RFC 8260, 3.6: "This scheduler, in combination with user message interleaving, is used for WebRTC data
        # channels".
        scheduler="wfq",
        zero_checksum=True,
    )
