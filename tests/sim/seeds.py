"""Seeds for randomized tests: named in the test's id, and replayed from the environment.

`DATACHAN_SEEDS=17 pytest …` runs the one case that failed as `[seed-17]`; `DATACHAN_SEEDS=1000-2000` runs others.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence

import pytest

VARIABLE = "DATACHAN_SEEDS"


def chosen(count: int, environment: str | None = None) -> Sequence[int]:
    """Return the seeds to run: 0 to count - 1, or those the environment asks for."""
    wanted = os.environ.get(VARIABLE, "") if environment is None else environment
    if not wanted:
        return range(count)
    first, _, last = wanted.partition("-")
    return range(int(first), int(last or first) + 1)


def seeds(count: int) -> pytest.MarkDecorator:
    """Run a test for this many seeds, passed as the argument `seed`."""
    return pytest.mark.parametrize("seed", chosen(count), ids=lambda seed: f"seed-{seed}")


def entropy(seed: int) -> Callable[[int], bytes]:
    """Return an entropy source for a machine that gives the same bytes for the same seed."""
    return random.Random(seed).randbytes


def entropy_near_the_wrap(seed: int) -> Callable[[int], bytes]:
    """Return an entropy source whose first 64 numbers of 32 bits are the 64 highest, shuffled.

    Initial TSNs are among them; so are Verification Tags, which must not repeat.
    """
    chance = random.Random(seed)
    last = list(range(0xFFFFFFFF - 63, 1 << 32))
    chance.shuffle(last)

    def draw(size: int) -> bytes:
        return last.pop().to_bytes(4, "big") if size == 4 and last else chance.randbytes(size)

    return draw
