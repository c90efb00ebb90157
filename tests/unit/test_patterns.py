"""The patterns between two channels that deliver at once, and what a hostile peer may send them."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyee.base import EventEmitter

from datachan.patterns import Broadcast, Clock, Heartbeat, LatestValues, RequestChannel, RequestError, RequestTimeout

PATIENCE = 10.0


class Channel(EventEmitter):
    """The side of RTCDataChannel that the patterns use. What one side sends reaches the other in the same call."""

    label = "test"

    def __init__(self) -> None:
        super().__init__()
        self.readyState = "open"
        self.bufferedAmount = 0
        self.bufferedAmountLowThreshold = 0
        self.sent: list[str | bytes] = []
        self.peer: Channel | None = None

    def send(self, data: str | bytes) -> None:
        self.sent.append(data)
        if self.peer is not None:
            self.peer.emit("message", data)

    def close(self) -> None:
        self.readyState = "closed"
        self.emit("close")


def pair() -> tuple[Channel, Channel]:
    a, z = Channel(), Channel()
    a.peer, z.peer = z, a
    return a, z


# -- latest values -----------------------------------------------------------------------------------------------------


async def test_newer_values_replace_those_that_wait():
    channel = Channel()
    values = LatestValues(channel)
    values.set("a1", "a")
    channel.bufferedAmount = 1
    for number in range(2, 100):
        values.set(f"a{number}", "a")
        values.set(f"b{number}", "b")
    assert (channel.sent, len(values), values.replaced) == (["a1"], 2, 194)
    channel.bufferedAmount = 0
    channel.emit("bufferedamountlow")
    assert channel.sent == ["a1", "a99", "b99"]


async def test_values_wait_for_the_channel_to_open_and_expire():
    channel = Channel()
    channel.readyState = "connecting"
    values = LatestValues(channel, max_age=0.02)
    values.set("old", "a")
    await asyncio.sleep(0.03)
    values.set("new", "b")
    channel.readyState = "open"
    channel.emit("open")
    assert (channel.sent, values.expired) == (["new"], 1)


# -- requests ----------------------------------------------------------------------------------------------------------


async def test_both_sides_ask_and_answer():
    a, z = pair()

    async def double(body):
        return 2 * body

    first, second = RequestChannel(a, double), RequestChannel(z, double)
    assert await asyncio.gather(first.request(1), second.request("x")) == [2, "xx"]


async def test_a_failure_reaches_the_peer_without_its_details(caplog):
    a, z = pair()

    async def fail(body):
        if body == "told":
            raise RequestError("no such thing")
        if body == "unserializable":
            return object()
        raise ValueError("secret")

    RequestChannel(z, fail)
    requests = RequestChannel(a)
    for body, reason in (
        ("told", "no such thing"),
        ("else", "the request failed"),
        ("unserializable", "the request f"),
    ):
        with pytest.raises(RequestError, match=reason) as caught:
            await requests.request(body)
        assert "secret" not in str(caught.value)
    assert "secret" in caplog.text


async def test_the_deadline_ends_the_work_on_both_sides():
    a, z = pair()
    canceled = asyncio.Event()

    async def hang(_):
        try:
            await asyncio.Event().wait()
        finally:
            canceled.set()

    RequestChannel(z, hang)
    with pytest.raises(RequestTimeout):
        await RequestChannel(a).request(timeout=0.02)
    async with asyncio.timeout(PATIENCE):
        await canceled.wait()


async def test_requests_without_a_handler_and_above_the_limit_are_refused():
    a, z = pair()

    async def hang(_):
        await asyncio.Event().wait()

    server, client = RequestChannel(z, hang, max_pending=1), RequestChannel(a)
    waiting = asyncio.create_task(client.request("first", timeout=PATIENCE))
    await asyncio.sleep(0)
    with pytest.raises(RequestError, match="too many requests"):
        await client.request("second")
    with pytest.raises(RequestError, match="not answered here"):
        await server.request("back")
    a.close()
    z.close()
    with pytest.raises(ConnectionError):
        await waiting


@given(
    st.text()
    | st.binary()
    | st.builds(
        json.dumps,
        st.dictionaries(
            st.sampled_from(["request", "response", "deadline", "body", "error", "clock", "received", "sent"]),
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        ),
    )
)
def test_nothing_that_a_peer_sends_raises(message):
    async def receive() -> None:
        for pattern in (RequestChannel, Clock, Heartbeat):
            channel = Channel()
            made = pattern(channel)
            channel.emit("message", message)
            channel.close()
            if isinstance(made, Heartbeat):
                made.stop()

    asyncio.run(receive())


# -- clocks ------------------------------------------------------------------------------------------------------------


async def test_the_sample_with_the_shortest_round_trip_decides():
    a, z = pair()
    time = 100.0
    Clock(z, now=lambda: time + 5)
    clock = Clock(a, now=lambda: time)
    with pytest.raises(ValueError, match="measure"):
        clock.peer_time()
    assert await clock.measure()
    assert (clock.offset, clock.rtt, clock.peer_time()) == (5.0, 0.0, 105.0)
    # A later sample with a longer round trip has a larger error and does not count.
    z.peer = None
    measuring = asyncio.create_task(clock.measure())
    await asyncio.sleep(0)
    asked = json.loads(a.sent[-1])["clock"]
    time += 1
    a.emit("message", json.dumps({"clock": asked, "received": 1, "sent": 1}))
    assert await measuring
    assert clock.offset == 5.0


async def test_a_lost_question_and_a_full_buffer_give_no_sample():
    a, z = pair()
    Clock(z)
    z.bufferedAmount = 1_000_000
    clock = Clock(a)
    assert not await clock.measure(timeout=0.01)
    assert clock.rtt is None


# -- heartbeats --------------------------------------------------------------------------------------------------------


async def test_silence_and_return_are_reported_once_each():
    a, z = pair()
    seen = []
    silent, back = asyncio.Event(), asyncio.Event()
    watching = Heartbeat(
        z,
        interval=0.01,
        timeout=0.05,
        on_silence=lambda: (seen.append("silence"), silent.set()),
        on_return=lambda: (seen.append("return"), back.set()),
    )
    assert not watching.alive
    async with asyncio.timeout(PATIENCE):
        first = Heartbeat(a, interval=0.01, timeout=0.05)
        await back.wait()
        first.stop()
        await silent.wait()
        back.clear()
        second = Heartbeat(a, interval=0.01, timeout=0.05)
        await back.wait()
    assert seen == ["return", "silence", "return"]
    z.close()
    assert seen[3:] == ["silence"]
    second.stop()
    watching.stop()


# -- broadcast ---------------------------------------------------------------------------------------------------------


async def test_a_slow_peer_misses_messages_and_a_closed_one_leaves():
    room = Broadcast(max_buffered=10)
    author, slow, gone, closed = Channel(), Channel(), Channel(), Channel()
    closed.readyState = "closed"
    for channel in (author, slow, gone, closed):
        room.add(channel)
    slow.bufferedAmount = 11
    gone.close()
    assert (len(room), room.send("hello", to_all_but=author), room.dropped[slow]) == (2, 0, 1)
    slow.bufferedAmount = 10
    assert room.send("again") == 2
    assert (author.sent, slow.sent) == (["again"], ["again"])
    room.discard(slow)
    assert list(room) == [author]
