"""Gathering with small local servers that answer, answer wrongly, or stay silent."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aioice import stun

from datachan.ice import IceError, IceServer, IceServerError, IceTransport
from datachan.udp import UdpSocket
from tests.interop.namespaces import network
from tests.ports import free_range
from tests.unit.ice_pair import Pair

pytestmark = pytest.mark.patient_loop

Answer = Callable[[stun.Message, tuple[str, int]], bytes | None]


class Server:
    """A STUN server with the answers of a test."""

    def __init__(self, host: str, answer: Answer) -> None:
        self._socket = UdpSocket.bind(host)
        self._answer = answer
        self.requests = 0
        self._socket.set_receiver(self._received)
        self.server = IceServer((f"stun:{f'[{host}]' if ':' in host else host}:{self._socket.local_address[1]}",))

    def _received(self, datagrams: list[bytes], source: Any) -> None:
        for datagram in datagrams:
            self.requests += 1
            answer = self._answer(stun.parse_message(datagram), source)
            if answer is not None:
                self._socket.send([answer], source)

    def close(self) -> None:
        self._socket.close()


def mapped(address: tuple[str, int]) -> Answer:
    def answer(request: stun.Message, _: tuple[str, int]) -> bytes:
        response = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id)
        response.attributes["XOR-MAPPED-ADDRESS"] = address
        return bytes(response)

    return answer


def silent(request: stun.Message, source: tuple[str, int]) -> None:
    return None


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Server]]:
    made: list[Server] = []

    def make(answer: Answer, host: str = "127.0.0.1") -> Server:
        made.append(Server(host, answer))
        return made[-1]

    yield make
    for server in made:
        server.close()


async def gathered(**options: Any) -> tuple[list[Any], float, str]:
    """Gather, then fail; return the candidates, the time gathering took, and the sentence of the failure."""
    ice = IceTransport(controlling=True, patience=0.01, **options)
    loop = asyncio.get_running_loop()
    started = loop.time()
    await ice.gather()
    elapsed = loop.time() - started
    ice.set_remote("user", "x" * 24)
    with pytest.raises(IceError):
        await ice.start()
    await ice.close()
    return ice.local_candidates, elapsed, str(ice.failure)


@pytest.mark.parametrize(("host", "outside"), [("127.0.0.1", "203.0.113.5"), ("::1", "2001:db8::5")])
async def test_a_mapped_address_becomes_a_server_reflexive_candidate(serve: Any, host: str, outside: str) -> None:
    server = serve(mapped((outside, 4444)), host)
    [base, reflexive], _, _ = await gathered(host_addresses=[host], servers=[server.server])
    assert (reflexive.type, reflexive.address, reflexive.port) == ("srflx", outside, 4444)
    assert (reflexive.related_address, reflexive.related_port) == (base.address, base.port)


async def test_a_server_is_asked_only_from_addresses_of_its_family(serve: Any) -> None:
    server = serve(mapped(("203.0.113.5", 4444)), "127.0.0.1")
    found, elapsed, _ = await gathered(host_addresses=["127.0.0.1", "::1"], servers=[server.server])
    assert [candidate.type for candidate in found] == ["host", "host", "srflx"]
    assert server.requests == 1
    assert elapsed < 1


async def test_many_addresses_and_a_silent_server_take_the_timeout_once(serve: Any) -> None:
    server = serve(silent)
    addresses = [f"127.0.0.{number}" for number in range(1, 25)]
    found, elapsed, failure = await gathered(host_addresses=addresses, servers=[server.server] * 4, gather_timeout=0.5)
    assert len(found) == 24
    assert elapsed < 2
    assert "no answer in 0.5 s (24 of 24 requests)" in failure


async def test_without_servers_gathering_takes_no_time() -> None:
    _, elapsed, _ = await gathered(host_addresses=["127.0.0.1"])
    assert elapsed < 0.2


async def test_reports_an_answer_without_an_address(serve: Any) -> None:
    def empty(request: stun.Message, _: tuple[str, int]) -> bytes:
        return bytes(stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, request.transaction_id))

    server = serve(empty)
    found, _, failure = await gathered(host_addresses=["127.0.0.1"], servers=[server.server])
    assert [candidate.type for candidate in found] == ["host"]
    assert "XOR-MAPPED-ADDRESS" in failure


async def test_reports_an_error_of_the_server(serve: Any) -> None:
    def refuse(request: stun.Message, _: tuple[str, int]) -> bytes:
        response = stun.Message(stun.Method.BINDING, stun.Class.ERROR, request.transaction_id)
        response.attributes["ERROR-CODE"] = (500, "Server Error")
        return bytes(response)

    _, _, failure = await gathered(host_addresses=["127.0.0.1"], servers=[serve(refuse).server])
    assert "500 Server Error" in failure


def refusal(code: int, text: str) -> Answer:
    def answer(request: stun.Message, _: tuple[str, int]) -> bytes:
        response = stun.Message(stun.Method.BINDING, stun.Class.ERROR, request.transaction_id)
        response.attributes["ERROR-CODE"] = (code, text)
        return bytes(response)

    return answer


async def server_errors(**options: Any) -> list[IceServerError]:
    """Gather, and return the errors of servers that were reported before the end of candidates."""
    ice = IceTransport(controlling=True, gather_timeout=0.3, **options)
    reported: list[Any] = []
    ice.on_server_error = reported.append
    ice.on_local_candidate = lambda candidate: reported.append(candidate) if candidate is None else None
    await ice.gather()
    await ice.close()
    assert reported.pop() is None
    return reported


async def test_a_server_that_answers_with_an_error_is_reported_once_with_its_code(serve: Any) -> None:
    server = serve(refusal(420, "Unknown Attribute"))
    [error] = await server_errors(host_addresses=["127.0.0.1", "127.0.0.2"], servers=[server.server])
    assert (error.url, error.code, error.text) == (server.server.urls[0], 420, "Unknown Attribute")
    assert error.host == "127.0.0.1"
    assert error.port is not None


async def test_a_silent_server_is_reported_once_as_unreachable(serve: Any) -> None:
    server = serve(silent)
    [one] = await server_errors(host_addresses=["127.0.0.1"], servers=[server.server])
    assert (one.url, one.code, one.host) == (server.server.urls[0], 701, "127.0.0.1")
    assert one.text == "no answer in 0.3 s"
    [several] = await server_errors(host_addresses=["127.0.0.1", "127.0.0.2"], servers=[server.server])
    assert (several.code, several.host, several.port) == (701, None, None)


async def test_a_server_that_one_address_reaches_is_not_reported_as_unreachable(serve: Any) -> None:
    def answer_one(request: stun.Message, source: tuple[str, int]) -> bytes | None:
        return mapped(("203.0.113.5", 4444))(request, source) if source[0] == "127.0.0.1" else None

    server = serve(answer_one)
    addresses = ["127.0.0.1", "127.0.0.2", "::1"]
    assert await server_errors(host_addresses=addresses, servers=[server.server]) == []


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_a_closed_turn_port_is_reported_as_unreachable(transport: str) -> None:
    unused = UdpSocket.bind("127.0.0.1")
    url = f"turn:127.0.0.1:{unused.local_address[1]}?transport={transport}"
    unused.close()
    [error] = await server_errors(host_addresses=["127.0.0.1"], servers=[IceServer((url,), "user", "secret")])
    assert (error.url, error.code, error.host) == (url, 701, None)


async def test_reports_that_stun_over_tls_is_useless() -> None:
    _, _, failure = await gathered(host_addresses=["127.0.0.1"], servers=[IceServer(("stuns:127.0.0.1",))])
    assert "STUN over TLS" in failure


@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_reports_a_turn_server_that_does_not_exist(transport: str) -> None:
    unused = UdpSocket.bind("127.0.0.1")
    port = unused.local_address[1]
    unused.close()
    server = IceServer((f"turn:127.0.0.1:{port}?transport={transport}",), "user", "secret")
    found, elapsed, failure = await gathered(host_addresses=["127.0.0.1"], servers=[server], gather_timeout=0.3)
    assert [candidate.type for candidate in found] == ["host"]
    assert elapsed < 2
    assert "no answer in 0.3 s" in failure or "Connect" in failure


# checks do not wait for servers


async def test_checks_begin_while_a_server_stays_silent(serve: Any) -> None:
    pair = Pair(host_addresses=["127.0.0.1"], servers=[serve(silent).server], gather_timeout=30)
    pair.exchange_credentials()
    pair.a.ice.on_local_candidate = pair.z.ice.add_remote_candidate
    pair.z.ice.on_local_candidate = pair.a.ice.add_remote_candidate
    async with asyncio.timeout(10):
        await pair.start()
    assert not pair.a.ice.gathered
    assert not pair.z.ice.gathered
    await pair.close()


# The networks below have no IPv6 link-local addresses (addrgenmode none): these would appear some time later.
WITHOUT_CARRIER = """
import asyncio
from datachan.ice import IceTransport

