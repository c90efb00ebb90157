"""Peers that share one UDP port, connect over TCP, announce other addresses, or are lite agents."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from datachan import (
    ArgumentError,
    InvalidModificationError,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    TcpMux,
    UdpMux,
)
from tests.interop.namespaces import network
from tests.pairs import channel_pair, configuration, event, pair, signal, soon

HOST = "127.0.0.1"
LOCAL = {"addresses": [HOST]}
UDP_BLOCKED = """
    ip link set lo up
    nft add table inet filter
    nft 'add chain inet filter output { type filter hook output priority 0; }'
    nft add rule inet filter output meta l4proto udp drop
"""


def candidates(pc: RTCPeerConnection) -> list[list[str]]:
    """Return the words of the candidates in the local description."""
    description = pc.localDescription
    assert description is not None
    return [line.split()[1:] for line in description.sdp.splitlines() if line.startswith("a=candidate:")]


def selected(pc: RTCPeerConnection) -> Any:
    assert pc.sctp is not None
    found = pc.sctp.transport.iceTransport.getSelectedCandidatePair()
    assert found is not None
    return found


async def test_many_peers_share_one_port_each_with_its_own_messages() -> None:
    async with UdpMux(**LOCAL) as mux:
        servers = [RTCPeerConnection(configuration(udpMux=mux)) for _ in range(5)]
        clients = [RTCPeerConnection(configuration()) for _ in servers]
        try:
            for number, (client, server) in enumerate(zip(clients, servers, strict=True)):
                channel, at_server = await channel_pair(client, server)
                channel.send(f"client {number}")
                at_server.send(f"server {number}")
                assert await soon(anext(at_server)) == f"client {number}"
                assert await soon(anext(channel)) == f"server {number}"
            assert {candidate[4] for server in servers for candidate in candidates(server)} == {str(mux.port)}
            assert mux.connections == 5
        finally:
            for pc in (*servers, *clients):
                await pc.close()
        assert mux.connections == 0


async def test_both_peers_may_share_ports_of_their_own() -> None:
    async with (
        UdpMux(**LOCAL) as ours,
        UdpMux(**LOCAL) as theirs,
        pair(a_configuration=configuration(udpMux=ours), z_configuration=configuration(udpMux=theirs)) as both,
    ):
        both.a_channel.send(b"x" * 100_000)
        assert await soon(anext(both.z_channel)) == b"x" * 100_000
        assert selected(both.a).local.port == ours.port
        assert selected(both.a).remote.port == theirs.port


async def test_an_ice_restart_stays_on_the_shared_port() -> None:
    async with UdpMux(**LOCAL) as mux, pair(z_configuration=configuration(udpMux=mux)) as both:
        both.a.restartIce()
        changed = asyncio.ensure_future(event(both.z.sctp.transport.iceTransport, "selectedcandidatepairchange"))  # type: ignore[union-attr]
        await asyncio.sleep(0)
        await signal(both.a, both.z)
        await changed
        both.a_channel.send("after")
        assert await soon(anext(both.z_channel)) == "after"
        assert selected(both.z).local.port == mux.port


async def test_a_lite_agent_answers_and_is_controlled() -> None:
    async with pair(z_configuration=configuration(iceLite=True)) as both:
        assert both.z.localDescription is not None
        assert "a=ice-lite" in both.z.localDescription.sdp
        both.z_channel.send("from the lite side")
        assert await soon(anext(both.a_channel)) == "from the lite side"


async def test_a_lite_agent_that_offers_is_controlled_too() -> None:
    async with UdpMux(**LOCAL) as mux, pair(a_configuration=configuration(iceLite=True, udpMux=mux)) as both:
        assert both.z.sctp is not None
        assert both.z.sctp.transport.iceTransport.role == "controlling"
        both.a_channel.send("hello")
        assert await soon(anext(both.z_channel)) == "hello"


async def test_announced_addresses_replace_our_own_of_their_family() -> None:
    given = configuration(announcedAddresses=["203.0.113.7", "localhost", "nobody.invalid"])
    async with RTCPeerConnection(given) as pc:
        pc.createDataChannel("x")
        await pc.setLocalDescription()
        found = candidates(pc)
    assert {words[3] for words in found} == {"203.0.113.7", "127.0.0.1"}
    assert {words[6] for words in found} == {"host"}


async def test_a_peer_behind_a_one_to_one_nat_is_reached_by_its_announced_address() -> None:
    # 127.0.0.1 and the announced address are the same host here, so packets pass as through such a NAT. A lite server
    # sends no checks from its own address.
    async with UdpMux(addresses=["0.0.0.0"]) as mux:
        server = configuration(udpMux=mux, announcedAddresses=["127.0.0.77"], iceLite=True)
        async with pair(z_configuration=server) as both:
            assert selected(both.a).remote.address == "127.0.0.77"


async def test_connects_over_tcp_where_udp_is_blocked_without_turn() -> None:
    with network(UDP_BLOCKED):
        async with TcpMux(**LOCAL) as mux, pair(z_configuration=configuration(tcpMux=mux)) as both:
            both.a_channel.send(b"x" * 1_000_000)
            both.z_channel.send("back")
            assert await soon(anext(both.z_channel)) == b"x" * 1_000_000
            assert await soon(anext(both.a_channel)) == "back"
            pair_of_a = selected(both.a)
            assert (pair_of_a.remote.protocol, pair_of_a.remote.tcpType, pair_of_a.remote.port) == (
                "tcp",
                "passive",
                mux.port,
            )


async def test_udp_is_preferred_to_tcp() -> None:
    async with TcpMux(**LOCAL) as mux, pair(z_configuration=configuration(tcpMux=mux)) as both:
        assert selected(both.a).remote.protocol == "udp"


async def test_a_peer_may_refuse_to_connect_over_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    accepted: list[object] = []
    async with TcpMux(**LOCAL) as mux:
        monkeypatch.setattr(mux, "_made", accepted.append)
        configurations = {"a_configuration": configuration(iceTcp=False), "z_configuration": configuration(tcpMux=mux)}
        async with pair(**configurations):  # type: ignore[arg-type]
            assert accepted == []


async def test_excluded_interfaces_give_no_candidates() -> None:
    with network(
        """
        ip link set lo up
        ip link add docker0 type bridge
        ip address add 172.17.0.1/16 dev docker0
        ip link set docker0 addrgenmode none up
        """
    ):
        async with RTCPeerConnection(RTCConfiguration(excludeInterfaces=["bridge"])) as pc:
            pc.createDataChannel("x")
            await pc.setLocalDescription()
            assert "172.17.0.1" not in {words[3] for words in candidates(pc)}


@pytest.mark.parametrize(
    "wrong",
    [
        {"udpMux": 3478},
        {"tcpMux": "0.0.0.0:443"},
        {"announcedAddresses": "203.0.113.7"},
        {"announcedAddresses": [""]},
        {"excludeInterfaces": "docker0"},
        {"excludeInterfaces": [1]},
        {"proxy": "proxy.example"},
        {"iceLite": 1},
        {"iceTcp": "yes"},
        {"iceLite": True, "iceServers": [RTCIceServer("stun:192.0.2.1")]},
    ],
)
async def test_wrong_values_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        RTCPeerConnection(RTCConfiguration(**wrong))


async def test_the_shared_port_cannot_be_changed_later() -> None:
    async with UdpMux(**LOCAL) as mux, RTCPeerConnection(configuration()) as pc:
        with pytest.raises(InvalidModificationError, match="udpMux"):
            pc.setConfiguration(configuration(udpMux=mux))


async def test_a_mux_that_is_not_open_is_named_in_the_failure() -> None:
    async with RTCPeerConnection(configuration(udpMux=UdpMux())) as a, RTCPeerConnection(configuration()) as z:
        a.createDataChannel("x")
        failed = asyncio.ensure_future(event(a, "connectionstatechange"))
        await asyncio.sleep(0)
        await signal(a, z)
        while a.connectionState != "failed":
            await asyncio.wait([failed])
            failed = asyncio.ensure_future(event(a, "connectionstatechange"))
        failed.cancel()
        assert "udpMux: the UdpMux is not open" in str(a.failureReason)
