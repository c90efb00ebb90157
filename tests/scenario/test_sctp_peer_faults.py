"""Answers to the packets of a faulty peer, at any size that UDP or DTLS carries; peers that no longer answer."""

from __future__ import annotations

import pytest

from datachan.sctp import AssociationLost
from datachan.sctp.wire import causes
from datachan.sctp.wire.chunks import (
    AbortChunk,
    CookieEchoChunk,
    DataChunk,
    HeartbeatAckChunk,
    HeartbeatChunk,
    InitAckChunk,
    InitChunk,
    ShutdownChunk,
)
from datachan.sctp.wire.extensions import ForwardTsnChunk, ReconfigChunk
from datachan.sctp.wire.parameters import (
    FORWARD_TSN_SUPPORTED,
    HostNameAddress,
    IncomingSsnResetRequest,
    ReconfigResponse,
    StateCookie,
    UnknownParameter,
    UnrecognizedParameter,
)

from .sctp_pair import Pair, S, changed, chunks, names, packet, read

REPORTED = 0xC123
"""The type of an unknown parameter that asks for a report."""


def init(*parameters: object) -> InitChunk:
    return InitChunk(5, 100_000, 10, 10, 1, list(parameters))  # type: ignore[arg-type]


# -- echoed bytes are bounded ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [400, 16_300, 65_000])
def test_an_init_with_one_long_unknown_parameter_is_answered_with_one_packet(length: int) -> None:
    pair = Pair()
    pair.to_z(packet(0, init(UnknownParameter(REPORTED, bytes(length)))))
    (answer,) = pair.from_z()
    assert len(answer) <= 1200
    reports = [p for p in chunks([answer], InitAckChunk)[0].parameters if isinstance(p, UnrecognizedParameter)]
    assert len(reports) == (1 if length == 400 else 0)


def test_an_init_full_of_short_unknown_parameters_is_answered_in_one_packet() -> None:
    pair = Pair()
    pair.to_z(packet(0, init(*(UnknownParameter(REPORTED, bytes(4)) for _ in range(8000)))))
    (answer,) = pair.from_z()
    assert len(answer) <= 1200
    assert chunks([answer], InitAckChunk)


@pytest.mark.parametrize("length", [16, 65_000])
def test_a_host_name_is_refused_at_any_length(length: int) -> None:
    pair = Pair()
    pair.to_z(packet(0, init(HostNameAddress(b"x" * length))))
    (answer,) = pair.from_z()
    assert len(answer) <= 1200
    assert chunks([answer], AbortChunk)[0].causes[0].code == causes.UNRESOLVABLE_ADDRESS


def test_an_init_ack_with_a_long_unknown_parameter_is_still_accepted() -> None:
    pair = Pair()
    pair.a.connect(pair.now)
    tag = chunks(pair.from_a(), InitChunk)[0].initiate_tag
    ack = InitAckChunk(9, 100_000, 10, 10, 1, [StateCookie(b"cookie"), UnknownParameter(REPORTED, bytes(60_000))])
    pair.to_a(packet(tag, ack))
    (echo,) = pair.from_a()
    assert names(echo) == ["CookieEcho"]


# -- malformed and unsupported parameters ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value"), [(FORWARD_TSN_SUPPORTED, bytes(4)), (5, bytes(3)), (9, bytes(6)), (12, b"x")]
)
def test_an_init_with_a_malformed_parameter_is_refused_with_its_cause(kind: int, value: bytes) -> None:
    pair = Pair()
    pair.to_z(packet(0, init(UnknownParameter(kind, value))))
    (answer,) = pair.from_z()
    assert read(answer).verification_tag == 5
    assert chunks([answer], AbortChunk)[0].causes[0].code == causes.PROTOCOL_VIOLATION


def test_an_init_ack_with_a_malformed_parameter_ends_the_attempt_with_its_cause() -> None:
    pair = Pair()
    pair.a.connect(pair.now)
    tag = chunks(pair.from_a(), InitChunk)[0].initiate_tag
    ack = InitAckChunk(
        9, 100_000, 10, 10, 1, [StateCookie(b"cookie"), UnknownParameter(FORWARD_TSN_SUPPORTED, b"long")]
    )
    pair.to_a(packet(tag, ack))
    (answer,) = pair.from_a()
    assert read(answer).verification_tag == 9
    assert chunks([answer], AbortChunk)[0].causes[0].code == causes.PROTOCOL_VIOLATION
    assert pair.a.state is S.CLOSED


def test_forward_tsn_supported_is_reported_where_partial_reliability_is_off() -> None:
    pair = Pair(changed(), changed(partial_reliability=False))
    pair.a.connect(pair.now)
    (from_a,) = pair.from_a()
    pair.to_z(from_a)
    (answer,) = pair.from_z()
    reports = [p for p in chunks([answer], InitAckChunk)[0].parameters if isinstance(p, UnrecognizedParameter)]
    assert [int.from_bytes(report.parameter[:2], "big") for report in reports] == [FORWARD_TSN_SUPPORTED]
    pair.to_a(answer)
    pair.exchange()
    assert (pair.a.state, pair.z.state) == (S.ESTABLISHED, S.ESTABLISHED)


