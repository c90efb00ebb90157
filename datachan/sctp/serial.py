"""Serial number arithmetic (RFC 9260, 1.6): turns the counters of the wire, which wrap, into ints that only grow.

Unwrapped where they enter, TSNs, SSNs and request sequence numbers can be compared, sorted and used as keys like any
int. The caller masks them for the wire: `tsn & 0xFFFFFFFF`.
"""

from __future__ import annotations

from typing import Final

_HALF_32: Final = 1 << 31
_MASK_32: Final = (1 << 32) - 1
_HALF_16: Final = 1 << 15
_MASK_16: Final = (1 << 16) - 1


def unwrap(value: int, reference: int) -> int:
    """Return the int nearest to `reference` that is congruent to the 32-bit `value`.

    A value exactly half the number space away, which RFC 1982 leaves undefined, counts as old.

    Args:
        value: the number from the wire, 0 to 2**32 - 1.
        reference: an unwrapped number known to be within 2**31 of it.
    """
    return reference + ((value - reference + _HALF_32) & _MASK_32) - _HALF_32


def unwrap16(value: int, reference: int) -> int:
    """Unwrap a 16-bit stream sequence number as `unwrap` does."""
    return reference + ((value - reference + _HALF_16) & _MASK_16) - _HALF_16
