"""Setting associations up: RFC 9260, sections 5.1 and 5.2, step by step. A and Z are the peers."""

from __future__ import annotations

import pytest

from datachan.sctp.association import Association
from datachan.sctp.errors import InvalidState, InvalidStream
from datachan.sctp.events import AssociationEstablished, AssociationLost, AssociationRestarted, RemoteError, SendFailed
from datachan.sctp.wire import causes
from datachan.sctp.wire.chunks import (
    AbortChunk,
    CookieAckChunk,
    CookieEchoChunk,
    DataChunk,
    ErrorChunk,
    InitAckChunk,
    InitChunk,
)
from datachan.sctp.wire.parameters import (
    CookiePreservative,
    HostNameAddress,
    StateCookie,
    UnknownParameter,
    UnrecognizedParameter,
    ZeroChecksumAcceptable,
)

from .sctp_pair import Pair, S, changed, chunks, entropy, names, packet, read


def test_four_packets_establish_an_association() -> None:
    pair = Pair()
    pair.a.connect(pair.now)
    # A -- INIT --> Z
    (init,) = pair.from_a()
    assert names(init) == ["Init"]
    assert read(init).verification_tag == 0
    assert pair.a.state is S.COOKIE_WAIT
    # A <-- INIT ACK -- Z
    pair.to_z(init)
    (init_ack,) = pair.from_z()
    assert names(init_ack) == ["InitAck"]
    assert read(init_ack).verification_tag == chunks([init], InitChunk)[0].initiate_tag
    assert pair.z.state is S.CLOSED
    # A -- COOKIE ECHO --> Z
    pair.to_a(init_ack)
    (cookie_echo,) = pair.from_a()
    assert names(cookie_echo) == ["CookieEcho"]
    assert pair.a.state is S.COOKIE_ECHOED
    # A <-- COOKIE ACK -- Z
    pair.to_z(cookie_echo)
    (cookie_ack,) = pair.from_z()
    assert names(cookie_ack) == ["CookieAck"]
    assert pair.z.state is S.ESTABLISHED
    pair.to_a(cookie_ack)
    assert pair.a.state is S.ESTABLISHED
    assert pair.a_saw(AssociationEstablished) == [AssociationEstablished(65535, 65535)]
    assert pair.z_saw(AssociationEstablished) == [AssociationEstablished(65535, 65535)]


def test_data_travels_with_the_cookie_echo() -> None:
    pair = Pair()
    pair.a.connect(pair.now)
    pair.send_a(b"early")
    pair.to_z(*pair.from_a())
    pair.to_a(*pair.from_z())
    (cookie_echo,) = pair.from_a()
    assert names(cookie_echo) == ["CookieEcho", "Data"]
    pair.to_z(cookie_echo)
    assert pair.received_by_z() == [b"early"]
    # RFC 9260, 5.1.5: the COOKIE ACK comes first, and the SACK at once.
    (answer,) = pair.from_z()
    assert names(answer) == ["CookieAck", "Sack"]


def test_sends_nothing_else_until_cookie_ack_arrives() -> None:
    pair = Pair()
    pair.a.connect(pair.now)
    pair.send_a(bytes(10_000))
    pair.to_z(*pair.from_a())
    pair.to_a(*pair.from_z())
    (cookie_echo,) = pair.from_a()
    pair.send_a(b"more")
    assert pair.from_a() == []
    pair.to_z(cookie_echo)
    pair.to_a(*pair.from_z())
    after = pair.from_a()
    assert after != []
    pair.to_z(*after)
    pair.exchange()
    assert pair.received_by_z() == [bytes(10_000), b"more"]


def test_keeps_no_state_of_an_init_until_the_cookie_returns() -> None:
    pair = Pair()
    before = pair.z.stats()
    for tag in range(1, 200):
        pair.to_z(packet(0, InitChunk(tag, 100_000, 10, 10, tag, [])))
        assert len(pair.from_z()) == 1
    after = pair.z.stats()
    assert (after.state, after.receive_buffered) == (before.state, before.receive_buffered)
    assert pair.z.next_timeout() is None