async def main():
    ice = IceTransport(controlling=True)
    await ice.gather()
    print(sorted({candidate.address for candidate in ice.local_candidates}))
    await ice.close()

asyncio.run(main())
"""


@pytest.mark.skipif("sys.platform != 'linux'", reason="only Linux reports an interface's carrier")
def test_addresses_of_interfaces_without_a_carrier_are_left_out() -> None:
    with network(
        """
        ip link set lo up
        ip link add plugged type veth peer name socket
        ip link add unplugged type veth peer name loose
        ip address add 192.0.2.1/24 dev plugged
        ip address add 198.51.100.1/24 dev unplugged
        ip link set plugged addrgenmode none up
        ip link set socket addrgenmode none up
        ip link set unplugged addrgenmode none up
        """
    ):
        found = subprocess.run(
            [sys.executable, "-X", "dev", "-c", WITHOUT_CARRIER],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert found.stdout.strip() == "['192.0.2.1']", found.stderr


MANY_ADDRESSES = """
import asyncio, logging
from datachan.ice import IceError, IceTransport

logging.basicConfig(level=logging.INFO, format="%(message)s")

async def main():
    ice = IceTransport(controlling=True, patience=0.1)
    await ice.gather()
    addresses = [candidate.address for candidate in ice.local_candidates]
    print(len(addresses), addresses[:2])
    ice.set_remote("user", "x" * 24)
    try:
        await ice.start()
    except IceError as error:
        print(error)
    await ice.close()

