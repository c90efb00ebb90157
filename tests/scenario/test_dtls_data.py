"""A and Z are connected and talk; the wire does what wires do, and at the end they close."""

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


def test_coalesced_buffers_are_opened_like_single_datagrams() -> None:
    pair = connected_pair()
    messages = numbered(500)
    pair.a.send_messages(messages)
    pair.a_to_z(lambda datagrams: [b"".join(datagrams[n : n + 54]) for n in range(0, 500, 54)])
    assert pair.z.messages() == messages


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.integers(1, 16384), max_size=40), max_size=6), st.integers(1, 50))
def test_whatever_is_sent_arrives_however_it_is_cut_into_calls(calls: list[list[int]], per_receive: int) -> None:
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


# -- what nobody has asked for yet -------------------------------------------------------------------------------------


def test_messages_are_kept_until_they_are_asked_for() -> None:
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


def test_messages_kept_have_a_bound_in_bytes_and_what_comes_on_top_is_dropped_like_a_loss() -> None:
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


# -- a bad wire --------------------------------------------------------------------------------------------------------


def corruptions(datagram: bytes) -> list[bytes]:
    """Every byte flipped in three ways, and every beginning."""
    flipped = [
        datagram[:n] + bytes([datagram[n] ^ flip]) + datagram[n + 1 :]
        for n in range(len(datagram))
        for flip in (0x01, 0x80, 0xFF)
    ]
    return flipped + [datagram[:n] for n in range(len(datagram))]


@pytest.mark.parametrize("size", [1, 100, 1172])
def test_a_record_broken_anywhere_is_dropped_and_the_next_is_heard(size: int) -> None:
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


def test_broken_records_in_a_batch_take_no_others_with_them() -> None:
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


def test_a_close_notify_broken_anywhere_closes_nothing() -> None:
    pair = connected_pair()
    pair.a.close(NOW)
    (alert,) = pair.a.datagrams_to_send(NOW)
    for broken in corruptions(alert):
        # OpenSSL does not look at the minor version of an alert; all that is sealed is still intact then.
        if broken[:2] + broken[3:] != alert[:2] + alert[3:]:
            pair.z.receive_datagrams([broken], NOW)
            assert pair.z.state is DtlsState.CONNECTED
    pair.z.receive_datagrams([alert], NOW)
    assert pair.z.state is DtlsState.CLOSED


def test_an_alert_without_a_seal_closes_nothing() -> None:
    pair = connected_pair()
    for level in (1, 2):
        for description in range(256):
            alert = b"\x15\xfe\xfd" + bytes(7) + b"\x09\x00\x02" + bytes([level, description])
            pair.z.receive_datagrams([alert], NOW)
    assert pair.z.state is DtlsState.CONNECTED
    assert pair.z.events() == []


def test_a_handshake_repeated_at_a_connected_peer_disturbs_nothing() -> None:
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


def test_a_record_is_heard_once_however_often_it_comes() -> None:
    pair = connected_pair()
    messages = numbered(30)
    pair.a.send_messages(messages)
    datagrams = pair.a.datagrams_to_send(NOW)
    pair.z.receive_datagrams([datagram for datagram in datagrams for _ in range(3)], NOW)
    pair.z.receive_datagrams(datagrams, NOW)
    pair.z.receive_datagrams([b"".join(datagrams)], NOW)
    assert pair.z.messages() == messages


def test_records_in_disorder_are_all_heard_in_the_order_they_come() -> None:
    pair = connected_pair()
    messages = numbered(60)
    pair.a.send_messages(messages)
    pair.a_to_z(lambda datagrams: datagrams[::-1])
    assert pair.z.messages() == messages[::-1]


def test_lost_records_are_simply_not_there() -> None:
    pair = connected_pair()
    messages = numbered(300)
    pair.a.send_messages(messages)
    pair.a_to_z(lambda datagrams: datagrams[::2])
    assert pair.z.messages() == messages[::2]


@pytest.mark.parametrize("content_type", [20, 21, 22, 23, 26, 0x2F])
@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_a_forged_record_of_any_length_breaks_nothing(content_type: int, epoch: int) -> None:
    """OpenSSL before 4.0.3 ends a session over a record shorter than its seal."""
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


@settings(deadline=None)
@given(st.lists(st.binary(max_size=2000), max_size=20))
def test_whatever_bytes_come_nothing_raises_and_nothing_breaks(datagrams: list[bytes]) -> None:
    machines = [*SHARED.both, Pair().z, Pair().a]
    for machine in machines:
        machine.receive_datagrams(datagrams, NOW)
        machine.datagrams_to_send(NOW)
    SHARED.a.send_messages([b"still here"])
    SHARED.a_to_z()
    assert SHARED.z.messages() == [b"still here"]


@settings(deadline=None)
@given(st.integers(20, 25), st.integers(0, 3), st.integers(0, 2**48 - 1), st.binary(max_size=200))
def test_whatever_forged_record_comes_nothing_breaks(
    content_type: int, epoch: int, number: int, content: bytes
) -> None:
    head = bytes([content_type]) + b"\xfe\xfd" + epoch.to_bytes(2, "big") + number.to_bytes(6, "big")
    SHARED.z.receive_datagrams([head + len(content).to_bytes(2, "big") + content], NOW)
    SHARED.z.datagrams_to_send(NOW)
    SHARED.a.send_messages([b"still here"])
    SHARED.a_to_z()
    assert SHARED.z.messages() == [b"still here"]


SHARED = connected_pair()


# -- what others leave in OpenSSL's error queue ------------------------------------------------------------------------


def leave_an_error_behind() -> None:
    """Do what careless users of the same OpenSSL do: fail, and leave the error in the thread's queue."""
    lib, ffi = Binding().lib, Binding().ffi
    bio = lib.BIO_new_mem_buf(b"junk", 4)
    assert lib.PEM_read_bio_X509(bio, ffi.NULL, ffi.NULL, ffi.NULL) == ffi.NULL
    lib.BIO_free(bio)
    assert lib.ERR_peek_error() != 0


def test_an_error_somebody_left_behind_is_not_taken_for_ours() -> None:
    pair = Pair()

    def wire(datagrams: list[bytes]) -> list[bytes]:
        leave_an_error_behind()
        return datagrams

    pair.run(wire)
    assert pair.connected
    pair.a.send_messages([b"one"])
    replayed = pair.a_to_z(wire)
    leave_an_error_behind()
    # A record that OpenSSL drops makes it look into the queue.
    pair.z.receive_datagrams(replayed, NOW)
    leave_an_error_behind()
    pair.a.send_messages([b"two"])
    pair.a_to_z(wire)
    assert pair.z.messages() == [b"one", b"two"]
    leave_an_error_behind()
    pair.a.close(NOW)
    pair.a_to_z(wire)
    assert pair.z.events()[-1] == DtlsClosed(by_peer=True)


def test_messages_behind_an_error_somebody_left_are_still_read() -> None:
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


def test_closing_tells_the_peer_which_answers() -> None:
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


def test_messages_that_close_notify_overtook_are_not_waited_for() -> None:
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


def test_what_comes_after_the_end_is_ignored() -> None:
    pair = connected_pair()
    pair.a.send_messages([b"late"])
    late = pair.a.datagrams_to_send(NOW)
    pair.z.close(NOW)
    pair.z.datagrams_to_send(NOW)
    pair.z.receive_datagrams(late, NOW)
    pair.z.handle_timeout(NOW + 100)
    assert pair.z.messages() == pair.z.datagrams_to_send(NOW) == []
    assert pair.z.events() == [DtlsClosed(by_peer=False)]
