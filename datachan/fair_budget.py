"""A budget of actions that strangers share, of which one network cannot use everything. The caller passes the time."""

from __future__ import annotations

from hashlib import blake2s
from ipaddress import IPv6Address
from typing import Final

from .token_bucket import TokenBucket

_GROUPS: Final = 64
_SHARE: Final = 4  # a group gets this part of the budget


class FairBudget:
    """Limits actions to a rate, with a burst above it, and each network to a quarter of both.

    The networks are distributed over 64 groups by a secret, and each group has a quarter of the budget. A flood from
    one address therefore leaves three quarters to the rest, except to the few networks of its own group. A flood from
    everywhere, with forged addresses, uses the whole budget, as with one `TokenBucket`.

    Args:
        rate: actions per second in the long run, of all networks together.
        burst: actions that are allowed at once, of all networks together.
        secret: at most 32 random bytes. They decide the groups, which no stranger can then choose.
        now: the time in monotonic seconds; the budget is unused.

    Attributes:
        refused: the number of actions that were not allowed, for statistics.
    """

    __slots__ = ("_all", "_burst", "_groups", "_rate", "_secret", "refused")

    def __init__(self, rate: float, burst: float, secret: bytes, now: float = 0.0) -> None:
        self._rate = rate / _SHARE
        self._burst = burst / _SHARE
        self._secret = secret
        self._all = TokenBucket(rate, burst, now)
        self._groups: dict[int, TokenBucket] = {}
        self.refused = 0

    def take(self, ip: str, now: float) -> bool:
        """Use a part of the budget for one action of this IP address; return whether there was one."""
        group = blake2s(_network(ip), digest_size=1, key=self._secret).digest()[0] % _GROUPS
        bucket = self._groups.get(group)
        if bucket is None:
            bucket = self._groups[group] = TokenBucket(self._rate, self._burst, now)
        if bucket.take(now) and self._all.take(now):
            return True
        self.refused += 1
        return False


def _network(ip: str) -> bytes:
    """Return what one host can change only with another network: an IPv4 address, or the /64 of an IPv6 address."""
    if ":" in ip:
        try:
            return IPv6Address(ip).packed[:8]
        except ValueError:
            pass
    return ip.encode(errors="replace")
