"""One destination transport address of the peer: round-trip time, timers, error counter, congestion state, PMTU.

It knows no chunks and no streams. WebRTC has one path; a multi-homed association has several.
"""

from __future__ import annotations

from typing import Final

from datachan.sctp.addresses import TransportAddress
from datachan.sctp.congestion import CongestionController, make_controller
from datachan.sctp.options import AssociationOptions
from datachan.sctp.path_history import PathName
from datachan.sctp.timers import Timer
from datachan.sctp.wire.packet import COMMON_HEADER_LENGTH

from .pmtu import PathMtu

RTO_ALPHA: Final = 1 / 8  # RFC 9260, 16
RTO_BETA: Final = 1 / 4
CLOCK_GRANULARITY: Final = 0.001  # G of RFC 9260, 6.3.1: RTTVAR is never less

_IPV6_EXTRA: Final = 20  # bytes by which an IPv6 header is longer than an IPv4 header


def max_payload(packet_size: int) -> int:
    """Return PMDCS, the bytes of the largest chunk that fits a packet."""
    return packet_size - COMMON_HEADER_LENGTH & ~3


class Path:
    """A destination transport address of RFC 9260.

    Attributes:
        address: the destination of its packets, or None when the lower layer has only one path.
        srtt: smoothed round-trip time in seconds, or None before the first measurement.
        rttvar: its variation in seconds.
        rto: retransmission timeout in seconds, backoff included.
        backed_off: the RTO was doubled, and no round trip has been measured since.
        unanswered: the lower layer has left a silent path for this one, and nothing was acknowledged since.
        t3_rtx: the retransmission timer of DATA.
        heartbeat: runs until the next HEARTBEAT is due, or until its answer is overdue.
        measurement_nonce: the nonce of an outstanding HEARTBEAT that only measures the round trip, or empty.
        measurement_sent_at: when that HEARTBEAT was sent.
        earlier_measurement: the nonce and the time of the one before it, whose answer may still arrive.
        number: the path indicator in HEARTBEATs.
        name: our IP address and the peer's on the path, under which `path_history` has it; None if they are unknown.
        confirmed: the address is verified to be the peer's (section 5.4).
        potentially_failed: active, but with enough errors for data to use another path (quick failover).
        heartbeat_interval: seconds added to the RTO between heartbeats while the path is idle; 0 turns them off.
        max_retrans: errors above which the path is inactive.
        error_count: consecutive unanswered retransmissions and heartbeats.
        active: False after more than `max_retrans` errors.
        congestion: the congestion controller.
        last_sent: when DATA was last sent on the path, or None.
        pmtu: the largest packet, and the search for a larger one.
    """

    __slots__ = (
        "_useful_packet",
        "active",
        "address",
        "backed_off",
        "confirmed",
        "congestion",
        "earlier_measurement",
        "error_count",
        "heartbeat",
        "heartbeat_interval",
        "heartbeat_nonce",
        "heartbeat_sent_at",
        "last_sent",
        "max_retrans",
        "measurement_nonce",
        "measurement_sent_at",
        "name",
        "number",
        "options",
        "pmtu",
        "potentially_failed",
        "rto",
        "rttvar",
        "srtt",
        "t3_rtx",
        "unanswered",
    )

    def __init__(self, options: AssociationOptions, peer_a_rwnd: int, address: TransportAddress | None = None) -> None:
        self.options = options
        self.address = address
        self.name = self._name_in(options)
        self.srtt: float | None = None
        self.rttvar = 0.0
        self.rto = options.rto_initial
        self.backed_off = False
        self.unanswered = False
        self.t3_rtx = Timer()
        self.heartbeat = Timer()
        self.heartbeat_nonce: bytes = b""
        self.heartbeat_sent_at = 0.0
        self.measurement_nonce: bytes = b""
        self.measurement_sent_at = 0.0
        self.earlier_measurement: tuple[bytes, float] = (b"", 0.0)
        self.heartbeat_interval = options.heartbeat_interval
        self.max_retrans = options.path_max_retrans
        self.number = 0
        self.error_count = 0
        self.active = True
        self.confirmed = True
        self.potentially_failed = False
        # A packet that fills a large part of the peer's window would only wait for the window to open.
        self._useful_packet = peer_a_rwnd // 8
        largest = min(options.max_packet_size, self._useful_packet)
        self.pmtu = PathMtu(options.first_packet_size, largest, self._overhead(options))
        self.congestion: CongestionController = self._new_controller()
        self.last_sent: float | None = None

    def _name_in(self, options: AssociationOptions) -> PathName | None:
        return options.path_name if self.address is None else (",".join(options.local_addresses), self.address[0])

    def _overhead(self, options: AssociationOptions) -> int:
        return options.packet_overhead + (_IPV6_EXTRA if self.address is not None and ":" in self.address[0] else 0)

    def _new_controller(self) -> CongestionController:
        options = self.options
        return make_controller(
            options.congestion_control, max_payload(self.pmtu.size), options.initial_cwnd, options.slow_start_limit
        )

    def reset(self, options: AssociationOptions) -> None:
        """Forget round trip, window and PMTU, because the lower layer uses another route.

        Args:
            options: they give the packet sizes and overhead of the new route.

        RFC 9260, 7.2.5.2: "If such a routing change happens, the congestion control parameters for the affected
        destination addresses MUST be reset to their initial values."
        """
        self.name = self._name_in(options)
        self.srtt = None
        self.rttvar = 0.0
        self.rto = self.options.rto_initial
        self.backed_off = False
        self.pmtu.reset(min(options.max_packet_size, self._useful_packet), self._overhead(options))
        self.congestion = self._new_controller()

    def observe_round_trip(self, measured: float) -> None:
        """Update SRTT, RTTVAR and RTO with one measurement in seconds (section 6.3.1)."""
        if measured < 0:
            return
        if self.srtt is None:
            self.srtt = measured
            self.rttvar = measured / 2
        else:
            self.rttvar += RTO_BETA * (abs(self.srtt - measured) - self.rttvar)
            self.srtt += RTO_ALPHA * (measured - self.srtt)
        self.backed_off = False
        self.rttvar = max(self.rttvar, CLOCK_GRANULARITY)
        before = self.rto
        self.rto = self.measured_rto
        if self.rto > before:
            # T3-rtx was started with a shorter RTO. When a queue fills up, it would expire just before the answer to a
            # retransmission arrives.
            self.t3_rtx.postpone(self.rto - before)

    def back_off(self) -> None:
        """Double the RTO, up to RTO.Max.

        RFC 9260, 6.3.3, E2: "set RTO = RTO * 2 ("back off the timer")".
        """
        self.rto = min(self.rto * 2, self.options.rto_max)
        self.backed_off = True

    @property
    def measured_rto(self) -> float:
        """The RTO by the measurements, without back-off; the initial one before the first measurement."""
        if self.srtt is None:
            return self.options.rto_initial
        return min(max(self.srtt + 4 * self.rttvar, self.options.rto_min), self.options.rto_max)

    @property
    def in_question(self) -> bool:
        """Whether a HEARTBEAT is sent once per RTO: the path is active, but unverified or potentially failed."""
        return self.active and (not self.confirmed or self.potentially_failed)

    @property
    def rank(self) -> int:
        """The order of preference for data, lowest first; 0 for a path without errors."""
        if not self.confirmed:
            return 1 << 30
        if not self.active:
            return 1 << 20
        return self.error_count if self.potentially_failed else 0

    @property
    def heartbeat_info(self) -> bytes:
        """The Heartbeat Info of the outstanding HEARTBEAT."""
        return self.heartbeat_nonce + self.number.to_bytes(4, "big")

    def count_error(self) -> bool:
        """Count one unanswered retransmission or heartbeat; return True when the path becomes inactive (section 8.2).

        RFC 9260, 8.3: "After this, the endpoint SHOULD continue sending HEARTBEAT chunks on this destination address
        but SHOULD stop increasing the counter."
        """
        if not self.active:
            return False
        self.error_count += 1
        if self.error_count > self.max_retrans:
            self.active = False
            self.potentially_failed = False
            return True
        limit = self.options.potentially_failed_max_retrans
        self.potentially_failed = limit is not None and self.error_count > limit
        return False

    def clear_errors(self) -> bool:
        """Clear the error counter; return True when the path becomes available again."""
        self.error_count = 0
        if self.active and not self.potentially_failed:
            return False
        self.active = True
        self.potentially_failed = False
        return True

    def decay_when_idle(self, now: float) -> None:
        """Reduce the congestion window for the RTOs in which nothing was sent (section 7.2.1)."""
        if self.last_sent is not None and self.rto > 0:
            intervals = int((now - self.last_sent) / self.rto)
            if intervals > 0:
                self.congestion.on_idle(intervals)
                self.last_sent = now
