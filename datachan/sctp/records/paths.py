"""The destination transport addresses of one peer, and the rules that choose among them by the states of their paths.

`procedures/paths` decides when a path fails or recovers; the data sender knows what is in flight on each.
"""

from __future__ import annotations

from datachan.sctp.addresses import TransportAddress

from .path import Path


class Paths:
    """The paths to one peer, at least one.

    Attributes:
        all: every path.
        primary: the path that the application or the peer chose for data.
        next_primary: the path that becomes primary as soon as it is verified.
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
        """Whether there is only one path."""
        return len(self.all) == 1

    def at(self, address: TransportAddress | None) -> Path | None:
        """Return the path to this IP address, with any UDP port."""
        return None if address is None else self._by_ip.get(address[0])

    def follow_source(self, address: TransportAddress) -> Path | None:
        """Return the path of a packet with the correct tag, and move the path to the packet's UDP port.

        None when the IP address is not one of the peer's.

        RFC 6951, 5.4: "the UDP source port MUST be stored as the encapsulation port for the destination address the
        SCTP packet is received from".
        """
        path = self._by_ip.get(address[0])
        if path is not None and path.address != address:
            path.address = address
        return path

    def unknown(self, addresses: list[TransportAddress]) -> list[str]:
        """Return the IP addresses among these that the peer does not have."""
        return [ip for ip, _ in addresses if ip not in self._by_ip]

    def add(self, path: Path) -> None:
        """Add a path to one more address of the peer."""
        self.all.append(path)
        if path.address is not None:
            self._by_ip[path.address[0]] = path

    def remove(self, path: Path, preferred: Path | None) -> None:
        """Remove the path to an address that the peer gave up; it is not the only one.

        Args:
            path: the path to remove.
            preferred: the path that becomes primary if `path` was and no other is better.
        """
        self.all.remove(path)
        if path.address is not None:
            del self._by_ip[path.address[0]]
        if path is self.next_primary:
            self.next_primary = None
        if path is self.primary:
            best = min(self.all, key=_rank)
            self.primary = best if preferred is None or preferred.rank > best.rank else preferred

    def choose(self, current: Path) -> Path:
        """Return the path for new data.

        RFC 9260, 8.2: "If more than one alternate address is active when the primary path is marked inactive, only ONE
        transport address SHOULD be chosen and used as the new destination transport address." So the current path
        is kept until another one is better.
        """
        best = self.primary
        for path in (current, *self.all):
            if path in self.all and path.rank < best.rank:
                best = path
        return best

    def alternate(self, path: Path) -> Path | None:
        """Return the path for retransmissions after a timeout: the best of the others, or None when there is none.

        Among equal paths it is the next one, so that all are used in turn when none answers.
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
