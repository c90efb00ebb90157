"""Limits of the RFCs, tested at the limit and one beyond it, for our packets and for a peer's."""

from __future__ import annotations

import pytest

from datachan.sctp.events import AssociationLost, PathStatus, PathStatusChanged
from datachan.sctp.wire import causes
from datachan.sctp.wire.chunks import (
    AbortChunk,
    DataChunk,
    HeartbeatChunk,
    InitAckChunk,
    InitChunk,
    SackChunk,
    ShutdownAckChunk,
    UnknownChunk,
)
from datachan.sctp.wire.extensions import ForwardTsnChunk, ReconfigChunk
from datachan.sctp.wire.parameters import AddOutgoingStreamsRequest, StateCookie

from .sctp_pair import Pair, S, changed, chunks, names, packet, read

# -- setting up --------------------------------------------------------------------------------------------------------


def test_an_init_ack_requests_at_most_the_streams_the_init_accepts() -> None:
    # RFC 9260, 3.3.3: "the value MUST NOT be greater than the MIS value sent in the INIT chunk."
    pair = Pair()
    pair.to_z(packet(0, InitChunk(5, 100_000, 10, 7, 1, [])))
    (answer,) = chunks(pair.from_z(), InitAckChunk)
    assert (answer.outbound_streams, answer.inbound_streams) == (7, 65535)


def test_an_init_ack_with_tag_zero_ends_the_attempt_and_is_answered_with_a_reflected_abort() -> None:
    pair = Pair()
    pair.a.connect(pair.now)
    tag = chunks(pair.from_a(), InitChunk)[0].initiate_tag
    pair.to_a(packet(tag, InitAckChunk(0, 100_000, 10, 10, 1, [StateCookie(b"cookie")])))
    (answer,) = pair.from_a()
    assert read(answer).verification_tag == tag
    assert chunks([answer], AbortChunk)[0].tag_reflected
    assert pair.a.state is S.CLOSED


def test_an_init_ack_with_too_small_a_window_is_refused_and_changes_nothing() -> None:
    pair = Pair()
    pair.a.connect(pair.now)
    (init,) = pair.from_a()
    tag = chunks([init], InitChunk)[0].initiate_tag
    pair.to_a(packet(tag, InitAckChunk(9, 1499, 10, 10, 1, [StateCookie(b"cookie")])))
    (answer,) = pair.from_a()
    assert read(answer).verification_tag == 9
    assert chunks([answer], AbortChunk)[0].causes[0].code == causes.INVALID_MANDATORY_PARAMETER
    assert pair.a.state is S.COOKIE_WAIT
    assert pair.a_saw(AssociationLost) == []
    # A valid INIT ACK still establishes the association.
    pair.to_z(init)
    pair.exchange()
    assert pair.a.state is S.ESTABLISHED


