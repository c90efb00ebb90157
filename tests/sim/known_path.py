"""Transfers over a path that an earlier transfer has used (Careful Resume, RFC 9959)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from datachan.sctp import PathHistory

from .links import DEFAULT, Bulk, channel_association, conditions
from .network import Conditions, Network
from .pair import Pair

NAME = ("192.0.2.1", "192.0.2.2")
OPENING = 1
"""Bytes that open a channel, before the transfer begins."""


@dataclass(frozen=True)
class Transfer:
    """The result of one transfer.

    Attributes:
        seconds: from the first byte that the application sends to the last one that its peer receives.
        lost: the number of packets that the path dropped.
        pair: A and Z afterwards.
    """

    seconds: float
    lost: int
    pair: Pair


def transfer(
    size: int, way: Conditions, history: PathHistory | None, control: str = DEFAULT, seed: int = 5, start: float = 0.0
) -> Transfer:
    """Open a channel, wait until its first message is acknowledged, and then transfer `size` bytes over a known path.

    Args:
        size: bytes.
        way: both directions of the path.
        history: what is known of paths; None for Careful Resume turned off.
        control: the congestion control.
        seed: the seed of the path.
        start: when the association begins, in seconds.
    """
    a = channel_association(1, control, path_history=history, path_name=NAME)
    pair = Pair(a, channel_association(2, control), Network(seed, way, way), now=start)
    bulk = Bulk(pair, total=OPENING)
    pair.run_until(lambda: bulk.established and a.all_acknowledged)
    began = pair.now
    bulk.add(size)
    pair.run_until(lambda: bulk.received >= OPENING + size)
    lost = sum(passage.arrival is None for passage in pair.network.to_z.passages)
    return Transfer(pair.now - began, lost, pair)


def known(row: str, control: str = DEFAULT) -> PathHistory:
    """Return a history after a transfer of 20 MB over a link of the table."""
    history = PathHistory()
    history.record(NAME, *_observed(row, control), 0.0)
    return history


@cache
def _observed(row: str, control: str) -> tuple[int, float]:
    history = PathHistory()
    transfer(20_000_000, conditions(row), history, control)
    saved = history.get(NAME, 0.0)
    if saved is None:
        raise AssertionError(f"a transfer over {row} has recorded nothing")
    return saved.cwnd, saved.round_trip


def slowed(way: Conditions, factor: float, queue: int) -> Conditions:
    """Return the path with its rate divided by `factor`, and a queue of this number of bytes."""
    return replace(way, rate=way.rate / factor, queue=queue)
