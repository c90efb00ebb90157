"""Sockets find out how long packets may be (RFC 8899), and stop when told to."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

import pytest

from datachan.sockets import (
    SPP_HB_ENABLE,
    SPP_PMTUD_DISABLE,
    SPP_PMTUD_ENABLE,
    PaddrParams,
    SndInfo,
    default_options,
    sctpsocket_tcp,
)
from tests.interop.namespaces import network

HEADERS = {"127.0.0.1": 20 + 8, "::1": 40 + 8}  # IP and UDP
SIZE, COUNT = 50_000, 60


async def transfer(source: sctpsocket_tcp, sink: sctpsocket_tcp) -> int:
    """Sends what fills many packets; returns the size of packets at the end."""

    async def send() -> None:
        for number in range(COUNT):
            await source.send(bytes([number]) * SIZE)

    sending = asyncio.create_task(send())
    for number in range(COUNT):
        assert await sink.recv(SIZE) == bytes([number]) * SIZE
    await sending
    return source.get_paddrinfo(0, source.getpeername()).mtu


async def test_packets_grow_to_what_is_of_use_on_loopback(opened) -> None:
    client, server = await opened.pair()
    window = default_options().receive_window
    assert client.get_paddrinfo(0, client.getpeername()).mtu == default_options().base_packet_size
    assert await transfer(client, server) == window // 8
    assert await transfer(server, client) == window // 8


@pytest.mark.parametrize("host", HEADERS)
@pytest.mark.parametrize("mtu", [1300, 1500, 9000])
async def test_packets_grow_to_what_the_interface_takes(mtu: int, host: str) -> None:
    with network(f"ip link set lo up mtu {mtu}"):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        async with sctpsocket_tcp(family, udp_port=0) as listener:
            listener.bind((host, 0))
            listener.listen()
            async with sctpsocket_tcp(family, remote_udp_port=listener.udp_port) as client:
                await client.connect(listener.getsockname())
                connection, _ = await listener.accept()
                async with connection:
                    await transfer(client, connection)
                    # The peer has searched as well: from now on nothing keeps the sizes below Ethernet's.
                    await transfer(connection, client)
                    assert await transfer(client, connection) == mtu - HEADERS[host] & ~3


async def test_one_socket_has_peers_whose_packets_grow_and_peers_whose_do_not(opened) -> None:
    server = await opened.many()
    fixed = replace(default_options(), path_mtu_discovery=False, max_packet_size=1000)
    clients = [await opened.client(server), await opened.client(server, options=fixed)]

    async def ask(client: sctpsocket_tcp) -> list[bytes]:
        answers = []
        for _ in range(COUNT):
            await client.send(bytes(SIZE))
            answers.append(await client.recv(SIZE))
        return answers

    async def answer() -> None:
        for _ in range(COUNT * len(clients)):
            message = await server.recvmsg()
            await server.sendmsg(message.data, [SndInfo(assoc_id=message.assoc_id)])

    *answers, _ = await asyncio.gather(*[ask(client) for client in clients], answer())
    assert answers == [[bytes(SIZE)] * COUNT] * 2
    mtus = [client.get_paddrinfo(0, client.getpeername()).mtu for client in clients]
    assert mtus == [default_options().receive_window // 8, 1000]


async def test_the_packet_size_can_be_set_for_associations_to_come(opened) -> None:
    listener = await opened.listener()
    client = await opened.add(sctpsocket_tcp(remote_udp_port=listener.udp_port))
    assert client.get_paddrparams().flags == SPP_HB_ENABLE | SPP_PMTUD_ENABLE
    with pytest.raises(OSError, match="SPP_PMTUD_DISABLE"):
        client.set_paddrparams(PaddrParams(pathmtu=1000))
    client.set_paddrparams(PaddrParams(pathmtu=1000, flags=SPP_PMTUD_DISABLE))
    assert (client.get_paddrparams().pathmtu, client.get_paddrparams().flags & SPP_PMTUD_ENABLE) == (1000, 0)
    await client.connect(listener.getsockname())
    accepted, _ = await listener.accept()
    server = await opened.add(accepted)
    assert await transfer(client, server) == 1012
    with pytest.raises(OSError, match="future associations"):
        client.set_paddrparams(PaddrParams(flags=SPP_PMTUD_ENABLE))
    client.set_paddrparams(PaddrParams(pathmtu=1000, flags=SPP_PMTUD_DISABLE))  # as it is


async def test_without_discovery_packets_are_as_short_as_every_path_takes(opened) -> None:
    client = await opened.client()
    client.set_paddrparams(PaddrParams(flags=SPP_PMTUD_DISABLE))
    assert client.get_paddrparams().pathmtu == default_options().base_packet_size - 12
    client.set_paddrparams(PaddrParams(pathmtu=700, flags=SPP_PMTUD_ENABLE))
    assert client.get_paddrparams().flags & SPP_PMTUD_ENABLE
    assert client.get_paddrparams().pathmtu == default_options().base_packet_size - 12
