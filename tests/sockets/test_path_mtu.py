"""Path MTU discovery by sockets (RFC 8899), and how to turn it off."""

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
    """Send messages that fill many packets; return the packet size at the end."""

    async def send() -> None:
        for number in range(COUNT):
            await source.send(bytes([number]) * SIZE)

    sending = asyncio.create_task(send())
    for number in range(COUNT):
        assert await sink.recv(SIZE) == bytes([number]) * SIZE
    await sending
    return source.get_paddrinfo(0, source.getpeername()).mtu


async def test_packets_grow_to_an_eighth_of_the_window_on_loopback(opened) -> None:
    client, server = await opened.pair()
    window = default_options().receive_window
    assert client.get_paddrinfo(0, client.getpeername()).mtu == default_options().base_packet_size
    assert await transfer(client, server) == window // 8
    assert await transfer(server, client) == window // 8


@pytest.mark.parametrize("host", HEADERS)
@pytest.mark.parametrize("mtu", [1300, 1500, 9000])
async def test_packets_grow_to_the_mtu_of_the_interface(mtu: int, host: str) -> None:
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
                    # Both sides have searched now.
                    await transfer(connection, client)
                    assert await transfer(client, connection) == mtu - HEADERS[host] & ~3


async def test_packet_sizes_of_one_socket_differ_between_its_peers(opened) -> None:
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


async def test_the_packet_size_is_set_for_future_associations_only(opened) -> None:
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
    client.set_paddrparams(PaddrParams(pathmtu=1000, flags=SPP_PMTUD_DISABLE))  # no change


async def test_without_discovery_packets_have_the_base_size(opened) -> None:
    client = await opened.client()
    client.set_paddrparams(PaddrParams(flags=SPP_PMTUD_DISABLE))
    assert client.get_paddrparams().pathmtu == default_options().base_packet_size - 12
    client.set_paddrparams(PaddrParams(pathmtu=700, flags=SPP_PMTUD_ENABLE))
    assert client.get_paddrparams().flags & SPP_PMTUD_ENABLE
    assert client.get_paddrparams().pathmtu == default_options().base_packet_size - 12
