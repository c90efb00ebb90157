"""RTCDataChannel-iceRestart.html."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from datachan import OperationError, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from datachan.ice import TcpMux, UdpMux
from datachan.ice_agent import AgentOptions
from datachan.peer import peer_transport
from datachan.peer.peer_transport import PeerTransport
from datachan.stack import Stack
from tests.pairs import Pair, configuration, event, pair, signal, soon

pytestmark = pytest.mark.patient_loop


async def ping_pong(one: RTCDataChannel, other: RTCDataChannel) -> None:
    one.send("hello")
    assert await soon(anext(other)) == "hello"
    other.send("hello back")
    assert await soon(anext(one)) == "hello back"


def ufrag(pc: RTCPeerConnection) -> str:
    return pc.localDescription.sdp.split("a=ice-ufrag:")[1].split("\r\n")[0]


def ports(p: Pair) -> tuple[int, int]:
    selected = p.a.sctp.transport.iceTransport.getSelectedCandidatePair()
    return selected.local.port, selected.remote.port


def session(pc: RTCPeerConnection) -> str:
    """Return our username fragment of the ICE session whose pair carries the data."""
    return pc.sctp.transport.iceTransport.getLocalParameters().usernameFragment


async def moved(p: Pair, before: str) -> None:
    """Wait until A uses the pair of the new session."""
    while session(p.a) == before:
        await ping_pong(p.a_channel, p.z_channel)


async def test_channels_stay_usable_after_a_restart() -> None:
    async with pair() as p:
        await ping_pong(p.a_channel, p.z_channel)
        before, sockets = (ufrag(p.a), ufrag(p.z)), ports(p)

        p.a.restartIce()
        await event(p.a, "negotiationneeded")
        await signal(p.a, p.z)
        await moved(p, before[0])

        assert ufrag(p.a) != before[0]
        assert ufrag(p.z) != before[1]
        assert (p.a.connectionState, p.z.connectionState) == ("connected", "connected")
        assert ports(p) == sockets, "a restart opens no second socket"
        await ping_pong(p.z_channel, p.a_channel)


async def test_sctp_keeps_its_path_state_when_the_restart_finds_the_same_path(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[Stack, bool]] = []
    path_changed = PeerTransport._path_changed

    def note(transport: PeerTransport, *, lost: bool = False, same: bool = False) -> None:
        if transport.stack is not None:
            told.append((transport.stack, same))
        path_changed(transport, lost=lost, same=same)

    # Not that of Stack: a compiled class takes no other method.
    monkeypatch.setattr(PeerTransport, "_path_changed", note)
    async with pair() as p:
        await ping_pong(p.a_channel, p.z_channel)
        told.clear()
        before = session(p.a)
        p.a.restartIce()
        await event(p.a, "negotiationneeded")
        await signal(p.a, p.z)
        await moved(p, before)
        while len(told) < 2:
            await ping_pong(p.z_channel, p.a_channel)
    assert len(told) == len({id(stack) for stack, _ in told}) == 2
    assert all(same for _, same in told)


async def test_channels_stay_usable_at_each_step() -> None:
    async with pair() as p:
        await ping_pong(p.a_channel, p.z_channel)
        p.z.restartIce()

        await p.z.setLocalDescription()
        await ping_pong(p.a_channel, p.z_channel)
        await p.a.setRemoteDescription(p.z.localDescription)
        await ping_pong(p.a_channel, p.z_channel)
        await p.a.setLocalDescription(await p.a.createAnswer())
        await ping_pong(p.a_channel, p.z_channel)
        await p.z.setRemoteDescription(p.a.localDescription)
        await ping_pong(p.a_channel, p.z_channel)
        p.a_channel.close()
        await soon(asyncio.gather(p.a_channel.closed(), p.z_channel.closed()))


async def test_no_message_in_flight_is_lost_by_a_restart() -> None:
    async with pair() as p:
        received: list[Any] = []
        p.z_channel.on("message", received.append)
        before = session(p.a)

        async def send() -> None:
            for number in range(400):
                p.a_channel.send(number.to_bytes(2, "big") * 8192)
                await p.a_channel.drain()
                await asyncio.sleep(0)

        sending = asyncio.ensure_future(send())
        for offerer, answerer in ((p.a, p.z), (p.z, p.a)):
            await offerer.setLocalDescription(await offerer.createOffer(iceRestart=True))
            await answerer.setRemoteDescription(offerer.localDescription)
            await answerer.setLocalDescription()
            await offerer.setRemoteDescription(answerer.localDescription)
        await soon(sending)
        p.a_channel.close()
        await soon(p.z_channel.closed())

        assert [int.from_bytes(message[:2], "big") for message in received] == list(range(400))
        assert session(p.a) != before


async def test_a_restart_can_be_rolled_back() -> None:
    async with pair() as p:
        before = ufrag(p.a)
        await p.a.setLocalDescription(await p.a.createOffer(iceRestart=True))
        assert ufrag(p.a) != before

        await p.a.setLocalDescription(RTCSessionDescription(sdp="", type="rollback"))

        assert ufrag(p.a) == before
        await ping_pong(p.a_channel, p.z_channel)
        await signal(p.z, p.a)
        assert ufrag(p.a) == before


async def test_an_answer_without_the_restart_is_refused() -> None:
    async with pair() as p:
        old_answer = p.z.localDescription
        await p.a.setLocalDescription(await p.a.createOffer(iceRestart=True))

        with pytest.raises(OperationError, match="restarts ICE"):
            await p.a.setRemoteDescription(old_answer)

        await ping_pong(p.a_channel, p.z_channel)


def without_candidates(description: RTCSessionDescription) -> RTCSessionDescription:
    lines = description.sdp.splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(("a=candidate", "a=end-of-candidates"))]
    return RTCSessionDescription("".join(kept), description.type)


async def test_after_a_restart_that_found_no_path_the_next_offer_restarts_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    impatient = {"a_configuration": configuration(iceTimeout=1.0), "z_configuration": configuration(iceTimeout=1.0)}
    async with pair(**impatient) as p:
        before = session(p.a)
        await p.a.setLocalDescription(await p.a.createOffer(iceRestart=True))
        await p.z.setRemoteDescription(without_candidates(p.a.localDescription))
        await p.z.setLocalDescription()
        await p.a.setRemoteDescription(without_candidates(p.z.localDescription))
        failed = ufrag(p.a), ufrag(p.z)
        async with asyncio.timeout(10):
            while caplog.text.count("the ICE restart found no path") < 2:
                await asyncio.sleep(0.02)
        assert (p.a.connectionState, p.z.connectionState) == ("connected", "connected")
        await ping_pong(p.a_channel, p.z_channel)

        await signal(p.a, p.z)

        assert ufrag(p.a) != failed[0]
        assert ufrag(p.z) != failed[1]
        await moved(p, before)
        await ping_pong(p.z_channel, p.a_channel)


async def test_closing_during_a_restart_leaves_no_task() -> None:
    for steps in range(4):
        async with pair() as p:
            if steps > 0:
                await p.a.setLocalDescription(await p.a.createOffer(iceRestart=True))
            if steps > 1:
                await p.z.setRemoteDescription(p.a.localDescription)
                await p.z.setLocalDescription()
            if steps > 2:
                await p.a.setRemoteDescription(p.z.localDescription)


async def test_a_restart_on_shared_ports_uses_the_same_port_and_leaves_no_fragment_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hurried = AgentOptions(old_session_life=0.2)
    monkeypatch.setattr(peer_transport, "AgentOptions", partial(replace, hurried))
    async with UdpMux(addresses=["127.0.0.1"]) as udp, TcpMux(addresses=["127.0.0.1"]) as tcp:
        shared = configuration(udpMux=udp, tcpMux=tcp)
        async with pair(z_configuration=shared) as p:
            before = session(p.z)
            p.a.restartIce()
            await event(p.a, "negotiationneeded")
            await signal(p.a, p.z)
            while session(p.z) == before:
                await ping_pong(p.a_channel, p.z_channel)
            assert ports(p)[1] == udp.port
            assert udp.connections == 1
            async with asyncio.timeout(10):
                while udp.fragments != [session(p.z)]:
                    await asyncio.sleep(0.02)
            await ping_pong(p.z_channel, p.a_channel)
        assert udp.connections == 0
