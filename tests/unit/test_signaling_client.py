"""The Python client, and connecting through a room, with a real server and real connections."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from datachan.ice_agent import stun
from datachan.peer import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from datachan.signaling import (
    ConnectTimeout,
    IceServerOption,
    ServerOptions,
    SignalingClient,
    SignalingError,
    SignalingServer,
    connect_through,
)
from datachan.signaling.client import MAX_PEERS, parse_ice_servers_untrusted
from datachan.signaling.room_messages import (
    Answer,
    Bye,
    Offer,
    PeerInfo,
    PeerJoined,
    PeerLeft,
    Welcome,
    serialize_server_message,
)
from tests.signaling_site import listening

HERE = RTCConfiguration(hostAddresses=["127.0.0.1"])
ASKING = RTCConfiguration(hostAddresses=["127.0.0.1"], alwaysNegotiateDataChannels=True)
PATIENCE = 20.0


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with listening() as url:
        yield url


# -- the client --------------------------------------------------------------------------------------------------------


async def test_lists_the_members_of_the_room(url):
    async with SignalingClient(url, "kitchen", name="Ada") as ada:
        assert ada.peers == {}
        async with SignalingClient(url, "kitchen", name="Grace") as grace:
            assert [peer.name for peer in grace.peers_at_join] == ["Ada"]
            assert isinstance(await ada.receive(), PeerJoined)
            assert [peer.name for peer in ada.peers.values()] == ["Grace"]
        assert await ada.receive() == PeerLeft(grace.id)
        assert ada.peers == {}


async def test_messages_are_iterated_until_the_server_stops():
    async with listening() as url:
        client = SignalingClient(url, "kitchen")
        await client.__aenter__()
        collecting = asyncio.create_task(_collect(client))
        async with SignalingClient(url, "kitchen", name="Grace") as grace:
            await grace.send(Bye(client.id, "s", "hello"))
    messages = await asyncio.wait_for(collecting, PATIENCE)
    assert [type(message) for message in messages] == [PeerJoined, Bye, PeerLeft]
    with pytest.raises(SignalingError):
        await client.send(Bye("a", "s"))
    await client.__aexit__(None, None, None)


async def test_remembers_a_bounded_number_of_members(unused_port):
    async def flood(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        await socket.send_str(serialize_server_message(Welcome("me", "kitchen", 8)))
        for number in range(MAX_PEERS + 100):
            await socket.send_str(serialize_server_message(PeerJoined(PeerInfo(str(number), "Ada"))))
        return socket

    app = web.Application()
    app.router.add_get("/api/v1/rooms/kitchen", flood)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", unused_port).start()
        async with SignalingClient(f"http://127.0.0.1:{unused_port}", "kitchen") as client:
            assert len(await asyncio.wait_for(_collect(client), PATIENCE)) == MAX_PEERS + 100
            assert len(client.peers) == MAX_PEERS
    finally:
        await runner.cleanup()


async def _collect(client):
    return [message async for message in client]


async def test_raises_the_servers_error_with_its_code():
    async with listening(SignalingServer(ServerOptions(room_capacity=1))) as url, SignalingClient(url, "kitchen"):
        with pytest.raises(SignalingError, match="full") as caught:
            await SignalingClient(url, "kitchen").__aenter__()
        assert caught.value.code == "room-full"


@pytest.mark.parametrize("path", ["/healthz", "/nothing"])
async def test_rejects_a_server_that_does_not_speak_the_protocol(url, path):
    with pytest.raises(SignalingError, match="is not a signaling room"):
        await SignalingClient(url + path, "kitchen").__aenter__()


async def test_raises_when_no_server_listens(unused_port):
    with pytest.raises(SignalingError, match="cannot be reached"):
        await SignalingClient(f"http://127.0.0.1:{unused_port}", "kitchen").__aenter__()


@pytest.fixture
async def unused_port():
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


@pytest.mark.parametrize(
    ("url", "room"), [("ftp://x", "r"), ("127.0.0.1:80", "r"), ("http://", "r"), ("http://x", "a b")]
)
def test_rejects_a_malformed_address_or_room_name(url, room):
    with pytest.raises(ValueError, match=r"looks like|room's name"):
        SignalingClient(url, room)


# -- connecting through a room -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("first_has_channel", [True, False])
async def test_two_programs_connect_through_a_room(url, first_has_channel):
    async with (
        SignalingClient(url, "kitchen", name="Ada") as ada,
        SignalingClient(url, "kitchen", name="Grace") as grace,
        RTCPeerConnection(HERE) as one,
        RTCPeerConnection(HERE) as two,
    ):
        incoming = asyncio.get_running_loop().create_future()
        one.on("datachannel", incoming.set_result)
        if first_has_channel:
            one.createDataChannel("negotiated", negotiated=True, id=100)
        channel = two.createDataChannel("chat")
        async with asyncio.timeout(PATIENCE):
            met = await asyncio.gather(connect_through(ada, one), connect_through(grace, two))
            assert [peer.name for peer in met] == ["Grace", "Ada"]
            await channel.opened()
            channel.send("hello")
            assert await anext(await incoming) == "hello"


async def test_sends_candidates_separately_from_the_descriptions(url):
    async with (
        SignalingClient(url, "kitchen", name="Ada") as ada,
        SignalingClient(url, "kitchen", name="Grace") as grace,
        RTCPeerConnection(HERE) as pc,
    ):
        pc.createDataChannel("chat")
        calling = asyncio.create_task(connect_through(grace, pc))
        kinds = []
        async with asyncio.timeout(PATIENCE):
            async for message in ada:
                kinds.append(type(message).__name__)
                if isinstance(message, Offer):
                    assert "a=candidate" not in message.sdp
                if kinds[-1] == "Candidate" and message.candidate is None:
                    break
        assert kinds[:3] == ["PeerJoined", "Offer", "Candidate"]
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)


async def test_a_busy_member_declines_with_a_reason(url):
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(SignalingClient(url, "kitchen", name=n)) for n in ("Ada", "Grace")]
        answering = await stack.enter_async_context(RTCPeerConnection(HERE))
        task = asyncio.create_task(connect_through(clients[0], answering))
        third = await stack.enter_async_context(SignalingClient(url, "kitchen", name="Eve"))
        # Ada waits for an answer that Grace never sends; Eve calls Ada in the meantime.
        await clients[1].send(Offer(clients[0].id, "s", await _offer(stack)))
        while not isinstance(await clients[1].receive(), Answer):
            pass
        calling = await stack.enter_async_context(RTCPeerConnection(HERE))
        calling.createDataChannel("chat")
        with pytest.raises(SignalingError, match="busy"):
            await asyncio.wait_for(connect_through(third, calling, to=clients[0].id), PATIENCE)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _offer(stack):
    pc = await stack.enter_async_context(RTCPeerConnection(HERE))
    pc.createDataChannel("chat")
    return (await pc.createOffer()).sdp


async def test_raises_when_the_peer_leaves_before_it_answers(url):
    async with SignalingClient(url, "kitchen", name="Grace") as grace, RTCPeerConnection(HERE) as pc:
        async with SignalingClient(url, "kitchen", name="Ada") as ada:
            assert isinstance(await grace.receive(), PeerJoined)
            pc.createDataChannel("chat")
            leaver = SignalingClient(url, "kitchen", name="Newcomer")
            await leaver.__aenter__()
            calling = asyncio.create_task(connect_through(leaver, pc, to=ada.id))
            while not isinstance(await ada.receive(), Offer):
                pass
        with pytest.raises(SignalingError, match="left the room"):
            await asyncio.wait_for(calling, PATIENCE)
        await leaver.__aexit__(None, None, None)


@pytest.mark.parametrize("sdp", ["v=0", "v=0\r\nthis is not SDP\r\n"])
async def test_declines_and_reports_a_malformed_offer(url, sdp):
    async with (
        SignalingClient(url, "kitchen", name="Ada") as ada,
        SignalingClient(url, "kitchen", name="Grace") as grace,
        RTCPeerConnection(HERE) as pc,
    ):
        answering = asyncio.create_task(connect_through(ada, pc))
        await grace.send(Offer(ada.id, "s", sdp))
        with pytest.raises(SignalingError, match="cannot be understood"):
            await asyncio.wait_for(answering, PATIENCE)
        assert await grace.receive() == Bye(ada.id, "s", "the offer cannot be understood")


async def test_raises_when_no_member_has_the_id(url):
    async with SignalingClient(url, "kitchen") as client, RTCPeerConnection(HERE) as pc:
        with pytest.raises(SignalingError, match="no member with the id"):
            await connect_through(client, pc, to="absent")


async def test_a_call_without_an_answer_times_out(url):
    async with (
        SignalingClient(url, "kitchen", name="Ada"),
        SignalingClient(url, "kitchen", name="Grace") as grace,
        RTCPeerConnection(HERE) as pc,
    ):
        pc.createDataChannel("chat")
        with pytest.raises(TimeoutError):
            await connect_through(grace, pc, timeout=0.2)


async def answer_with_a_silent_address(client: SignalingClient) -> None:
    """Answer the first offer with a candidate at which nothing replies, as behind a firewall."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        async with RTCPeerConnection(HERE) as pc:
            async for message in client:
                if isinstance(message, Offer):
                    without = "".join(line for line in message.sdp.splitlines(True) if "a=candidate" not in line)
                    await pc.setRemoteDescription(RTCSessionDescription(without, "offer"))
                    await pc.setLocalDescription()
                    sdp = re.sub(
                        r"(candidate:\S+ 1 udp \d+ \S+) \d+", rf"\1 {silent.getsockname()[1]}", pc.localDescription.sdp
                    )
                    await client.send(Answer(message.peer, message.session, sdp))
                elif isinstance(message, Bye):
                    assert message.reason == "it took too long to connect"
                    return