def test_the_abort_for_an_init_ack_with_tag_zero_has_a_cause() -> None:
    pair = Pair()
    pair.a.connect(pair.now)
    tag = chunks(pair.from_a(), InitChunk)[0].initiate_tag
    pair.to_a(packet(tag, InitAckChunk(0, 100_000, 10, 10, 1, [StateCookie(b"cookie")])))
    (abort,) = chunks(pair.from_a(), AbortChunk)
    assert abort.causes[0].code == causes.INVALID_MANDATORY_PARAMETER
    assert pair.a_saw(AssociationLost)[0].cause_code == causes.INVALID_MANDATORY_PARAMETER


# -- heartbeats --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1180, 4000, 16_000])
def test_a_heartbeat_longer_than_our_packets_is_answered_unchanged(length: int) -> None:
    pair = Pair().establish()
    pair.to_z(packet(pair.z.local_tag, HeartbeatChunk(bytes(length))))
    (answer,) = pair.from_z()
    assert [ack.info for ack in chunks([answer], HeartbeatAckChunk)] == [bytes(length)]


def test_sends_no_heartbeat_while_heartbeats_are_off() -> None:
    pair = Pair(changed(heartbeat_interval=0.0, rto_min=1.0)).establish()
    sent = []
    pair.send_a(b"lost")
    sent += pair.from_a()  # A -> DATA -> /lost/ Z
    for _ in range(4):
        sent += pair.expire_a()  # T3-rtx backs off; the RTO is not measured by a HEARTBEAT
    assert chunks(sent, DataChunk)
    assert chunks(sent, HeartbeatChunk) == []


# -- FORWARD TSN -------------------------------------------------------------------------------------------------------


def test_forward_tsn_travels_before_new_data_in_the_same_packet() -> None:
    pair = Pair().establish()
    pair.send_a(b"old", lifetime=0.05)
    pair.from_a()  # A -> DATA -> /lost/ Z
    pair.expire_a()  # the tail loss probe, also lost
    pair.now += 2.0
    pair.a.handle_timeout(pair.now)
    pair.send_a(b"new")
    (datagram,) = pair.from_a()
    sent = [name for name in names(datagram) if name != "Heartbeat"]
    assert sent == ["ForwardTsn", "Data"]


def test_an_unacknowledged_forward_tsn_does_not_delay_small_messages() -> None:
    pair = Pair(changed(delay_small_packets=True, heartbeat_interval=0.0)).establish()
    pair.send_a(b"old", max_retransmissions=0)
    pair.from_a()  # A -> DATA -> /lost/ Z
    while not chunks(pair.expire_a(), ForwardTsnChunk):
        pass  # A -> FORWARD TSN -> /lost/ Z
    pair.send_a(b"new")
    assert [chunk.data for chunk in chunks(pair.from_a(), DataChunk)] == [b"new"]


# -- every re-configuration request has an answer ----------------------------------------------------------------------


def test_a_reset_request_during_the_shutdown_is_answered() -> None:
    pair = Pair().establish()
    pair.send_z(b"data")
    pair.exchange()
    pair.z.shutdown(pair.now)
    pair.from_z()  # Z -> SHUTDOWN -> /lost/ A
    assert pair.z.state is S.SHUTDOWN_SENT
    number = request_number(pair)
    pair.to_z(packet(pair.z.local_tag, ReconfigChunk([IncomingSsnResetRequest(number, (1,))])))
    answers = [p for chunk in chunks(pair.from_z(), ReconfigChunk) for p in chunk.parameters]
    assert [p.response_sequence_number for p in answers if isinstance(p, ReconfigResponse)] == [number]


def request_number(pair: Pair) -> int:
    """Return the next request number that Z expects from A: A's Initial TSN, as long as A made no request."""
    pair.a.send(3, b"x", ppid=51, now=pair.now)
    data = chunks(pair.from_a(), DataChunk)
    return int(data[0].tsn)


# -- peers that no longer answer ---------------------------------------------------------------------------------------


def test_an_association_that_gives_up_sends_abort() -> None:
    pair = Pair(changed(association_max_retrans=2, heartbeat_interval=0.0)).establish()
    pair.send_a(b"unanswered")
    last = pair.from_a()
    while pair.a.state is not S.CLOSED:
        last = pair.expire_a()  # A -> DATA -> Z, whose answers are lost
    assert names(last[-1]) == ["Abort"]
    pair.to_z(last[-1])
    assert pair.z.state is S.CLOSED
    assert not pair.a_saw(AssociationLost)[0].by_peer


def test_an_unanswered_shutdown_ends_with_an_abort() -> None:
    pair = Pair(changed(association_max_retrans=2)).establish()
    pair.a.shutdown(pair.now)
    assert chunks(pair.from_a(), ShutdownChunk)
    last: list[bytes] = []
    while pair.a.state is not S.CLOSED:
        last = pair.expire_a()
    assert names(last[-1]) == ["Abort"]


def test_an_unanswered_cookie_echo_ends_with_an_abort() -> None:
    pair = Pair(changed(max_init_retransmits=2))
    pair.a.connect(pair.now)
    pair.to_z(*pair.from_a())
    pair.to_a(*pair.from_z())
    assert chunks(pair.from_a(), CookieEchoChunk)
    last: list[bytes] = []
    while pair.a.state is not S.CLOSED:
        last = pair.expire_a()
    assert names(last[-1]) == ["Abort"]
