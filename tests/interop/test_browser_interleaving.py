"""Test interleaved messages (I-DATA, RFC 8260) with browsers: Firefox as it is, Chromium with a switch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.interop import browsers
from tests.interop.conftest import Situation, running, situations
from tests.interop.link import Ends, Link, describe

pytestmark = pytest.mark.asyncio(loop_scope="module")

SWITCH = {"chromium": ["--force-fieldtrials=WebRTC-DataChannelMessageInterleaving/Enabled/"], "firefox": []}
LONGEST = {"chromium": 262_144, "firefox": 2_000_000}
MANY = {"chromium": 40, "firefox": 3}


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=situations("as-a-user"))
async def browser(request: pytest.FixtureRequest) -> AsyncIterator[browsers.Browser]:
    """Run a browser that announces I-DATA."""
    situation: Situation = request.param
    async with running(situation, SWITCH[situation.browser]) as browser:
        yield browser


def name_of(link: Link) -> str:
    return "firefox" if isinstance(link.page.browser, browsers.Firefox) else "chromium"


async def bulk_and_ping(link: Link) -> tuple[Ends, Ends]:
    await link.connect()
    return await link.browser_opens("bulk"), await link.python_opens("ping")


async def test_a_long_message_to_the_browser_lets_a_ping_pass(link: Link) -> None:
    bulk, ping = await bulk_and_ping(link)
    data = bytes(range(250)) * (LONGEST[name_of(link)] // 250)
    await link.page.evaluate("arrivals.length = 0")
    for _ in range(MANY[name_of(link)]):
        bulk.channel.send(data)
    ping.channel.send("ping")
    assert await ping.browser_received(1) == [describe("ping")]
    assert await bulk.browser_received(MANY[name_of(link)]) == [describe(data)] * MANY[name_of(link)]
    # The ping was sent after all long messages, and passed the first one, which had already begun.
    assert (await link.page.evaluate("arrivals"))[0] == "ping"


async def test_a_long_message_from_the_browser_lets_a_ping_pass(link: Link) -> None:
    bulk, ping = await bulk_and_ping(link)
    arrivals: list[str] = []
    for ends in (bulk, ping):
        ends.channel.on("message", lambda _data, label=ends.channel.label: arrivals.append(label))
    size, count = LONGEST[name_of(link)], MANY[name_of(link)]
    await link.page.evaluate(
        f"""(() => {{
            for (let i = 0; i < {count}; i++) channels[{bulk.index}].channel.send(new Uint8Array({size}).fill(i));
            channels[{ping.index}].channel.send("ping");
        }})()"""
    )
    assert await ping.receive(1) == ["ping"]
    assert await bulk.receive(count) == [bytes([i]) * size for i in range(count)]
    # Chromium's network thread runs beside the page: some of its shorter long messages leave before the page sends the
    # ping. The ping passes all messages that still wait.
    assert arrivals.index("ping") <= (0 if name_of(link) == "firefox" else count // 4)


async def test_pings_both_ways_while_long_messages_go_both_ways(link: Link) -> None:
    bulk, ping = await bulk_and_ping(link)
    size, count = LONGEST[name_of(link)], MANY[name_of(link)]
    for _ in range(count):
        bulk.channel.send(bytes(size))
    await send_zeros(bulk, size, count)
    for number in range(10):
        await ping.exchange(f"ping {number}")
    assert await bulk.receive(count) == [bytes(size)] * count
    assert await bulk.browser_received(count) == [describe(bytes(size))] * count


@pytest.mark.parametrize("ordered", [True, False])
async def test_abandoned_messages_do_not_affect_others(link: Link, ordered: bool) -> None:
    bulk, ping = await bulk_and_ping(link)
    fleeting = await link.python_opens("fleeting", ordered=ordered, maxPacketLifeTime=20)
    back = await link.browser_opens("fleeting back", ordered=ordered, maxPacketLifeTime=20)
    size, count = LONGEST[name_of(link)], MANY[name_of(link)]
    for _ in range(count):
        fleeting.channel.send(bytes(size))
    bulk.channel.send(bytes(size))
    await send_zeros(back, size, count)
    await send_zeros(bulk, size, 1)
    assert await bulk.browser_received(1) == [describe(bytes(size))]
    assert await bulk.receive(1) == [bytes(size)]
    await ping.exchange("still here")
    # Channels that lost messages still work. One of these messages finds an idle moment.
    await until_one_arrives(fleeting, back)


async def until_one_arrives(fleeting: Ends, back: Ends) -> None:
    after = describe("after")
    for _ in range(50):
        fleeting.channel.send("after")
        await send_text(back, "after")
        await asyncio.sleep(0.1)
        if after in await fleeting.browser_received(0):
            break
    assert after in await fleeting.browser_received(0)
    while await back.receive(1) != ["after"]:
        pass


async def send_text(ends: Ends, text: str) -> None:
    await ends.page.call("sendTexts", ends.index, [text])


async def send_zeros(ends: Ends, size: int, count: int) -> None:
    """Make the browser send `count` messages of `size` bytes, all at once."""
    once = f"channels[{ends.index}].channel.send(new Uint8Array({size}))"
    await ends.page.evaluate(f"(() => {{ for (let i = 0; i < {count}; i++) {once}; }})()")


async def test_reuses_a_stream_after_its_channel_closed(link: Link) -> None:
    await link.connect()
    for number in range(5):
        for opens in (link.browser_opens, link.python_opens):
            ends = await opens(f"{number} {opens.__name__}", ordered=number % 2 == 0)
            await ends.exchange("first")
            await ends.exchange("second")
            ends.channel.close()
            await ends.closed()
