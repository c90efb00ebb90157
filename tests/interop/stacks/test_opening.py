"""Connections with each stack open in both roles, over a network that loses packets too, and survive an ICE restart."""

from __future__ import annotations

import asyncio

import pytest

from datachan import RTCSessionDescription
from tests.interop.stacks.conftest import HOST
from tests.interop.stacks.partner import Partner, echoed, linked
from tests.interop.stacks.relay import relaying
from tests.pairs import state

pytestmark = pytest.mark.asyncio(loop_scope="module")

# The first datagrams of each direction: at most 5 of DTLS, SCTP's 2, and those of the channel and its first message.
STEPS = 9


@pytest.mark.case("opens")
async def test_opens_a_channel(partner: Partner, we_offer: bool) -> None:
    async with linked(partner, HOST, we_offer=we_offer) as link:
        (channel,) = await link.connect({"label": "first"})
        await echoed(channel, "hello")


async def open_with_loss(partner: Partner, *, we_offer: bool, side: str, kind: str, number: int) -> int:
    """Connect over a relay that loses one datagram; return how many it lost."""

    def loses(each_kind: str, each_number: int, _length: int) -> bool:
        return (each_kind, each_number) == (kind, number)

    async with (
        relaying(HOST, **{f"from_{side}": loses}) as relay,
        linked(partner, HOST, we_offer=we_offer, relay=relay) as link,
    ):
        (channel,) = await link.connect({"label": "first"})
        await echoed(channel, "hello")
        return relay.lost


@pytest.mark.case("opens with any one packet of the handshake lost")
async def test_opens_whichever_packet_of_the_handshake_is_lost(partner: Partner, we_offer: bool) -> None:
    losses = [(side, "dtls", number + 1) for side in ("a", "z") for number in range(STEPS)]
    losses += [(side, "stun", 1) for side in ("a", "z")]
    attempts = (
        open_with_loss(partner, we_offer=we_offer, side=side, kind=kind, number=number) for side, kind, number in losses
    )
    lost = await asyncio.gather(*attempts, return_exceptions=True)

    failed = {loss: result for loss, result in zip(losses, lost, strict=True) if isinstance(result, BaseException)}
    assert not failed
    assert sum(lost) > STEPS


def credentials(description: RTCSessionDescription | None) -> str:
    """Return the ICE user name fragment of a description."""
    assert description is not None
    return next(line for line in description.sdp.splitlines() if line.startswith("a=ice-ufrag:"))


@pytest.mark.case("ICE restart")
async def test_restarts_ice(partner: Partner, we_offer: bool) -> None:
    async with linked(partner, HOST, we_offer=we_offer) as link:
        (channel,) = await link.connect({"label": "first"})
        await echoed(channel, "before")
        ours, theirs = credentials(link.ours.localDescription), credentials(link.ours.remoteDescription)

        if we_offer:
            await link.offer(iceRestart=True)
        else:
            await link.answer(await partner.call(link.name, "restart"))

        assert credentials(link.ours.localDescription) != ours
        assert credentials(link.ours.remoteDescription) != theirs
        await state(link.ours, "connectionState", "connected", "connectionstatechange")
        await echoed(channel, "after")
