"""UDP in batches: datagrams arrive the same with and without offload, and no loss is silent."""

from __future__ import annotations

import asyncio
import errno
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from datachan import udp
from datachan.udp import MulticastSocket, UdpSocket, has_reader_support, route_mtu
from tests.interop.namespaces import network
from tests.interpreted import only_interpreted
from tests.ports import free_port

HOSTS = ["127.0.0.1", "::1"]
on_linux = pytest.mark.skipif("sys.platform != 'linux'", reason="only Linux has these socket options")


class Inbox:
    """Collects the datagrams that a socket receives, and waits for them."""

    def __init__(self, sock: UdpSocket) -> None:
        self.datagrams: list[bytes] = []
        self.batches: list[int] = []
        self.sources: set[Any] = set()
        self._wanted = 0
        self._enough = asyncio.Event()
        sock.set_receiver(self.receive)

    def receive(self, datagrams: list[bytes], source: Any) -> None:
        self.datagrams += datagrams
        self.batches.append(len(datagrams))
        self.sources.add(source[:2])
        if len(self.datagrams) >= self._wanted:
            self._enough.set()

    async def wait_for(self, count: int) -> list[bytes]:
        self._wanted = count
        if len(self.datagrams) < count:
            self._enough.clear()
            await asyncio.wait_for(self._enough.wait(), 10)
        return self.datagrams


MakeSocket = Callable[..., UdpSocket]


@pytest.fixture
async def make_socket() -> AsyncIterator[MakeSocket]:
    made: list[UdpSocket] = []

    def make(host: str = "127.0.0.1", **options: Any) -> UdpSocket:
        made.append(UdpSocket.bind(host, receive_buffer=4 << 20, **options))
        return made[-1]

    yield make
    for sock in made:
        sock.close()


def numbered(sizes: Sequence[int]) -> list[bytes]:
    """Return datagrams of these sizes, each different from its neighbors."""
    return [(index % 251).to_bytes(1, "big") * size for index, size in enumerate(sizes)]