asyncio.run(main())
"""


@pytest.mark.skipif("sys.platform != 'linux'", reason="network namespaces are Linux's")
def test_of_many_addresses_those_of_the_default_routes_are_offered_first() -> None:
    many = "\n".join(f"ip address add 198.51.100.{number}/32 dev crowd" for number in range(1, 41))
    with network(
        f"""
        ip link set lo up
        ip link add crowd type veth peer name other
        {many}
        ip link set crowd addrgenmode none up
        ip link set other addrgenmode none up
        ip link add eth0 type veth peer name peer0
        ip address add 192.0.2.2/24 dev eth0
        ip address add fd00::2/64 dev eth0 nodad
        ip link set eth0 addrgenmode none up
        ip link set peer0 addrgenmode none up
        ip route add default via 192.0.2.1
        ip -6 route add default via fd00::1
        """
    ):
        found = subprocess.run(
            [sys.executable, "-X", "dev", "-c", MANY_ADDRESSES],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert found.stdout.startswith("32 ['fd00::2', '192.0.2.2']"), found.stdout + found.stderr
    assert "198.51.100.31 (crowd)" in found.stdout
    assert "and 6 more: only 32 addresses are used; hostAddresses chooses others" in found.stdout


HANGING_RESOLVER = """
import asyncio, socket, time

def getaddrinfo(*arguments, **options):
    time.sleep(30)

socket.getaddrinfo = getaddrinfo

from datachan.ice import IceServer, IceTransport

async def main():
    names = ("stun:stun.example.net", "turn:turn.example.net", "turns:turn.example.net")
    ice = IceTransport(
        controlling=True, host_addresses=["127.0.0.1"], gather_timeout=0.2, servers=[IceServer(names, "user", "secret")]
    )
    await ice.gather()
    print([candidate.type for candidate in ice.local_candidates])
    await ice.close()

asyncio.run(main())
"""


def test_a_resolver_that_hangs_delays_neither_gathering_nor_the_end_of_the_program() -> None:
    found = subprocess.run(
        [sys.executable, "-c", HANGING_RESOLVER],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (found.stdout.strip(), found.stderr) == ("['host']", "")


@pytest.mark.parametrize("fast_path", [True, False])
async def test_a_stun_request_without_a_route_fails_at_once(fast_path: bool) -> None:
    with network("ip link set lo up"):
        unreachable = IceServer(("stun:192.0.2.1", "stun:192.0.2.2"))
        found, elapsed, failure = await gathered(
            host_addresses=["127.0.0.1"], servers=[unreachable], fast_path=fast_path
        )
    assert [candidate.type for candidate in found] == ["host"]
    assert elapsed < 2
    assert "stun:192.0.2.1: " in failure
    assert "unreachable" in failure


@pytest.mark.parametrize("fast_path", [True, False])
async def test_a_request_to_a_closed_turn_port_fails_at_once(fast_path: bool) -> None:
    unused = UdpSocket.bind("127.0.0.1")
    port = unused.local_address[1]
    unused.close()
    server = IceServer((f"turn:127.0.0.1:{port}",), "user", "secret")
    _, elapsed, failure = await gathered(host_addresses=["127.0.0.1"], servers=[server], fast_path=fast_path)
    assert elapsed < 2
    assert "Connection refused" in failure


@pytest.mark.parametrize("fast_path", [True, False])
async def test_sockets_share_a_range_of_ports_until_all_are_in_use(fast_path: bool) -> None:
    ports = free_range(3)
    made = [
        IceTransport(controlling=True, host_addresses=["127.0.0.1"], ports=ports, fast_path=fast_path) for _ in "123"
    ]
    try:
        for ice in made:
            await ice.gather()
        assert sorted(ice.local_candidates[0].port for ice in made) == list(range(ports[0], ports[1] + 1))

        found, _, failure = await gathered(host_addresses=["127.0.0.1"], ports=ports, fast_path=fast_path)

        assert found == []
        assert "could not bind 127.0.0.1" in failure
        assert f"every port of portRange {ports[0]}-{ports[1]} is in use" in failure
        await made.pop().close()
        found, _, _ = await gathered(host_addresses=["127.0.0.1"], ports=ports, fast_path=fast_path)
        assert [ports[0] <= candidate.port <= ports[1] for candidate in found] == [True]
    finally:
        for ice in made:
            await ice.close()
