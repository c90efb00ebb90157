"""Serial numbers from the wire become the nearest growing int."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datachan.sctp.serial import unwrap, unwrap16


@pytest.mark.parametrize(
    ("value", "reference", "expected"),
    [
        (5, 3, 5),
        (3, 5, 3),
        (0, 0xFFFFFFFF, 1 << 32),
        (0xFFFFFFFF, 1 << 32, 0xFFFFFFFF),
        (0xFFFFFFFF, 0, -1),
        (0x7FFFFFFF, 0, 0x7FFFFFFF),
        (2, (7 << 32) - 1, (7 << 32) + 2),
    ],
)
def test_gives_the_int_nearest_to_the_reference(value: int, reference: int, expected: int) -> None:
    assert unwrap(value, reference) == expected


def test_treats_a_value_half_the_space_away_as_old() -> None:
    assert unwrap(0x80000000, 0) == -0x80000000
    assert unwrap16(0x8000, 0) == -0x8000


def test_wraps_stream_sequence_numbers_at_16_bits() -> None:
    assert unwrap16(0, 0xFFFF) == 0x10000
    assert unwrap16(0xFFFF, 0x10000) == 0xFFFF
    assert unwrap16(3, 0x2FFFE) == 0x30003


@given(st.integers(min_value=0, max_value=1 << 80), st.integers(min_value=-(1 << 31), max_value=(1 << 31) - 1))
def test_masking_is_undone_within_half_the_space(reference: int, distance: int) -> None:
    assert unwrap((reference + distance) & 0xFFFFFFFF, reference) == reference + distance


@given(st.integers(min_value=0, max_value=1 << 40), st.integers(min_value=-(1 << 15), max_value=(1 << 15) - 1))
def test_masking_to_16_bits_is_undone_within_half_the_space(reference: int, distance: int) -> None:
    assert unwrap16((reference + distance) & 0xFFFF, reference) == reference + distance
