"""Resetting streams: RFC 6525, sections 5.1.2, 5.2.2 and 5.2.7, step by step."""

from __future__ import annotations

import pytest

from datachan.sctp.errors import InvalidState, InvalidStream
from datachan.sctp.events import IncomingStreamsReset, OutgoingStreamsReset, StreamResetFailed
from datachan.sctp.wire.chunks import DataChunk
from datachan.sctp.wire.extensions import ReconfigChunk
from datachan.sctp.wire.parameters import (
    OutgoingSsnResetRequest,
    ReconfigResponse,
)

from .sctp_pair import Pair, changed, chunks, names, packet, read


def requests(datagrams: list[bytes]) -> list[OutgoingSsnResetRequest]:
    return [
        parameter
        for chunk in chunks(datagrams, ReconfigChunk)
        for parameter in chunk.parameters
        if isinstance(parameter, OutgoingSsnResetRequest)
    ]


def results(datagrams: list[bytes]) -> list[int]:
    return [
        parameter.result
        for chunk in chunks(datagrams, ReconfigChunk)
        for parameter in chunk.parameters
        if isinstance(parameter, ReconfigResponse)
    ]


def test_a_reset_restarts_the_stream_on_both_sides() -> None:
    pair = Pair().establish()
    for _ in range(3):
        pair.send_a(b"old", stream_id=5)
    pair.exchange()
    pair.a.reset_streams([5], pair.now)
    # A -- RE-CONFIG --> Z
    datagrams = pair.from_a()
    (request,) = requests(datagrams)
    assert request.stream_ids == (5,)
    pair.to_z(*datagrams)
    # A <-- RE-CONFIG, SACK -- Z
    answer = pair.from_z()
    assert results(answer) == [1]
    assert pair.z_saw(IncomingStreamsReset) == [IncomingStreamsReset((5,))]
    pair.to_a(*answer)
    assert pair.a_saw(OutgoingStreamsReset) == [OutgoingStreamsReset((5,))]
    pair.send_a(b"new", stream_id=5)
    datagrams = pair.from_a()
    assert chunks(datagrams, DataChunk)[0].ssn == 0
    pair.to_z(*datagrams)
    assert pair.received_by_z()[-1] == b"new"


def test_sends_queued_messages_before_the_reset_and_later_ones_after_it() -> None:
    pair = Pair().establish()
    pair.send_a(bytes(20_000), stream_id=5)
    pair.a.reset_streams([5], pair.now)
    datagrams = pair.from_a()
    assert requests(datagrams) == []
    for _ in range(100):
        pair.to_z(*datagrams)
        pair.to_a(*pair.from_z())
        pair.collect()
        datagrams = pair.from_a()
        if requests(datagrams):
            break
    # The request leaves with the last of the data, not a round trip later.
    assert len(chunks(datagrams, DataChunk)) > 0
    pair.send_a(b"after", stream_id=5)
    assert chunks(pair.from_a(), DataChunk) == []
    pair.to_z(*datagrams)
    pair.exchange()
    pair.pass_time(5)
    pair.exchange()
    assert pair.received_by_z() == [bytes(20_000), b"after"]
    order = [type(event).__name__ for event in pair.z_events]
    assert order.index("IncomingStreamsReset") == order.index("MessageReceived") + 1


def test_a_reset_that_overtakes_data_is_performed_once_the_data_arrives() -> None:
    pair = Pair().establish()
    pair.send_a(b"slow", stream_id=5)
    data = pair.from_a()
    pair.a.reset_streams([5], pair.now)
    reset = pair.from_a()
    pair.to_z(*reset)
    answer = pair.from_z()
    assert results(answer) == [6]
    assert pair.z_saw(IncomingStreamsReset) == []
    pair.to_a(*answer)
    assert pair.a_saw(OutgoingStreamsReset) == []
    pair.to_z(*data)
    # Z has performed the reset and answers without another request.
    late = pair.from_z()
    assert results(late) == [1]
    assert [type(event).__name__ for event in pair.z.events()][-2:] == ["MessageReceived", "IncomingStreamsReset"]
    pair.to_a(*late)
    assert pair.a_saw(OutgoingStreamsReset) == [OutgoingStreamsReset((5,))]


def test_a_lost_request_is_sent_again_unchanged() -> None:
    pair = Pair().establish()
    pair.a.reset_streams([1, 2], pair.now)
    first = chunks(pair.from_a(), ReconfigChunk)
    again = pair.expire_a()
    assert chunks(again, ReconfigChunk) == first
    pair.to_z(*again)
    pair.exchange()
    assert pair.a_saw(OutgoingStreamsReset) == [OutgoingStreamsReset((1, 2))]


