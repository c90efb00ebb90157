"""The TURN client with coturn and pion: transports, families, an HTTP proxy, redirections, a server that restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from datachan.ice.servers import ServerAddress, parse_server_url
from datachan.ice.turn_connection import HttpProxy, parse_proxy
from datachan.ice.turn_link import OtherFamily, TurnError, TurnLink, open_turn_link
from datachan.udp import Address, UdpSocket
from tests.interop import coturn
from tests.interop.coturn import server
from tests.missing import missing

__all__ = ["server"]  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="module")
CHECK, DATA = b"\x00check", b"\x17data"
PION_TURN = Path(__file__).parents[2] / "build" / "stacks" / "pion_turn"


class Peer:
    """A socket that remembers what arrives, and sends it back."""

    def __init__(self, host: str = coturn.HOST) -> None:
        self.socket = UdpSocket.bind(host)
        self.address: tuple[str, int] = self.socket.local_address[:2]
        self.received: list[bytes] = []
        self.sources: set[Address] = set()
        self.socket.set_receiver(self._received)

    def _received(self, datagrams: list[bytes], source: Address) -> None:
        self.received += datagrams
        self.sources.add(source)
        self.socket.send(datagrams, source)


class Opened:
    """A link, and what has arrived over it."""

    def __init__(self, link: TurnLink | OtherFamily) -> None:
        self.link = link
        self.received: list[tuple[bytes, Address]] = []
        self.changed = asyncio.Event()
        link.set_receiver(self._received)

    def _received(self, datagrams: list[bytes], peer: Address) -> None:
        self.received += [(one, peer) for one in datagrams]
        self.changed.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.received) < count:
                self.changed.clear()
                await self.changed.wait()

    async def close(self) -> None:
        self.link.close()
        await self.link.wait_closed()


def address_of(server: coturn.Coturn, transport: str = "udp", password: str = coturn.PASSWORD) -> ServerAddress:
    if transport == "tls":
        return parse_server_url(f"turns:localhost:{server.tls_port}", coturn.USER, password)
    return parse_server_url(f"turn:{coturn.HOST}:{server.port}?transport={transport}", coturn.USER, password)


async def opened(server: ServerAddress, **options: object) -> Opened:
    return Opened(await open_turn_link(server, [(coturn.HOST, server.port)], **options))  # type: ignore[arg-type]


async def carries_both_ways(opened: Opened, peer: Peer) -> None:
    """Send a check, then data until a channel is bound, and back."""
    opened.link.permit(peer.address[0])
    opened.link.send([CHECK], peer.address)
    await opened.until(1)
    for number in range(20):
        opened.link.send([DATA + bytes([number]) * 999] * 5, peer.address)
        await opened.until(1 + 5 * (number + 1))
    assert [one for one, _ in opened.received] == peer.received
    assert {source[:2] for source in peer.sources} == {opened.link.relayed_address}
    assert {source for _, source in opened.received} == {peer.address}


@pytest_asyncio.fixture(loop_scope="module")
async def peer() -> AsyncIterator[Peer]:
    made = Peer()
    yield made
    made.socket.close()


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_carries_checks_and_data_over_each_transport(
    server: coturn.Coturn, peer: Peer, transport: str, fast_path: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
    released = server.deletions()
    bound = server.channel_bindings()
    link = await opened(address_of(server, transport), fast_path=fast_path)
    assert link.link.mapped_address is not None
    assert link.link.mapped_address[0] == coturn.HOST
    await carries_both_ways(link, peer)
    assert server.channel_bindings() == bound + 1
    await link.close()
    assert server.deletions() == released + 1


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_carries_checks_and_data_through_the_server_of_pion(peer: Peer, transport: str) -> None:
    if not PION_TURN.exists():
        missing("pion_turn is not built (make peers)")
    server = await asyncio.create_subprocess_exec(
        PION_TURN, "datachan.test", coturn.PASSWORD, stdout=asyncio.subprocess.PIPE
    )
    assert server.stdout is not None
    try:
        port = int(await asyncio.wait_for(server.stdout.readline(), 10))
        address = parse_server_url(f"turn:{coturn.HOST}:{port}?transport={transport}", coturn.USER, coturn.PASSWORD)
        link = Opened(await open_turn_link(address, [(coturn.HOST, port)]))
        await carries_both_ways(link, peer)
        await link.close()
    finally:
        server.kill()
        await server.wait()


async def test_wrong_credentials_have_the_code_of_the_server(server: coturn.Coturn) -> None:
    with pytest.raises(TurnError, match="401") as caught:
        await opened(address_of(server, password="wrong"))
    assert (caught.value.code, caught.value.text) == (401, "Unauthorized")


async def test_an_ipv6_allocation_that_the_server_cannot_give_is_refused_with_its_code(server: coturn.Coturn) -> None:
    with pytest.raises(TurnError) as caught:
        await opened(address_of(server), family=6)
    assert caught.value.code in (440, 508)


async def test_one_allocation_relays_to_peers_of_both_families(peer: Peer, tmp_path: Path) -> None:
    six = Peer("::1")
    async with coturn.running(tmp_path, None, "relay-ip=::1") as dual:
        link = await open_turn_link(address_of(dual), [(coturn.HOST, dual.port)])
        assert link.other_family is not None
        assert link.other_family.local_address[0] == "::1"
        link.permit("::1")
        by_six = Opened(link.other_family)
        by_six.link.send([CHECK], six.address)
        await by_six.until(1)
        by_six.link.send([DATA] * 3, six.address)
        await by_six.until(4)
        assert {source[:2] for source in six.sources} == {link.other_family.local_address[:2]}
        by_four = Opened(link)
        await carries_both_ways(by_four, peer)
        assert len(by_six.received) == 4
        await by_four.close()
        assert by_six.link.closed
    six.socket.close()


async def test_a_server_behind_the_nat_of_a_cloud_gives_an_ipv4_address(peer: Peer, tmp_path: Path) -> None:
    # With external-ip, coturn refuses to give addresses of both families.
    async with coturn.running(tmp_path, None, f"external-ip={coturn.HOST}") as cloud:
        link = await opened(address_of(cloud))
        assert link.link.other_family is None
        await carries_both_ways(link, peer)
        assert "error 440" in cloud.log.read_text()
        await link.close()


async def test_an_untrusted_certificate_is_refused(server: coturn.Coturn) -> None:
    with pytest.raises(TurnError, match="certificate verify failed"):
        await opened(address_of(server, "tls"))


async def test_canceling_leaves_no_connection_behind(server: coturn.Coturn) -> None:
    silent = UdpSocket.bind(coturn.HOST)
    port = silent.local_address[1]
    target = parse_server_url(f"turn:{coturn.HOST}:{port}", coturn.USER, coturn.PASSWORD)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await opened(target)
    silent.close()


async def test_a_second_allocation_beyond_the_quota_is_refused_with_486(tmp_path: Path) -> None:
    async with coturn.running(tmp_path, None, "user-quota=1") as limited:
        first = await opened(address_of(limited))
        with pytest.raises(TurnError) as caught:
            await opened(address_of(limited))
        await first.close()
    assert caught.value.code == 486


async def test_follows_a_redirection_to_the_alternate_server(server: coturn.Coturn, peer: Peer, tmp_path: Path) -> None:
    async with coturn.running(tmp_path, None, f"alternate-server={coturn.HOST}:{server.port}") as busy:
        link = await opened(address_of(busy))
        await carries_both_ways(link, peer)
        await link.close()


async def test_servers_that_redirect_to_each_other_are_given_up(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(coturn.running(folders[0]))
        line = f"alternate-server={coturn.HOST}:{first.port}"
        second = await stack.enter_async_context(coturn.running(folders[1], None, line))
        first.kill()
        await asyncio.sleep(0)
        line = f"alternate-server={coturn.HOST}:{second.port}"
        folders[0].joinpath("coturn.log").unlink()
        await stack.enter_async_context(coturn.running(folders[0], first.port, line))
        with pytest.raises(TurnError, match="redirected more than 3 times"):
            await opened(address_of(first))


async def test_a_server_that_has_lost_the_allocation_gives_another_one(peer: Peer, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(coturn.running(folders[0]))
        link = await opened(address_of(first))
        addresses: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        link.link.on_relayed = addresses.put_nowait
        first.kill()
        await stack.enter_async_context(coturn.running(folders[1], first.port))
        link.link.send([CHECK], peer.address)  # asks for a permission, which the server answers with 437
        relayed = await asyncio.wait_for(addresses.get(), 10)
        assert relayed == link.link.relayed_address
        await carries_both_ways(link, peer)
        await link.close()


async def test_the_end_of_a_stream_to_the_server_is_reported(tmp_path: Path) -> None:
    async with coturn.running(tmp_path) as mortal:
        link = await opened(address_of(mortal, "tcp"))
        ended: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        link.link.on_ended = lambda code, reason: ended.set_result((code, reason))
        mortal.kill()
        code, _ = await asyncio.wait_for(ended, 10)
        assert code == 701
        assert link.link.closed
        await link.close()


async def test_a_dead_server_does_not_delay_closing(tmp_path: Path) -> None:
    async with coturn.running(tmp_path) as mortal:
        link = await opened(address_of(mortal))
        mortal.kill()
        async with asyncio.timeout(10):  # without the bound it would take 39.5 s
            await link.close()


# through a proxy


class Proxy:
    """An HTTP proxy that connects to whatever it is asked for, if the credentials are right."""

    def __init__(self, authorization: str | None = None, status: str = "200 Connection established") -> None:
        self.authorization = authorization
        self.status = status
        self.asked: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, coturn.HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.asked.append(lines[0])
        onward = None
        wanted = [line.removeprefix("Proxy-Authorization: ") for line in lines if line.startswith("Proxy-Auth")]
        if wanted != ([self.authorization] if self.authorization else []):
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        else:
            writer.write(f"HTTP/1.1 {self.status}\r\nVia: test\r\n\r\n".encode())
            host, _, port = lines[0].split()[1].rpartition(":")
            onward = await asyncio.open_connection(host, int(port))
        try:
            if onward is not None:
                await asyncio.gather(_pump(reader, onward[1]), _pump(onward[0], writer))
        finally:
            for one in (writer, *([onward[1]] if onward else [])):
                one.close()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        target.write(data)
    target.close()


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_a_stream_passes_an_http_proxy_with_credentials(
    server: coturn.Coturn, peer: Peer, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
    async with Proxy("Basic dXNlcjpwYXNz") as proxy:
        through = parse_proxy(f"http://user:pass@{coturn.HOST}:{proxy.port}")
        link = await opened(address_of(server, transport), proxy=through)
        await carries_both_ways(link, peer)
        await link.close()
    port = server.tls_port if transport == "tls" else server.port
    host = "localhost" if transport == "tls" else coturn.HOST
    assert proxy.asked == [f"CONNECT {host}:{port} HTTP/1.1"]


async def test_a_proxy_that_refuses_is_named_in_the_error(server: coturn.Coturn) -> None:
    async with Proxy("Basic other") as proxy:
        with pytest.raises(TurnError, match="the proxy refuses the connection: 407 Proxy Authentication Required"):
            await opened(address_of(server, "tcp"), proxy=HttpProxy(coturn.HOST, proxy.port))


async def test_what_is_no_http_proxy_is_refused() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"x" * 20_000)
        await writer.drain()
        await reader.read()
        writer.close()

    target = parse_server_url("turn:192.0.2.1?transport=tcp", coturn.USER, coturn.PASSWORD)
    async with await asyncio.start_server(serve, coturn.HOST, 0) as no_proxy:
        through = HttpProxy(coturn.HOST, no_proxy.sockets[0].getsockname()[1])
        with pytest.raises(TurnError, match="the proxy does not answer as HTTP"):
            await open_turn_link(target, [], proxy=through)


@pytest.mark.parametrize("url", ["proxy:3128", "https://proxy", "http://", "http://proxy/path"])
async def test_a_proxy_is_written_as_an_http_url(url: str) -> None:
    with pytest.raises(ValueError, match="http://host:port"):
        parse_proxy(url)
