"""The path MTU search of RFC 8899 for one path: from sizes, times and answers it chooses the size of the next probe.

It builds no packet and knows no chunk. Sizes are those of SCTP packets, common header included ("PLPMTU").

The search starts when a full packet has left, because a path with short messages gains nothing, or when the peer
searches too. The largest size is probed first, once: most paths take what the interface at their start takes. If that
probe is lost, the usual sizes follow in ascending order, until one has been lost `MAX_PROBES` times.

Receivers differ in how much they read. aiortc truncates a record at 1500 bytes and libwebrtc at 2048, and both read the
rest as further records, each one datagram late. So a peer gets no packet longer than Ethernet carries until it has sent
a PAD chunk: a peer that searches for large packets can read them.

RFC 8899, 5.2: "Note: MIN_PLPMTU could be identical to BASE_PLPMTU, simplifying the actions in this state." They are
identical here: there is no ERROR state, and packets of the base size may be fragmented on their way.
"""

from __future__ import annotations

from typing import Final

from datachan.sctp.timers import Timer

DISABLED: Final = 0
BASE: Final = 1
"""Only the base size is known to work."""
SEARCHING: Final = 2
SEARCH_COMPLETE: Final = 3
CONFIRMING: Final = 4
"""As SEARCH_COMPLETE, while a probe checks whether the path still takes its size: data of that size was lost."""

MAX_PROBES: Final = 4
"""One more than RFC 8899's default, because the first may be spent on the largest size. Three are left for the next
size, whose probe or answer may be lost by chance."""
MIN_PROBE_TIMER: Final = 1.0
"""RFC 8899, 5.1.1: "This value MUST NOT be smaller than 1 second and SHOULD be larger than 15 seconds." The 15 seconds
are for senders that do not know the round trip; we know it, and wait for an RTO if that is longer."""
PMTU_RAISE_TIMER: Final = 600.0

ETHERNET: Final = 1500
"""The largest IP packet for a peer that has not sent a PAD chunk."""

# RFC 8899, 5.3.2: "Implementations could optimize the search procedure by selecting step sizes from a table of common
# PMTU sizes." These are IPv6's minimum, tunnels, PPPoE, Ethernet, FDDI, and jumbo frames of clouds and switches.
USUAL_MTUS: Final = (1280, 1340, 1380, 1400, 1420, 1450, 1480, 1492, 1500, 2002, 4464, 8166, 8500, 9000, 9216, 12288)


