"""Channels and connections with each stack close from either side."""

from __future__ import annotations

import asyncio

import pytest

from tests.interop.stacks.conftest import HOST
from tests.interop.stacks.partner import Link, Partner, echoed, linked
from tests.pairs import soon, state

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def both_closed(link: Link, label: str) -> None:
    """Wait until both ends of a channel are closed, and check that other channels work."""
    await state(link.channels[label], "readyState", "closed", "close")
    await link.partner.event(link.name, "closed", label)
    await echoed(link.channels["other"], "still open")


@pytest.mark.case("channel closed by datachan")
async def test_closes_a_channel_from_our_side(partner: Partner, we_offer: bool) -> None:
    async with linked(partner, HOST, we_offer=we_offer) as link:
        channel, _ = await link.connect({"label": "closing"}, {"label": "other"})
        await echoed(channel, "hello")
        channel.close()
        await both_closed(link, "closing")


@pytest.mark.case("channel closed by the peer")
async def test_closes_a_channel_from_their_side(partner: Partner, we_offer: bool) -> None:
    async with linked(partner, HOST, we_offer=we_offer) as link:
        channel, _ = await link.connect({"label": "closing"}, {"label": "other"})
        await echoed(channel, "hello")
        await partner.call(link.name, "close", label="closing")
        await both_closed(link, "closing")


@pytest.mark.case("connection closed by datachan")
async def test_closes_the_connection_from_our_side(partner: Partner, we_offer: bool) -> None:
    async with linked(partner, HOST, we_offer=we_offer) as link:
        (channel,) = await link.connect({"label": "closing"})
        await echoed(channel, "hello")
        await link.ours.close()
        await partner.event(link.name, "closed", "closing")


@pytest.mark.case("connection closed by the peer")
async def test_closes_the_connection_from_their_side(partner: Partner, we_offer: bool) -> None:
    async with linked(partner, HOST, we_offer=we_offer) as link:
        (channel,) = await link.connect({"label": "closing"})
        await echoed(channel, "hello")
        await asyncio.sleep(0)
        await partner.call(link.name, "end")
        await soon(state(channel, "readyState", "closed", "close"))
