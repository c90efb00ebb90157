"""Addresses of IPv6 sockets as getaddrinfo returns them: tuples of four, scopes, and names that have only IPv4."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Iterator

import pytest

from datachan.sockets import PaddrParams, RtoInfo, sctpsocket_tcp
from tests.interop.namespaces import network

from .conftest import HOST

LINKS = """
ip link set lo up
ip link add link0 type veth peer name link1
ip link set link0 up
ip link set link1 up
ip addr add fe80::a1/64 dev link0 nodad
ip addr add fe80::a2/64 dev link0 nodad
ip addr add fe80::b1/64 dev link0 nodad
ip addr add fe80::b2/64 dev link0 nodad
ip addr add fe80::a1/64 dev link1 nodad
"""
"""Two interfaces; fe80::a1 is an address of both."""


@pytest.fixture
def links() -> Iterator[None]:
    with network(LINKS):
        yield


def own(host: str, interface: str = "link0", port: int = 0) -> tuple[str, int, int, int]:
    return (host, port, 0, socket.if_nametoindex(interface))


async def connected(
    opened, client_hosts: list[tuple], server_hosts: list[tuple]
) -> tuple[sctpsocket_tcp, sctpsocket_tcp]:
    listener = await opened.add(sctpsocket_tcp(socket.AF_INET6, udp_port=0))
    listener.bindx(server_hosts)
    listener.listen()
    client = await opened.add(sctpsocket_tcp(socket.AF_INET6, udp_port=0, remote_udp_port=listener.udp_port))
    client.set_rtoinfo(RtoInfo(initial=200, min=200))
    if client_hosts:
        client.bindx(client_hosts)
    port = listener.getsockname()[1]
    async with asyncio.timeout(20):
        await client.connectx([(address[0], port, *address[2:]) for address in server_hosts])
        accepted, _ = await listener.accept()
    return client, await opened.add(accepted)


async def exchange(client: sctpsocket_tcp, server: sctpsocket_tcp) -> None:
    async with asyncio.timeout(20):
        await client.send(b"hello" * 10_000)
        assert await server.recv(1 << 20) == b"hello" * 10_000
        await server.send(b"and back")
        assert await client.recv(100) == b"and back"


@pytest.mark.parametrize("bound", [True, False], ids=["bound", "wildcard"])
async def test_link_local_addresses_work_with_their_scope(links: None, opened, bound: bool) -> None:
    client, server = await connected(opened, [own("fe80::b1")] if bound else [], [own("fe80::a1")])
    assert client.getpeername()[0] == "fe80::a1%link0"
    assert server.getpeername()[0].endswith("%link0")
    await exchange(client, server)
    info = client.get_paddrinfo(0, own("fe80::a1", port=client.getpeername()[1]))
    assert info.address == client.getpeername()
    assert client.get_paddrinfo(0, ("fe80::a1%link0", 1)).address == client.getpeername()
    with pytest.raises(OSError, match="no address of the peer"):
        client.set_paddrparams(PaddrParams(own("fe80::a1", "link1", 1), hbinterval=5))


async def test_several_link_local_addresses_are_listed_and_confirmed(links: None, opened) -> None:
    client, server = await connected(opened, [own("fe80::b1"), own("fe80::b2")], [own("fe80::a1"), own("fe80::a2")])
    assert sorted(host for host, _ in client.getpaddrs()) == ["fe80::a1%link0", "fe80::a2%link0"]
    assert sorted(host for host, _ in server.getpaddrs()) == ["fe80::b1%link0", "fe80::b2%link0"]
    client.set_primary(0, own("fe80::a2", port=client.getpeername()[1]))
    await exchange(client, server)
    assert client.get_status().primary.address[0] == "fe80::a2%link0"


async def test_a_link_local_address_without_an_interface_is_refused(opened) -> None:
    sock = await opened.add(sctpsocket_tcp(socket.AF_INET6, udp_port=0))
    for address in (("fe80::1", 0), ("fe80::1", 0, 0, 0)):
        with pytest.raises(OSError, match=r"needs its interface, as in \"fe80::1%eth0\"") as caught:
            sock.bind(address)
        assert caught.value.errno == errno.EINVAL
    with pytest.raises(OSError, match="there is no interface nowhere0"):
        await sock.connect(("fe80::1%nowhere0", 4444))
    with pytest.raises(OSError, match="needs its interface"):
        await sock.connect(("fe80::1", 4444))


async def test_an_address_of_four_values_is_taken(opened) -> None:
    listener = await opened.add(sctpsocket_tcp(socket.AF_INET6, udp_port=0))
    listener.bind(("::1", 0, 0, 0))
    listener.listen()
    client = await opened.add(sctpsocket_tcp(socket.AF_INET6, remote_udp_port=listener.udp_port))
    found = socket.getaddrinfo("::1", listener.getsockname()[1], type=socket.SOCK_DGRAM)
    await client.connect(found[0][4])
    assert client.getpeername() == listener.getsockname()


async def test_a_name_with_only_ipv4_addresses_is_reached_from_an_ipv6_socket(opened) -> None:
    listener = await opened.listener()
    client = await opened.add(sctpsocket_tcp(socket.AF_INET6, remote_udp_port=listener.udp_port))
    await client.connect(
        ("127.1", listener.getsockname()[1])
    )  # not an IP address in standard form: the resolver reads it
    assert client.getpeername() == (HOST, listener.getsockname()[1])


def test_the_program_ends_although_a_resolver_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def hang(*arguments: object, **more: object) -> list:
        answered.wait()
        return []

    async def connect() -> None:
        async with sctpsocket_tcp() as sock:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(sock.connect(("slow.example", 4444)), 0.01)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    asyncio.run(connect())
    assert not answered.is_set()
    answered.set()


async def test_a_name_that_does_not_resolve_is_an_oserror(opened) -> None:
    client = await opened.add(sctpsocket_tcp())
    for name in ("no-such-host.invalid", "a" * 70, "a..b"):
        with pytest.raises(OSError, match=r"."):
            await client.connect((name, 4444))
