"""Ending associations, and packets that belong to none: RFC 9260, sections 8.4, 8.5 and 9, step by step."""

from __future__ import annotations

import pytest

from datachan.sctp.errors import InvalidState
from datachan.sctp.events import AssociationClosed, AssociationLost, SendFailed, ShutdownReceived
from datachan.sctp.wire import causes
from datachan.sctp.wire.chunks import (
    AbortChunk,
    CookieAckChunk,
    CookieEchoChunk,
    DataChunk,
    ErrorChunk,
    HeartbeatChunk,
    InitChunk,
    SackChunk,
    ShutdownAckChunk,
    ShutdownChunk,
    ShutdownCompleteChunk,
)

from .sctp_pair import Pair, S, changed, chunks, names, packet, read


def tags(pair: Pair) -> tuple[int, int]:
    """Return the tag that A expects and the tag that Z expects."""
    pair.send_a(b"tag")
    pair.send_z(b"tag")
    to_z, to_a = pair.from_a(), pair.from_z()
    pair.to_z(*to_z)
    pair.to_a(*to_a)
    pair.exchange()
    return read(to_a[0]).verification_tag, read(to_z[0]).verification_tag


# -- graceful ----------------------------------------------------------------------------------------------------------


def test_shutdown_takes_three_packets_once_everything_is_acknowledged() -> None:
    pair = Pair().establish()
    pair.a.shutdown(pair.now)
    (shutdown,) = pair.from_a()
    assert (names(shutdown), pair.a.state) == (["Shutdown"], S.SHUTDOWN_SENT)
    pair.to_z(shutdown)
    (shutdown_ack,) = pair.from_z()
    assert (names(shutdown_ack), pair.z.state) == (["ShutdownAck"], S.SHUTDOWN_ACK_SENT)
    pair.to_a(shutdown_ack)
    (complete,) = pair.from_a()
    assert (names(complete), pair.a.state) == (["ShutdownComplete"], S.CLOSED)
    pair.to_z(complete)
    assert pair.z.state is S.CLOSED
    assert pair.a_saw(AssociationClosed) == pair.z_saw(AssociationClosed) == [AssociationClosed()]
    assert pair.z_saw(ShutdownReceived) == [ShutdownReceived()]
    assert pair.a.next_timeout() is pair.z.next_timeout() is None


def test_everything_queued_on_both_sides_is_delivered_before_the_end() -> None:
    pair = Pair().establish()
    pair.send_a(bytes(50_000))
    pair.send_z(bytes(60_000))
    pair.a.shutdown(pair.now)
    assert pair.a.state is S.SHUTDOWN_PENDING
    pair.exchange()
    pair.pass_time(5)
    assert pair.received_by_z() == [bytes(50_000)]
    assert pair.received_by_a() == [bytes(60_000)]
    assert (pair.a.state, pair.z.state) == (S.CLOSED, S.CLOSED)


def test_a_message_sent_just_before_shutdown_during_the_handshake_arrives() -> None:
    pair = Pair()
    pair.a.connect(pair.now)
    pair.send_a(b"last words")
    pair.a.shutdown(pair.now)
    with pytest.raises(InvalidState):
        pair.send_a(b"too late")
    pair.exchange()
    assert pair.received_by_z() == [b"last words"]
    assert (pair.a.state, pair.z.state) == (S.CLOSED, S.CLOSED)


def test_nothing_new_is_accepted_while_shutting_down() -> None:
    pair = Pair().establish()
    pair.a.shutdown(pair.now)
    with pytest.raises(InvalidState, match="shutdown"):
        pair.send_a(b"x")
    pair.to_z(*pair.from_a())
    with pytest.raises(InvalidState, match="shutdown"):
        pair.send_z(b"x")


