from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datachan.dtls.records import (
    HEADER_LENGTH,
    MAX_CIPHERTEXT,
    batches_untrusted,
    pack_records,
    record_end_untrusted,
    split_records,
)

LIMIT = 16384


def record(content: bytes = b"x" * 40, content_type: int = 23, epoch: int = 1, version: int = 0xFEFD) -> bytes:
    return (
        bytes([content_type])
        + version.to_bytes(2, "big")
        + epoch.to_bytes(2, "big")
        + bytes(6)
        + len(content).to_bytes(2, "big")
        + content
    )


def unified(content: bytes = b"y" * 40, *, long_sequence: bool = True, length: bool = True) -> bytes:
    """Return a sealed record of DTLS 1.3 (RFC 9147, Figure 3)."""
    first = 0x20 | 0x08 * long_sequence | 0x04 * length | 0x03
    return bytes([first]) + bytes(1 + long_sequence) + (len(content).to_bytes(2, "big") if length else b"") + content


ANY_RECORD = st.one_of(
    st.builds(record, st.binary(min_size=16, max_size=60), st.integers(20, 26)),
    st.builds(unified, st.binary(min_size=16, max_size=60), long_sequence=st.booleans()),
)


@pytest.mark.parametrize(
    "whole",
    [record(), record(b"", epoch=0), record(version=0xFEFF), unified(), unified(long_sequence=False)],
    ids=lambda r: r[:3].hex(),
)
def test_a_record_ends_at_its_length(whole: bytes) -> None:
    assert record_end_untrusted(whole, 0) == len(whole)
    assert record_end_untrusted(whole + b"more", 0) == len(whole)
    assert record_end_untrusted(b"before" + whole + b"more", 6) == 6 + len(whole)
    # There is no record after the last one, nor in an empty datagram.
    assert record_end_untrusted(whole, len(whole)) == record_end_untrusted(b"", 0) == 0


@pytest.mark.parametrize("whole", [record(), unified(), unified(long_sequence=False)], ids=lambda r: r[:3].hex())
def test_a_truncated_record_is_not_a_record(whole: bytes) -> None:
    for length in range(1, len(whole)):
        assert record_end_untrusted(whole[:length], 0) == 0


def test_a_record_without_a_length_extends_to_the_end_of_the_datagram() -> None:
    whole = unified(length=False)
    assert record_end_untrusted(whole, 0) == len(whole)
    assert record_end_untrusted(whole[:3], 0) == 0


@pytest.mark.parametrize("first", [0, 3, 19, 0x38, 64, 128, 255])
def test_other_protocols_are_not_records(first: int) -> None:
    """The bytes begin STUN, TURN channels, RTP, and DTLS 1.3 with a connection id, which is never negotiated."""
    assert record_end_untrusted(bytes([first]) + record()[1:], 0) == 0


def test_a_record_of_tls_over_tcp_is_not_a_record() -> None:
    assert record_end_untrusted(record(version=0x0303), 0) == 0


def test_a_record_above_the_maximum_length_is_not_a_record() -> None:
    assert record_end_untrusted(record(bytes(MAX_CIPHERTEXT)), 0)
    assert record_end_untrusted(record(bytes(MAX_CIPHERTEXT + 1)), 0) == 0
    assert batches_untrusted([record(bytes(MAX_CIPHERTEXT + 1))], LIMIT) == []


@pytest.mark.parametrize("make", [record, unified, lambda content: unified(content, length=False)])
def test_a_sealed_record_shorter_than_its_tag_is_not_a_record(make: Callable[[bytes], bytes]) -> None:
    assert record_end_untrusted(make(bytes(16)), 0)
    assert record_end_untrusted(make(bytes(15)), 0) == 0
    assert record_end_untrusted(record(bytes(24)), 0, 24)
    assert record_end_untrusted(record(bytes(23)), 0, 24) == 0
    assert record_end_untrusted(record(bytes(1), epoch=0), 0, 24)
    assert batches_untrusted([record(bytes(23))], LIMIT, 24) == []
    assert len(batches_untrusted([record(bytes(24))], LIMIT, 24)) == 1


