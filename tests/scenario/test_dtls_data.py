"""Messages of a connected session: batches, a bad network, and the end."""

from __future__ import annotations

import random

import pytest
from cryptography.hazmat.bindings.openssl.binding import Binding
from hypothesis import given, settings
from hypothesis import strategies as st

from datachan.dtls import DtlsClosed, DtlsState
from tests.scenario.dtls_pair import NOW, Pair, connected_pair

MESSAGE = 1172
OVERHEAD = 37  # header 13, explicit nonce 8, tag 16 with AES-GCM in DTLS 1.2; DTLS 1.3 needs less


def numbered(count: int, size: int = MESSAGE) -> list[bytes]:
    return [n.to_bytes(4, "big") * (size // 4) for n in range(count)]


# -- batches -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [4, 100, MESSAGE, 1300, 4096, 16384])
def test_a_thousand_messages_in_one_call_arrive_both_ways_whole_and_in_order(size: int) -> None:
    pair = connected_pair(max_undelivered=1000 * size)
    messages = numbered(1000, size)
    pair.a.send_messages(messages)
    pair.z.send_messages(messages)
    sent = pair.a_to_z() + pair.z_to_a()
    assert len(sent) == 2000
    assert max(map(len, sent)) <= size + OVERHEAD
    assert pair.z.messages() == messages
    assert pair.a.messages() == messages


def test_messages_of_all_sizes_mixed_arrive_whole_and_in_order() -> None:
    pair = connected_pair()
    chance = random.Random(7)
    messages = [
        chance.randbytes(chance.choice([1, 2, 13, 99, 1172, 1200, 1500, 9000, 16383, 16384])) for _ in range(600)
    ]
    pair.a.send_messages(messages[:100])
    pair.a_to_z()
    received = pair.z.messages()
    for message in messages[100:]:
        pair.a.send_messages([message])
        if chance.random() < 0.2:
            pair.a_to_z()
            received += pair.z.messages()
    pair.a_to_z()
    assert received + pair.z.messages() == messages


def test_coalesced_buffers_are_decrypted_like_single_datagrams() -> None:
    pair = connected_pair()
    messages = numbered(500)
    pair.a.send_messages(messages)
    pair.a_to_z(lambda datagrams: [b"".join(datagrams[n : n + 54]) for n in range(0, 500, 54)])
    assert pair.z.messages() == messages


@settings(max_examples=60)
@given(st.lists(st.lists(st.integers(1, 16384), max_size=40), max_size=6), st.integers(1, 50))
def test_messages_arrive_independent_of_their_division_into_calls(calls: list[list[int]], per_receive: int) -> None:
    pair = connected_pair(max_undelivered=64 * 1024 * 1024)
    sent: list[bytes] = []
    datagrams: list[bytes] = []
    for sizes in calls:
        messages = [bytes([len(sent) + n & 0xFF]) * size for n, size in enumerate(sizes)]
        sent += messages
        pair.a.send_messages(messages)
        datagrams += pair.a.datagrams_to_send(NOW)
    for start in range(0, len(datagrams), per_receive):
        pair.z.receive_datagrams(datagrams[start : start + per_receive], NOW)
    assert pair.z.messages() == sent


# -- undelivered messages ----------------------------------------------------------------------------------------------


def test_messages_are_kept_until_they_are_drained() -> None:
    pair = connected_pair()
    pair.a.send_messages([b"one"])
    pair.a_to_z()
    pair.a.send_messages([b"two"])
    pair.a_to_z()
    pair.a.close(NOW)
    pair.a_to_z()
    assert pair.z.state is DtlsState.CLOSED
    assert pair.z.messages() == [b"one", b"two"]
    assert pair.z.messages() == []


def test_undelivered_messages_above_the_limit_are_dropped() -> None:
    pair = connected_pair(max_undelivered=50_000)
    messages = numbered(1000)
    pair.a.send_messages(messages)
    pair.a_to_z()
    kept = pair.z.messages()
    assert 50_000 - 16384 < MESSAGE * len(kept) <= 50_000
    assert kept == messages[: len(kept)]
    pair.a.send_messages([b"room again"])
    pair.a_to_z()
    assert pair.z.messages() == [b"room again"]


# -- a bad network -----------------------------------------------------------------------------------------------------


def corruptions(datagram: bytes) -> list[bytes]:
    """Return the datagram with each byte changed in three ways, and cut at each length."""
    flipped = [
        datagram[:n] + bytes([datagram[n] ^ flip]) + datagram[n + 1 :]
        for n in range(len(datagram))
        for flip in (0x01, 0x80, 0xFF)
    ]
    return flipped + [datagram[:n] for n in range(len(datagram))]


@pytest.mark.parametrize("size", [1, 100, 1172])
def test_a_corrupt_record_is_dropped_and_the_next_is_delivered(size: int) -> None:
    pair = connected_pair()
    pair.a.send_messages([b"m" * size])
    (whole,) = pair.a.datagrams_to_send(NOW)
    for broken in corruptions(whole):
        pair.z.receive_datagrams([broken], NOW)
        assert pair.z.messages() == []
    assert pair.z.state is DtlsState.CONNECTED
    assert pair.z.events() == pair.z.datagrams_to_send(NOW) == []
    pair.z.receive_datagrams([whole], NOW)
    assert pair.z.messages() == [b"m" * size]


def test_corrupt_records_in_a_batch_do_not_affect_others() -> None:
    pair = connected_pair()
    messages = numbered(200, 400)
    pair.a.send_messages(messages)
    chance = random.Random(11)
    batch: list[bytes] = []
    for datagram in pair.a.datagrams_to_send(NOW):
        batch += chance.sample(corruptions(datagram), 3)
        batch.append(datagram)
    pair.z.receive_datagrams(batch, NOW)
    assert pair.z.messages() == messages
    assert pair.z.state is DtlsState.CONNECTED


def test_a_corrupt_close_notify_is_ignored() -> None:
    pair = connected_pair()
    pair.a.close(NOW)
    (alert,) = pair.a.datagrams_to_send(NOW)
    for broken in corruptions(alert):
        # OpenSSL ignores the minor version of an alert, so this alert is valid.
        if broken[:2] + broken[3:] != alert[:2] + alert[3:]:
            pair.z.receive_datagrams([broken], NOW)
            assert pair.z.state is DtlsState.CONNECTED
    pair.z.receive_datagrams([alert], NOW)
    assert pair.z.state is DtlsState.CLOSED


def test_an_unencrypted_alert_is_ignored() -> None:
    pair = connected_pair()
    for level in (1, 2):
        for description in range(256):
            alert = b"\x15\xfe\xfd" + bytes(7) + b"\x09\x00\x02" + bytes([level, description])
            pair.z.receive_datagrams([alert], NOW)
    assert pair.z.state is DtlsState.CONNECTED
    assert pair.z.events() == []


def test_a_repeated_handshake_at_a_connected_peer_is_ignored() -> None:
    pair = Pair()
    handshake = pair.run()
    for machine in pair.both:
        machine.events()
        machine.receive_datagrams(handshake * 3, NOW)
        assert machine.state is DtlsState.CONNECTED
        assert machine.events() == []
    pair.run()
    pair.a.send_messages([b"undisturbed"])
    pair.a_to_z()
    assert pair.z.messages() == [b"undisturbed"]


def test_a_replayed_record_is_delivered_once() -> None:
    pair = connected_pair()
    messages = numbered(30)
    pair.a.send_messages(messages)
    datagrams = pair.a.datagrams_to_send(NOW)
    pair.z.receive_datagrams([datagram for datagram in datagrams for _ in range(3)], NOW)
    pair.z.receive_datagrams(datagrams, NOW)
    pair.z.receive_datagrams([b"".join(datagrams)], NOW)
    assert pair.z.messages() == messages


def test_reordered_records_are_delivered_in_order_of_arrival() -> None:
    pair = connected_pair()
    messages = numbered(60)
    pair.a.send_messages(messages)
    pair.a_to_z(lambda datagrams: datagrams[::-1])
    assert pair.z.messages() == messages[::-1]


def test_lost_records_do_not_affect_others() -> None:
    pair = connected_pair()
    messages = numbered(300)
    pair.a.send_messages(messages)
    pair.a_to_z(lambda datagrams: datagrams[::2])
    assert pair.z.messages() == messages[::2]


@pytest.mark.parametrize("content_type", [20, 21, 22, 23, 26, 0x2F])
@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_forged_record_of_any_length_is_ignored(content_type: int, epoch: int) -> None:
    """Cover OpenSSL before 4.0.3, which ends a session on a record shorter than its tag."""
    pair = connected_pair()
    for length in range(60):
        head = bytes([content_type]) + b"\xfe\xfd" + epoch.to_bytes(2, "big") + (7).to_bytes(6, "big")
        pair.z.receive_datagrams([head + length.to_bytes(2, "big") + bytes(length)], NOW)
    pair.a.send_messages([b"still here"])
    pair.a_to_z()
    assert pair.z.messages() == [b"still here"]
    assert pair.z.events() == []


def test_messages_before_close_notify_in_one_coalesced_buffer_are_delivered() -> None:
    pair = connected_pair()
    pair.a.send_messages([b"one", b"two"])
    pair.a.close(NOW)
    pair.a_to_z(lambda datagrams: [b"".join(datagrams)])
    assert pair.z.messages() == [b"one", b"two"]
    assert pair.z.events() == [DtlsClosed(by_peer=True)]


@given(st.lists(st.binary(max_size=2000), max_size=20))
def test_arbitrary_datagrams_neither_raise_nor_break_the_session(datagrams: list[bytes]) -> None:
    machines = [*SHARED.both, Pair().z, Pair().a]
    for machine in machines:
        machine.receive_datagrams(datagrams, NOW)
        machine.datagrams_to_send(NOW)
    SHARED.a.send_messages([b"still here"])
    SHARED.a_to_z()
    assert SHARED.z.messages() == [b"still here"]


@given(st.integers(20, 25), st.integers(0, 3), st.integers(0, 2**48 - 1), st.binary(max_size=200))
def test_arbitrary_forged_records_do_not_break_the_session(
    content_type: int, epoch: int, number: int, content: bytes
) -> None:
    head = bytes([content_type]) + b"\xfe\xfd" + epoch.to_bytes(2, "big") + number.to_bytes(6, "big")
    SHARED.z.receive_datagrams([head + len(content).to_bytes(2, "big") + content], NOW)
    SHARED.z.datagrams_to_send(NOW)
    SHARED.a.send_messages([b"still here"])
    SHARED.a_to_z()
    assert SHARED.z.messages() == [b"still here"]


SHARED = connected_pair()


# -- errors of other code in OpenSSL's error queue ---------------------------------------------------------------------


def leave_an_error_behind() -> None:
    """Fail in OpenSSL and leave the error in the thread's queue, as careless code does."""
    lib, ffi = Binding().lib, Binding().ffi
    bio = lib.BIO_new_mem_buf(b"junk", 4)
    assert lib.PEM_read_bio_X509(bio, ffi.NULL, ffi.NULL, ffi.NULL) == ffi.NULL
    lib.BIO_free(bio)
    assert lib.ERR_peek_error() != 0


def test_an_error_of_other_code_in_the_queue_does_not_end_the_session() -> None:
    pair = Pair()

    def wire(datagrams: list[bytes]) -> list[bytes]:
        leave_an_error_behind()
        return datagrams

    pair.run(wire)
    assert pair.connected
    pair.a.send_messages([b"one"])
    replayed = pair.a_to_z(wire)
    leave_an_error_behind()
    # When OpenSSL drops a record, it checks the queue.
    pair.z.receive_datagrams(replayed, NOW)
    leave_an_error_behind()
    pair.a.send_messages([b"two"])
    pair.a_to_z(wire)
    assert pair.z.messages() == [b"one", b"two"]
    leave_an_error_behind()
    pair.a.close(NOW)
    pair.a_to_z(wire)
    assert pair.z.events()[-1] == DtlsClosed(by_peer=True)


def test_messages_after_an_error_of_other_code_are_delivered() -> None:
    pair = connected_pair()
    pair.a.send_messages([b"one"])
    (replayed,) = pair.a_to_z()
    pair.a.send_messages([b"two", b"three"])
    pair.a.close(NOW)
    leave_an_error_behind()
    pair.z.receive_datagrams([replayed, *pair.a.datagrams_to_send(NOW)], NOW)
    assert pair.z.messages() == [b"one", b"two", b"three"]
    assert pair.z.events() == [DtlsClosed(by_peer=True)]


# -- the end -----------------------------------------------------------------------------------------------------------


def test_closing_sends_close_notify_and_the_peer_answers() -> None:
    # A -> close_notify      Z
    # A      close_notify <- Z
    pair = connected_pair()
    pair.a.close(NOW)
    assert pair.a.state is DtlsState.CLOSED
    assert len(pair.a_to_z()) == 1
    assert pair.z.state is DtlsState.CLOSED
    assert pair.z.events() == [DtlsClosed(by_peer=True)]
    assert pair.a.events() == [DtlsClosed(by_peer=False)]
    assert len(pair.z_to_a()) == 1
    assert pair.a.events() == pair.z.events() == []
    assert pair.run() == []


def test_messages_right_before_close_notify_are_delivered() -> None:
    pair = connected_pair()
    messages = numbered(300)
    pair.a.send_messages(messages)
    pair.a.close(NOW)
    pair.a_to_z()
    assert pair.z.messages() == messages
    assert pair.z.events() == [DtlsClosed(by_peer=True)]


def test_messages_overtaken_by_close_notify_are_ignored() -> None:
    """RFC 5246, 7.2.1: "Any data received after a closure alert is ignored." The layer above closes first."""
    pair = connected_pair()
    pair.a.send_messages([b"late"])
    pair.a.close(NOW)
    pair.a_to_z(lambda datagrams: datagrams[::-1])
    assert pair.z.messages() == []
    assert pair.z.state is DtlsState.CLOSED


def test_both_may_close_at_once() -> None:
    pair = connected_pair()
    pair.a.close(NOW)
    pair.z.close(NOW)
    pair.run()
    assert pair.a.events() == pair.z.events() == [DtlsClosed(by_peer=False)]


def test_datagrams_after_the_end_are_ignored() -> None:
    pair = connected_pair()
    pair.a.send_messages([b"late"])
    late = pair.a.datagrams_to_send(NOW)
    pair.z.close(NOW)
    pair.z.datagrams_to_send(NOW)
    pair.z.receive_datagrams(late, NOW)
    pair.z.handle_timeout(NOW + 100)
    assert pair.z.messages() == pair.z.datagrams_to_send(NOW) == []
    assert pair.z.events() == [DtlsClosed(by_peer=False)]