def test_both_sides_shut_down_at_once() -> None:
    pair = Pair().establish()
    pair.a.shutdown(pair.now)
    pair.z.shutdown(pair.now)
    pair.exchange()
    assert (pair.a.state, pair.z.state) == (S.CLOSED, S.CLOSED)
    assert pair.a_saw(AssociationClosed) == pair.z_saw(AssociationClosed) == [AssociationClosed()]


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_lost_packet_of_the_shutdown_is_repaired(lost: int) -> None:
    pair = Pair().establish()
    pair.a.shutdown(pair.now)
    for step in range(3):
        datagrams = pair.from_z() if step == 1 else pair.from_a()
        if step == lost:
            break
        (pair.to_a if step == 1 else pair.to_z)(*datagrams)
    pair.pass_time(10)
    assert (pair.a.state, pair.z.state) == (S.CLOSED, S.CLOSED)
    assert pair.z_saw(AssociationClosed) == [AssociationClosed()]


def test_data_during_shutdown_sent_is_acknowledged_with_shutdown() -> None:
    pair = Pair().establish()
    pair.send_z(b"crossing")
    crossing = pair.from_z()
    pair.a.shutdown(pair.now)
    pair.from_a()
    pair.to_a(*crossing)
    (answer,) = pair.from_a()
    assert names(answer)[-1] == "Shutdown"
    assert chunks([answer], ShutdownChunk)[0].cumulative_tsn_ack == chunks(crossing, DataChunk)[0].tsn
    assert pair.received_by_a() == [b"crossing"]
    pair.to_z(answer)
    pair.exchange()
    assert (pair.a.state, pair.z.state) == (S.CLOSED, S.CLOSED)


def test_the_shutdown_guard_waits_for_a_peer_that_delivers_and_aborts_another() -> None:
    pair = Pair(
        changed(rto_max=1.0, association_max_retrans=100, initial_cwnd=100_000, max_burst=20, heartbeat_interval=0)
    ).establish()
    for i in range(12):
        pair.send_z(bytes([i]) * 1100)
    slow = pair.from_z()
    pair.a.shutdown(pair.now)
    pair.from_a()
    for datagram in slow:
        pair.now += 1.0
        pair.a.handle_timeout(pair.now)
        pair.to_a(datagram)
        pair.from_a()
    assert pair.a.state is S.SHUTDOWN_SENT
    assert len(pair.received_by_a()) == 12
    # RFC 9260, 9.2: after five times RTO.Max, the guard timer ends the association.
    pair.now += 5.1
    pair.a.handle_timeout(pair.now)
    assert pair.a.state is S.CLOSED
    assert chunks(pair.from_a(), AbortChunk) != []


def test_any_packet_of_the_peer_restarts_t2_and_clears_its_retransmission_count() -> None:
    # RFC 9260, 9.2: "The reception of any packet from its peer [...] SHOULD clear the endpoint's retransmission count
    # and restart the T2-shutdown timer".
    pair = Pair(changed(association_max_retrans=2, heartbeat_interval=0)).establish()
    tag_of_a, _ = tags(pair)
    pair.a.shutdown(pair.now)
    pair.from_a()
    for _ in range(6):
        sent = [names(datagram) for datagram in pair.expire_a()]
        assert sent == [["Shutdown"]]
        pair.now += 0.9
        pair.to_a(packet(tag_of_a, HeartbeatChunk(b"I am here")))
        assert pair.from_a() == []
        assert pair.a.next_timeout() == pytest.approx(pair.now + pair.a.stats().rto)
    assert pair.a.state is S.SHUTDOWN_SENT
    for _ in range(3):
        pair.expire_a()
    assert pair.a.state is S.CLOSED


def test_an_unanswered_shutdown_ends_the_association() -> None:
    pair = Pair(changed(association_max_retrans=2, heartbeat_interval=0)).establish()
    pair.a.shutdown(pair.now)
    pair.from_a()
    for _ in range(3):
        pair.expire_a()
    assert pair.a.state is S.CLOSED
    assert "did not answer the shutdown" in pair.a_saw(AssociationLost)[0].reason