def test_negotiates_streams_down_to_the_number_the_peer_accepts() -> None:
    pair = Pair(changed(outbound_streams=100, inbound_streams=7), changed(outbound_streams=50, inbound_streams=20))
    pair.establish()
    assert (pair.a.outbound_streams, pair.a.inbound_streams) == (20, 7)
    assert (pair.z.outbound_streams, pair.z.inbound_streams) == (7, 20)
    with pytest.raises(InvalidStream, match="stream 20"):
        pair.send_a(b"x", stream_id=20)


def test_a_message_queued_on_a_stream_the_peer_does_not_accept_is_reported() -> None:
    pair = Pair(None, changed(inbound_streams=5))
    pair.a.connect(pair.now)
    pair.send_a(b"too far", stream_id=9, context="mine")
    pair.send_a(b"fine", stream_id=4)
    pair.exchange()
    (failure,) = pair.a_saw(SendFailed)
    assert (failure.stream_id, failure.context, failure.sent) == (9, "mine", False)
    assert pair.received_by_z() == [b"fine"]


def test_retransmits_init_with_backoff_and_then_gives_up() -> None:
    pair = Pair(changed(max_init_retransmits=3, rto_initial=1.0, rto_max=3.0))
    pair.a.connect(pair.now)
    pair.send_a(b"never")
    start = pair.now
    (first,) = chunks(pair.from_a(), InitChunk)
    moments = []
    for _ in range(3):
        (again,) = chunks(pair.expire_a(), InitChunk)
        assert (again.initiate_tag, again.initial_tsn) == (first.initiate_tag, first.initial_tsn)
        assert (again.a_rwnd, again.outbound_streams) == (first.a_rwnd, first.outbound_streams)
        moments.append(pair.now - start)
    assert moments == [1.0, 3.0, 6.0]
    assert pair.expire_a() == []
    assert pair.a.state is S.CLOSED
    assert [event.reason for event in pair.a_saw(AssociationLost)] == ["the peer did not answer the handshake"]
    assert len(pair.a_saw(SendFailed)) == 1
    assert pair.a.next_timeout() is None


def test_cookie_echo_is_sent_again_with_its_data() -> None:
    pair = Pair()
    pair.a.connect(pair.now)
    pair.send_a(b"bundled")
    pair.to_z(*pair.from_a())
    pair.to_a(*pair.from_z())
    lost = pair.from_a()
    again = pair.expire_a()
    assert [names(datagram) for datagram in again] == [["CookieEcho", "Data"]]
    first, second = chunks(lost, DataChunk)[0], chunks(again, DataChunk)[0]
    assert (second.tsn, second.data) == (first.tsn, first.data)
    # Its SACK is wanted at once.
    assert second.immediate
    pair.to_z(*again)
    pair.exchange()
    assert pair.received_by_z() == [b"bundled"]


def test_a_lost_cookie_ack_is_repaired_by_the_next_cookie_echo() -> None:
    pair = Pair()
    pair.a.connect(pair.now)
    pair.to_z(*pair.from_a())
    pair.to_a(*pair.from_z())
    pair.to_z(*pair.from_a())
    pair.from_z()  # A /lost/ <- COOKIE ACK <- Z
    pair.to_z(*pair.expire_a())
    assert names(pair.from_z()[0]) == ["CookieAck"]
    assert len(pair.z_saw(AssociationEstablished)) == 1


def test_both_sides_may_connect_at_once() -> None:
    pair = Pair()
    pair.a.connect(pair.now)
    pair.z.connect(pair.now)
    pair.send_a(b"from A")
    pair.send_z(b"from Z")
    pair.exchange()
    assert (pair.a.state, pair.z.state) == (S.ESTABLISHED, S.ESTABLISHED)
    assert len(pair.a_saw(AssociationEstablished)) == len(pair.z_saw(AssociationEstablished)) == 1
    assert (pair.received_by_z(), pair.received_by_a()) == ([b"from A"], [b"from Z"])


