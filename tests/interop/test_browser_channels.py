"""Test channels between Python and a browser: their properties and ids, and how they open and close."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.interop.link import Ends, Link, describe

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPTIONS: list[dict[str, Any]] = [
    {},
    {"ordered": False},
    {"maxRetransmits": 0},
    {"maxPacketLifeTime": 500},
    {"ordered": False, "maxRetransmits": 7},
    {"ordered": False, "maxPacketLifeTime": 65535},
    {"protocol": "žába/☃"},
]
LABELS = ["", "plain", "příliš žluťoučký kůň ☃ 😀", "e\u0301" * 100, "a" * 1000]
PROPERTIES = ["label", "protocol", "ordered", "maxRetransmits", "maxPacketLifeTime", "negotiated", "id"]


async def both_see_the_same(ends: Ends) -> dict[str, Any]:
    """Return a channel's properties after comparing them at both ends."""
    in_browser: dict[str, Any] = await ends.page.call("properties", ends.index)
    assert {name: getattr(ends.channel, name) for name in PROPERTIES} == in_browser
    return in_browser


async def test_properties_are_the_same_at_both_ends(link: Link) -> None:
    await link.connect()
    for number, options in enumerate(OPTIONS):
        for opens in (link.browser_opens, link.python_opens):
            ends = await opens(f"{opens.__name__} {number}", **options)
            seen = await both_see_the_same(ends)
            assert {name: seen[name] for name in options} == options
            await ends.exchange("works")


async def test_labels_are_the_same_at_both_ends(link: Link) -> None:
    await link.connect()
    for label in LABELS:
        await both_see_the_same(await link.browser_opens(f"b{label}"))
        await both_see_the_same(await link.python_opens(f"p{label}"))


async def test_a_label_may_be_empty(link: Link) -> None:
    await link.connect()
    await both_see_the_same(await link.browser_opens(""))


@pytest.mark.parametrize("options", [{}, {"ordered": False, "maxRetransmits": 0}], ids=["reliable", "unreliable"])
async def test_negotiated_channels_need_no_announcement(link: Link, options: dict[str, Any]) -> None:
    await link.connect()
    for number in (0, 200, 1022):
        taken = number == 0 and link.offerer == "python"
        ends = await link.both_open("agreed", number + 2 if taken else number + 3, **options)
        await both_see_the_same(ends)
        await ends.exchange(f"on {number}")


async def test_fifty_channels_opened_by_both_sides_work_at_once(link: Link) -> None:
    await link.connect()
    numbers = range(25)
    indices = [await link.page.call("createChannel", f"b{number}", {}) for number in numbers]
    ours = [link.create(f"p{number}") for number in numbers]
    channels = [await link.browser_end(f"b{number}", index) for number, index in zip(numbers, indices, strict=True)]
    channels += [await link.python_end(channel, inbox) for channel, inbox in ours]
    for ends in channels:
        await ends.opened()
        await link.page.call("sendTexts", ends.index, [f"to {ends.channel.label}"])
        ends.channel.send(f"from {ends.channel.label}")
    for ends in channels:
        assert await ends.receive(1) == [f"to {ends.channel.label}"]
        assert await ends.browser_received(1) == [describe(f"from {ends.channel.label}")]
    ids = {ends.channel.id for ends in channels}
    assert len(ids) == 50


async def test_channels_created_before_the_connection_open_with_it(link: Link) -> None:
    index = await link.page.call("createChannel", "early browser", {"ordered": False})
    channel, inbox = link.create("early python", protocol="p")
    await link.connect()
    for ends in (await link.browser_end("early browser", index), await link.python_end(channel, inbox)):
        await ends.opened()
        await both_see_the_same(ends)
        await ends.exchange("early")


async def test_a_channel_closed_by_python_closes_in_the_browser(link: Link) -> None:
    await link.connect()
    for ends in (await link.browser_opens("theirs"), await link.python_opens("ours")):
        ends.channel.close()
        assert ends.channel.readyState == "closing"
        await ends.closed()


async def test_a_channel_closed_by_the_browser_closes_in_python(link: Link) -> None:
    await link.connect()
    for ends in (await link.browser_opens("theirs"), await link.python_opens("ours")):
        await link.page.call("closeChannel", ends.index)
        await ends.closed()


async def test_channels_closed_as_soon_as_they_are_open_close(link: Link) -> None:
    await link.connect()
    channels = [link.pc.createDataChannel(f"short {number}") for number in range(30)]
    async with asyncio.timeout(30):
        for channel in channels:
            await channel.opened()
            channel.close()
        for channel in channels:
            await channel.closed()


async def test_a_channel_closed_by_both_at_once_closes(link: Link) -> None:
    await link.connect()
    ends = await link.python_opens("both")
    ends.channel.close()
    await link.page.call("closeChannel", ends.index)
    await ends.closed()


async def test_messages_sent_right_before_a_channel_closes_all_arrive(link: Link) -> None:
    await link.connect()
    texts = [f"{number} " + "x" * 5000 for number in range(300)]
    outward = await link.python_opens("outward")
    for text in texts:
        outward.channel.send(text)
    outward.channel.close()
    inward = await link.browser_opens("inward")
    await link.page.call("sendAndClose", inward.index, texts)
    assert await outward.browser_received(300) == [describe(text) for text in texts]
    assert await inward.receive(300) == texts
    await outward.closed()
    await inward.closed()
    assert inward.nothing_more()


async def test_reuses_the_ids_of_closed_channels(link: Link) -> None:
    first = await link.connect()
    seen = []
    for number in range(6):
        opens, closer = (link.browser_opens, "browser") if number % 2 else (link.python_opens, "python")
        ends = await opens(f"round {number}")
        await ends.exchange(f"in round {number}")
        seen.append(ends.channel.id)
        if closer == "python":
            ends.channel.close()
        else:
            await link.page.call("closeChannel", ends.index)
        await ends.closed()
    assert len(set(seen)) < len(seen)
    await first.exchange("the first is untouched")