@given(st.lists(ANY_RECORD))
def test_joined_records_are_split_where_they_were_joined(records: list[bytes]) -> None:
    assert split_records(b"".join(records)) == records


@given(st.binary())
def test_splitting_arbitrary_bytes_loses_none(data: bytes) -> None:
    assert b"".join(split_records(data)) == data


@given(st.lists(ANY_RECORD), st.integers(1, 300))
def test_packing_keeps_order_and_obeys_the_mtu(records: list[bytes], mtu: int) -> None:
    datagrams = pack_records(records, mtu)
    assert b"".join(datagrams) == b"".join(records)
    for datagram in datagrams:
        assert len(datagram) <= mtu or datagram in records


def test_packing_fills_a_datagram_exactly() -> None:
    one = record()
    assert pack_records([one, one, one], 2 * len(one)) == [one + one, one]
    assert pack_records([one, one, one], 2 * len(one) - 1) == [one, one, one]


def test_application_records_are_joined_up_to_the_limit() -> None:
    one = record(bytes(1187))
    batches = batches_untrusted([one] * 30, 12 * len(one))
    assert [batch.application_records for batch in batches] == [12, 12, 6]
    assert b"".join(batch.data for batch in batches) == one * 30
    assert not any(batch.others for batch in batches)


def test_a_record_above_the_limit_gets_a_batch_of_its_own() -> None:
    small, large = record(), record(bytes(LIMIT + 37 - HEADER_LENGTH))
    batches = batches_untrusted([small, large, small], LIMIT)
    assert [batch.data for batch in batches] == [small, large, small]
    assert [batch.data for batch in batches_untrusted([small + large + small], LIMIT)] == [small, large, small]


def test_a_coalesced_buffer_is_split_between_records() -> None:
    one = record(bytes(1187))
    batches = batches_untrusted([one * 50], LIMIT)
    assert [batch.application_records for batch in batches] == [13, 13, 13, 11]
    assert all(len(batch.data) == batch.application_records * len(one) for batch in batches)


def test_a_truncated_record_does_not_affect_later_datagrams() -> None:
    one = record()
    batches = batches_untrusted([one, one[:-1], one], LIMIT)
    assert b"".join(batch.data for batch in batches) == one + one
    assert sum(batch.application_records for batch in batches) == 2


def test_records_of_other_types_are_marked_in_their_batch() -> None:
    batches = batches_untrusted([record(), record(content_type=21), record() + record(content_type=22)], LIMIT)
    assert [(batch.application_records, batch.others) for batch in batches] == [(1, False), (0, True), (1, True)]


def test_sealed_records_of_dtls_1_3_with_a_length_are_joined() -> None:
    one = unified(bytes(1187))
    batches = batches_untrusted([one] * 20 + [record()], LIMIT)
    assert [batch.data for batch in batches] == [one * 13, one * 7, record()]
    # Their types are encrypted, so OpenSSL is read until it is empty.
    assert [(batch.application_records, batch.others) for batch in batches] == [(0, True), (0, True), (1, False)]


def test_nothing_is_joined_to_a_record_without_a_length() -> None:
    endless = unified(length=False)
    assert [batch.data for batch in batches_untrusted([record(), endless, record()], LIMIT)] == [
        record(),
        endless,
        record(),
    ]


@given(st.lists(st.one_of(st.binary(max_size=80), ANY_RECORD, st.lists(ANY_RECORD, max_size=4).map(b"".join))))
def test_batches_of_arbitrary_datagrams_hold_whole_records_only(datagrams: list[bytes]) -> None:
    for batch in batches_untrusted(datagrams, 100):
        assert batch.data
        records = split_records(batch.data)
        assert all(record_end_untrusted(one, 0) == len(one) for one in records)
        assert batch.application_records == sum(one[0] == 23 for one in records)
        assert batch.others == any(one[0] != 23 for one in records)
        assert len(batch.data) <= 100 or len(records) == 1