def test_a_collision_in_which_both_inits_cross_and_one_answer_is_lost() -> None:
    pair = Pair()
    pair.a.connect(pair.now)
    pair.z.connect(pair.now)
    init_a, init_z = pair.from_a(), pair.from_z()
    pair.to_a(*init_z)
    pair.to_z(*init_a)
    pair.from_a()  # A -- INIT ACK --> /lost/ Z
    pair.to_a(*pair.from_z())
    pair.exchange()
    pair.pass_time(5)
    assert (pair.a.state, pair.z.state) == (S.ESTABLISHED, S.ESTABLISHED)
    pair.send_z(b"works")
    pair.exchange()
    assert pair.received_by_a() == [b"works"]


def test_data_bundled_with_the_cookie_ack_is_delivered_at_once() -> None:
    pair = Pair()
    pair.a.connect(pair.now)
    pair.to_z(*pair.from_a())
    pair.to_a(*pair.from_z())
    pair.to_z(*pair.from_a())
    pair.z.send(1, b"early", ppid=51, now=pair.now)
    answer = pair.from_z()
    assert [names(datagram) for datagram in answer] == [["CookieAck", "Data"]]
    pair.to_a(*answer)
    pair.collect()
    assert pair.received_by_a() == [b"early"]


def test_an_init_in_cookie_wait_is_answered_with_the_parameters_of_our_own() -> None:
    pair = Pair()
    pair.a.connect(pair.now)
    init = chunks(pair.from_a(), InitChunk)[0]
    pair.to_a(packet(0, InitChunk(77, 100_000, 10, 10, 5, [])))
    (answer,) = chunks(pair.from_a(), InitAckChunk)
    assert (answer.initiate_tag, answer.initial_tsn) == (init.initiate_tag, init.initial_tsn)
    assert pair.a.state is S.COOKIE_WAIT


def test_sets_the_association_up_again_for_a_peer_that_restarts() -> None:
    pair = Pair().establish()
    pair.send_a(b"before")
    pair.exchange()
    pair.send_z(b"lost with the old A")
    pair.from_z()
    # A loses its state.
    pair.a = Association(pair.options, entropy(4711))
    pair.a.connect(pair.now)
    pair.exchange()
    assert pair.a.state is S.ESTABLISHED
    assert len(pair.z_saw(AssociationRestarted)) == 1
    assert [event.reason for event in pair.z_saw(SendFailed)] == ["the peer restarted the association"]
    pair.send_a(b"after")
    pair.send_z(b"to the new A")
    pair.exchange()
    assert pair.received_by_z() == [b"before", b"after"]
    assert pair.received_by_a() == [b"to the new A"]


def test_an_unexpected_init_alone_changes_nothing() -> None:
    pair = Pair().establish()
    pair.to_z(packet(0, InitChunk(99, 100_000, 10, 10, 5, [])))
    (answer,) = pair.from_z()
    assert names(answer) == ["InitAck"]
    assert read(answer).verification_tag == 99
    pair.send_a(b"still here")
    pair.exchange()
    assert pair.received_by_z() == [b"still here"]


def test_a_stale_cookie_is_refused_and_a_new_one_requested() -> None:
    pair = Pair(changed(valid_cookie_life=5.0))
    pair.a.connect(pair.now)
    pair.send_a(b"patience")
    pair.to_z(*pair.from_a())
    pair.to_a(*pair.from_z())
    cookie_echo = pair.from_a()
    pair.now += 5.5
    pair.to_z(*cookie_echo)
    (refusal,) = pair.from_z()
    (error,) = chunks([refusal], ErrorChunk)
    assert error.causes[0].code == causes.STALE_COOKIE
    assert int.from_bytes(error.causes[0].info, "big") == pytest.approx(500_000, abs=2)
    pair.to_a(refusal)
    (init,) = chunks(pair.from_a(), InitChunk)
    assert any(isinstance(parameter, CookiePreservative) for parameter in init.parameters)
    pair.to_z(packet(0, init))
    pair.exchange()
    assert (pair.a.state, pair.z.state) == (S.ESTABLISHED, S.ESTABLISHED)
    assert pair.received_by_z() == [b"patience"]