def test_an_init_during_shutdown_ack_sent_repeats_the_shutdown_ack() -> None:
    pair = Pair().establish()
    pair.a.shutdown(pair.now)
    pair.to_z(*pair.from_a())
    pair.from_z()
    pair.to_z(packet(0, InitChunk(5, 100_000, 10, 10, 1, [])))
    assert [names(datagram) for datagram in pair.from_z()] == [["ShutdownAck"]]


# -- abort -------------------------------------------------------------------------------------------------------------


def test_abort_ends_both_sides_with_the_reason() -> None:
    pair = Pair().establish()
    pair.send_a(bytes(5000), context="mine")
    pair.a.abort(pair.now, "no more disk")
    (abort,) = pair.from_a()
    assert names(abort) == ["Abort"]
    pair.to_z(abort)
    assert pair.from_z() == []
    (lost,) = pair.z_saw(AssociationLost)
    assert (lost.by_peer, lost.cause_code) == (True, causes.USER_INITIATED_ABORT)
    assert "no more disk" in lost.reason
    assert [event.context for event in pair.a_saw(SendFailed)] == ["mine"]
    assert pair.a.next_timeout() is pair.z.next_timeout() is None


def test_an_abort_without_cause_is_understood() -> None:
    pair = Pair().establish()
    _, tag_z = tags(pair)
    pair.to_z(packet(tag_z, AbortChunk([])))
    assert pair.z_saw(AssociationLost)[0].reason == "the peer aborted without giving a cause"


def test_a_refused_init_ends_the_attempt() -> None:
    pair = Pair()
    pair.a.connect(pair.now)
    tag = chunks(pair.from_a(), InitChunk)[0].initiate_tag
    pair.to_a(packet(tag, AbortChunk([causes.out_of_resource()])))
    assert pair.a.state is S.CLOSED
    assert pair.a_saw(AssociationLost)[0].cause_code == causes.OUT_OF_RESOURCE


def test_a_closed_association_can_connect_again() -> None:
    pair = Pair().establish()
    pair.a.abort(pair.now)
    pair.exchange()
    pair.establish()
    pair.send_a(b"again")
    pair.exchange()
    assert pair.received_by_z() == [b"again"]


# -- Verification Tags, section 8.5 ------------------------------------------------------------------------------------


def test_discards_a_packet_with_a_wrong_tag_whatever_its_chunks() -> None:
    pair = Pair().establish()
    _, tag_z = tags(pair)
    before = pair.z.stats().packets_discarded
    wrong = [
        packet(tag_z ^ 1, DataChunk(1, 1, 1, 51, b"x")),
        packet(tag_z ^ 1, SackChunk(1, 1, [], [])),
        packet(tag_z ^ 1, AbortChunk([])),
        packet(tag_z ^ 1, AbortChunk([], tag_reflected=True)),
        packet(tag_z ^ 1, ShutdownCompleteChunk()),
        packet(tag_z ^ 1, ShutdownChunk(1)),
        packet(tag_z ^ 1, HeartbeatChunk(b"x")),
        packet(0, DataChunk(1, 1, 1, 51, b"x")),
        packet(tag_z, HeartbeatChunk(b"x"), source_port=5001),
        packet(tag_z, HeartbeatChunk(b"x"), destination_port=5001),
    ]
    pair.to_z(*wrong)
    assert pair.from_z() == []
    assert pair.z.state is S.ESTABLISHED
    assert pair.z.stats().packets_discarded == before + len(wrong)


def test_rule_b_an_abort_with_the_t_bit_carries_the_peers_tag() -> None:
    pair = Pair().establish()
    tag_a, tag_z = tags(pair)
    pair.to_z(packet(tag_z, AbortChunk([], tag_reflected=True)))
    pair.to_z(packet(tag_a, AbortChunk([], tag_reflected=False)))
    assert pair.z.state is S.ESTABLISHED
    pair.to_z(packet(tag_a, AbortChunk([], tag_reflected=True)))
    assert pair.z.state is S.CLOSED


