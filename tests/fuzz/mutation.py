"""Make new inputs out of old ones at random, for runs without atheris."""

from __future__ import annotations

import random
from collections.abc import Sequence

TELLING = (b"\x00", b"\xff", b"\x7f", b"\x80", b"\x00\x04", b"\xff\xff", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00")
LONGEST = 65_535
"""The longest input, which is the longest packet that UDP carries."""

LONG_EVERY = 20
"""One input of this many is made long, because long inputs are slow."""


def mutated(inputs: Sequence[bytes], chance: random.Random) -> bytes:
    """Return one of the inputs with a few changes."""
    data = bytearray(chance.choice(inputs) if inputs else b"")
    for _ in range(chance.randint(1, 5)):
        at = chance.randrange(len(data) + 1)
        what = chance.randrange(6)
        if what == 0 and data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
        elif what == 1:
            data[at:at] = chance.randbytes(chance.randint(1, 8))
        elif what == 2:
            del data[at : at + chance.randint(1, 8)]
        elif what == 3:
            found = chance.choice(TELLING)
            data[at : at + len(found)] = found
        elif what == 4 and inputs:
            other = chance.choice(inputs)
            start = chance.randrange(len(other) + 1)
            data[at:at] = other[start : start + chance.randint(1, 60)]
        else:
            data[at:at] = data[at : at + chance.randint(1, 30)]
    if data and chance.randrange(LONG_EVERY) == 0:
        start = chance.randrange(len(data))
        piece = data[start : start + chance.randint(1, 60)]
        data[start:start] = piece * (chance.randint(1, LONGEST) // len(piece))
    return bytes(data[:LONGEST])
