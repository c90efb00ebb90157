"""Callers of the echo peer that never read, never connect, or name a victim's addresses."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from datachan import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from datachan.signaling import EchoOptions, EchoPeer
from datachan.signaling.offered_candidates import (
    MAX_CANDIDATES,
    MAX_LOCAL_CANDIDATES,
    MAX_NAMES,
    without_unsafe_candidates,
)
from datachan.udp import UdpSocket

HERE = RTCConfiguration(hostAddresses=["127.0.0.1"])
PATIENCE = 30.0


@contextlib.asynccontextmanager
async def call(echo: EchoPeer, labels: Sequence[str]) -> AsyncIterator[tuple[RTCPeerConnection, list[RTCDataChannel]]]:
    async with asyncio.timeout(PATIENCE), RTCPeerConnection(HERE) as pc:
        channels = [pc.createDataChannel(label) for label in labels]
        await pc.setLocalDescription()
        assert pc.localDescription is not None
        answer = await echo.answer(pc.localDescription.sdp)
        await pc.setRemoteDescription(RTCSessionDescription(answer.sdp, "answer"))
        for channel in channels:
            await channel.opened()
        yield pc, channels


async def test_a_caller_that_never_reads_is_cut_off_within_the_budget() -> None:
    echo = EchoPeer(HERE, options=EchoOptions(max_bytes_per_call=6_000_000, max_bytes=8_000_000))
    most = 0
    async with call(echo, [f"channel {number}" for number in range(40)]) as (_, channels):
        # No channel is iterated over: the echoes fill the caller's receiver window, then waits at the echo peer.
        for channel in channels:
            channel.send(bytes(1_000_000))
        while echo.session_count:
            most = max(most, echo.budget.total)
            await asyncio.sleep(0)
        assert 0 < most <= 6_000_000
        assert echo.budget.total == 0
    await echo.close()


async def test_a_caller_that_reads_gets_everything_back_within_the_same_budget() -> None:
    echo = EchoPeer(HERE, options=EchoOptions(max_bytes_per_call=8_000_000))
    async with call(echo, [f"channel {number}" for number in range(5)]) as (_, channels):

        async def exchange(channel: RTCDataChannel) -> int:
            received = 0
            for _ in range(20):
                channel.send(bytes(200_000))
                received += len(await anext(channel))
            return received

        assert await asyncio.gather(*map(exchange, channels)) == [4_000_000] * 5
        assert echo.session_count == 1
    await echo.close()


async def offers(count: int) -> list[str]:
    async with RTCPeerConnection(HERE) as pc:
        pc.createDataChannel("chat")
        offer = await pc.createOffer()
        return [offer.sdp] * count


async def test_calls_that_never_connect_give_way_to_an_honest_one() -> None:
    echo = EchoPeer(HERE, options=EchoOptions(max_sessions=4, max_connecting_per_address=2))
    for number, sdp in enumerate(await offers(12)):
        # One subscriber offers from many addresses of its /64; others offer from one each.
        await echo.answer(sdp, f"2001:db8::{number:x}" if number < 8 else f"192.0.2.{number}")
    assert echo.session_count <= 4
    async with call(echo, ["chat"]) as (_, [channel]):
        channel.send("hello")
        assert await anext(channel) == "hello"
        # A connected call does not give way.
        for number, sdp in enumerate(await offers(6)):
            await echo.answer(sdp, f"198.51.100.{number}")
        channel.send("still here")
        assert await anext(channel) == "still here"
    await echo.close()


async def test_no_tcp_connection_is_made_to_ports_that_a_caller_names() -> None:
    connected: list[object] = []
    server = await asyncio.start_server(lambda reader, writer: connected.append(writer), "127.0.0.1", 0)
    checked = asyncio.get_running_loop().create_future()
    with contextlib.closing(UdpSocket.bind("127.0.0.1")) as udp:
        udp.set_receiver(lambda datagrams, source: checked.done() or checked.set_result(None))
        tcp_port, udp_port = server.sockets[0].getsockname()[1], udp.local_address[1]
        async with server, RTCPeerConnection(HERE) as pc:
            pc.createDataChannel("chat")
            lines = (
                f"a=candidate:1 1 tcp 2130706431 127.0.0.1 {tcp_port} typ host tcptype passive\r\n"
                f"a=candidate:2 1 udp 1000 127.0.0.1 {udp_port} typ host\r\n"
            )
            echo = EchoPeer(HERE)
            async with asyncio.timeout(PATIENCE):
                await echo.answer((await pc.createOffer()).sdp + lines)
                await checked  # the candidate of lower priority is checked
            await echo.close()
    assert not connected


def sdp_with(candidates: Sequence[str]) -> str:
    lines = [f"a=candidate:{n} 1 udp 2113937151 {address} 50000 typ host" for n, address in enumerate(candidates)]
    return "v=0\r\n" + "".join(f"{line}\r\n" for line in lines) + "a=end-of-candidates\r\n"


def checked(candidates: Sequence[str], caller: str) -> list[str]:
    lines = without_unsafe_candidates(sdp_with(candidates), caller).splitlines()
    assert lines[0] == "v=0"
    assert lines[-1] == "a=end-of-candidates"
    return [line.split(" ")[4] for line in lines[1:-1]]


def test_a_stranger_cannot_name_addresses_of_the_server_itself() -> None:
    own = ["127.0.0.1", "::1", "169.254.1.1", "fe80::1", "224.0.0.1", "ff02::1", "0.0.0.0", "::", "::ffff:127.0.0.1"]
    assert checked([*own, "198.51.100.7"], "198.51.100.7") == ["198.51.100.7"]
    assert checked(own, "127.0.0.1") == own


def test_a_hundred_candidates_of_a_victim_are_cut_to_a_few() -> None:
    victims = [f"203.0.113.{number}" for number in range(100)]
    assert checked(victims, "198.51.100.7") == victims[:MAX_CANDIDATES]
    assert checked(victims, "127.0.0.1") == victims[:MAX_LOCAL_CANDIDATES]


def test_names_are_resolved_only_for_a_caller_on_a_private_network_and_only_a_few() -> None:
    names = [f"{number}-4c6f.local" for number in range(128)]
    assert checked(names, "93.184.216.34") == []
    assert checked(names, "192.168.1.20") == names[:MAX_NAMES]
