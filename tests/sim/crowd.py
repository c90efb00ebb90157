"""Several pairs on one clock that share two links, to measure the share of a bottleneck that each one gets.

Each pair is an ordinary `Pair` on a `Lane` of the shared network. A `Crowd` advances all of them together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from .network import Link, Network, Passage, earliest
from .pair import Machine, Pair


class LaneLink:
    """One flow's view of a link that other flows use too."""

    def __init__(self, share: _SharedLink, flow: int) -> None:
        self.inbox: deque[tuple[float, bytes]] = deque()
        self._share = share
        self._flow = flow

    @property
    def passages(self) -> list[Passage]:
        """The datagrams of all flows that passed the link."""
        return self._share.link.passages

    def send(self, datagrams: Iterable[bytes], now: float, *, dont_fragment: bool = False) -> None:
        """Send datagrams of this flow; see `Link.send`."""
        self._share.link.send(datagrams, now, self._flow, dont_fragment=dont_fragment)

    def next_arrival(self) -> float | None:
        """Return when the next event of any flow happens on the link."""
        return earliest([self.inbox[0][0] if self.inbox else None, self._share.link.next_arrival()])

    def arrived(self, now: float) -> list[bytes]:
        """Return the datagrams of this flow that have arrived; see `Link.arrived`."""
        self._share.sort(now)
        datagrams = [datagram for _, datagram in self.inbox]
        self.inbox.clear()
        return datagrams


class _SharedLink:
    def __init__(self, link: Link) -> None:
        self.link = link
        self.lanes: list[LaneLink] = []

    def lane(self) -> LaneLink:
        self.lanes.append(LaneLink(self, len(self.lanes)))
        return self.lanes[-1]

    def sort(self, now: float) -> None:
        for arrival, flow, datagram in self.link.arrivals(now):
            self.lanes[flow].inbox.append((arrival, datagram))


class Lane(Network):
    """One pair's view of the shared network, which looks like a network of its own."""

    def __init__(self, network: Network, to_z: LaneLink, to_a: LaneLink) -> None:
        self.seed = network.seed
        self.to_z = to_z  # type: ignore[assignment]
        self.to_a = to_a  # type: ignore[assignment]


class Crowd:
    """Pairs that share a network.

    Args:
        machines: A and Z of each pair.
        network: the network that all of them use.
        now: the time at which the clock starts.

    Attributes:
        pairs: in the order of `machines`.
        now: the time, the same for all.
    """

    def __init__(self, machines: Sequence[tuple[Machine, Machine]], network: Network, now: float = 0.0) -> None:
        to_z, to_a = _SharedLink(network.to_z), _SharedLink(network.to_a)
        self.now = now
        self.pairs = [Pair(a, z, Lane(network, to_z.lane(), to_a.lane()), now) for a, z in machines]

    def step(self, until: float) -> bool:
        """Advance to the next wakeup of any pair, at most to `until`; return False if none is before that."""
        for pair in self.pairs:
            pair.drain()
        wakeup = earliest([pair.next_wakeup() for pair in self.pairs])
        self.now = until if wakeup is None else max(self.now, min(wakeup, until))
        if wakeup is None or wakeup > until:
            for pair in self.pairs:
                pair.now = self.now
            return False
        for pair in self.pairs:
            pair.step(self.now)
        return True

    def run(self, seconds: float) -> None:
        """Advance the clock by `seconds`."""
        end = self.now + seconds
        while self.step(end):
            pass

    def run_until(self, condition: Callable[[], bool], limit: float = 60.0) -> None:
        """Advance the clock until the condition holds.

        Raises:
            AssertionError: it did not hold within `limit` seconds of virtual time.
        """
        end = self.now + limit
        while not condition():
            assert self.step(end), f"the condition did not hold within {limit} seconds"


def jain(shares: Sequence[float]) -> float:
    """Return Jain's fairness index: 1 when all get the same, 1 / n when one gets everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))