def test_a_cookie_that_stays_stale_ends_the_attempt() -> None:
    pair = Pair(changed(valid_cookie_life=5.0))
    pair.a.connect(pair.now)
    for _ in range(2):
        pair.to_z(*pair.from_a())
        pair.to_a(*pair.from_z())
        late = pair.from_a()
        pair.now += 60
        pair.to_z(*late)
        pair.to_a(*pair.from_z())
    assert pair.a.state is S.CLOSED
    assert pair.a_saw(AssociationLost)[0].cause_code == causes.STALE_COOKIE


def test_a_stale_cookie_that_matches_the_association_is_accepted() -> None:
    pair = Pair(changed(valid_cookie_life=5.0))
    pair.a.connect(pair.now)
    pair.to_z(*pair.from_a())
    pair.to_a(*pair.from_z())
    cookie_echo = pair.from_a()
    pair.to_z(*cookie_echo)
    pair.from_z()
    pair.now += 100
    pair.to_z(*cookie_echo)
    assert names(pair.from_z()[0]) == ["CookieAck"]


def test_ignores_forged_and_foreign_cookies() -> None:
    pair = Pair()
    pair.a.connect(pair.now)
    pair.to_z(*pair.from_a())
    pair.to_a(*pair.from_z())
    (cookie_echo,) = pair.from_a()
    good = read(cookie_echo)
    cookie = good.chunks[0].cookie  # type: ignore[attr-defined]
    for i in range(len(cookie)):
        forged = cookie[:i] + bytes([cookie[i] ^ 1]) + cookie[i + 1 :]
        pair.to_z(packet(good.verification_tag, CookieEchoChunk(forged)))
    pair.to_z(packet(good.verification_tag, CookieEchoChunk(cookie[:-1])))
    pair.to_z(packet(good.verification_tag, CookieEchoChunk(b"")))
    # RFC 9260, 5.1.5, step 3: ports and Verification Tag must be those of the packet.
    pair.to_z(packet(good.verification_tag ^ 1, CookieEchoChunk(cookie)))
    assert pair.from_z() == []
    assert pair.z.state is S.CLOSED
    pair.to_z(cookie_echo)
    assert pair.z.state is S.ESTABLISHED


@pytest.mark.parametrize(
    ("init", "code"),
    [
        (InitChunk(5, 100_000, 0, 10, 1, []), causes.INVALID_MANDATORY_PARAMETER),
        (InitChunk(5, 100_000, 10, 0, 1, []), causes.INVALID_MANDATORY_PARAMETER),
        (InitChunk(5, 1499, 10, 10, 1, []), causes.INVALID_MANDATORY_PARAMETER),
        (InitChunk(5, 100_000, 10, 10, 1, [HostNameAddress(b"example.org\0")]), causes.UNRESOLVABLE_ADDRESS),
    ],
)
def test_an_unacceptable_init_is_refused_with_its_cause(init: InitChunk, code: int) -> None:
    pair = Pair()
    pair.to_z(packet(0, init))
    (answer,) = pair.from_z()
    assert read(answer).verification_tag == 5
    (abort,) = chunks([answer], AbortChunk)
    assert (abort.causes[0].code, abort.tag_reflected) == (code, False)
    assert pair.z.state is S.CLOSED


