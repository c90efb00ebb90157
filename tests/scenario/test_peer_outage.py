"""Two peer connections that lose their path: `failed` ends nothing, and an ICE restart continues the same channels."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from datachan import InvalidStateError, RTCPeerConnection
from datachan.ice_agent import AgentOptions
from datachan.peer import peer_transport
from datachan.udp import UdpSocket
from tests.pairs import Pair, channel_pair, configuration, pair, signal, soon, state

pytestmark = pytest.mark.patient_loop


class Network:
    """All UDP sockets of the process; `cut` drops what they send."""

    cut = False


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    """Shorten the 30 seconds of RFC 7675 to one, and let the test cut all paths."""
    hurried = AgentOptions(consent_expiry=1.0, consent_interval=0.1, silence=0.3, probe_timeout=0.2)
    monkeypatch.setattr(peer_transport, "AgentOptions", partial(replace, hurried))
    network = Network()
    send = UdpSocket.send

    def send_unless_cut(sock: UdpSocket, datagrams: Any, address: Any = None) -> None:
        if not network.cut:
            send(sock, datagrams, address)

    monkeypatch.setattr(UdpSocket, "send", send_unless_cut)
    return network


def states(pc: RTCPeerConnection) -> list[str]:
    """Return a list to which the states of ICE and of the connection are added."""
    seen: list[str] = []

    def ice_changed() -> None:
        # The moment of "completed" depends on the checks of other pairs.
        if pc.iceConnectionState != "completed":
            seen.append(f"ice {pc.iceConnectionState}")

    pc.on("iceconnectionstatechange", ice_changed)
    pc.on("connectionstatechange", lambda: seen.append(pc.connectionState))
    return seen


async def failed(*connections: RTCPeerConnection) -> None:
    for connection in connections:
        await soon(state(connection, "connectionState", "failed", "connectionstatechange"))


async def restarted(offerer: RTCPeerConnection, answerer: RTCPeerConnection) -> None:
    """Restart ICE on the offerer, and wait until both are connected."""
    offerer.restartIce()
    await signal(offerer, answerer)
    for connection in (offerer, answerer):
        await soon(state(connection, "connectionState", "connected", "connectionstatechange"))


async def lose_path(p: Pair, network: Network) -> None:
    network.cut = True
    await asyncio.gather(failed(p.a), failed(p.z))


@pytest.mark.parametrize("answerer_restarts", [False, True])
async def test_a_restart_after_failure_continues_the_channels_and_delivers_what_was_queued_once(
    network: Network, answerer_restarts: bool
) -> None:
    async with pair() as p:
        seen = states(p.a)
        received: list[Any] = []
        p.z_channel.on("message", received.append)
        network.cut = True
        for number in range(100):
            p.a_channel.send(number.to_bytes(2, "big") * 2000)
        p.z_channel.send("from Z")
        await asyncio.gather(failed(p.a), failed(p.z))
        for number in range(100, 120):
            p.a_channel.send(number.to_bytes(2, "big") * 2000)
        assert (p.a_channel.readyState, p.z_channel.readyState) == ("open", "open")
        assert p.a.failureReason is not None
        assert "has answered no check" in p.a.failureReason

        network.cut = False
        await (restarted(p.z, p.a) if answerer_restarts else restarted(p.a, p.z))

        assert await soon(anext(p.a_channel)) == "from Z"
        p.a_channel.close()
        await soon(p.z_channel.closed())
        assert [int.from_bytes(message[:2], "big") for message in received] == list(range(120))
        assert (p.a.failureReason, p.a_channel.closeReason) == (None, None)
        assert seen == [
            "ice disconnected",
            "disconnected",
            "ice failed",
            "failed",
            "ice checking",
            "connecting",
            "ice connected",
            "connected",
        ]


async def test_a_failed_connection_fails_again_and_can_be_restarted_again(network: Network) -> None:
    impatient = configuration(iceTimeout=0.3)
    async with pair(a_configuration=impatient, z_configuration=configuration(iceTimeout=0.3)) as p:
        await lose_path(p, network)
        seen = states(p.a)
        p.a.restartIce()
        await signal(p.a, p.z)
        await asyncio.gather(failed(p.a), failed(p.z))
        while "failed" not in seen:
            await asyncio.sleep(0.01)
        assert seen == ["ice checking", "connecting", "ice failed", "failed"]
        network.cut = False
        await restarted(p.a, p.z)
        p.a_channel.send("at last")
        assert await soon(anext(p.z_channel)) == "at last"


async def test_a_restart_while_disconnected_goes_through_checking(network: Network) -> None:
    async with pair() as p:
        seen = states(p.a)
        network.cut = True
        await soon(state(p.a, "iceConnectionState", "disconnected", "iceconnectionstatechange"))
        p.a.restartIce()
        await signal(p.a, p.z)
        assert seen[:4] == ["ice disconnected", "disconnected", "ice checking", "connecting"]
        network.cut = False
        await soon(state(p.a, "connectionState", "connected", "connectionstatechange"))
        p.a_channel.send("back")
        assert await soon(anext(p.z_channel)) == "back"


async def test_channels_of_a_first_connection_that_never_came_up_open_after_a_restart(network: Network) -> None:
    impatient = configuration(iceTimeout=0.3)
    async with RTCPeerConnection(impatient) as a, RTCPeerConnection(configuration(iceTimeout=0.3)) as z:
        network.cut = True
        channel = a.createDataChannel("early")
        announced: list[Any] = []
        z.on("datachannel", announced.append)
        await signal(a, z)
        await asyncio.gather(failed(a), failed(z))
        assert channel.readyState == "connecting"
        with pytest.raises(InvalidStateError, match="no check was answered"):
            await channel.opened()

        network.cut = False
        a.restartIce()
        await signal(a, z)

        await soon(channel.opened())
        channel.send("hello")
        while not announced:
            await asyncio.sleep(0.01)
        assert await soon(anext(announced[0])) == "hello"


async def test_a_channel_created_while_failed_opens_after_the_restart(network: Network) -> None:
    async with pair() as p:
        await lose_path(p, network)
        channel = p.a.createDataChannel("new", negotiated=True, id=100)
        other = p.z.createDataChannel("new", negotiated=True, id=100)
        network.cut = False
        await restarted(p.a, p.z)
        await soon(asyncio.gather(channel.opened(), other.opened()))
        channel.send("hello")
        assert await soon(anext(other)) == "hello"


async def test_closing_a_failed_connection_does_not_wait_for_acknowledgments(network: Network) -> None:
    async with pair() as p:
        await lose_path(p, network)
        p.a_channel.send("never delivered")
        async with asyncio.timeout(1):
            await p.a.close()
        assert p.a_channel.readyState == "closed"
        assert p.a_channel.closeReason is not None
        assert "has answered no check" in p.a_channel.closeReason


async def test_negotiating_on_a_connection_that_the_peer_has_ended_raises() -> None:
    async with pair() as p:
        offer = await p.a.createOffer()
        await p.z.close()
        await soon(state(p.a, "connectionState", "closed", "connectionstatechange"))
        for call in (
            p.a.createOffer,
            p.a.createAnswer,
            p.a.setLocalDescription,
            lambda: p.a.setLocalDescription(offer),
            lambda: p.a.setRemoteDescription(offer),
            lambda: p.a.addIceCandidate(None),
        ):
            with pytest.raises(InvalidStateError, match="the connection has ended"):
                await call()
        with pytest.raises(InvalidStateError, match="the connection has ended"):
            p.a.createDataChannel("late")


async def test_an_outage_shorter_than_the_consent_ends_by_itself(network: Network) -> None:
    async with pair() as p:
        network.cut = True
        await soon(state(p.a, "connectionState", "disconnected", "connectionstatechange"))
        p.a_channel.send("later")
        network.cut = False
        await soon(state(p.a, "connectionState", "connected", "connectionstatechange"))
        assert await soon(anext(p.z_channel)) == "later"
        assert (await channel_pair(p.a, p.z, "second"))[0].readyState == "open"
