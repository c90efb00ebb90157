"""The destination transport addresses of one peer: which is primary, where data goes, what stands in for it.

It knows the states of paths and chooses among them. What makes a path fail or recover is the business of
`fault_management`; what is in flight where, that of the data sender.
"""

from __future__ import annotations

from datachan.sctp.addresses import TransportAddress

from .path import Path


class Paths:
    """The paths to one peer, at least one.

    Attributes:
        all: every path.
        primary: the one the user, or the peer, wants data to go to.
        next_primary: the one that shall be primary once it is verified.
    """

    __slots__ = ("_by_ip", "all", "next_primary", "primary")

    def __init__(self, paths: list[Path]) -> None:
        self.all = paths
        self._by_ip: dict[str, Path] = {path.address[0]: path for path in paths if path.address is not None}
        self.next_primary: Path | None = None
        self.primary = paths[0]
        for path in paths:
            if path.confirmed:
                self.primary = path
                break

    @property
    def single(self) -> bool:
        """Whether there is only one."""
        return len(self.all) == 1

    def at(self, address: TransportAddress | None) -> Path | None:
        """The path to that IP address, whatever the UDP port."""
        return None if address is None else self._by_ip.get(address[0])

    def heard_from(self, address: TransportAddress) -> Path | None:
        """The path a packet with the right Verification Tag came from, None when the peer does not have that address.

        RFC 6951, 5.4: "the UDP source port MUST be stored as the encapsulation port for the destination address the
        SCTP packet is received from".
        """
        path = self._by_ip.get(address[0])
        if path is not None and path.address != address:
            path.address = address
        return path

    def unknown(self, addresses: list[TransportAddress]) -> list[str]:
        """The IP addresses among these that the peer does not have."""
        return [ip for ip, _ in addresses if ip not in self._by_ip]

    def add(self, path: Path) -> None:
        """The peer has one more address."""
        self.all.append(path)
        if path.address is not None:
            self._by_ip[path.address[0]] = path

    def remove(self, path: Path) -> None:
        """The peer has given an address up; it is not the only one."""
        self.all.remove(path)
        if path.address is not None:
            del self._by_ip[path.address[0]]
        if path is self.next_primary:
            self.next_primary = None
        if path is self.primary:
            self.primary = min(self.all, key=_rank)

    def choose(self, current: Path) -> Path:
        """Where new data goes.

        RFC 9260, 8.2: "If more than one alternate address is active when the primary path is marked inactive, only ONE
        transport address SHOULD be chosen and used as the new destination transport address." So the one in use is
        kept while nothing is better.
        """
        best = self.primary
        for path in (current, *self.all):
            if path in self.all and path.rank < best.rank:
                best = path
        return best

    def alternate(self, path: Path) -> Path | None:
        """Where to send again what timed out on a path: the best of the others, or None when it is the only one.

        Among equals the next one, so that all have their turn when none answers.
        """
        position = self.all.index(path) + 1
        best: Path | None = None
        for other in [*self.all[position:], *self.all[: position - 1]]:
            if other.confirmed and (best is None or other.rank < best.rank):
                best = other
        return best


def _rank(path: Path) -> int:
    return path.rank


class VerificationRate:
    """Limits how many unverified addresses are probed at a time.

    RFC 9260, 5.4: "The number of packets containing HEARTBEAT chunks sent at each RTO SHOULD be limited by the
    'HB.Max.Burst' parameter."
    """

    __slots__ = ("_burst", "_left", "_until")

    def __init__(self, burst: int) -> None:
        self._burst = burst
        self._left = burst
        self._until = float("-inf")

    def wait(self, now: float, rto: float) -> float:
        """Return the seconds until another probe may be sent; 0.0 counts one that is sent now."""
        if now >= self._until:
            self._until = now + rto
            self._left = self._burst
        if not self._left:
            return self._until - now
        self._left -= 1
        return 0.0