def test_an_init_with_tag_zero_or_bundled_with_chunks_is_discarded() -> None:
    pair = Pair()
    init = InitChunk(5, 100_000, 10, 10, 1, [])
    pair.to_z(packet(0, InitChunk(0, 100_000, 10, 10, 1, [])))
    pair.to_z(packet(0, init, CookieAckChunk()))
    pair.to_z(packet(7, init))
    assert pair.from_z() == []


def test_an_init_ack_without_cookie_ends_the_attempt_with_its_cause() -> None:
    pair = Pair()
    pair.a.connect(pair.now)
    tag = chunks(pair.from_a(), InitChunk)[0].initiate_tag
    pair.to_a(packet(tag, InitAckChunk(9, 100_000, 10, 10, 1, [])))
    (answer,) = pair.from_a()
    assert read(answer).verification_tag == 9
    assert chunks([answer], AbortChunk)[0].causes[0].code == causes.MISSING_MANDATORY_PARAMETER
    assert pair.a_saw(AssociationLost)[0].cause_code == causes.MISSING_MANDATORY_PARAMETER


def test_unknown_parameters_are_skipped_and_reported_as_their_high_bits_require() -> None:
    pair = Pair()
    report, silent = UnknownParameter(0xFFF0, b"report"), UnknownParameter(0xBFF0, b"silent")
    pair.to_z(packet(0, InitChunk(5, 100_000, 10, 10, 1, [silent, report])))
    (answer,) = chunks(pair.from_z(), InitAckChunk)
    reported = [parameter for parameter in answer.parameters if isinstance(parameter, UnrecognizedParameter)]
    assert [parameter.parameter for parameter in reported] == [report.serialize()]


def test_unknown_parameters_of_an_init_ack_are_reported_with_the_cookie_echo() -> None:
    pair = Pair()
    pair.a.connect(pair.now)
    tag = chunks(pair.from_a(), InitChunk)[0].initiate_tag
    unknown = UnknownParameter(0xFFF0, b"what is this")
    pair.to_a(packet(tag, InitAckChunk(9, 100_000, 10, 10, 1, [StateCookie(b"cookie"), unknown])))
    (answer,) = pair.from_a()
    assert names(answer) == ["CookieEcho", "Error"]
    assert chunks([answer], ErrorChunk)[0].causes[0].code == causes.UNRECOGNIZED_PARAMETERS


def test_zero_checksums_are_used_only_towards_a_peer_that_announced_them_and_never_with_a_cookie() -> None:
    pair = Pair(changed(zero_checksum=True))
    pair.a.connect(pair.now)
    pair.send_a(b"x")
    (init,) = pair.from_a()
    assert init[8:12] != bytes(4)
    assert any(isinstance(p, ZeroChecksumAcceptable) for p in chunks([init], InitChunk)[0].parameters)
    pair.to_z(init)
    (init_ack,) = pair.from_z()
    assert init_ack[8:12] != bytes(4)
    pair.to_a(init_ack)
    (cookie_echo,) = pair.from_a()
    assert cookie_echo[8:12] != bytes(4)
    pair.to_z(cookie_echo)
    (cookie_ack,) = pair.from_z()
    assert cookie_ack[8:12] == bytes(4)
    pair.to_a(cookie_ack)
    pair.send_a(b"y")
    (data,) = pair.from_a()
    assert data[8:12] == bytes(4)


def test_without_the_peers_announcement_every_checksum_is_right_and_a_zero_one_is_refused() -> None:
    pair = Pair(changed(zero_checksum=True), changed(zero_checksum=False)).establish()
    pair.send_a(b"x")
    (data,) = pair.from_a()
    assert data[8:12] != bytes(4)
    pair.to_z(data[:8] + bytes(4) + data[12:])
    assert pair.received_by_z() == []
    pair.to_z(data)
    assert pair.received_by_z() == [b"x"]


def test_connecting_twice_raises() -> None:
    pair = Pair().establish()
    with pytest.raises(InvalidState, match="established"):
        pair.a.connect(pair.now)


