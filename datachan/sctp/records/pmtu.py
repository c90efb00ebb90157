"""How long packets may be on one path: the search of RFC 8899. Sizes, times and answers in, the next probe's size out.

It builds no packet and knows no chunk. Sizes are those of SCTP packets, common header included ("PLPMTU").

The search starts when a full packet has left, for a path that carries short messages only gains nothing, or when the
peer searches too. The largest size goes first, once: most paths take what the interface at their beginning takes. If
it does not come through, or chance took it, the usual sizes follow upwards, until one has been lost `MAX_PROBES` times.

How far it goes. Receivers differ in what they read: aiortc cuts a record off at 1500 bytes and libwebrtc at 2048, and
what was cut comes in as further records, one datagram late each. So a peer is sent nothing longer than Ethernet carries
until it has sent a PAD chunk: who searches for large packets himself can read them.

RFC 8899, 5.2: "Note: MIN_PLPMTU could be identical to BASE_PLPMTU, simplifying the actions in this state." It is here:
there is no ERROR state, and packets of the base size may be fragmented on their way.
"""

from __future__ import annotations

from typing import Final

from datachan.sctp.timers import Timer

DISABLED: Final = 0
BASE: Final = 1
"""Nothing more than the base size is known."""
SEARCHING: Final = 2
SEARCH_COMPLETE: Final = 3
CONFIRMING: Final = 4
"""As SEARCH_COMPLETE, and a probe asks whether the path still takes what it took: data of that size got lost."""

MAX_PROBES: Final = 4
"""One more than RFC 8899's default, because the first may be spent on the largest size: three are left for the next, as
its probe, or the answer, may also be lost by chance."""
MIN_PROBE_TIMER: Final = 1.0
"""RFC 8899, 5.1.1: "This value MUST NOT be smaller than 1 second and SHOULD be larger than 15 seconds." The second is
for senders that do not know the round trip; we do, and wait for an RTO if that is longer."""
PMTU_RAISE_TIMER: Final = 600.0

ETHERNET: Final = 1500
"""The largest IP packet for a peer of which nothing is known."""

# RFC 8899, 5.3.2: "Implementations could optimize the search procedure by selecting step sizes from a table of common
# PMTU sizes." IPv6's least, tunnels, PPPoE, Ethernet, FDDI, jumbo frames of clouds and switches.
USUAL_MTUS: Final = (1280, 1340, 1380, 1400, 1420, 1450, 1480, 1492, 1500, 2002, 4464, 8166, 8500, 9000, 9216, 12288)


class PathMtu:
    """The search on one path.

    Args:
        base: BASE_PLPMTU, the size that is taken for granted.
        maximum: MAX_PLPMTU, the largest size that is of use; base or less for no search.
        overhead: bytes that lower layers put around a packet on this path, IP header included.

    Attributes:
        state: one of the constants above.
        size: PLPMTU, the size packets may have now.
        due: a probe of `probe_size` bytes is to be sent.
        probe_size: PROBED_SIZE.
        probe_count: PROBE_COUNT.
        probe_sent_at: when the last probe left.
        waiting: a full packet that leaves is a reason to search.
        held: longer packets than `size` are still to be delivered: no search until they are.
        timer: PROBE_TIMER while a probe is under way, else PMTU_RAISE_TIMER.
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
        self.begin_anew(maximum, overhead)

    def begin_anew(self, maximum: int, overhead: int) -> None:
        """Nothing is known of the path (any more). The arguments are the constructor's."""
        self._maximum = maximum & ~3
        self._overhead = overhead
        self._ceiling = 1 << 16  # sizes from here on are known not to come through
        self._hole = 1 << 16  # the size in use when the last black hole was met
        self._link = 0  # what the first link takes, if that is known
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
        """Whether packets must arrive in one piece or not at all.

        RFC 8899, 3: "In IPv4, a probe packet MUST be sent with the Don't Fragment (DF) bit set in the IP header and
        without network layer endpoint fragmentation." As long as longer packets than the path takes are outstanding it
        is the other way round: RFC 9260, 6.9: "Once a user message is fragmented, it cannot be re-fragmented. Instead,
        if the PMTU has been reduced, then IP fragmentation MUST be used."
        """
        return not self.held and (self.size > self._base or self._nonce != b"")

    # -- the search -------------------------------------------------------------------------------------------

    def wanted(self, now: float) -> None:
        """There is a reason to search: see `waiting`."""
        if self.waiting and not self.held:
            self.waiting = False
            self.state = SEARCHING
            self.probe_count = 0
            self._choose(now)

    def peer_searches(self, now: float) -> None:
        """A PAD chunk came: the peer can read large packets, and would like to get some."""
        self._peer_searches = True
        if self.state == SEARCH_COMPLETE and self._top() > max(self._leapt_to, self.size):
            self.waiting = True
        self.wanted(now)

    def sent(self, nonce: bytes, rto: float, now: float) -> None:
        """The probe that was due has been sent, with an identifier of its own."""
        self.due = False
        self._nonce = nonce
        self.probe_sent_at = now
        self.timer.start(now, max(rto, MIN_PROBE_TIMER))

    def acknowledged(self, nonce: bytes, now: float) -> bool:
        """The answer to a probe came; False when it is none we wait for. `size` may have grown."""
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
        """Do what is due. A probe that is not answered is no sign of congestion; `size` may have fallen."""
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
        """Have the next size probed, if there is one."""
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
        """All sizes worth a probe, ascending."""
        usual = sorted({self._link, *[mtu - self._overhead & ~3 for mtu in USUAL_MTUS]})
        return [size for size in usual if self._base < size < self._maximum] + [self._maximum]

    def _top(self) -> int:
        """The largest size that may be probed."""
        limit = self._maximum if self._peer_searches else min(self._maximum, ETHERNET - self._overhead & ~3)
        if limit < self._ceiling:
            return limit
        return max((size for size in self._sizes() if size <= limit and size < self._ceiling), default=0)

    # -- black holes ------------------------------------------------------------------------------------------

    def data_acknowledged(self) -> None:
        """Data came through."""
        self._timeouts = 0

    def data_timed_out(self) -> None:
        """T3-rtx expired. The second time without anything coming through, packets are taken to be too long.

        RFC 8899, 4.3: "A PL can utilize an event that indicates the network path no longer sustains the sender's PLPMTU
        size."
        """
        if self.size > self._base:
            self._timeouts += 1
            if self._timeouts == 2:
                self._black_hole()

    def suspect(self, length: int, now: float) -> None:
        """A packet of this length got lost again and again while others came through: ask with a probe."""
        if (
            self.state == SEARCH_COMPLETE
            and self.size >= length > self._base
            and now - self.probe_sent_at >= MIN_PROBE_TIMER
        ):
            self.state = CONFIRMING
            self.probe_count = 0
            self.probe_size = self.size
            self.due = True

    def too_long(self, length: int, now: float, link: int = 0) -> None:
        """The system refused a packet of this length without sending it; it takes `link`, or 0 if it did not say."""
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
        """RFC 8899, 4.3: "When the method detects that the current PLPMTU is not supported, DPLPMTUD sets a lower
        PLPMTU and a lower MPS."

        One may have been an outage. A second one at that size before PMTU_RAISE_TIMER expires says that probes come
        through where data does not: that size is left alone.
        """
        if self.size >= self._hole:
            self._ceiling = min(self._ceiling, self.size)
        self._hole = self.size
        self._fall_back()
