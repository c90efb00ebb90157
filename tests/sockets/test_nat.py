"""An association over real sockets with a peer behind a NAT that changes the peer's port."""

from __future__ import annotations

import asyncio

from datachan.sockets import sctpsocket_tcp

from .conftest import HOST


class Nat:
    """Forwards datagrams between a client and a server, and changes its port towards the server on request."""

    def __init__(self, server: tuple[str, int]) -> None:
        self.server = server
        self.client: tuple[str, int] | None = None
        self.inner: asyncio.DatagramTransport | None = None
        self.outer: list[asyncio.DatagramTransport] = []

    async def open(self) -> int:
        """Open the sockets, and return the port for the client."""
        loop = asyncio.get_running_loop()
        self.inner, _ = await loop.create_datagram_endpoint(lambda: Side(self.outward), local_addr=(HOST, 0))
        await self.change_port()
        return self.inner.get_extra_info("sockname")[1]

    async def change_port(self) -> None:
        for old in self.outer:
            old.close()
        loop = asyncio.get_running_loop()
        outer, _ = await loop.create_datagram_endpoint(lambda: Side(self.inward), local_addr=(HOST, 0))
        self.outer.append(outer)

    def outward(self, data: bytes, source: tuple[str, int]) -> None:
        self.client = source
        self.outer[-1].sendto(data, self.server)

    def inward(self, data: bytes, source: tuple[str, int]) -> None:
        if self.inner is not None and self.client is not None:
            self.inner.sendto(data, self.client)

    def close(self) -> None:
        for transport in (self.inner, *self.outer):
            if transport is not None:
                transport.close()


class Side(asyncio.DatagramProtocol):
    def __init__(self, forward) -> None:
        self.datagram_received = forward


async def test_the_server_follows_a_client_to_its_new_port(opened) -> None:
    listener = await opened.listener()
    nat = Nat((HOST, listener.udp_port))
    client = await opened.add(sctpsocket_tcp(remote_udp_port=await nat.open()))
    await client.connect(listener.getsockname())
    accepted, _ = await listener.accept()
    server = await opened.add(accepted)
    for number in range(3):
        await client.send(b"from behind, %d" % number)
        assert await server.recv(100) == b"from behind, %d" % number
        await server.send(b"to behind, %d" % number)
        assert await client.recv(100) == b"to behind, %d" % number
        await nat.change_port()
    await client.close()
    assert await server.recv(1) == b""
    nat.close()