def test_repeats_a_lost_response_without_resetting_twice() -> None:
    pair = Pair().establish()
    pair.a.reset_streams([1], pair.now)
    pair.to_z(*pair.from_a())
    pair.from_z()  # A /lost/ <- RE-CONFIG <- Z
    pair.to_z(*pair.expire_a())
    pair.exchange()
    assert pair.z_saw(IncomingStreamsReset) == [IncomingStreamsReset((1,))]
    assert pair.a_saw(OutgoingStreamsReset) == [OutgoingStreamsReset((1,))]


def test_only_one_request_is_outstanding_and_the_next_follows_the_response() -> None:
    pair = Pair().establish()
    pair.a.reset_streams([1], pair.now)
    first = pair.from_a()
    pair.a.reset_streams([2, 1], pair.now)
    assert pair.from_a() == []
    pair.to_z(*first)
    pair.exchange()
    assert pair.a_saw(OutgoingStreamsReset) == [OutgoingStreamsReset((1,)), OutgoingStreamsReset((2,))]


def test_a_reset_of_many_streams_is_split_into_requests_that_fit_packets() -> None:
    pair = Pair().establish()
    pair.a.reset_streams(range(1000), pair.now)
    pair.exchange()
    done = [stream_id for event in pair.a_saw(OutgoingStreamsReset) for stream_id in event.stream_ids]
    assert done == list(range(1000))


def test_both_sides_reset_at_once() -> None:
    pair = Pair().establish()
    pair.a.reset_streams([3], pair.now)
    pair.z.reset_streams([3], pair.now)
    pair.exchange()
    for saw in (pair.a_saw, pair.z_saw):
        assert saw(OutgoingStreamsReset) == [OutgoingStreamsReset((3,))]
        assert saw(IncomingStreamsReset) == [IncomingStreamsReset((3,))]


def test_other_streams_continue_during_a_reset() -> None:
    pair = Pair().establish()
    pair.a.reset_streams([1], pair.now)
    pair.from_a()
    pair.send_a(b"elsewhere", stream_id=2)
    pair.exchange()
    assert pair.received_by_z() == [b"elsewhere"]


def test_a_request_out_of_sequence_is_refused() -> None:
    pair = Pair().establish()
    pair.send_a(b"x")
    datagrams = pair.from_a()
    tag, tsn = read(datagrams[0]).verification_tag, chunks(datagrams, DataChunk)[0].tsn
    pair.to_z(*datagrams)
    pair.from_z()
    wrong = OutgoingSsnResetRequest(tsn + 5 & 0xFFFFFFFF, 0, tsn, (1,))
    pair.to_z(packet(tag, ReconfigChunk([wrong])))
    assert results(pair.from_z()) == [5]
    assert pair.z_saw(IncomingStreamsReset) == []


def test_a_stream_continues_after_a_refused_reset() -> None:
    pair = Pair().establish()
    pair.send_a(b"0")
    pair.exchange()
    pair.a.reset_streams([1], pair.now)
    (request,) = requests(pair.from_a())
    pair.send_a(b"1")
    pair.send_z(b"tag")
    tag = read(pair.from_z()[0]).verification_tag
    pair.to_a(packet(tag, ReconfigChunk([ReconfigResponse(request.request_sequence_number, 2)])))
    (failure,) = pair.a_saw(StreamResetFailed)
    assert failure.reason == "the peer answered: Denied"
    datagrams = pair.from_a()
    assert chunks(datagrams, DataChunk)[0].ssn == 1
    pair.to_z(*datagrams)
    assert pair.received_by_z() == [b"0", b"1"]


def test_a_reset_fails_at_once_if_the_peer_lacks_the_extension() -> None:
    pair = Pair(None, changed(stream_reset=False)).establish()
    pair.a.reset_streams([1], pair.now)
    assert [event.stream_ids for event in pair.a_saw(StreamResetFailed)] == [(1,)]
    assert all("Reconfig" not in names(datagram) for datagram in pair.from_a())


def test_wrong_calls_raise() -> None:
    pair = Pair(changed(outbound_streams=10))
    with pytest.raises(InvalidState):
        pair.a.reset_streams([1], pair.now)
    pair.establish()
    with pytest.raises(InvalidStream, match="stream 10"):
        pair.a.reset_streams([10], pair.now)