def test_an_init_in_the_middle_of_a_packet_ends_its_processing() -> None:
    pair = Pair().establish()
    pair.send_z(b"tag")
    (datagram,) = pair.from_z()
    pair.to_a(datagram)
    tag_of_a = read(datagram).verification_tag
    pair.exchange()
    heartbeat = HeartbeatChunk(b"before")
    pair.to_a(packet(tag_of_a, heartbeat, InitChunk(5, 100_000, 10, 10, 1, []), HeartbeatChunk(b"behind")))
    assert [names(answer) for answer in pair.from_a()] == [["HeartbeatAck"]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"receive_window": 1499}, "receive_window"),
        ({"outbound_streams": 0}, "streams"),
        ({"inbound_streams": 0}, "streams"),
        ({"inbound_streams": 65536}, "streams"),
    ],
)
def test_options_that_every_peer_would_refuse_raise(options: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        changed(**options)


@pytest.mark.parametrize("ports", [{"local_port": 0}, {"remote_port": 0}, {"local_port": 65536}, {"remote_port": -1}])
def test_port_zero_raises(ports: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="the ports are"):
        changed(**ports)


def test_sack_delay_is_limited_to_half_a_second() -> None:
    assert changed(sack_delay=0.5).sack_delay == 0.5
    with pytest.raises(ValueError, match="sack_delay"):
        changed(sack_delay=0.501)


# -- data --------------------------------------------------------------------------------------------------------------


def test_ordered_messages_in_flight_never_exceed_the_sequence_numbers() -> None:
    pair = Pair(changed(initial_cwnd=1 << 30, max_burst=1 << 20, pacing=False)).establish()
    for _ in range(65_600):
        pair.send_a(b"x")
    sent = chunks(pair.from_a(), DataChunk)
    assert len(sent) == 65_535
    assert len({chunk.ssn for chunk in sent}) == 65_535
    pair.send_z(b"tag")
    (datagram,) = pair.from_z()
    pair.to_a(packet(read(datagram).verification_tag, SackChunk(sent[9].tsn, 1 << 24, [], [])))
    assert len(chunks(pair.from_a(), DataChunk)) == 10


def test_a_forward_tsn_with_a_new_tsn_is_sent_at_once() -> None:
    pair = Pair(changed(initial_cwnd=100_000, max_burst=50, rto_initial=10.0, rto_min=10.0)).establish()
    # A round trip takes a second.
    pair.send_a(b"measure")
    datagrams = pair.from_a()
    pair.to_z(*datagrams)
    pair.now += 1.0
    pair.to_a(*pair.from_z())
    assert pair.a.stats().srtt == pytest.approx(1.0)
    first = chunks(datagrams, DataChunk)[0].tsn + 1
    pair.send_z(b"tag")
    (datagram,) = pair.from_z()
    tag_of_a = read(datagram).verification_tag
    for limit in (0, None, 0, None):
        pair.send_a(bytes(1000), max_retransmissions=limit)
    assert len(chunks(pair.from_a(), DataChunk)) == 4
    # Only the last arrives: the first and the third are abandoned, the second is retransmitted.
    pair.now += 1.0
    pair.to_a(packet(tag_of_a, SackChunk((first - 1) & 0xFFFFFFFF, 1 << 20, [(4, 4)], [])))
    (forward,) = chunks(pair.expire_a(), ForwardTsnChunk)
    assert forward.new_cumulative_tsn == first & 0xFFFFFFFF
    # 10 ms later the second has arrived: the third can be skipped, too.
    pair.now += 0.01
    pair.to_a(packet(tag_of_a, SackChunk((first + 1) & 0xFFFFFFFF, 1 << 20, [(2, 2)], [])))
    (forward,) = chunks(pair.from_a(), ForwardTsnChunk)
    assert forward.new_cumulative_tsn == (first + 2) & 0xFFFFFFFF


# -- the path ----------------------------------------------------------------------------------------------------------


def test_a_path_that_answers_again_is_active_again() -> None:
    pair = Pair(changed(association_max_retrans=8, path_max_retrans=1)).establish()
    while not pair.a_saw(PathStatusChanged):
        pair.expire_a()
    heartbeat: list[bytes] = []
    while not heartbeat:
        heartbeat = pair.expire_a()
    pair.to_z(*heartbeat)
    pair.exchange()
    assert pair.a_saw(PathStatusChanged) == [
        PathStatusChanged(None, PathStatus.UNREACHABLE),
        PathStatusChanged(None, PathStatus.AVAILABLE),
    ]


def test_a_sack_for_abandoned_data_alone_clears_the_error_count() -> None:
    pair = Pair(changed(association_max_retrans=2, heartbeat_interval=0.0)).establish()
    for _ in range(6):
        pair.send_a(b"once", max_retransmissions=0)
        assert chunks(pair.from_a(), DataChunk)  # A -> DATA -> /lost/ Z
        while not (forward := pair.expire_a()):
            pass
        assert names(*forward) == ["ForwardTsn"]  # A -> FORWARD TSN -> Z, after T3-rtx; heartbeats are off
        pair.to_z(*forward)
        pair.to_a(*pair.from_z())
        pair.exchange()
    assert pair.a.state is S.ESTABLISHED
    assert pair.a_saw(AssociationLost) == []


@pytest.mark.parametrize("algorithm", ["cubic", "newreno", "adaptive"])
def test_a_path_change_resets_the_window_to_its_initial_value(algorithm: str) -> None:
    # RFC 9260, 7.2.5.2: "the congestion control parameters for the affected destination addresses MUST be reset to
    # their initial values."
    pair = Pair(changed(congestion_control=algorithm)).establish()
    initial = pair.a.stats()
    for _ in range(20):
        pair.send_a(bytes(20_000))
        pair.exchange()
    assert pair.a.stats().cwnd > initial.cwnd
    assert pair.a.stats().srtt is not None
    pair.send_a(b"on the way")
    on_the_way = pair.from_a()
    pair.a.path_changed(pair.now)
    stats = pair.a.stats()
    assert (stats.cwnd, stats.ssthresh, stats.srtt, stats.rto) == (initial.cwnd, initial.ssthresh, None, 1.0)
    pair.to_z(*on_the_way)
    pair.send_a(bytes(100_000))
    pair.exchange()
    pair.pass_time(5)
    assert pair.received_by_z()[-2:] == [b"on the way", bytes(100_000)]


def test_a_path_change_before_the_association_has_no_effect() -> None:
    pair = Pair()
    pair.a.path_changed(pair.now)
    pair.establish()


@pytest.mark.parametrize("unknown", [10, 40, 200])
def test_answers_one_packet_of_many_chunks_with_one_packet(unknown: int) -> None:
    # RFC 9260, 12.4: "the sender of the response chunk(s) MUST NOT send more than one packet containing chunks other
    # than DATA chunks."
    pair = Pair().establish()
    crammed = [
        HeartbeatChunk(b"x" * 500),
        HeartbeatChunk(b"y" * 700),
        *(UnknownChunk(0xC5, 0, bytes(unknown)) for _ in range(40)),
        *(ReconfigChunk([AddOutgoingStreamsRequest(number, 1)]) for number in range(5)),
    ]
    pair.to_z(packet(pair.z.local_tag, *crammed))
    (answer,) = pair.from_z()
    assert len(answer) <= 1200
    assert "HeartbeatAck" in names(answer)
    # The next packet is answered separately.
    pair.to_z(packet(pair.z.local_tag, HeartbeatChunk(b"x" * 500)))
    assert [names(datagram) for datagram in pair.from_z()] == [["HeartbeatAck"]]


def test_a_heartbeat_that_fills_its_packet_is_answered() -> None:
    pair = Pair().establish()
    heartbeat = HeartbeatChunk(bytes(1200 - 12 - 8))
    pair.to_z(packet(pair.z.local_tag, heartbeat))
    assert [names(datagram) for datagram in pair.from_z()] == [["HeartbeatAck"]]


def test_many_shutdown_acks_during_the_handshake_are_answered_once() -> None:
    pair = Pair()
    pair.a.connect(pair.now)
    pair.to_z(*pair.from_a())
    pair.to_a(*pair.from_z())
    pair.from_a()
    assert pair.a.state is S.COOKIE_ECHOED
    pair.to_a(packet(pair.a.local_tag, *([ShutdownAckChunk()] * 50)))
    assert [names(datagram) for datagram in pair.from_a()] == [["ShutdownComplete"]]


def test_sends_heartbeats_on_an_inactive_path_without_increasing_its_error_counter() -> None:
    # RFC 9260, 8.3: "After this, the endpoint SHOULD continue sending HEARTBEAT chunks on this destination address but
    # SHOULD stop increasing the counter."
    pair = Pair(changed(association_max_retrans=50, path_max_retrans=2)).establish()
    asked = 0
    while asked < 12:
        asked += [names(datagram) for datagram in pair.expire_a()] == [["Heartbeat"]]
    assert pair.a_saw(PathStatusChanged) == [PathStatusChanged(None, PathStatus.UNREACHABLE)]
    assert pair.a.stats().paths[0].error_count == 3
