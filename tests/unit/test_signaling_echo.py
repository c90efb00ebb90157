"""The echo peer, called over HTTP, with a real server and real connections."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp
import pytest

from datachan.peer import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from datachan.signaling import BadMessage, EchoOptions, EchoPeer, ServerOptions, SignalingServer
from tests.signaling_site import listening

HERE = RTCConfiguration(hostAddresses=["127.0.0.1"])
PATIENCE = 20.0


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
    async with listening(SignalingServer(echo=echo)) as url, RTCPeerConnection(HERE) as pc:
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
    echo = EchoPeer(HERE, options=EchoOptions(idle_timeout=3.0, connect_timeout=3.0))
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
    async with listening(
        SignalingServer(ServerOptions(offer_burst=2, offers_per_second=0.001), echo=EchoPeer(HERE))
    ) as url:
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
    async with listening(SignalingServer(echo=echo)) as url:
        got, answer = await post(url, body)
        assert (got, answer["error"]["code"]) == (status, code)
        assert answer["error"]["message"].endswith(".")
        assert echo.session_count == 0


async def test_an_offer_needs_the_content_type_of_json():
    async with listening(SignalingServer(echo=EchoPeer(HERE))) as url:
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