async def test_fails_with_the_reason_of_the_connection_and_advice(url, caplog):
    impatient = RTCConfiguration(hostAddresses=["127.0.0.1"], iceTimeout=0.5)
    async with (
        SignalingClient(url, "kitchen", name="Ada") as ada,
        SignalingClient(url, "kitchen", name="Grace") as grace,
        RTCPeerConnection(impatient) as pc,
    ):
        pc.createDataChannel("chat")
        answering = asyncio.create_task(answer_with_a_silent_address(ada))
        with pytest.raises(SignalingError) as caught:
            await connect_through(grace, pc)
        answering.cancel()
    assert str(caught.value).startswith("the connection failed: no check was answered within 0.5 seconds; local")
    assert str(caught.value).endswith("name a STUN or TURN server")
    # The exception has the reason, so the log does not repeat it as a warning, which programs print by default.
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_timeout_names_the_peer_and_what_is_missing_and_notifies_the_peer(url):
    async with (
        SignalingClient(url, "kitchen", name="Ada") as ada,
        SignalingClient(url, "kitchen", name="Grace") as grace,
        RTCPeerConnection(HERE) as pc,
    ):
        pc.createDataChannel("chat")
        answering = asyncio.create_task(answer_with_a_silent_address(ada))
        with pytest.raises(ConnectTimeout, match=r"^no connection to Ada within 1 seconds \(ICE: checking\)\. "):
            await connect_through(grace, pc, timeout=1.0)
        await asyncio.wait_for(answering, PATIENCE)


