"""The Python client, connecting through a room, and the echo peer, with a real server and real connections."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from datachan.peer import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from datachan.serve import FileShelf
from datachan.signaling import (
    BadMessage,
    EchoOptions,
    EchoPeer,
    ServerOptions,
    SignalingClient,
    SignalingError,
    SignalingServer,
    connect_through,
)
from datachan.signaling.room_messages import Answer, Bye, Offer, PeerJoined, PeerLeft
from datachan.transfer import ReceivedFile, TransferRefused, request_file, send_file

HERE = RTCConfiguration(hostAddresses=["127.0.0.1"])
PATIENCE = 20.0


@contextlib.asynccontextmanager
async def running(echo: EchoPeer | None = None, options: ServerOptions | None = None) -> AsyncIterator[str]:
    runner = web.AppRunner(SignalingServer(options, echo=echo).create_app(), shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with running() as url:
        yield url


# -- the client -------------------------------------------------------------------------------------------------------


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
    async with running() as url:
        client = SignalingClient(url, "kitchen")
        await client.__aenter__()
        listening = asyncio.create_task(_collect(client))
        async with SignalingClient(url, "kitchen", name="Grace") as grace:
            await grace.send(Bye(client.id, "s", "hello"))
    messages = await asyncio.wait_for(listening, PATIENCE)
    assert [type(message) for message in messages] == [PeerJoined, Bye, PeerLeft]
    with pytest.raises(SignalingError):
        await client.send(Bye("a", "s"))
    await client.__aexit__(None, None, None)


async def _collect(client):
    return [message async for message in client]


async def test_raises_the_servers_error_with_its_code():
    async with running(options=ServerOptions(room_capacity=1)) as url, SignalingClient(url, "kitchen"):
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


# -- connecting through a room ----------------------------------------------------------------------------------------


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
            await connect_through(client, pc, to="nobody")


async def test_a_call_without_an_answer_times_out(url):
    async with (
        SignalingClient(url, "kitchen", name="Ada"),
        SignalingClient(url, "kitchen", name="Grace") as grace,
        RTCPeerConnection(HERE) as pc,
    ):
        pc.createDataChannel("chat")
        with pytest.raises(TimeoutError):
            await connect_through(grace, pc, timeout=0.2)


# -- the echo peer ----------------------------------------------------------------------------------------------------


async def post(url, body, **options):
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/api/v1/peers/echo", json=body, **options) as answer,
    ):
        return answer.status, await answer.json()


async def call(url, pc):
    """Call the echo peer of the server and return the id of the call."""
    await pc.setLocalDescription(await pc.createOffer())
    status, answer = await post(url, {"type": "offer", "sdp": pc.localDescription.sdp})
    assert status == 201, answer
    await pc.setRemoteDescription(RTCSessionDescription(sdp=answer["sdp"], type=answer["type"]))
    return answer["session"]


@contextlib.asynccontextmanager
async def connected(echo, *labels):
    async with running(echo) as url, RTCPeerConnection(HERE) as pc:
        channels = [pc.createDataChannel(label) for label in labels]
        async with asyncio.timeout(PATIENCE):
            session = await call(url, pc)
            for channel in channels:
                await channel.opened()
            yield url, pc, channels, session


async def until_idle(echo):
    async with asyncio.timeout(PATIENCE):
        while echo.session_count:
            await asyncio.sleep(0.01)


async def test_the_echo_peer_echoes_on_every_channel():
    async with connected(EchoPeer(HERE), *(f"channel {n}" for n in range(20))) as (_, _, channels, _):
        messages = ["héllo", "", b"", b"\x00\xff", b"x" * 200_000]
        for number, channel in enumerate(channels):
            for message in [str(number), *messages]:
                channel.send(message)
        for number, channel in enumerate(channels):
            assert [await anext(channel) for _ in range(6)] == [str(number), *messages]


async def test_a_call_ends_when_the_caller_closes():
    echo = EchoPeer(HERE)
    async with connected(echo, "chat") as (_, pc, _, _):
        assert echo.session_count == 1
        await pc.close()
        await until_idle(echo)


async def test_a_call_ends_when_its_address_is_deleted():
    echo = EchoPeer(HERE)
    async with connected(echo, "chat") as (url, _, [channel], session), aiohttp.ClientSession() as http:
        async with http.delete(f"{url}/api/v1/peers/echo/{session}") as response:
            assert response.status == 204
        await channel.closed()
        async with http.delete(f"{url}/api/v1/peers/echo/{session}") as response:
            assert response.status == 404
        assert echo.session_count == 0


async def test_ends_calls_that_are_idle_or_never_connect():
    echo = EchoPeer(HERE, options=EchoOptions(idle_timeout=0.3, connect_timeout=0.2))
    async with connected(echo, "chat") as (_, _, [channel], _):
        await channel.closed()
        await until_idle(echo)
        async with RTCPeerConnection(HERE) as silent:
            silent.createDataChannel("chat")
            await echo.answer((await silent.createOffer()).sdp)
            await until_idle(echo)


async def test_limits_calls_and_channels():
    echo = EchoPeer(HERE, options=EchoOptions(max_sessions=1, max_channels=2))
    async with connected(echo, "a", "b") as (url, pc, channels, _):
        third = pc.createDataChannel("c")
        await third.closed()
        assert [channel.readyState for channel in channels] == ["open", "open"]
        status, body = await post(url, {"type": "offer", "sdp": "v=0\r\n"})
        assert (status, body["error"]["code"]) == (503, "busy")


async def test_limits_the_rate_of_offers():
    async with running(EchoPeer(HERE), ServerOptions(offer_burst=2, offers_per_second=0.001)) as url:
        codes = [(await post(url, {}))[1]["error"]["code"] for _ in range(3)]
        assert codes == ["bad-field", "bad-field", "too-many-offers"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("offer", 400, "bad-field"),
        ([], 400, "bad-field"),
        ({"type": "answer", "sdp": "v=0"}, 400, "bad-field"),
        ({"type": "offer", "sdp": 5}, 400, "bad-field"),
        ({"type": "offer", "sdp": ""}, 400, "bad-sdp"),
        ({"type": "offer", "sdp": "v=0\r\nnonsense"}, 400, "bad-sdp"),
        ({"type": "offer", "sdp": "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"}, 400, "bad-sdp"),
        ({"type": "offer", "sdp": "v=0" + "x" * 40_000}, 413, "too-large"),
        ({"type": "offer", "sdp": "v=0" + "x" * 400_000}, 413, "too-large"),
    ],
)
async def test_a_malformed_offer_gets_a_sentence_and_leaves_no_call(body, status, code):
    echo = EchoPeer(HERE)
    async with running(echo) as url:
        got, answer = await post(url, body)
        assert (got, answer["error"]["code"]) == (status, code)
        assert answer["error"]["message"].endswith(".")
        assert echo.session_count == 0


async def test_an_offer_needs_the_content_type_of_json():
    async with running(EchoPeer(HERE)) as url:
        status, answer = await post(url, None, data=b'{"type":"offer","sdp":"v=0"}')
        assert (status, answer["error"]["code"]) == (400, "not-json")


async def test_stopping_the_server_ends_all_calls():
    tasks_before = asyncio.all_tasks()
    async with connected(EchoPeer(HERE), "chat", "other"):
        pass
    assert asyncio.all_tasks() == tasks_before


async def test_a_closed_echo_peer_accepts_no_call():
    echo = EchoPeer(HERE)
    await echo.close()
    with pytest.raises(BadMessage):
        await echo.answer("v=0\r\n")


# -- files ------------------------------------------------------------------------------------------------------------


async def test_the_echo_peer_returns_the_file_it_received(tmp_path):
    content = os.urandom(3_000_000)
    (tmp_path / "film.bin").write_bytes(content)
    for folder in ("shelf", "back"):
        (tmp_path / folder).mkdir()
    received: list[ReceivedFile] = []
    shelf = FileShelf(tmp_path / "shelf", when_received=received.append)
    async with connected(EchoPeer(HERE, {"file": shelf}), "chat") as (_, pc, _, _):
        sent = await send_file(pc.createDataChannel("file"), tmp_path / "film.bin")
        assert sent.sha256 == received[0].sha256 == hashlib.sha256(content).hexdigest()
        back = await request_file(pc.createDataChannel("file"), "film.bin", tmp_path / "back")
        assert back.path.read_bytes() == content
        with pytest.raises(TransferRefused):
            await request_file(pc.createDataChannel("file"), "other.bin", tmp_path / "back")
        # The same name again replaces the file and is counted once.
        await send_file(pc.createDataChannel("file"), tmp_path / "film.bin")
        assert shelf.size == len(content)
    assert list((tmp_path / "shelf").iterdir()) == []
    assert shelf.size == 0


async def test_limits_the_bytes_of_stored_files(tmp_path):
    (tmp_path / "shelf").mkdir()
    for name in ("a", "b", "big"):
        (tmp_path / name).write_bytes(bytes(2000 if name == "big" else 600))
    shelf = FileShelf(tmp_path / "shelf", max_file_size=1000, max_size=1000)
    async with connected(EchoPeer(HERE, {"file": shelf}), "chat") as (_, pc, _, _):
        await send_file(pc.createDataChannel("file"), tmp_path / "a")
        for name in ("b", "big"):
            with pytest.raises(TransferRefused):
                await send_file(pc.createDataChannel("file"), tmp_path / name)
        assert shelf.size == 600


async def test_a_cancelled_transfer_releases_its_reserved_bytes(tmp_path):
    (tmp_path / "shelf").mkdir()
    (tmp_path / "big").write_bytes(bytes(20_000_000))
    shelf = FileShelf(tmp_path / "shelf", max_size=20_000_000)
    async with connected(EchoPeer(HERE, {"file": shelf}), "chat") as (_, pc, _, _):
        moving = asyncio.Event()
        channel = pc.createDataChannel("file")
        sending = asyncio.create_task(
            send_file(channel, tmp_path / "big", progress=lambda moved, size: moved and moving.set())
        )
        await moving.wait()
        assert shelf.size == 20_000_000
        sending.cancel()
        await channel.closed()
        async with asyncio.timeout(PATIENCE):
            while shelf.size:
                await asyncio.sleep(0.01)
        (tmp_path / "small").write_bytes(b"small")
        await send_file(pc.createDataChannel("file"), tmp_path / "small")
        assert shelf.size == 5