def test_an_error_chunk_of_the_peer_only_causes_an_event() -> None:
    pair = Pair().establish()
    tag = read_tag_of(pair)
    pair.to_z(packet(tag, ErrorChunk([causes.invalid_stream_identifier(3)])))
    (error,) = pair.z_saw(RemoteError)
    assert (error.cause_code, error.by_peer) == (causes.INVALID_STREAM_IDENTIFIER, True)
    assert pair.z.state is S.ESTABLISHED


def read_tag_of(pair: Pair) -> int:
    """Return the Verification Tag that Z expects."""
    pair.send_a(b"probe")
    datagrams = pair.from_a()
    pair.to_z(*datagrams)
    pair.exchange()
    return read(datagrams[0]).verification_tag


# -- the first round trips ---------------------------------------------------------------------------------------------


def walk(pair: Pair, lost: int | None = None) -> None:
    """Run the handshake over a path of 30 ms in each direction; lose A's packet number `lost` (0 or 1) once."""
    pair.a.connect(pair.now)
    # A repeated INIT has no optional parameters; a later INIT offers them again.
    for step in range(3 if lost == 0 else 2):
        datagrams = pair.from_a()
        if step == lost:
            datagrams = pair.expire_a()
        pair.now += 0.03
        pair.to_z(*datagrams)
        datagrams = pair.from_z()
        pair.now += 0.03
        pair.to_a(*datagrams)
    assert pair.a.state is pair.z.state is S.ESTABLISHED


def test_the_handshake_measures_the_round_trip_on_both_sides() -> None:
    # RFC 9260, 8.3: "that can be used for updating path RTT (usually including first transmission DATA, INIT, COOKIE
    # ECHO, or HEARTBEAT chunks, etc.)"
    pair = Pair()
    walk(pair)
    assert pair.a.stats().srtt == pytest.approx(0.06)
    assert pair.z.stats().srtt == pytest.approx(0.06)


@pytest.mark.parametrize("lost", [0, 1])
def test_a_retransmitted_handshake_chunk_measures_no_round_trip(lost: int) -> None:
    # RFC 9260, 6.3.1, C5: "Karn's algorithm: RTT measurements MUST NOT be made using chunks that were retransmitted
    # (and thus for which it is ambiguous whether the reply was for the first instance of the chunk or for a later
    # instance)."
    pair = Pair()
    walk(pair, lost)
    # The chunk that was not lost measures the path for A. Z cannot see that a COOKIE ECHO is a retransmission, except
    # by the age of its cookie, which is longer than the T1-cookie timer.
    assert pair.a.stats().srtt == pytest.approx(0.06)
    assert pair.z.stats().srtt == (None if lost == 1 else pytest.approx(0.06))


def test_starts_t3_rtx_for_data_sent_with_cookie_echo_after_cookie_ack() -> None:
    pair = Pair(changed(rto_min=0.1))
    pair.send_a(b"early")
    pair.a.connect(pair.now)
    pair.to_z(*pair.from_a())
    pair.now += 0.05
    pair.to_a(*pair.from_z())
    pair.from_a()
    # The path is measured at 50 ms, but COOKIE ECHO and its DATA wait for T1-cookie.
    assert pair.a.next_timeout() == pytest.approx(pair.now + 1.0)
    again = pair.expire_a()
    assert [names(datagram) for datagram in again] == [["CookieEcho", "Data"]]
    assert pair.a.stats().cwnd == 4404
    pair.to_z(*again)
    answers = pair.from_z()
    # COOKIE ACK arrives without the SACK: T3-rtx runs for the DATA.
    pair.to_a(packet(pair.a.local_tag, CookieAckChunk()))
    moment = pair.a.next_timeout()
    assert moment is not None
    assert moment - pair.now < 0.5
    pair.to_a(*answers)
    pair.exchange()
    assert pair.received_by_z() == [b"early"]