HANGING_RESOLVER = """
import asyncio, socket, time

def getaddrinfo(*arguments, **options):
    time.sleep(30)

socket.getaddrinfo = getaddrinfo

from datachan.signaling import SignalingClient, SignalingError

async def main():
    try:
        async with SignalingClient("https://signaling.example.net", "kitchen", timeout=0.3):
            pass
    except SignalingError as error:
        print(error)

asyncio.run(main())
"""


def test_a_resolver_that_hangs_does_not_delay_the_end_of_the_program():
    found = subprocess.run(
        [sys.executable, "-c", HANGING_RESOLVER],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert "did not answer within 0.3 seconds" in found.stdout
    assert found.stderr == ""


async def test_looks_up_the_name_of_the_server(url):
    async with SignalingClient(url.replace("127.0.0.1", "localhost"), "kitchen") as client:
        assert client.id


# -- how the server is reached -----------------------------------------------------------------------------------------


async def test_takes_the_ice_servers_that_the_signaling_server_offers():
    offered = (IceServerOption("stun:192.0.2.1"), IceServerOption("turn:192.0.2.1", "ada", "secret"))
    async with (
        listening(SignalingServer(ServerOptions(ice_servers=offered))) as url,
        SignalingClient(url, "kitchen") as client,
    ):
        servers = client.configuration(HERE).iceServers
        assert [(server.urls, server.username) for server in servers] == [
            ("stun:192.0.2.1", None),
            ("turn:192.0.2.1", "ada"),
        ]
        own = RTCConfiguration(iceServers=[RTCIceServer("stun:192.0.2.9")])
        assert client.configuration(own).iceServers == own.iceServers


class SlowStunServer(asyncio.DatagramProtocol):
    """Answers when it is told to, with an address that no host here has."""

    def __init__(self):
        self.may_answer = asyncio.Event()
        self.answering = set()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        task = asyncio.create_task(self.answer(stun.parse_untrusted(data), addr))
        self.answering.add(task)
        task.add_done_callback(self.answering.discard)

    async def answer(self, request, addr):
        await self.may_answer.wait()
        answer = stun.Message(stun.BINDING + stun.SUCCESS, request.transaction_id)
        answer.attributes[stun.XOR_MAPPED_ADDRESS] = stun.xor_address(("192.0.2.77", 7), request.transaction_id)
        self.transport.sendto(stun.serialize(answer), addr)


async def test_candidates_that_are_found_later_reach_the_peer(url):
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(SlowStunServer, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    late = replace(HERE, iceServers=[RTCIceServer(f"stun:127.0.0.1:{port}")])
    async with (
        SignalingClient(url, "kitchen", name="Ada") as ada,
        SignalingClient(url, "kitchen", name="Grace") as grace,
        RTCPeerConnection(HERE) as a,
        RTCPeerConnection(late) as z,
    ):
        for pc in (a, z):
            pc.createDataChannel("chat", negotiated=True, id=0)
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(connect_through(ada, a), connect_through(grace, z))
            server.may_answer.set()
            reading = asyncio.create_task(ada.receive())
            while "192.0.2.77" not in [one.address for one in a._transport.ice.remote_candidates]:
                await asyncio.sleep(0.01)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    transport.close()


async def test_a_connection_without_ice_servers_uses_those_of_the_signaling_server():
    async with (
        listening(SignalingServer(ServerOptions(ice_servers=(IceServerOption("stun:127.0.0.1:9"),)))) as url,
        SignalingClient(url, "kitchen", name="Ada") as ada,
        SignalingClient(url, "kitchen", name="Grace") as grace,
        RTCPeerConnection(HERE) as a,
        RTCPeerConnection(HERE) as z,
    ):
        for pc in (a, z):
            pc.createDataChannel("chat", negotiated=True, id=0)
        await asyncio.wait_for(asyncio.gather(connect_through(ada, a), connect_through(grace, z)), PATIENCE)
        assert [server.urls for server in a.getConfiguration().iceServers] == ["stun:127.0.0.1:9"]
        assert not HERE.iceServers


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[",
        b"[]",
        b"{}",
        b'{"iceServers": 1}',
        b'{"iceServers": [1, {}, {"urls": 1}, {"urls": ["http://a"]}]}',
        b'{"iceServers": [{"urls": "turn:a"}, {"urls": "stun:a", "username": 1, "credential": []}]}',
    ],
)
def test_ignores_malformed_ice_servers(data):
    assert all(server.urls == "stun:a" for server in parse_ice_servers_untrusted(data))


async def test_goes_through_the_proxy_that_the_environment_names(monkeypatch):
    async with listening() as url:  # the server takes the requests that clients send to a proxy as its own
        monkeypatch.setenv("http_proxy", url)
        monkeypatch.setenv("no_proxy", "")
        async with SignalingClient("http://signaling.invalid", "kitchen") as client:
            assert client.id
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        async with SignalingClient(url, "kitchen"):  # loopback needs no proxy
            pass
        async with SignalingClient("http://signaling.invalid", "kitchen", proxy=url) as client:
            assert client.id


async def test_sends_the_headers_and_uses_the_tls_context(tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + dt.timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "server.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *private) + pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    trusting = ssl.create_default_context(cadata=pem.decode())
    seen = []

    @web.middleware
    async def note(request, handler):
        seen.append((request.path, request.headers.get("Authorization")))
        return await handler(request)

    app = SignalingServer().create_app()
    app.middlewares.insert(0, note)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        url = f"https://localhost:{runner.addresses[0][1]}"
        with pytest.raises(SignalingError, match="certificate verify failed"):
            await SignalingClient(url, "kitchen").__aenter__()
        for tls in (trusting, False):
            async with SignalingClient(url, "kitchen", ssl=tls, headers={"Authorization": "Bearer x"}) as client:
                assert client.id
        assert seen == [("/api/v1/rooms/kitchen", "Bearer x"), ("/config.json", "Bearer x")] * 2
    finally:
        await runner.cleanup()


async def test_joins_again_when_the_server_comes_back(unused_port):
    async with listening(port=unused_port) as url:
        client = await SignalingClient(url, "kitchen", reconnect=True).__aenter__()
        first = client.id
    receiving = asyncio.create_task(client.receive())
    async with listening(port=unused_port), asyncio.timeout(PATIENCE):
        welcome = await receiving
        assert isinstance(welcome, Welcome)
        assert welcome.id == client.id == first
        assert client.peers == {}
        await client.__aexit__(None, None, None)
        assert await client.receive() is None  # left on purpose: no further attempt


async def test_a_member_that_waits_calls_the_peer_it_finds_after_the_server_came_back(unused_port):
    async with listening(port=unused_port) as url:
        waiting = await SignalingClient(url, "kitchen", name="Ada", reconnect=True).__aenter__()
    async with RTCPeerConnection(HERE) as a, RTCPeerConnection(HERE) as z, listening(port=unused_port) as url:
        for pc in (a, z):
            pc.createDataChannel("chat", negotiated=True, id=0)
        async with SignalingClient(url, "kitchen", name="Grace") as first, asyncio.timeout(PATIENCE):
            peers = await asyncio.gather(connect_through(waiting, a), connect_through(first, z))
            assert [peer.name for peer in peers] == ["Grace", "Ada"]
            assert [peer.name for peer in waiting.peers_at_join] == ["Grace"]
        await waiting.__aexit__(None, None, None)
