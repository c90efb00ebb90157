"""`RTCDataChannel` without a connection: states, events, waiting, and unread messages."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import mmap
from array import array
from collections.abc import Callable
from typing import Any

import pytest

from datachan.dcep.channel import Channel
from datachan.dcep.errors import ChannelNotOpen
from datachan.peer import ArgumentError, InvalidStateError, MessageTooLargeError, OperationError, RTCError
from datachan.peer.rtc_data_channel import ManagedDataChannel
from datachan.peer.unread_messages import UnreadMessages


class Host:
    """A host that records the calls of a channel."""

    def __init__(self, limit: float = 100) -> None:
        self.max_message_size = limit
        self.sctp = None
        self.sent: list[str | bytes] = []
        self.closed: list[Channel] = []
        self.returned = 0
        self.failure: str | None = None

    def send(self, channel: Channel, data: str | bytes) -> None:
        if self.failure is not None:
            raise ChannelNotOpen(self.failure)
        self.sent.append(data)
        channel.buffered_amount += len(data if isinstance(data, bytes) else data.encode())

    def close_channel(self, channel: Channel) -> None:
        self.closed.append(channel)

    def release_window(self, size: int) -> None:
        self.returned += size


class Pair:
    """An RTCDataChannel, the channel below it, and the host."""

    def __init__(self, *, limit: float = 100, opened: bool = True) -> None:
        self.host = Host(limit)
        self.core = Channel("label")
        self.rtc = ManagedDataChannel(self.host, self.core)
        self.events: list[object] = []
        for name in ("open", "closing", "close", "bufferedamountlow"):
            self.rtc.on(name, self._recorder(name))
        self.rtc.on("error", lambda error: self.events.append(str(error)))
        if opened:
            self.rtc.set_open()

    def _recorder(self, name: str) -> Callable[[], None]:
        return lambda: self.events.append(name)

    def transmitted(self, amount: int) -> None:
        self.core.buffered_amount -= amount
        self.rtc.buffered_amount_changed()


# -- sending -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [array("I", [1, 2]), (ctypes.c_uint16 * 3)(1, 2, 3), memoryview(b"a.b.c")[::2], memoryview(array("d", [0.5]))],
)
def test_sends_the_bytes_of_every_buffer(message: Any) -> None:
    pair = Pair()

    pair.rtc.send(message)

    assert pair.host.sent == [memoryview(message).tobytes()]
    assert pair.rtc.bufferedAmount == len(pair.host.sent[0])


def test_sends_the_bytes_of_a_memory_map() -> None:
    pair = Pair()
    with mmap.mmap(-1, 5) as mapped:
        mapped[:] = b"bytes"
        pair.rtc.send(mapped)

    assert pair.host.sent == [b"bytes"]


@pytest.mark.parametrize("message", ["text", "", b"bytes", b"", bytearray(b"array"), memoryview(b"xviewx")[1:5]])
def test_sends_text_and_every_bytes_like_object(message: str | bytes | bytearray | memoryview) -> None:
    pair = Pair()

    pair.rtc.send(message)

    assert pair.host.sent == [message if isinstance(message, str) else bytes(message)]
    assert pair.rtc.bufferedAmount == len(message)


def test_a_mutable_message_is_copied_when_it_is_sent() -> None:
    pair = Pair()
    message = bytearray(b"before")

    pair.rtc.send(message)
    message[:] = b"after!"

    assert pair.host.sent == [b"before"]


def test_text_counts_as_its_bytes_in_utf_8() -> None:
    pair = Pair(limit=12)

    pair.rtc.send("世界你好")

    assert pair.rtc.bufferedAmount == 12
    with pytest.raises(MessageTooLargeError):
        pair.rtc.send("世界你好!")


def test_sending_on_a_channel_that_the_peer_has_just_closed_raises_invalid_state() -> None:
    """The channel below is closing already, and the event that says so has not been handled."""
    pair = Pair()
    pair.host.failure = "the channel is closing"

    with pytest.raises(InvalidStateError, match="the channel is closing"):
        pair.rtc.send("late")

    assert (pair.rtc.bufferedAmount, pair.rtc.messages_sent) == (0, 0)


def test_a_message_above_the_limit_raises_and_the_channel_stays_usable() -> None:
    pair = Pair(limit=10)

    with pytest.raises(MessageTooLargeError, match="the message has 11 bytes; the peer accepts at most 10"):
        pair.rtc.send(b"x" * 11)
    pair.rtc.send(b"x" * 10)

    assert pair.host.sent == [b"x" * 10]
    assert pair.rtc.readyState == "open"


def test_without_a_limit_long_messages_are_accepted() -> None:
    pair = Pair(limit=float("inf"))

    pair.rtc.send(b"x" * 1_000_000)

    assert pair.rtc.bufferedAmount == 1_000_000


@pytest.mark.parametrize("message", [None, 5, ["text"], object()])
def test_objects_that_are_not_messages_raise(message: object) -> None:
    with pytest.raises(ArgumentError):
        Pair().rtc.send(message)  # type: ignore[arg-type]


def test_a_lone_surrogate_is_sent_as_the_replacement_character() -> None:
    pair = Pair()

    pair.rtc.send("a\ud800")

    assert pair.host.sent == ["a\ufffd"]


def test_sending_raises_before_the_channel_opens_and_after_it_closes() -> None:
    pair = Pair(opened=False)
    with pytest.raises(InvalidStateError, match="the channel is connecting, not open"):
        pair.rtc.send("early")
    pair.rtc.set_open()
    pair.rtc.close()
    with pytest.raises(InvalidStateError, match="the channel is closing, not open"):
        pair.rtc.send("late")
    pair.rtc.set_closed()
    with pytest.raises(InvalidStateError, match="the channel is closed, not open"):
        pair.rtc.send("too late")

    assert pair.host.sent == []


# -- bufferedAmount ----------------------------------------------------------------------------------------------------


def test_bufferedamountlow_is_emitted_once() -> None:
    pair = Pair()
    pair.rtc.bufferedAmountLowThreshold = 5
    pair.rtc.send(b"x" * 10)

    pair.transmitted(4)
    assert pair.events == []
    pair.transmitted(1)
    assert pair.events == ["bufferedamountlow"]
    pair.transmitted(5)

    assert pair.events == ["bufferedamountlow"]
    assert pair.rtc.bufferedAmount == 0


def test_a_message_sent_before_the_event_does_not_suppress_bufferedamountlow() -> None:
    pair = Pair()
    pair.rtc.send(b"x" * 10)
    pair.core.buffered_amount -= 10  # transmitted, but the event has not been delivered yet
    pair.rtc.send(b"")

    pair.rtc.buffered_amount_changed()

    assert pair.events == ["bufferedamountlow"]


@pytest.mark.parametrize("value", [-1, 2**32, 1.5, "5"])
def test_the_low_threshold_is_a_32_bit_number(value: object) -> None:
    with pytest.raises(ArgumentError):
        Pair().rtc.bufferedAmountLowThreshold = value  # type: ignore[assignment]


def test_the_buffered_amount_does_not_become_zero_by_closing() -> None:
    pair = Pair()
    pair.rtc.send(b"x" * 10)

    pair.rtc.close()
    assert pair.rtc.bufferedAmount == 10
    pair.rtc.set_closed()

    assert pair.rtc.bufferedAmount == 10


async def test_drain_returns_at_once_below_the_high_mark_and_waits_for_the_low_one_above_it() -> None:
    pair = Pair()
    pair.rtc.set_write_buffer_limits(high=20, low=5)
    pair.rtc.send(b"x" * 20)
    await pair.rtc.drain()
    pair.rtc.send(b"x")

    waiting = asyncio.ensure_future(pair.rtc.drain())
    await asyncio.sleep(0)
    pair.transmitted(15)
    await asyncio.sleep(0)
    assert not waiting.done()
    pair.transmitted(1)

    await waiting


async def test_drain_raises_when_the_channel_closes() -> None:
    pair = Pair()
    pair.rtc.set_write_buffer_limits(high=0)
    pair.rtc.send(b"x")
    waiting = asyncio.ensure_future(pair.rtc.drain())
    await asyncio.sleep(0)

    pair.rtc.fails("the peer went away")
    pair.rtc.set_closed()

    with pytest.raises(InvalidStateError, match="the peer went away"):
        await waiting


@pytest.mark.parametrize(("high", "low"), [(-1, None), (5, 6), (5, -1)])
def test_contradictory_write_buffer_limits_raise(high: int, low: int | None) -> None:
    with pytest.raises(ArgumentError):
        Pair().rtc.set_write_buffer_limits(high, low)


# -- receiving ---------------------------------------------------------------------------------------------------------


def test_a_listener_gets_messages_at_once_without_occupying_the_window() -> None:
    pair = Pair()
    received: list[object] = []
    pair.rtc.on("message", received.append)

    taken = pair.rtc.deliver("hello", 5)

    # The registry releases the window of a whole batch.
    assert (received, taken, pair.host.returned) == (["hello"], True, 0)


async def test_messages_before_the_listener_are_kept_and_delivered_first() -> None:
    pair = Pair()
    received: list[object] = []
    pair.rtc.deliver("one", 3)
    pair.rtc.deliver("two", 3)
    assert pair.host.returned == 0

    pair.rtc.on("message", received.append)
    assert received == [], "not inside of on()"
    assert not pair.rtc.deliver("three", 5)
    await asyncio.sleep(0)
    assert pair.host.returned == 11
    assert pair.rtc.deliver("four", 4)

    assert received == ["one", "two", "three", "four"]


async def test_a_listener_for_one_message_leaves_the_others() -> None:
    pair = Pair()
    received: list[object] = []
    for text in ("one", "two"):
        pair.rtc.deliver(text, 3)

    pair.rtc.once("message", received.append)
    await asyncio.sleep(0)

    assert (received, pair.host.returned) == (["one"], 3)
    assert await anext(pair.rtc) == "two"


async def test_iterating_releases_the_window_of_each_message() -> None:
    pair = Pair()
    for text in ("one", "two"):
        pair.rtc.deliver(text, 3)

    assert await anext(pair.rtc) == "one"
    assert pair.host.returned == 3
    assert await anext(pair.rtc) == "two"
    assert pair.host.returned == 6


async def test_iteration_waits_and_ends_after_the_last_message_of_a_closed_channel() -> None:
    pair = Pair()

    async def read() -> list[object]:
        return [message async for message in pair.rtc]

    reading = asyncio.ensure_future(read())
    await asyncio.sleep(0)
    pair.rtc.deliver("one", 3)
    await asyncio.sleep(0)
    pair.rtc.deliver("two", 3)
    pair.rtc.set_closed()

    assert await reading == ["one", "two"]


async def test_a_canceled_reader_loses_no_message() -> None:
    pair = Pair()
    first = asyncio.ensure_future(anext(pair.rtc))
    second = asyncio.ensure_future(anext(pair.rtc))
    await asyncio.sleep(0)

    pair.rtc.deliver("one", 3)
    first.cancel()

    assert await asyncio.wait_for(second, 30) == "one"
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_several_readers_share_the_messages() -> None:
    pair = Pair()
    readers = [asyncio.ensure_future(anext(pair.rtc)) for _ in range(3)]
    await asyncio.sleep(0)

    for text in ("one", "two", "three"):
        pair.rtc.deliver(text, 3)

    assert sorted([await reader for reader in readers]) == ["one", "three", "two"]


def test_each_unread_message_is_released_once() -> None:
    returned: list[int] = []
    unread = UnreadMessages(returned.append)
    unread.put("a", 1)
    unread.put("b", 2)
    unread.put("c", 4)

    assert unread.take() == "a"
    assert (returned, unread.window.size) == ([1], 6)
    unread.release_all()
    assert unread.take() == "b"

    assert (returned, unread.window.size) == ([1, 2, 4, 0], 0)


# -- states ------------------------------------------------------------------------------------------------------------


def test_closing_by_the_peer_emits_closing_and_closing_by_us_does_not() -> None:
    theirs, ours = Pair(), Pair()

    theirs.rtc.peer_closes()
    theirs.rtc.set_closed()
    ours.rtc.close()
    ours.rtc.close()
    ours.rtc.set_closed()
    ours.rtc.close()

    assert theirs.events == ["closing", "close"]
    assert ours.events == ["close"]
    assert ours.host.closed == [ours.core]
    assert theirs.host.closed == []


def test_a_failure_is_emitted_once_before_the_close() -> None:
    pair = Pair()

    pair.rtc.fails("it broke")
    pair.rtc.fails("and again")
    pair.rtc.set_closed()
    pair.rtc.set_closed()

    assert pair.events == ["it broke", "close"]
    assert pair.rtc.closeReason == "it broke"


@pytest.mark.parametrize(
    ("cause_code", "detail", "code"),
    [(None, "data-channel-failure", None), (12, "sctp-failure", 12), (0, "sctp-failure", None)],
)
def test_the_error_event_has_w3cs_details(cause_code: int | None, detail: str, code: int | None) -> None:
    channel = Pair().rtc
    errors: list[RTCError] = []
    channel.on("error", errors.append)
    channel.fails("it broke", cause_code)
    channel.set_closed()
    (error,) = errors
    assert (str(error), error.errorDetail, error.sctpCauseCode) == ("it broke", detail, code)
    assert error.sdpLineNumber is None


def test_a_channel_closed_while_it_is_announced_does_not_emit_open() -> None:
    pair = Pair()

    pair.rtc.close()
    pair.rtc.announce_open()

    assert pair.events == []


async def test_opened_and_closed_wait_for_their_states() -> None:
    pair = Pair(opened=False)
    opened, closed = asyncio.ensure_future(pair.rtc.opened()), asyncio.ensure_future(pair.rtc.closed())
    await asyncio.sleep(0)
    assert not opened.done()

    pair.rtc.set_open()
    await opened
    await pair.rtc.opened()
    assert not closed.done()
    pair.rtc.set_closed()

    await closed
    await pair.rtc.closed()


async def test_opened_raises_when_the_channel_never_opens() -> None:
    pair = Pair(opened=False)
    opened = asyncio.ensure_future(pair.rtc.opened())
    await asyncio.sleep(0)

    pair.rtc.fails("no path to the peer")
    pair.rtc.set_closed()

    with pytest.raises(InvalidStateError, match="no path to the peer"):
        await opened


async def test_opened_raises_when_the_channel_closes_while_connecting() -> None:
    pair = Pair(opened=False)
    waiting = asyncio.ensure_future(pair.rtc.opened())
    await asyncio.sleep(0)
    pair.rtc.close()
    with pytest.raises(InvalidStateError, match="the channel is closing, not open"):
        await waiting


@pytest.mark.parametrize("value", ["arraybuffer", "blob", "bytes"])
def test_binary_type_can_be_set(value: str) -> None:
    channel = Pair().rtc
    channel.binaryType = value
    assert channel.binaryType == value


def test_an_unknown_binary_type_raises() -> None:
    channel = Pair().rtc
    with pytest.raises(ArgumentError, match="binaryType"):
        channel.binaryType = "text"
    assert channel.binaryType == "bytes"


# -- event handlers ----------------------------------------------------------------------------------------------------


def test_an_assigned_handler_is_called_and_can_be_replaced_and_removed() -> None:
    pair = Pair()
    received: list[str] = []
    assert pair.rtc.onmessage is None
    pair.rtc.onmessage = lambda message: received.append(f"first {message}")
    pair.rtc.deliver("a", 1)
    second = pair.rtc.onmessage = lambda message: received.append(f"second {message}")
    assert pair.rtc.onmessage is second
    pair.rtc.deliver("b", 1)
    pair.rtc.onmessage = None
    assert not pair.rtc.deliver("c", 1)
    assert received == ["first a", "second b"]


def test_a_handler_may_be_attached_and_assigned() -> None:
    pair = Pair()
    received: list[object] = []
    pair.rtc.on("message", received.append)
    pair.rtc.onmessage = received.append
    pair.rtc.deliver("a", 1)
    pair.rtc.onmessage = None
    pair.rtc.deliver("b", 1)
    assert received == ["a", "a", "b"]


async def test_unread_messages_are_delivered_to_an_assigned_handler() -> None:
    pair = Pair()
    pair.rtc.deliver("kept", 4)
    received: list[object] = []
    pair.rtc.onmessage = received.append
    await asyncio.sleep(0)
    assert received == ["kept"]


def test_an_assigned_handler_must_be_callable() -> None:
    with pytest.raises(ArgumentError, match="onclose is a function or None"):
        Pair().rtc.onclose = "close"  # type: ignore[assignment]


@pytest.mark.parametrize(
    "attach",
    [
        lambda channel: channel.on("massage", print),
        lambda channel: channel.once("massage", print),
        lambda channel: channel.add_listener("massage", print),
        lambda channel: channel.listens_to("massage")(print),
    ],
)
def test_a_misspelt_event_name_raises(attach: Callable[[ManagedDataChannel], object]) -> None:
    with pytest.raises(
        ArgumentError, match="RTCDataChannel has no event 'massage', only bufferedamountlow, close, closing, error"
    ):
        attach(Pair().rtc)


def test_a_misspelt_event_handler_attribute_is_logged_at_the_first_event(caplog: pytest.LogCaptureFixture) -> None:
    pair = Pair()
    pair.rtc.onmesage = print
    pair.rtc.online = True

    pair.rtc.announce_open()
    pair.rtc.deliver("hello", 5)

    warnings = [record.getMessage() for record in caplog.records]
    assert warnings == ["RTCDataChannel has no event handler attribute onmesage; is it onmessage?"]


# -- callbacks that raise ----------------------------------------------------------------------------------------------


def test_a_callback_that_raises_is_logged_and_the_others_are_called(caplog: pytest.LogCaptureFixture) -> None:
    pair = Pair()
    received: list[object] = []

    def broken(message: object) -> None:
        raise ZeroDivisionError("in the callback")

    pair.rtc.on("message", broken)
    pair.rtc.on("message", received.append)
    with caplog.at_level(logging.ERROR):
        pair.rtc.deliver("hello", 5)

    assert received == ["hello"]
    assert "in the callback" in caplog.text
    assert pair.events == [], "it is no error of the channel"


async def test_a_coroutine_callback_that_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    pair = Pair()

    async def broken(error: OperationError) -> None:
        raise ZeroDivisionError("in the coroutine")

    pair.rtc.on("error", broken)
    pair.rtc.fails("it broke")
    with caplog.at_level(logging.ERROR):
        pair.rtc.set_closed()
        await pair.rtc.wait_for_complete()
        await asyncio.sleep(0)

    assert caplog.text.count("ZeroDivisionError: in the coroutine") == 1


def test_an_error_without_a_listener_raises_nothing() -> None:
    face = ManagedDataChannel(Host(), Channel("label"))

    face.fails("it broke")
    face.set_closed()

    assert face.readyState == "closed"
