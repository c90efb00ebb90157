"""RTCDataChannel-bufferedAmount.html and -bufferedAmountLowThreshold.html."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.pairs import Pair, channel_pair, event, pair, soon


@pytest.fixture(params=[{}, {"negotiated": True, "id": 0}], ids=["in-band", "negotiated"])
async def p(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    async with pair(**request.param) as connected:
        yield connected


async def test_buffered_amount_is_zero_at_first(p: Pair) -> None:
    assert (p.a_channel.bufferedAmount, p.z_channel.bufferedAmount) == (0, 0)


@pytest.mark.parametrize(("message", "size"), [("世界你好", 12), (b"hello", 5), ("hello", 5)])
async def test_buffered_amount_grows_by_a_message_and_falls_when_it_is_sent(
    p: Pair, message: str | bytes, size: int
) -> None:
    p.a_channel.send(message)
    assert p.a_channel.bufferedAmount == size
    assert p.a_channel.bufferedAmount == size

    await soon(anext(p.z_channel))
    assert p.a_channel.bufferedAmount == 0


async def test_buffered_amount_is_the_sum_of_all_messages(p: Pair) -> None:
    amounts = []
    for message in (b"hello", "世界你好", b"hello"):
        p.a_channel.send(message)
        amounts.append(p.a_channel.bufferedAmount)

    assert amounts == [5, 17, 22]
    for _ in range(3):
        await soon(anext(p.z_channel))
    assert p.a_channel.bufferedAmount == 0


async def test_closing_the_channel_does_not_lower_buffered_amount_at_once(p: Pair) -> None:
    p.a_channel.send(b"hello")

    p.a_channel.close()

    assert p.a_channel.bufferedAmount == 5


async def test_closing_the_connection_does_not_lower_buffered_amount_at_once(p: Pair) -> None:
    p.a_channel.send(b"hello")

    closing = asyncio.ensure_future(p.a.close())

    assert p.a_channel.bufferedAmount == 5
    await soon(closing)


async def test_bufferedamountlow_is_emitted_once_for_several_messages(p: Pair) -> None:
    amounts: list[int] = []
    p.a_channel.on("bufferedamountlow", lambda: amounts.append(p.a_channel.bufferedAmount))

    p.a_channel.send("hello")
    p.a_channel.send("hello")
    for _ in range(2):
        await soon(anext(p.z_channel))

    assert amounts == [0]


async def test_bufferedamountlow_is_emitted_after_each_message(p: Pair) -> None:
    for _ in range(2):
        low = asyncio.ensure_future(event(p.a_channel, "bufferedamountlow"))
        await asyncio.sleep(0)
        p.a_channel.send("hello")
        assert p.a_channel.bufferedAmount == 5
        await low
        assert await soon(anext(p.z_channel)) == "hello"


@pytest.mark.parametrize("message", ["meow", b"\xde" * 65536], ids=["4 bytes", "65536 bytes"])
@pytest.mark.parametrize("share", [0, 0.5, 1, 2])
@pytest.mark.parametrize("count", [1, 10])
async def test_bufferedamountlow_is_emitted_at_the_threshold(message: str | bytes, share: float, count: int) -> None:
    threshold = int(len(message) * share)
    async with pair() as p:
        assert p.a_channel.bufferedAmountLowThreshold == 0
        p.a_channel.bufferedAmountLowThreshold = threshold
        amounts: list[int] = []
        p.a_channel.on("bufferedamountlow", lambda: amounts.append(p.a_channel.bufferedAmount))

        for _ in range(count):
            p.a_channel.send(message)
        for _ in range(count):
            await soon(anext(p.z_channel))

        if len(message) * count > threshold:
            assert len(amounts) == 1
            assert amounts[0] <= threshold
        else:
            assert amounts == []


async def test_other_channels_get_no_bufferedamountlow(p: Pair) -> None:
    other, _ = await channel_pair(p.a, p.z, "test-2")
    heard: list[str] = []
    other.on("bufferedamountlow", lambda: heard.append("low"))

    p.a_channel.send("hello")
    await soon(anext(p.z_channel))

    assert heard == []