class PathMtu:
    """The search on one path.

    Args:
        base: BASE_PLPMTU, the size that every path is expected to carry.
        maximum: MAX_PLPMTU, the largest useful size; base or less for no search.
        overhead: bytes that lower layers put around a packet on this path, IP header included.

    Attributes:
        state: DISABLED, BASE, SEARCHING, SEARCH_COMPLETE or CONFIRMING.
        size: PLPMTU, the largest packet allowed now.
        due: a probe of `probe_size` bytes is to be sent.
        probe_size: PROBED_SIZE.
        probe_count: PROBE_COUNT.
        probe_sent_at: when the last probe left.
        waiting: the search starts when a full packet leaves.
        held: packets longer than `size` are outstanding; no search starts until they are delivered.
        timer: PROBE_TIMER while a probe is outstanding, else PMTU_RAISE_TIMER.
    """

    __slots__ = (
        "_base",
        "_ceiling",
        "_hole",
        "_leapt_to",
        "_link",
        "_maximum",
        "_nonce",
        "_overhead",
        "_peer_searches",
        "_timeouts",
        "due",
        "held",
        "probe_count",
        "probe_sent_at",
        "probe_size",
        "size",
        "state",
        "timer",
        "waiting",
    )

    def __init__(self, base: int, maximum: int, overhead: int) -> None:
        self._base = base
        self._peer_searches = False
        self.timer = Timer()
        self.held = False
        self.probe_sent_at = 0.0
        self.reset(maximum, overhead)

    def reset(self, maximum: int, overhead: int) -> None:
        """Discard all that is known of the path. The arguments are the constructor's."""
        self._maximum = maximum & ~3
        self._overhead = overhead
        self._ceiling = 1 << 16  # sizes from here on are known not to work
        self._hole = 1 << 16  # the size in use at the last black hole
        self._link = 0  # the size the first link takes, if known
        self._fall_back()

    def _fall_back(self) -> None:
        self.state = BASE if self._maximum > self._base else DISABLED
        self.size = self._base
        self.waiting = self.state == BASE
        self.due = False
        self.probe_size = 0
        self.probe_count = 0
        self._nonce = b""
        self._leapt_to = 0
        self._timeouts = 0
        self.timer.stop()

    @property
    def dont_fragment(self) -> bool:
        """Whether packets must not be fragmented on their way.

        RFC 8899, 3: "In IPv4, a probe packet MUST be sent with the Don't Fragment (DF) bit set in the IP header and
        without network layer endpoint fragmentation." While outstanding packets exceed the path MTU, the opposite
        holds. RFC 9260, 6.9: "Once a user message is fragmented, it cannot be re-fragmented. Instead,
        if the PMTU has been reduced, then IP fragmentation MUST be used."
        """
        return not self.held and (self.size > self._base or self._nonce != b"")

    # -- the search ----------------------------------------------------------------------------------------------------

    def start_search(self, now: float) -> None:
        """Start the search if the path waits for a reason to search."""
        if self.waiting and not self.held:
            self.waiting = False
            self.state = SEARCHING
            self.probe_count = 0
            self._choose(now)

    def peer_searches(self, now: float) -> None:
        """Allow sizes above Ethernet's after a PAD chunk: the peer searches too and can read large packets."""
        self._peer_searches = True
        if self.state == SEARCH_COMPLETE and self._top() > max(self._leapt_to, self.size):
            self.waiting = True
        self.start_search(now)

    def probe_sent(self, nonce: bytes, rto: float, now: float) -> None:
        """Record that the due probe was sent with this nonce as its Heartbeat Information, and start PROBE_TIMER."""
        self.due = False
        self._nonce = nonce
        self.probe_sent_at = now
        self.timer.start(now, max(rto, MIN_PROBE_TIMER))

    def probe_acknowledged(self, nonce: bytes, now: float) -> bool:
        """Apply the answer to a probe, which may raise `size`.

        Returns:
            False when no probe with this nonce is outstanding.
        """
        if not self._nonce or nonce != self._nonce:
            return False
        self._nonce = b""
        self.timer.stop()
        self.probe_count = 0
        self._timeouts = 0
        if self.state == CONFIRMING:
            self._complete(now)
        else:
            # RFC 8899, 5.2: "Each time a probe packet is acknowledged, the PROBE_COUNT is set to zero, the PLPMTU is
            # set to the PROBED_SIZE, and then the PROBED_SIZE is increased using the search algorithm"
            self.size = self.probe_size
            self._choose(now)
        return True

    def handle_timeout(self, now: float) -> None:
        """Probe again, choose another size or finish the search; `size` may fall.

        A lost probe is not a sign of congestion.
        """
        if not self.timer.expire(now):
            return
        if self.state == SEARCH_COMPLETE:
            self.waiting = True
            self._leapt_to = 0
            self._ceiling = self._hole = 1 << 16
            self._link = 0
            return
        self._nonce = b""
        self.probe_count += 1
        if self.probe_count < MAX_PROBES:
            if self.state == SEARCHING:
                self._choose(now)
            else:
                self.due = True
        elif self.state == SEARCHING:
            # RFC 8899, 5.3.1: "If the value of the PROBE_COUNT reaches MAX_PROBES, probing will stop, and the PL sender
            # enters the SEARCH_COMPLETE state."
            self._complete(now)
        else:
            self._black_hole()

    def _choose(self, now: float) -> None:
        """Choose the next size to probe, or complete the search."""
        top = self._top()
        size = 0
        if top > max(self._leapt_to, self.size):
            size = self._leapt_to = top
        else:
            size = next((candidate for candidate in self._sizes() if self.size < candidate <= top), 0)
        if not size:
            self._complete(now)
            return
        self.probe_size = size
        self.due = True

    def _complete(self, now: float) -> None:
        self.state = SEARCH_COMPLETE
        if self.size < self._maximum:
            self.timer.start(now, PMTU_RAISE_TIMER)

    def _sizes(self) -> list[int]:
        """Return all sizes worth a probe in ascending order."""
        usual = sorted({self._link, *[mtu - self._overhead & ~3 for mtu in USUAL_MTUS]})
        return [size for size in usual if self._base < size < self._maximum] + [self._maximum]

    def _top(self) -> int:
        """Return the largest size that may be probed."""
        limit = self._maximum if self._peer_searches else min(self._maximum, ETHERNET - self._overhead & ~3)
        if limit < self._ceiling:
            return limit
        return max((size for size in self._sizes() if size <= limit and size < self._ceiling), default=0)

    # -- black holes ---------------------------------------------------------------------------------------------------

    def data_acknowledged(self) -> None:
        """Clear the count of timeouts because data was delivered."""
        self._timeouts = 0

    def data_timed_out(self) -> None:
        """Count an expiration of T3-rtx; the second one without delivery means that packets are too long.

        RFC 8899, 4.3: "A PL can utilize an event that indicates the network path no longer sustains the sender's PLPMTU
        size."
        """
        if self.size > self._base:
            self._timeouts += 1
            if self._timeouts == 2:
                self._black_hole()

    def check_size(self, length: int, now: float) -> None:
        """Probe the current size because packets of this length were lost repeatedly while others were delivered."""
        if (
            self.state == SEARCH_COMPLETE
            and self.size >= length > self._base
            and now - self.probe_sent_at >= MIN_PROBE_TIMER
        ):
            self.state = CONFIRMING
            self.probe_count = 0
            self.probe_size = self.size
            self.due = True

    def packet_refused(self, length: int, now: float, link: int = 0) -> None:
        """Limit the size after the system refused to send a packet.

        Args:
            length: the length of the packet in bytes.
            now: monotonic seconds.
            link: the longest packet that the system accepts, in bytes; 0 if unknown.
        """
        if self.state == DISABLED or length <= self._base:
            return
        self._link = link & ~3 if 0 < link < length else 0
        self._ceiling = min(self._ceiling, self._link + 4 if self._link else length)
        if length <= self.size:
            self._black_hole()
        elif self._nonce and length >= self.probe_size:
            self._nonce = b""
            self._leapt_to = 0
            self.timer.stop()
            self._choose(now)

    def _black_hole(self) -> None:
        """Return to the base size, because the path no longer carries the current one.

        RFC 8899, 4.3: "When the method detects that the current PLPMTU is not supported, DPLPMTUD sets a lower PLPMTU
        and a lower MPS." The first black hole may have been an outage. A second one at that size before
        PMTU_RAISE_TIMER expires shows that probes are delivered where data is not: that size is not tried again.
        """
        if self.size >= self._hole:
            self._ceiling = min(self._ceiling, self.size)
        self._hole = self.size
        self._fall_back()
