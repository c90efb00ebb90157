"""A matrix of links, queues and pairs of flows, and the shares that both flows get."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from .links import DEFAULT, compete
from .network import Conditions

LINKS = {
    "2 Mbit/s, 60 ms": (2e6 / 8, 0.06),
    "5 Mbit/s, 100 ms": (5e6 / 8, 0.1),
    "10 Mbit/s, 40 ms": (10e6 / 8, 0.04),
}
QUEUES = (0.25, 1.0, 4.0)
"""In bandwidth-delay products."""
PAIRS = ((DEFAULT, DEFAULT), (DEFAULT, "newreno"), ("newreno", DEFAULT), (DEFAULT, "cubic"), ("cubic", DEFAULT))


@dataclass(frozen=True, slots=True)
class Case:
    """One cell of the matrix.

    Attributes:
        link: its name.
        queue: in bandwidth-delay products.
        controls: the congestion control of the first and of the second flow.
    """

    link: str
    queue: float
    controls: tuple[str, str]

    def __str__(self) -> str:
        return f"{self.link}, queue {self.queue:g}, {' then '.join(self.controls)}"


CASES = [Case(*cell) for cell in product(LINKS, QUEUES, PAIRS)]


def shares(case: Case) -> list[float]:
    """Return the share of each flow as a multiple of an equal share."""
    rate, round_trip = LINKS[case.link]
    way = Conditions(latency=round_trip / 2, rate=rate, queue=int(case.queue * rate * round_trip))
    achieved = compete(list(case.controls), way, stagger=3.0, warm_up=8.0, seconds=20.0)
    return [len(achieved) * share for share in achieved]
