"""The rest of RFC 6525: resets that the receiver requests, SSN/TSN resets, added streams, and requests that cross."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from datachan.sctp.errors import InvalidState, InvalidStream
from datachan.sctp.events import (
    AssociationReset,
    IncomingStreamsReset,
    OutgoingStreamsReset,
    ReconfigurationFailed,
    ReconfigurationKind,
    StreamsAdded,
)
from datachan.sctp.wire import causes
from datachan.sctp.wire.chunks import DataChunk, ErrorChunk
from datachan.sctp.wire.extensions import ReconfigChunk
from datachan.sctp.wire.parameters import (
    AddIncomingStreamsRequest,
    AddOutgoingStreamsRequest,
    IncomingSsnResetRequest,
    OutgoingSsnResetRequest,
    Parameter,
    ReconfigResponse,
    SsnTsnResetRequest,
    UnknownParameter,
)

from .sctp_pair import Pair, S, changed, chunks, packet, read


def parameters(datagrams: list[bytes], kind: type) -> list:
    return [p for chunk in chunks(datagrams, ReconfigChunk) for p in chunk.parameters if isinstance(p, kind)]


def results(datagrams: list[bytes]) -> list[int]:
    return [response.result for response in parameters(datagrams, ReconfigResponse)]


# -- resets that the receiver requests ---------------------------------------------------------------------------------


def test_the_receiver_can_request_a_stream_reset() -> None:
    pair = Pair().establish()
    for stream_id in (1, 2):
        pair.send_z(b"old", stream_id=stream_id)
    pair.exchange()
    pair.a.request_stream_resets([1, 2], pair.now)
    # A -- RE-CONFIG [Incoming SSN Reset Request] --> Z
    asked = pair.from_a()
    (request,) = parameters(asked, IncomingSsnResetRequest)
    pair.to_z(*asked)
    # A <-- RE-CONFIG [Outgoing SSN Reset Request] -- Z: it is the answer
    answer = pair.from_z()
    (reset,) = parameters(answer, OutgoingSsnResetRequest)
    assert reset.response_sequence_number == request.request_sequence_number
    assert set(reset.stream_ids) == {1, 2}
    pair.to_a(*answer)
    pair.exchange()
    assert pair.a_saw(IncomingStreamsReset) == [IncomingStreamsReset((1, 2))]
    assert pair.z_saw(OutgoingStreamsReset) == [OutgoingStreamsReset((1, 2))]
    pair.send_z(b"new", stream_id=1)
    datagrams = pair.from_z()
    assert chunks(datagrams, DataChunk)[0].ssn == 0


def test_a_request_for_all_streams_resets_those_that_were_used() -> None:
    pair = Pair().establish()
    for stream_id in (3, 9):
        pair.send_z(b"x", stream_id=stream_id)
    pair.exchange()
    pair.a.request_stream_resets([], pair.now)
    pair.exchange()
    assert set(pair.a_saw(IncomingStreamsReset)[0].stream_ids) == {3, 9}


def test_unused_streams_need_no_reset() -> None:
    pair = Pair().establish()
    pair.a.request_stream_resets([5], pair.now)
    pair.to_z(*pair.from_a())
    answer = pair.from_z()
    assert results(answer) == [0]
    pair.to_a(*answer)
    assert pair.a_saw(IncomingStreamsReset) == []


def test_sends_queued_data_before_the_requested_reset() -> None:
    pair = Pair().establish()
    pair.send_z(b"x", stream_id=1)
    pair.exchange()
    pair.send_z(bytes(30_000), stream_id=1)
    pair.a.request_stream_resets([1], pair.now)
    pair.exchange()
    pair.pass_time(5)
    assert pair.received_by_a() == [b"x", bytes(30_000)]
    order = [type(event).__name__ for event in pair.a_events]
    assert order.index("IncomingStreamsReset") > order.index("MessageReceived") + 1


def test_repeats_a_lost_response() -> None:
    pair = Pair().establish()
    pair.send_z(b"x", stream_id=1)
    pair.exchange()
    pair.a.request_stream_resets([1], pair.now)
    pair.to_z(*pair.from_a())
    pair.from_z()  # A /lost/ <- RE-CONFIG <- Z
    pair.pass_time(20)
    assert pair.a_saw(IncomingStreamsReset) == [IncomingStreamsReset((1,))]
    assert pair.a_saw(ReconfigurationFailed) == []


def test_a_reset_request_that_crosses_the_reset_itself_succeeds() -> None:
    pair = Pair().establish()
    pair.send_z(b"x", stream_id=1)
    pair.exchange()
    pair.z.reset_streams([1], pair.now)
    pair.a.request_stream_resets([1], pair.now)
    from_a, from_z = pair.from_a(), pair.from_z()
    pair.to_z(*from_a)
    pair.to_a(*from_z)
    pair.exchange()
    assert pair.a_saw(IncomingStreamsReset) == [IncomingStreamsReset((1,))]
    assert pair.a_saw(ReconfigurationFailed) == []


def test_both_sides_may_request_resets_at_the_same_time() -> None:
    pair = Pair().establish()
    pair.send_a(b"x", stream_id=1)
    pair.send_z(b"y", stream_id=2)
    pair.exchange()
    pair.a.request_stream_resets([2], pair.now)
    pair.z.request_stream_resets([1], pair.now)
    pair.exchange()
    pair.pass_time(10)
    assert pair.a_saw(IncomingStreamsReset) == [IncomingStreamsReset((2,))]
    assert pair.z_saw(IncomingStreamsReset) == [IncomingStreamsReset((1,))]


def test_streams_that_do_not_exist_are_refused() -> None:
    pair = Pair(changed(inbound_streams=100), changed(outbound_streams=100)).establish()
    pair.send_z(b"tag")
    (datagram,) = pair.from_z()
    pair.to_a(datagram)
    pair.send_a(b"x")
    datagrams = pair.from_a()
    tag, tsn = read(datagrams[0]).verification_tag, chunks(datagrams, DataChunk)[0].tsn
    pair.to_z(packet(tag, ReconfigChunk([IncomingSsnResetRequest(tsn, (100,))])))
    assert results(pair.from_z()) == [2]
    with pytest.raises(InvalidStream):
        pair.a.request_stream_resets([100], pair.now)


# -- SSN/TSN reset -----------------------------------------------------------------------------------------------------


def test_restarts_tsns_and_ssns_on_both_sides() -> None:
    pair = Pair().establish()
    pair.send_a(b"a", stream_id=1)
    pair.send_z(b"z", stream_id=1)
    pair.exchange()
    pair.pass_time(1)
    pair.a.reset_tsns(pair.now)
    asked = pair.from_a()
    assert len(parameters(asked, SsnTsnResetRequest)) == 1
    pair.to_z(*asked)
    answer = pair.from_z()
    (response,) = parameters(answer, ReconfigResponse)
    pair.to_a(*answer)
    (reset,) = pair.a_saw(AssociationReset)
    assert (reset.local_tsn, reset.peer_tsn) == (response.receiver_next_tsn, response.sender_next_tsn)
    (other,) = pair.z_saw(AssociationReset)
    assert (other.local_tsn, other.peer_tsn) == (reset.peer_tsn, reset.local_tsn)
    pair.send_a(b"a2", stream_id=1)
    pair.send_z(b"z2", stream_id=1)
    datagrams = pair.from_a()
    assert (chunks(datagrams, DataChunk)[0].tsn, chunks(datagrams, DataChunk)[0].ssn) == (reset.local_tsn, 0)
    pair.to_z(*datagrams)
    pair.exchange()
    assert pair.received_by_z() == [b"a", b"a2"]
    assert pair.received_by_a() == [b"z", b"z2"]


def test_a_tsn_reset_waits_until_everything_is_acknowledged_and_holds_new_data_back() -> None:
    pair = Pair().establish()
    pair.send_a(b"in flight")
    data = pair.from_a()
    pair.a.reset_tsns(pair.now)
    pair.send_a(b"later")
    assert pair.from_a() == []
    pair.to_z(*data)
    pair.exchange()
    pair.pass_time(2)
    assert pair.received_by_z() == [b"in flight", b"later"]
    assert len(pair.a_saw(AssociationReset)) == 1


def test_a_message_half_sent_is_sent_from_its_start_after_a_tsn_reset() -> None:
    pair = Pair(changed(max_burst=2)).establish()
    pair.send_a(bytes(range(250)) * 40)
    pair.to_z(*pair.from_a())
    pair.a.reset_tsns(pair.now)
    pair.exchange()
    pair.pass_time(5)
    assert pair.received_by_z() == [bytes(range(250)) * 40]


def test_repeats_a_lost_response_to_a_tsn_reset_without_resetting_twice() -> None:
    pair = Pair().establish()
    pair.a.reset_tsns(pair.now)
    pair.to_z(*pair.from_a())
    first = parameters(pair.from_z(), ReconfigResponse)
    pair.to_z(*pair.expire_a())
    again = pair.from_z()
    assert parameters(again, ReconfigResponse) == first
    pair.to_a(*again)
    pair.exchange()
    assert len(pair.z_saw(AssociationReset)) == len(pair.a_saw(AssociationReset)) == 1


def test_denies_a_tsn_reset_that_is_not_allowed_and_continues_data() -> None:
    pair = Pair(None, changed(allow_tsn_reset=False)).establish()
    pair.a.reset_tsns(pair.now)
    pair.send_a(b"held back meanwhile")
    pair.exchange()
    (failure,) = pair.a_saw(ReconfigurationFailed)
    assert failure.reason == "the peer answered: Denied"
    assert pair.received_by_z() == [b"held back meanwhile"]


# -- more streams ------------------------------------------------------------------------------------------------------


def test_added_outgoing_streams_can_be_used_once_the_peer_agrees() -> None:
    options = changed(outbound_streams=2, inbound_streams=2)
    pair = Pair(options).establish()
    pair.a.add_streams(pair.now, outgoing=3)
    asked = pair.from_a()
    with pytest.raises(InvalidStream):
        pair.send_a(b"too early", stream_id=4)
    pair.to_z(*asked)
    pair.exchange()
    assert pair.a_saw(StreamsAdded) == [StreamsAdded(2, 5)]
    assert pair.z_saw(StreamsAdded) == [StreamsAdded(5, 2)]
    pair.send_a(b"new stream", stream_id=4)
    pair.exchange()
    assert pair.received_by_z() == [b"new stream"]


def test_incoming_streams_are_requested_and_added_by_the_peer() -> None:
    pair = Pair(changed(outbound_streams=2, inbound_streams=2)).establish()
    pair.a.add_streams(pair.now, incoming=2)
    pair.exchange()
    assert pair.a_saw(StreamsAdded) == [StreamsAdded(4, 2)]
    assert pair.z_saw(StreamsAdded) == [StreamsAdded(2, 4)]
    pair.send_z(b"there", stream_id=3)
    pair.exchange()
    assert pair.received_by_a() == [b"there"]


def test_streams_of_both_directions_are_added_one_after_the_other() -> None:
    pair = Pair(changed(outbound_streams=2, inbound_streams=2)).establish()
    pair.a.add_streams(pair.now, outgoing=1, incoming=1)
    pair.z.add_streams(pair.now, outgoing=1)
    pair.exchange()
    pair.pass_time(10)
    assert (pair.a.outbound_streams, pair.a.inbound_streams) == (3, 4)
    assert (pair.z.outbound_streams, pair.z.inbound_streams) == (4, 3)


def test_more_streams_than_allowed_are_denied() -> None:
    pair = Pair(
        changed(outbound_streams=2, inbound_streams=2), changed(outbound_streams=2, inbound_streams=2, max_streams=4)
    )
    pair.establish()
    pair.a.add_streams(pair.now, outgoing=3)
    pair.exchange()
    assert [failure.request for failure in pair.a_saw(ReconfigurationFailed)] == [
        ReconfigurationKind.ADD_OUTGOING_STREAMS
    ]
    assert pair.a.outbound_streams == pair.z.inbound_streams == 2
    with pytest.raises(InvalidStream, match="4 streams"):
        pair.z.add_streams(pair.now, outgoing=3)


# -- all kinds ---------------------------------------------------------------------------------------------------------


KINDS: list[Callable[[int], Parameter]] = [
    lambda number: OutgoingSsnResetRequest(number, 0, 0, (1,)),
    lambda number: IncomingSsnResetRequest(number, (1,)),
    SsnTsnResetRequest,
    lambda number: AddOutgoingStreamsRequest(number, 1),
    lambda number: AddIncomingStreamsRequest(number, 1),
]


@pytest.mark.parametrize("make", KINDS)
def test_refuses_a_request_out_of_sequence_of_any_kind(make: Callable[[int], Parameter]) -> None:
    pair = Pair(changed(outbound_streams=10, inbound_streams=10)).establish()
    pair.send_a(b"x")
    datagrams = pair.from_a()
    tag, tsn = read(datagrams[0]).verification_tag, chunks(datagrams, DataChunk)[0].tsn
    pair.to_z(packet(tag, ReconfigChunk([make(tsn + 7 & 0xFFFFFFFF)])))
    assert results(pair.from_z()) == [5]
    assert pair.z.state is S.ESTABLISHED


@pytest.mark.parametrize(
    "ask",
    [
        lambda pair: pair.a.request_stream_resets([1], pair.now),
        lambda pair: pair.a.reset_tsns(pair.now),
        lambda pair: pair.a.add_streams(pair.now, outgoing=1),
    ],
)
def test_reports_requests_without_an_association_or_the_extension(ask: Callable[[Pair], None]) -> None:
    with pytest.raises(InvalidState):
        ask(Pair())
    pair = Pair(changed(outbound_streams=10), changed(stream_reset=False)).establish()
    ask(pair)
    (failure,) = pair.a_saw(ReconfigurationFailed)
    assert "does not support" in failure.reason


def test_two_requests_in_one_chunk_are_answered_again_together() -> None:
    pair = Pair().establish()
    pair.send_a(b"x")
    datagrams = pair.from_a()
    tag, tsn = read(datagrams[0]).verification_tag, chunks(datagrams, DataChunk)[0].tsn
    pair.to_z(*datagrams)
    pair.from_z()
    following = tsn + 1 & 0xFFFFFFFF
    both = ReconfigChunk([OutgoingSsnResetRequest(tsn, 0, tsn, (1,)), IncomingSsnResetRequest(following, (1,))])
    pair.to_z(packet(tag, both))
    answer = pair.from_z()
    assert results(answer) == [1, 0]
    # RFC 6525, 5.2.1: "the same RE-CONFIG chunk MUST to be sent back in response, as it was earlier."
    pair.to_z(packet(tag, both))
    assert parameters(pair.from_z(), ReconfigResponse) == parameters(answer, ReconfigResponse)
    assert pair.z_saw(IncomingStreamsReset) == [IncomingStreamsReset((1,))]


@pytest.mark.parametrize(
    "together",
    [
        [SsnTsnResetRequest, lambda number: OutgoingSsnResetRequest(number, 0, 0, (1,))],
        [lambda number: AddOutgoingStreamsRequest(number, 1), lambda number: AddOutgoingStreamsRequest(number, 1)],
        [lambda number: IncomingSsnResetRequest(number, (1,)), lambda number: ReconfigResponse(number, 1)],
        [lambda number: ReconfigResponse(number, 1)] * 3,
    ],
)
def test_contradictory_parameters_are_a_protocol_violation(
    together: list[Callable[[int], Parameter]],
) -> None:
    pair = Pair(changed(outbound_streams=10, inbound_streams=10)).establish()
    pair.send_a(b"x")
    datagrams = pair.from_a()
    tag, tsn = read(datagrams[0]).verification_tag, chunks(datagrams, DataChunk)[0].tsn
    pair.to_z(packet(tag, ReconfigChunk([make(tsn) for make in together])))
    answer = pair.from_z()
    assert chunks(answer, ErrorChunk)[0].causes[0].code == causes.PROTOCOL_VIOLATION
    assert chunks(answer, ReconfigChunk) == []
    assert pair.z.state is S.ESTABLISHED
    assert pair.z.inbound_streams == 10


def test_an_unknown_parameter_does_not_prevent_processing_of_the_next_one() -> None:
    pair = Pair().establish()
    pair.send_a(b"x")
    datagrams = pair.from_a()
    tag, tsn = read(datagrams[0]).verification_tag, chunks(datagrams, DataChunk)[0].tsn
    pair.to_z(*datagrams)
    pair.from_z()
    reset = OutgoingSsnResetRequest(tsn, 0, tsn, (1,))
    pair.to_z(packet(tag, ReconfigChunk([UnknownParameter(0xBFF0, b"what?"), reset])))
    assert results(pair.from_z()) == [1]
