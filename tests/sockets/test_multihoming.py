"""Two sockets with three loopback addresses each, while paths between them are cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise

import pytest

from datachan.sockets import (
    SCTP_ACTIVE,
    SCTP_ADDR_AVAILABLE,
    SCTP_ADDR_CONFIRMED,
    SCTP_ADDR_POTENTIALLY_FAILED,
    SCTP_GET_PEER_ADDR_INFO,
    SCTP_PEER_ADDR_PARAMS,
    SCTP_PEER_ADDR_THLDS,
    SCTP_PRIMARY_ADDR,
    SCTP_RTOINFO,
    SCTP_STATUS,
    SPP_HB_DEMAND,
    SPP_HB_ENABLE,
    PaddrChange,
    PaddrParams,
    PaddrThresholds,
    RtoInfo,
    sctpsocket_tcp,
)
from datachan.udp import UdpSocket

from .conftest import Opened

SERVER = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
CLIENT = ("127.0.0.5", "127.0.0.6", "127.0.0.7")

pytestmark = pytest.mark.patient_loop


class Cuts:
    """The addresses that are cut off."""

    def __init__(self) -> None:
        self.addresses: set[str] = set()


@pytest.fixture
def cuts(monkeypatch: pytest.MonkeyPatch) -> Cuts:
    """Make every UDP socket drop the packets from and to an address that is cut off."""
    cut = Cuts()
    send = UdpSocket.send

    def filtered(self: UdpSocket, datagrams: Sequence[bytes], address: tuple[str, int] | None = None) -> None:
        if (address or self.remote_address)[0] not in cut.addresses and self.local_address[0] not in cut.addresses:
            send(self, datagrams, address)

    monkeypatch.setattr(UdpSocket, "send", filtered)
    return cut


async def pair(opened: Opened) -> tuple[sctpsocket_tcp, sctpsocket_tcp]:
    """Return two connected sockets with quick failover and short timers."""
    listener = await opened.add(sctpsocket_tcp(udp_port=0))
    listener.bindx([(host, 0) for host in SERVER])
    client = await opened.add(sctpsocket_tcp(udp_port=0, remote_udp_port=listener.udp_port))
    client.bindx([(host, 0) for host in CLIENT])
    for sock in (listener, client):
        sock.setsockopt(SCTP_RTOINFO, RtoInfo(initial=200, min=200, max=1000))
        sock.setsockopt(SCTP_PEER_ADDR_THLDS, PaddrThresholds(pathmaxrxt=5, pathpfthld=0))
        sock.setsockopt(SCTP_PEER_ADDR_PARAMS, PaddrParams(hbinterval=200, flags=SPP_HB_ENABLE))
        sock.events.address = True
    listener.listen()
    port = listener.getsockname()[1]
    await client.connectx([(host, port) for host in SERVER])
    accepted, _ = await listener.accept()
    return client, await opened.add(accepted)


async def changes(sock: sctpsocket_tcp) -> AsyncIterator[PaddrChange]:
    """Yield the address changes that a socket reports; skip its messages."""
    async for message in sock:
        if isinstance(message.notification, PaddrChange):
            yield message.notification


async def until(sock: sctpsocket_tcp, state: int, *hosts: str) -> None:
    """Wait until a socket has reported a state for all of the addresses."""
    missing = set(hosts)
    async with asyncio.timeout(10):
        async for change in changes(sock):
            if change.state == state:
                missing.discard(change.addr[0])
            if not missing:
                return


async def test_both_sides_know_and_verify_all_addresses(opened: Opened) -> None:
    client, server = await pair(opened)
    assert [host for host, _ in client.getpaddrs()] == list(SERVER)
    assert sorted(host for host, _ in server.getpaddrs()) == list(CLIENT)
    assert [host for host, _ in server.getladdrs()] == list(SERVER)
    # Heartbeats verify the client's addresses, except the source of INIT; the client itself named the server's.
    known = server.getpaddrs()[0][0]
    await until(server, SCTP_ADDR_CONFIRMED, *[host for host in CLIENT if host != known])
    for host in CLIENT:
        info = server.getsockopt(SCTP_GET_PEER_ADDR_INFO, address=(host, client.getsockname()[1]))
        assert info.state == SCTP_ACTIVE


async def test_sets_the_primary_address_and_how_each_is_monitored(opened: Opened) -> None:
    client, server = await pair(opened)
    port = client.getpaddrs()[0][1]
    client.setsockopt(SCTP_PRIMARY_ADDR, (SERVER[2], port))
    assert client.getsockopt(SCTP_PRIMARY_ADDR)[0] == SERVER[2]
    assert client.getsockopt(SCTP_STATUS).primary.address[0] == SERVER[2]
    await client.send(b"over the third")
    assert await server.recv(100) == b"over the third"
    params = PaddrParams((SERVER[1], port), 0, 7, flags=SPP_HB_DEMAND | SPP_HB_ENABLE)
    client.setsockopt(SCTP_PEER_ADDR_PARAMS, params)
    assert client.getsockopt(SCTP_PEER_ADDR_PARAMS, address=(SERVER[1], port)).pathmaxrxt == 7
    assert client.getsockopt(SCTP_PEER_ADDR_PARAMS, address=(SERVER[0], port)).pathmaxrxt == 5
    with pytest.raises(OSError, match="no address of the peer"):
        client.setsockopt(SCTP_PRIMARY_ADDR, ("127.0.0.99", port))


class Transfer:
    """A transfer that lasts until the primary path was cut, another one carried messages for a second, and it is back.

    Attributes:
        arrivals: (time, number) of each message.
        states: the states of the primary address that the client reported.
        cut_at: the time of the cut.
    """

    def __init__(self, client: sctpsocket_tcp, server: sctpsocket_tcp, cuts: Cuts) -> None:
        self.arrivals: list[tuple[float, int]] = []
        self.states: list[int] = []
        self.cut_at = 0.0
        self._client, self._server, self._cuts = client, server, cuts
        self._mend_at = float("inf")
        self._back = False

    async def run(self) -> None:
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            for task in (self._send(), self._receive(), self._watch()):
                group.create_task(task)

    async def _send(self) -> None:
        number = 0
        while not self._back:
            await self._client.send(number.to_bytes(4, "big") + bytes(5000))
            number += 1
            await asyncio.sleep(0.005)  # the clock of this loop moves only while everything waits
        await self._client.send(b"last")

    async def _receive(self) -> None:
        async for message in self._server:
            if message.notification is not None:
                continue
            if message.data == b"last":
                return
            now = asyncio.get_running_loop().time()
            self.arrivals.append((now, int.from_bytes(message.data[:4], "big")))
            if len(self.arrivals) == 200:
                self.cut_at = now
                self._cuts.addresses.add(SERVER[0])
            elif now > self._mend_at:
                self._cuts.addresses.clear()

    async def _watch(self) -> None:
        async for change in changes(self._client):
            if change.addr[0] != SERVER[0]:
                continue
            self.states.append(change.state)
            if change.state == SCTP_ADDR_POTENTIALLY_FAILED:
                self._mend_at = asyncio.get_running_loop().time() + 1.0
            elif change.state == SCTP_ADDR_AVAILABLE:
                self._back = True
                return


async def test_a_transfer_survives_its_primary_path_and_returns_to_it(opened: Opened, cuts: Cuts) -> None:
    client, server = await pair(opened)
    transfer = Transfer(client, server, cuts)
    await transfer.run()
    assert [number for _, number in transfer.arrivals] == list(range(len(transfer.arrivals)))
    since = [transfer.cut_at, *[moment for moment, _ in transfer.arrivals if moment > transfer.cut_at]]
    assert max(later - earlier for earlier, later in pairwise(since)) < 1.0
    assert transfer.states == [SCTP_ADDR_POTENTIALLY_FAILED, SCTP_ADDR_AVAILABLE]
    await client.send(b"by the first again")
    assert client.getsockopt(SCTP_STATUS).primary.address[0] == SERVER[0]


async def test_connects_by_the_address_that_answers(opened: Opened, cuts: Cuts) -> None:
    cuts.addresses.add(SERVER[0])
    client, server = await pair(opened)
    await client.send(b"by the second")
    assert await server.recv(100) == b"by the second"
    assert client.getsockopt(SCTP_PRIMARY_ADDR)[0] == SERVER[1]