def test_rule_c_shutdown_complete_is_accepted_only_in_shutdown_ack_sent() -> None:
    pair = Pair().establish()
    tag_a, tag_z = tags(pair)
    pair.to_z(packet(tag_z, ShutdownCompleteChunk()), packet(tag_a, ShutdownCompleteChunk(tag_reflected=True)))
    assert pair.z.state is S.ESTABLISHED
    pair.a.shutdown(pair.now)
    pair.to_z(*pair.from_a())
    pair.from_z()
    assert pair.z.state is S.SHUTDOWN_ACK_SENT
    pair.to_z(packet(tag_z, ShutdownCompleteChunk(tag_reflected=True)))
    assert pair.z.state is S.SHUTDOWN_ACK_SENT
    pair.to_z(packet(tag_a, ShutdownCompleteChunk(tag_reflected=True)))
    assert pair.z.state is S.CLOSED


def test_rule_e_a_shutdown_ack_during_the_handshake_is_out_of_the_blue() -> None:
    pair = Pair()
    pair.a.connect(pair.now)
    tag = chunks(pair.from_a(), InitChunk)[0].initiate_tag
    pair.to_a(packet(tag, ShutdownAckChunk()))
    (answer,) = pair.from_a()
    assert names(answer) == ["ShutdownComplete"]
    assert chunks([answer], ShutdownCompleteChunk)[0].tag_reflected
    assert pair.a.state is S.COOKIE_WAIT


# -- out of the blue, section 8.4 --------------------------------------------------------------------------------------


def test_rule_2_an_abort_out_of_the_blue_is_ignored() -> None:
    pair = Pair()
    pair.to_z(packet(7, AbortChunk([])), packet(7, HeartbeatChunk(b"x"), AbortChunk([])))
    assert pair.from_z() == []


def test_rule_5_a_shutdown_ack_out_of_the_blue_is_completed() -> None:
    pair = Pair()
    pair.to_z(packet(7, ShutdownAckChunk()))
    (answer,) = pair.from_z()
    assert read(answer).verification_tag == 7
    assert chunks([answer], ShutdownCompleteChunk)[0].tag_reflected


@pytest.mark.parametrize(
    "chunk",
    [
        ShutdownCompleteChunk(),
        ErrorChunk([causes.stale_cookie(5)]),
        CookieAckChunk(),
        CookieEchoChunk(b"not ours"),
    ],
)
def test_rules_4_6_and_7_discards_silently(chunk: object) -> None:
    pair = Pair()
    pair.to_z(packet(7, chunk))  # type: ignore[arg-type]
    assert pair.from_z() == []


@pytest.mark.parametrize(
    "chunk",
    [
        DataChunk(1, 1, 1, 51, b"x"),
        SackChunk(1, 1, [], []),
        HeartbeatChunk(b"x"),
        ShutdownChunk(1),
        ErrorChunk([causes.invalid_stream_identifier(1)]),
    ],
)
def test_rule_8_answers_everything_else_with_a_reflected_abort(chunk: object) -> None:
    pair = Pair()
    pair.to_z(packet(7, chunk))  # type: ignore[arg-type]
    (answer,) = pair.from_z()
    assert read(answer).verification_tag == 7
    assert chunks([answer], AbortChunk)[0].tag_reflected
    assert pair.z.state is S.CLOSED


def test_the_abort_of_a_peer_that_lost_the_association_ends_ours() -> None:
    pair = Pair().establish()
    pair.z.abort(pair.now)
    pair.from_z()  # A /lost/ <- ABORT <- Z
    pair.send_a(b"are you there?")
    pair.to_z(*pair.from_a())
    pair.to_a(*pair.from_z())
    assert pair.a.state is S.CLOSED
    assert pair.a_saw(AssociationLost)[0].by_peer