SHAPES = {
    "equal": [1200] * 100,
    "last shorter": [1200] * 10 + [7],
    "growing": [100, 200, 300, 301],
    "shrinking": [1200, 1100, 1000, 999],
    "shorter in the middle": [1200, 1200, 600, 1200, 1200, 50, 50],
    "one": [1],
    "large": [16_000] * 9,
    "largest": [65_000, 65_000],
    "an empty one between": [5, 5, 0, 5],
    "more than one call takes": [400] * 200,
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("offload_out", [True, False])
@pytest.mark.parametrize("offload_in", [True, False])
async def test_delivers_the_same_datagrams_with_and_without_offload(
    make_socket: MakeSocket, host: str, shape: str, offload_out: bool, offload_in: bool
) -> None:
    out, into = make_socket(host, offload=offload_out), make_socket(host, offload=offload_in)
    inbox = Inbox(into)
    datagrams = numbered(SHAPES[shape])

    out.send(datagrams, into.local_address)

    assert await inbox.wait_for(len(datagrams)) == datagrams
    assert inbox.sources == {out.local_address[:2]}
    assert out.sent == into.received == len(datagrams)
    assert out.discarded == 0


async def test_one_wake_up_delivers_all_datagrams_that_have_arrived(make_socket: MakeSocket) -> None:
    out, into = make_socket(offload=False), make_socket(offload=False)
    datagrams = numbered([300] * 50)
    out.send(datagrams, into.local_address)
    inbox = Inbox(into)
    await inbox.wait_for(50)
    assert inbox.batches == [50]


async def test_batches_never_mix_sources(make_socket: MakeSocket) -> None:
    first, second, into = make_socket(), make_socket(), make_socket()
    for _ in range(3):
        first.send([b"first", b"first"], into.local_address)
        second.send([b"other"], into.local_address)
    seen: list[tuple[list[bytes], int]] = []
    done = asyncio.Event()

    def receive(datagrams: list[bytes], source: Any) -> None:
        seen.append((datagrams, source[1]))
        if sum(len(batch) for batch, _ in seen) == 9:
            done.set()

    into.set_receiver(receive)
    await asyncio.wait_for(done.wait(), 5)
    expected = {first.local_address[1]: b"first", second.local_address[1]: b"other"}
    for datagrams, port in seen:
        assert set(datagrams) == {expected[port]}


async def test_datagrams_of_a_source_that_wait_between_others_are_delivered_together(make_socket: MakeSocket) -> None:
    first, second, into = make_socket(), make_socket(), make_socket()
    for number in range(3):
        first.send([b"first %d" % number], into.local_address)
        second.send([b"other %d" % number], into.local_address)
    seen: list[list[bytes]] = []
    both = asyncio.Event()

    def receive(datagrams: list[bytes], source: Any) -> None:
        seen.append(datagrams)
        if len(seen) == 2:
            both.set()

    into.set_receiver(receive)
    await asyncio.wait_for(both.wait(), 5)
    assert seen == [[b"first 0", b"first 1", b"first 2"], [b"other 0", b"other 1", b"other 2"]]


async def test_datagrams_before_a_receiver_is_set_wait_in_the_socket(make_socket: MakeSocket) -> None:
    out, into = make_socket(), make_socket()
    out.send([b"early"], into.local_address)
    inbox = Inbox(into)
    assert await inbox.wait_for(1) == [b"early"]


class Refusing:
    """A socket whose `sendmsg` raises the given errors, then works."""

    def __init__(self, real: socket.socket, errors: Sequence[int], *, only_runs: bool = False) -> None:
        self._real = real
        self.errors = list(errors)
        self.only_runs = only_runs
        self.calls: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def sendmsg(self, buffers: Any, ancillary: Any = (), flags: int = 0, address: Any = None) -> int:
        if self.errors and (len(buffers) > 1 or not self.only_runs):
            raise OSError(self.errors.pop(0), "refused")
        self.calls.append(len(buffers))
        return self._real.sendmsg(buffers, ancillary, flags, address)


@pytest.fixture
async def refusing() -> AsyncIterator[Callable[..., tuple[UdpSocket, Refusing]]]:
    made: list[UdpSocket] = []

    def make(*errors: int, only_runs: bool = False, max_queued: int = 4096) -> tuple[UdpSocket, Refusing]:
        real = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        real.bind(("127.0.0.1", 0))
        double = Refusing(real, errors, only_runs=only_runs)
        made.append(UdpSocket(double, max_queued=max_queued))  # type: ignore[arg-type]
        return made[-1], double

    yield make
    for sock in made:
        sock.close()


@pytest.mark.parametrize("error", [errno.EIO, errno.EOPNOTSUPP])
async def test_sends_one_by_one_where_the_system_cannot_segment(
    refusing: Any, make_socket: MakeSocket, error: int
) -> None:
    out, system = refusing(error, only_runs=True)
    into = make_socket()
    inbox = Inbox(into)
    datagrams = numbered([500] * 20)

    out.send(datagrams, into.local_address)

    assert await inbox.wait_for(20) == datagrams
    assert system.calls == [1] * 20
    assert not out.gso
    assert out.discarded == 0


async def test_segments_too_large_for_the_path_go_one_by_one_and_smaller_ones_in_runs(
    refusing: Any, make_socket: MakeSocket
) -> None:
    out, system = refusing(errno.EINVAL, only_runs=True)
    if not out.gso:
        pytest.skip("this system has no UDP_SEGMENT")
    into = make_socket()
    inbox = Inbox(into)
    out.send(numbered([1400] * 4), into.local_address)
    out.send(numbered([1300] * 4), into.local_address)
    await inbox.wait_for(8)
    assert system.calls == [1, 1, 1, 1, 4]


@pytest.fixture
async def narrow() -> AsyncIterator[tuple[UdpSocket, socket.socket]]:
    """Return a sender whose system buffer fills, and the plain socket at the other end.

    UDP over loopback never raises EAGAIN; local datagram sockets do, as soon as the other end's queue or a tiny
    SO_SNDBUF is full.
    """
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    far.setblocking(False)
    sender = UdpSocket(near, max_queued=1000)
    yield sender, far
    sender.close()
    far.close()


async def read_all(far: socket.socket, count: int) -> list[bytes]:
    loop = asyncio.get_running_loop()
    return [await asyncio.wait_for(loop.sock_recv(far, 65535), 5) for _ in range(count)]


@only_interpreted(udp)
async def test_waits_for_a_full_send_buffer_and_loses_nothing(narrow: Any) -> None:
    sender, far = narrow
    datagrams = numbered([1000] * 500)
    writable_again = asyncio.Event()
    sender.on_writable = writable_again.set

    sender.send(datagrams)

    assert not sender.writable
    assert 0 < sender.queued < 500
    assert await read_all(far, 500) == datagrams
    await asyncio.wait_for(writable_again.wait(), 5)
    assert sender.writable
    assert (sender.sent, sender.queued, sender.discarded) == (500, 0, 0)


@only_interpreted(udp)
async def test_keeps_the_order_when_more_is_sent_while_datagrams_wait(narrow: Any) -> None:
    sender, far = narrow
    datagrams = numbered([1000] * 300)
    for start in range(0, 300, 20):
        sender.send(datagrams[start : start + 20])
    assert not sender.writable
    assert await read_all(far, 300) == datagrams


@only_interpreted(udp)
async def test_sending_with_a_full_queue_raises_buffer_error(narrow: Any) -> None:
    sender, _ = narrow
    sender.send(numbered([1000] * 900))
    waiting = sender.queued
    sender.send(numbered([1000] * (1000 - waiting)))
    with pytest.raises(BufferError, match="1000 datagrams wait"):
        sender.send([b"one more"])
    assert sender.queued == 1000


async def test_retries_after_a_moment_when_the_system_has_no_buffers(refusing: Any, make_socket: MakeSocket) -> None:
    out, _ = refusing(errno.ENOBUFS, errno.ENOBUFS)
    into = make_socket()
    inbox = Inbox(into)
    datagrams = numbered([900] * 7)
    out.send(datagrams, into.local_address)
    assert not out.writable
    assert await inbox.wait_for(7) == datagrams
    assert out.writable
    assert out.discarded == 0


async def test_counts_and_reports_refused_datagrams_and_sends_the_others(
    refusing: Any, make_socket: MakeSocket
) -> None:
    out, _ = refusing(errno.EHOSTUNREACH)
    into = make_socket()
    inbox = Inbox(into)
    reported: list[OSError] = []
    out.on_error = reported.append
    out.send([b"lost"], into.local_address)
    out.send([b"arrives"], into.local_address)
    assert await inbox.wait_for(1) == [b"arrives"]
    assert (out.discarded, out.discarded_bytes, out.sent) == (1, 4, 1)
    assert [error.errno for error in reported] == [errno.EHOSTUNREACH]


async def test_a_connected_socket_survives_a_peer_that_is_away_for_a_while(make_socket: MakeSocket) -> None:
    away = make_socket()
    address = away.local_address
    away.close()
    out = UdpSocket.connect(address)
    try:
        refusals: list[OSError] = []
        refused = asyncio.Event()
        out.on_error = lambda error: (refusals.append(error), refused.set())[-1]
        Inbox(out)
        out.send([b"the port is closed"])
        await asyncio.wait_for(refused.wait(), 5)
        back = UdpSocket.bind("127.0.0.1", address[1])
        inbox = Inbox(back)
        out.send([b"and now", b"again.."])
        assert await inbox.wait_for(2) == [b"and now", b"again.."]
        back.close()
        assert refusals[0].errno == errno.ECONNREFUSED
    finally:
        out.close()


@only_interpreted(udp)
async def test_close_tries_to_send_once_more_and_counts_the_rest_as_discarded(narrow: Any) -> None:
    sender, far = narrow
    sender.send(numbered([1000] * 100))
    queued, sent = sender.queued, sender.sent
    await read_all(far, 1)
    sender.close()
    assert sender.sent > sent
    assert 0 < sender.discarded == 100 - sender.sent < queued
    assert sender.discarded_bytes == 1000 * sender.discarded
    assert not sender.writable
    before = sender.discarded
    sender.send([b"late"])
    assert (sender.discarded, sender.discarded_bytes) == (before + 1, 1000 * before + 4)
    sender.close()


async def test_the_receiver_may_close_the_socket(make_socket: MakeSocket) -> None:
    out, into = make_socket(), make_socket()
    seen: list[bytes] = []

    def receive(datagrams: list[bytes], _: Any) -> None:
        seen.extend(datagrams)
        into.close()
        finished.set()

    finished = asyncio.Event()
    out.send([b"1"], into.local_address)
    out.send([b"22"], into.local_address)
    into.set_receiver(receive)
    await asyncio.wait_for(finished.wait(), 5)
    assert seen in ([b"1", b"22"], [b"1"])


async def test_binding_an_address_of_another_host_raises() -> None:
    with pytest.raises(OSError, match="assign"):
        UdpSocket.bind("203.0.113.1")


async def test_the_default_event_loop_can_watch_sockets() -> None:
    assert has_reader_support(asyncio.get_running_loop())


async def test_members_of_a_group_share_its_port_and_receive_from_each_other() -> None:
    port = free_port()
    first = MulticastSocket.join("224.0.0.251", port, ["127.0.0.1"])
    second = MulticastSocket.join("224.0.0.251", port, ["127.0.0.1"])
    try:
        inbox, own = Inbox(second), Inbox(first)
        first.send_to_group(b"hello")
        assert await inbox.wait_for(1) == [b"hello"]
        assert await own.wait_for(1) == [b"hello"]
        assert first.shares_port
        assert inbox.sources == {("127.0.0.1", port)}
    finally:
        first.close()
        second.close()


async def test_joining_on_no_interface_raises() -> None:
    with pytest.raises(OSError, match="interface"):
        MulticastSocket.join("224.0.0.251", 0, [])


async def test_sends_a_run_of_equal_datagrams_with_one_system_call(refusing: Any, make_socket: MakeSocket) -> None:
    out, system = refusing()
    if not out.gso:
        pytest.skip("this system has no UDP_SEGMENT")
    into = make_socket()
    inbox = Inbox(into)
    out.send(numbered([1200] * 54 + [80, 1200]), into.local_address)
    assert len(await inbox.wait_for(56)) == 56
    # A run has at most 54 datagrams of 1200 bytes; the shorter datagram begins a run of its own.
    assert system.calls == [54, 1, 1]


async def test_delivers_a_long_run_in_parts_so_that_answers_can_leave_early(
    make_socket: MakeSocket,
) -> None:
    a, z = make_socket(), make_socket()
    sent = numbered([1200] * 800)
    a.send(sent, z.local_address)
    inbox = Inbox(z)  # by now, all datagrams wait in the system's buffer

    assert await inbox.wait_for(800) == sent
    assert max(inbox.batches) * 1200 < 240_000


# -- how long datagrams may be -----------------------------------------------------------------------------------------

IP_MTU_DISCOVER = {"127.0.0.1": (socket.IPPROTO_IP, 10), "::1": (socket.IPPROTO_IPV6, 23)}


@on_linux
@pytest.mark.parametrize("host", HOSTS)
async def test_fragmentation_is_the_systems_choice_until_it_is_allowed_or_forbidden(host: str) -> None:
    raw = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    raw.bind((host, 0))
    sock = UdpSocket(raw)
    untouched = raw.getsockopt(*IP_MTU_DISCOVER[host])
    seen = []
    for allowed in (False, True, True, False):
        sock.allow_fragmentation(allowed)
        seen.append(raw.getsockopt(*IP_MTU_DISCOVER[host]))
    assert (untouched, seen) == (1, [3, 0, 0, 3])
    sock.close()
    sock.allow_fragmentation(True)  # has no effect on a closed socket


@on_linux
@pytest.mark.parametrize("host", HOSTS)
async def test_reports_the_mtu_of_a_route(host: str) -> None:
    assert (route_mtu(host, (host, 9)) or 0) >= 65535


@on_linux
async def test_reports_no_mtu_without_a_route() -> None:
    assert route_mtu("127.0.0.1", ("192.0.2.1", 9)) is None
    assert route_mtu("192.0.2.77", ("192.0.2.1", 9)) is None


async def test_a_datagram_too_long_for_the_link_is_reported_apart_from_errors(refusing: Any) -> None:
    out, _ = refusing(errno.EMSGSIZE)
    out.gso = False
    errors: list[OSError] = []
    refused: list[tuple[bytes, Any]] = []
    out.on_error = errors.append
    out.on_too_long = lambda datagram, address: refused.append((datagram, address))
    out.send([bytes(1472), bytes(100)], ("127.0.0.1", 9))
    assert (refused, errors) == ([(bytes(1472), ("127.0.0.1", 9))], [])
    assert (out.discarded, out.sent) == (1, 1)


async def test_tries_large_segments_again_after_the_path_has_changed(refusing: Any) -> None:
    out, system = refusing(errno.EMSGSIZE, only_runs=True)
    if not out.gso:
        pytest.skip("this system has no UDP_SEGMENT")
    out.send([bytes(9000)] * 4, ("127.0.0.1", 9))
    out.allow_fragmentation(False)
    out.send([bytes(9000)] * 4, ("127.0.0.1", 9))
    assert system.calls == [1, 1, 1, 1, 4]


async def ask(client: UdpSocket, host: str, server: UdpSocket, count: int = 1) -> Any:
    """Send datagrams to a server at one of its addresses; return the client's address as the server sees it."""
    inbox = Inbox(server)
    client.send([bytes(1200)] * count, (host, server.local_address[1]))
    await inbox.wait_for(count)
    (source,) = inbox.sources
    return source


@on_linux
@pytest.mark.parametrize("count", [1, 20], ids=["one datagram", "a run"])
@pytest.mark.parametrize("wildcard", ["0.0.0.0", "::"])
async def test_replies_come_from_the_address_the_request_was_sent_to(
    make_socket: MakeSocket, wildcard: str, count: int
) -> None:
    server, client = make_socket(wildcard), make_socket()
    inbox = Inbox(client)
    for number, host in enumerate(["127.0.0.2", "127.0.0.3", "127.0.0.2"], 1):
        source = await ask(client, host, server, count)
        assert (server.source_of(source) or "").removeprefix("::ffff:") == host
        inbox.sources.clear()
        server.send([bytes(1200)] * count, source)
        await inbox.wait_for(number * count)
        assert inbox.sources == {(host, server.local_address[1])}


@on_linux
async def test_replies_come_from_the_ipv6_address_the_request_was_sent_to() -> None:
    with network("ip link set lo up\nip address add fd00::2/128 dev lo nodad\nip address add fd00::3/128 dev lo nodad"):
        server, client = UdpSocket.bind("::"), UdpSocket.bind("::")
        inbox = Inbox(client)
        for number, host in enumerate(["fd00::3", "::1", "fd00::2"], 1):
            source = await ask(client, host, server)
            assert server.source_of(source) == host
            inbox.sources.clear()
            server.send([b"answer"], source)
            await inbox.wait_for(number)
            assert inbox.sources == {(host, server.local_address[1])}
        server.close()
        client.close()


@on_linux
async def test_the_routes_choose_the_source_towards_a_peer_that_has_sent_nothing(make_socket: MakeSocket) -> None:
    server, client = make_socket("0.0.0.0"), make_socket()
    inbox = Inbox(client)
    server.send([b"first"], client.local_address)
    await inbox.wait_for(1)
    source = await ask(client, "127.0.0.2", server)
    assert server.source_of(source) is None
    server.send([b"second"], source)
    await inbox.wait_for(2)
    assert inbox.sources == {("127.0.0.1", server.local_address[1])}


@on_linux
async def test_replies_come_from_another_address_when_the_host_has_lost_the_first() -> None:
    with network("ip link set lo up\nip address add 192.0.2.1/32 dev lo"):
        server, client = UdpSocket.bind("0.0.0.0"), UdpSocket.bind("127.0.0.1")
        inbox = Inbox(client)
        source = await ask(client, "192.0.2.1", server)
        subprocess.run(["ip", "address", "delete", "192.0.2.1/32", "dev", "lo"], check=True)
        server.send([bytes(1200)] * 20, source)
        await inbox.wait_for(20)
        assert inbox.sources == {("127.0.0.1", server.local_address[1])}
        assert server.discarded == 0
        assert server.gso
        server.close()
        client.close()


@on_linux
@only_interpreted(udp)
async def test_source_addresses_are_remembered_for_a_bounded_number_of_peers(
    make_socket: MakeSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datachan.udp._MAX_LEARNED", 10)
    server = make_socket("0.0.0.0")
    clients = [make_socket() for _ in range(25)]
    for client in clients:
        source = await ask(client, "127.0.0.2", server)
        assert server.source_of(source) == "127.0.0.2"
    known = [client for client in clients if server.source_of(client.local_address) is not None]
    assert 0 < len(known) <= 10
