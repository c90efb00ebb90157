"""One destination transport address of the peer: round-trip time, timers, error counter, congestion state, PMTU.

A Path knows nothing of chunks or streams. WebRTC has one; a multi-homed association has several.
"""

from __future__ import annotations

from typing import Final

from datachan.sctp.addresses import TransportAddress
from datachan.sctp.congestion import CongestionController, make_controller
from datachan.sctp.options import AssociationOptions
from datachan.sctp.timers import Timer
from datachan.sctp.wire.packet import COMMON_HEADER_LENGTH

from .pmtu import PathMtu

RTO_ALPHA: Final = 1 / 8  # RFC 9260, 16
RTO_BETA: Final = 1 / 4
CLOCK_GRANULARITY: Final = 0.001  # G of RFC 9260, 6.3.1: RTTVAR is never less

_IPV6_IS_LONGER: Final = 20  # its header, than IPv4's


def max_payload(packet_size: int) -> int:
    """PMDCS: the bytes of the largest chunk that fits a packet."""
    return packet_size - COMMON_HEADER_LENGTH & ~3


class Path:
    """RFC 9260's destination transport address.

    Attributes:
        address: where its packets go, or None when the lower layer has only one way.
        srtt: smoothed round-trip time in seconds, or None before the first measurement.
        rttvar: its variation in seconds.
        rto: retransmission timeout in seconds, backoff included.
        backed_off: its RTO was doubled, and no round trip was measured since.
        t3_rtx: the retransmission timer of DATA.
        heartbeat: when the next HEARTBEAT is due, or its answer is overdue.
        measurement_nonce: the nonce of an outstanding HEARTBEAT that only measures the round trip, or empty.
        measurement_sent_at: when that HEARTBEAT was sent.
        number: which of the peer's addresses it is; the path indicator in HEARTBEATs.
        confirmed: the peer has shown that the address is its own (section 5.4).
        potentially_failed: it is active, but has errors enough for data to go elsewhere (quick failover).
        heartbeat_interval: added to the RTO between heartbeats while it is idle, in seconds; 0 turns them off.
        max_retrans: errors that make it inactive.
        error_count: consecutive unanswered retransmissions and heartbeats.
        active: False after `max_retrans` of them.
        congestion: the congestion controller.
        last_sent: when DATA was last sent here, or None.
        pmtu: how long packets may be here, and the search for more.
    """

    __slots__ = (
        "_useful_packet",
        "active",
        "address",
        "backed_off",
        "confirmed",
        "congestion",
        "error_count",
        "heartbeat",
        "heartbeat_interval",
        "heartbeat_nonce",
        "heartbeat_sent_at",
        "last_sent",
        "max_retrans",
        "measurement_nonce",
        "measurement_sent_at",
        "number",
        "options",
        "pmtu",
        "potentially_failed",
        "rto",
        "rttvar",
        "srtt",
        "t3_rtx",
    )

    def __init__(self, options: AssociationOptions, peer_a_rwnd: int, address: TransportAddress | None = None) -> None:
        self.options = options
        self.address = address
        self.srtt: float | None = None
        self.rttvar = 0.0
        self.rto = options.rto_initial
        self.backed_off = False
        self.t3_rtx = Timer()
        self.heartbeat = Timer()
        self.heartbeat_nonce: bytes = b""
        self.heartbeat_sent_at = 0.0
        self.measurement_nonce: bytes = b""
        self.measurement_sent_at = 0.0
        self.heartbeat_interval = options.heartbeat_interval
        self.max_retrans = options.path_max_retrans
        self.number = 0
        self.error_count = 0
        self.active = True
        self.confirmed = True
        self.potentially_failed = False
        # A packet that is a large part of the peer's window would only wait for it.
        self._useful_packet = peer_a_rwnd // 8
        largest = min(options.max_packet_size, self._useful_packet)
        self.pmtu = PathMtu(options.first_packet_size, largest, self._overhead(options))
        self.congestion: CongestionController = self._new_controller()
        self.last_sent: float | None = None

    def _overhead(self, options: AssociationOptions) -> int:
        return options.packet_overhead + (_IPV6_IS_LONGER if self.address is not None and ":" in self.address[0] else 0)

    def _new_controller(self) -> CongestionController:
        options = self.options
        return make_controller(
            options.congestion_control, max_payload(self.pmtu.size), options.initial_cwnd, options.slow_start_limit
        )

    def begin_anew(self, options: AssociationOptions) -> None:
        """The lower layer took another way, of which nothing is known: forget round trip, window and PMTU.

        Args:
            options: how long packets may be there is taken from them.

        RFC 9260, 7.2.5.2: "If such a routing change happens, the congestion control parameters for the affected
        destination addresses MUST be reset to their initial values."
        """
        self.srtt = None
        self.rttvar = 0.0
        self.rto = self.options.rto_initial
        self.backed_off = False
        self.pmtu.begin_anew(min(options.max_packet_size, self._useful_packet), self._overhead(options))
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
        self.rto = min(max(self.srtt + 4 * self.rttvar, self.options.rto_min), self.options.rto_max)
        if self.rto > before:
            # T3-rtx that is running was started for a faster path. When a queue fills, the loss that ends this is sent
            # again with an RTO from before: its answer would come a moment too late.
            self.t3_rtx.postpone(self.rto - before)

    def back_off(self) -> None:
        """RFC 9260, 6.3.3, E2: "set RTO = RTO * 2 ("back off the timer")" up to RTO.Max."""
        self.rto = min(self.rto * 2, self.options.rto_max)
        self.backed_off = True

    @property
    def in_question(self) -> bool:
        """Whether it is to be asked once per RTO if it is there: not yet verified, or maybe failed; until inactive."""
        return self.active and (not self.confirmed or self.potentially_failed)

    @property
    def rank(self) -> int:
        """How far it is from being of use for data: 0 when nothing is wrong with it."""
        if not self.confirmed:
            return 1 << 30
        if not self.active:
            return 1 << 20
        return self.error_count if self.potentially_failed else 0

    @property
    def heartbeat_info(self) -> bytes:
        """The Heartbeat Info of the HEARTBEAT under way."""
        return self.heartbeat_nonce + self.number.to_bytes(4, "big")

    def count_error(self) -> bool:
        """Count one unanswered retransmission or heartbeat; True when that makes the path inactive (section 8.2).

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
        """The peer answered on this path; True when that makes available one that was not."""
        self.error_count = 0
        if self.active and not self.potentially_failed:
            return False
        self.active = True
        self.potentially_failed = False
        return True

    def decay_when_idle(self, now: float) -> None:
        """Let the congestion window decay for the RTOs in which nothing was sent (section 7.2.1)."""
        if self.last_sent is not None and self.rto > 0:
            intervals = int((now - self.last_sent) / self.rto)
            if intervals > 0:
                self.congestion.on_idle(intervals)
                self.last_sent = now
