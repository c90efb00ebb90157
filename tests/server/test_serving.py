"""Test `serve` and its HTTP signaling as a client sees them: real requests and real peer connections on loopback."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import time
from dataclasses import replace

import aiohttp
import pytest

from datachan import RTCConfiguration, RTCSessionDescription
from datachan.server import ChannelServerOptions, Connection, ConnectionClosed, SignalingRequest, serve
from datachan.server.ice_fragment import CONTENT_TYPE, format_fragment, parse_fragment_untrusted, with_credentials
from datachan.signaling.turn_credentials import TurnSecret

from .client import LOOPBACK, PATIENCE, connected, connecting

SDP = {"Content-Type": "application/sdp"}


async def echo(connection: Connection) -> None:
    async for channel in connection:
        async for message in channel:
            channel.send(message)


async def hold(connection: Connection) -> None:
    await connection.closed()


def serving(handler=echo, options: ChannelServerOptions | None = None, **arguments) -> serve:
    return serve(handler, "127.0.0.1", 0, options=options, configuration=LOOPBACK, **arguments)


async def until(condition) -> None:
    """Wait until a condition holds; each turn of the loop may change it."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


# -- connections -------------------------------------------------------------------------------------------------------


async def test_echoes_a_message_and_forgets_the_connection_that_its_client_closed() -> None:
    async with serving() as server:
        async with connected(server.url) as (_, channel):
            channel.send("hello")
            assert await anext(aiter(channel)) == "hello"
            assert [one.remote for one in server.channels.connections] == ["127.0.0.1"]
        await until(lambda: not server.channels.states)
        assert server.channels.counts.connected == 1


async def test_a_handler_waits_for_a_channel_by_its_label_and_iterates_over_the_others() -> None:
    seen: list[str] = []

    async def handler(connection: Connection) -> None:
        commands = await connection.channel("commands")
        async for channel in connection:
            seen.append(channel.label)
            commands.send("got " + channel.label)

    async with serving(handler) as server, connecting(server.url) as client:
        others = [client.pc.createDataChannel(label) for label in ("first", "second")]
        commands = client.pc.createDataChannel("commands")
        await client.offer()
        assert {await anext(commands), await anext(commands)} == {"got first", "got second"}
        assert sorted(seen) == ["first", "second"]
        assert all(channel.readyState == "open" for channel in others)


async def test_the_connection_ends_when_the_handler_returns_after_delivering_what_it_sent() -> None:
    async def handler(connection: Connection) -> None:
        (await connection.channel("state")).send("goodbye")

    async with serving(handler) as server, connected(server.url) as (_, channel):
        assert [message async for message in channel] == ["goodbye"]


async def test_a_handler_that_fails_ends_its_connection_only(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(connection: Connection) -> None:
        channel = await connection.channel("state")
        if await anext(channel) == "fail":
            raise ValueError("a fault of the application")
        channel.send("fine")
        await connection.closed()

    async with serving(handler) as server, connected(server.url) as (_, bad), connected(server.url) as (_, good):
        bad.send("fail")
        async with asyncio.timeout(PATIENCE):
            await bad.closed()
        good.send("go on")
        assert await anext(good) == "fine"
        assert server.channels.counts.handler_errors == 1
    assert "a fault of the application" in caplog.text


async def test_waiting_for_a_channel_raises_when_the_client_leaves() -> None:
    ended = asyncio.get_running_loop().create_future()

    async def handler(connection: Connection) -> None:
        try:
            await connection.channel("never")
        except ConnectionClosed as error:
            ended.set_result(str(error))

    async with serving(handler) as server:
        async with connected(server.url):
            pass
        async with asyncio.timeout(PATIENCE):
            assert await ended == "the connection has ended"


async def test_the_server_opens_a_channel_to_the_client() -> None:
    async def handler(connection: Connection) -> None:
        channel = connection.create_channel("log", ordered=False)
        await channel.opened()
        channel.send("line")
        await connection.closed()

    async with serving(handler) as server, connecting(server.url) as client:
        opened = asyncio.get_running_loop().create_future()
        client.pc.on("datachannel", opened.set_result)
        client.pc.createDataChannel("state")
        await client.offer()
        async with asyncio.timeout(PATIENCE):
            channel = await opened
            assert (channel.label, channel.ordered, await anext(channel)) == ("log", False, "line")


async def test_delete_ends_the_connection() -> None:
    async with serving(hold) as server, connected(server.url) as (client, channel):
        async with client.http.delete(client.session) as response:
            assert response.status == 200
        async with asyncio.timeout(PATIENCE):
            await channel.closed()
        async with client.http.delete(client.session) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (404, "no-such-connection")


# -- candidates and restarts (RFC 9725, section 4.3) -------------------------------------------------------------------


async def test_connects_with_candidates_that_arrive_after_the_offer() -> None:
    async with serving() as server, connecting(server.url) as client:
        channel = client.pc.createDataChannel("state")
        await client.pc.setLocalDescription()
        whole = client.pc.localDescription.sdp
        bare = re.sub(r"a=(candidate|end-of-candidates).*\r\n", "", whole)
        async with client.http.post(server.url, data=bare, headers=SDP) as response:
            assert response.status == 201
            client.session = f"{server.url}/{response.headers['Location'].rpartition('/')[2]}"
            client.etag = response.headers["ETag"]
            answer = await response.text()
        response = await client.patch(format_fragment(whole))
        assert (response.status, await response.text()) == (204, "")
        await client.pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        async with asyncio.timeout(PATIENCE):
            await channel.opened()


async def test_restarts_ice_and_keeps_the_channels() -> None:
    async with serving() as server, connected(server.url) as (client, channel):
        before = client.pc.remoteDescription.sdp
        await client.pc.setLocalDescription(await client.pc.createOffer(iceRestart=True))
        response = await client.patch(format_fragment(client.pc.localDescription.sdp), "*")
        assert (response.status, response.content_type) == (200, CONTENT_TYPE)
        assert response.headers["ETag"] != client.etag
        fragment = parse_fragment_untrusted(await response.text())
        assert fragment.candidates
        assert fragment.ufrag not in before
        answer = with_credentials(before, fragment.ufrag, fragment.password, fragment.candidates)
        await client.pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        channel.send("still here")
        assert await anext(channel) == "still here"
        stale = await client.patch("a=end-of-candidates\r\n")
        assert (stale.status, (await stale.json())["error"]["code"]) == (412, "other-ice-session")
        assert server.channels.counts.restarts == 1


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({"Content-Type": CONTENT_TYPE}, "", 428, "no-if-match"),
        ({"Content-Type": "text/plain", "If-Match": "*"}, "", 415, "not-a-fragment"),
        ({"Content-Type": CONTENT_TYPE, "If-Match": '"other"'}, "", 412, "other-ice-session"),
        ({"Content-Type": CONTENT_TYPE, "If-Match": "*"}, "", 400, "bad-fragment"),
        ({"Content-Type": CONTENT_TYPE, "If-Match": "*"}, "a=ice-ufrag:a b\r\n", 400, "bad-fragment"),
        ({"Content-Type": CONTENT_TYPE, "If-Match": "*"}, "x\r\n" * 300, 400, "bad-fragment"),
        ({"Content-Type": CONTENT_TYPE, "If-Match": "*"}, b"\xff", 400, "not-text"),
        ({"Content-Type": CONTENT_TYPE, "If-Match": "*"}, "x" * 70_000, 413, "too-large"),
        ({"Content-Type": CONTENT_TYPE, "If-Match": "ETAG"}, "a=ice-ufrag:abcd\r\n", 422, "other-ice-session"),
    ],
)
async def test_refuses_patches(headers: dict[str, str], body: str, status: int, code: str) -> None:
    async with serving(hold) as server, connected(server.url) as (client, _):
        headers = {name: client.etag if value == "ETAG" else value for name, value in headers.items()}
        async with client.http.patch(client.session, data=body, headers=headers) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (status, code)


async def test_refuses_malformed_candidates_and_floods_of_patches() -> None:
    options = ChannelServerOptions(patch_burst=5, patches_per_second=0.001)
    async with serving(options=options) as server, connected(server.url) as (client, channel):
        for _ in range(5):
            assert (await client.patch("a=candidate:nonsense\r\n")).status == 400
        assert (await client.patch("a=candidate:nonsense\r\n")).status == 429
        channel.send("alive")
        assert await anext(channel) == "alive"


# -- requests that are refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "headers", "body", "status", "code"),
    [
        ("POST", {"Content-Type": "text/plain"}, "", 415, "not-sdp"),
        ("POST", SDP, "nonsense", 400, "bad-sdp"),
        ("POST", SDP, "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n", 400, "bad-sdp"),
        ("POST", SDP, "x" * 70_000, 413, "too-large"),
        ("OPTIONS", {"Origin": "https://evil.example"}, "", 403, "wrong-origin"),
        ("OPTIONS", {"Origin": "null"}, "", 403, "wrong-origin"),
        ("OPTIONS", {"Origin": "http://["}, "", 403, "wrong-origin"),
        ("POST", SDP | {"Host": "rebound.example"}, "", 421, "wrong-host"),
        ("GET", {}, None, 405, "method"),
        ("PUT", {}, None, 405, "method"),
    ],
)
async def test_refuses_requests(method: str, headers: dict[str, str], body: str, status: int, code: str) -> None:
    async with serving() as server, aiohttp.ClientSession() as http:
        async with http.request(method, server.url, data=body, headers=headers) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (status, code)
        assert server.channels.counts.refused == 1
        assert not server.channels.states


@pytest.mark.parametrize(
    ("allowed", "origin", "shown"),
    [
        (frozenset({"https://app.example"}), "https://app.example", True),
        (frozenset({"*"}), "https://any.example", True),
        (frozenset(), "https://evil.example", False),
    ],
)
async def test_only_pages_of_allowed_origins_may_read_the_answer(
    allowed: frozenset[str], origin: str, shown: bool
) -> None:
    options = ChannelServerOptions(allowed_origins=allowed)
    async with (
        serving(options=options) as server,
        aiohttp.ClientSession() as http,
        http.post(server.url, headers={"Origin": origin}) as response,
        http.options(server.url, headers={"Origin": origin}) as preflight,
    ):
        for answer in (response, preflight):
            assert answer.headers.get("Access-Control-Allow-Origin") == (origin if shown else None)
        assert preflight.status == (204 if shown else 403)


async def test_answers_preflight_requests() -> None:
    options = ChannelServerOptions(allowed_origins=frozenset({"https://app.example"}))
    async with serving(options=options) as server, aiohttp.ClientSession() as http:
        headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
        async with http.options(server.url, headers=headers) as response:
            assert response.status == 204
            assert response.headers["Accept-Post"] == "application/sdp"
            assert "If-Match" in response.headers["Access-Control-Allow-Headers"]


# -- users and limits --------------------------------------------------------------------------------------------------


def user_of(request: SignalingRequest) -> str | None:
    return {"a": "Ada", "b": "Bob"}.get(request.bearer_token or "")


async def authenticated(request: SignalingRequest) -> str | None:
    return user_of(request)


@pytest.mark.parametrize("authenticate", [user_of, authenticated])
async def test_the_hook_names_the_user_and_refuses_strangers(authenticate) -> None:
    users: list[str] = []

    async def handler(connection: Connection) -> None:
        users.append(connection.user)
        await connection.closed()

    async with serving(handler, authenticate=authenticate) as server:
        async with connecting(server.url) as stranger:
            stranger.pc.createDataChannel("state")
            response = await stranger.offer()
            assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")
        async with connected(server.url, Authorization="Bearer a") as (client, _):
            await until(lambda: users == ["Ada"])
            async with client.http.delete(client.session, headers={"Authorization": "Bearer b"}) as response:
                assert response.status == 404  # another user's connection
            async with client.http.delete(client.session) as response:
                assert response.status == 401


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (ChannelServerOptions(max_connections=1), (503, "busy")),
        (ChannelServerOptions(max_connections_per_user=1), (429, "busy-user")),
    ],
)
async def test_refuses_one_connection_more(options: ChannelServerOptions, code: tuple[int, str]) -> None:
    async with (
        serving(hold, options, authenticate=user_of) as server,
        connected(server.url, Authorization="Bearer a"),
        connecting(server.url, Authorization="Bearer a") as late,
    ):
        late.pc.createDataChannel("state")
        response = await late.offer()
        assert (response.status, (await response.json())["error"]["code"]) == code
        assert response.headers["Retry-After"]


async def test_limits_offers_and_connections_of_an_address_behind_a_trusted_proxy() -> None:
    options = ChannelServerOptions(
        trusted_proxies=(ipaddress.ip_network("127.0.0.0/8"),),
        max_connections_per_address=1,
        offer_burst=2,
        offers_per_second=0.001,
    )
    async with serving(hold, options) as server:
        ada = {"X-Forwarded-For": "192.0.2.7"}
        async with connecting(server.url) as first, connecting(server.url) as second, connecting(server.url) as third:
            statuses = []
            for client in (first, second, third):
                client.headers = ada
                client.pc.createDataChannel("state")
                response = await client.offer()
                statuses.append(
                    (response.status, (await response.json())["error"]["code"] if response.status > 201 else "")
                )
            assert statuses == [(201, ""), (429, "busy-address"), (429, "too-many-offers")]
        async with connecting(server.url) as other:
            other.headers = {"X-Forwarded-For": "192.0.2.8"}
            other.pc.createDataChannel("state")
            assert (await other.offer()).status == 201


async def test_a_connection_that_never_comes_up_gives_way_and_times_out() -> None:
    options = ChannelServerOptions(connect_timeout=0.3)
    async with serving(options=options) as server, connecting(server.url) as client:
        client.pc.createDataChannel("state")
        await client.pc.setLocalDescription()
        bare = re.sub(r"a=candidate.*\r\n", "", client.pc.localDescription.sdp)
        async with client.http.post(server.url, data=bare, headers=SDP) as response:
            assert response.status == 201
        await until(lambda: server.channels.counts.failed == 1 and not server.channels.states)


async def test_closes_channels_above_the_limit() -> None:
    options = ChannelServerOptions(max_channels=2)
    async with serving(options=options) as server, connecting(server.url) as client:
        channels = [client.pc.createDataChannel(str(number)) for number in range(3)]
        await client.offer()
        async with asyncio.timeout(PATIENCE):
            await channels[2].closed()
        channels[0].send("works")
        assert await anext(channels[0]) == "works"


async def test_a_handler_that_does_not_notice_the_end_is_canceled() -> None:
    canceled = asyncio.Event()

    async def handler(connection: Connection) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            canceled.set()

    async with serving(handler, ChannelServerOptions(handler_timeout=0.05)) as server:
        async with connected(server.url):
            assert not canceled.is_set()
        async with asyncio.timeout(PATIENCE):
            await canceled.wait()


# -- shutting down -----------------------------------------------------------------------------------------------------


async def test_drains_before_it_closes() -> None:
    async def handler(connection: Connection) -> None:
        channel = await connection.channel("state")
        await connection.drained()
        assert connection.draining
        channel.send("goodbye")

    async with serving(handler) as server, connected(server.url) as (client, channel), connecting(server.url) as late:
        assert server.channels.ready
        closing = asyncio.create_task(server.close(grace=PATIENCE))
        assert [message async for message in channel] == ["goodbye"]
        await closing
        assert not server.channels.ready
        assert client.pc is not late.pc


async def test_refuses_offers_while_it_drains() -> None:
    async with serving(hold) as server, connected(server.url), connecting(server.url) as late:
        draining = asyncio.create_task(server.channels.drain(PATIENCE))
        await until(lambda: not server.channels.ready)
        late.pc.createDataChannel("state")
        response = await late.offer()
        assert (response.status, response.headers["Retry-After"]) == (503, "5")
        draining.cancel()


async def test_one_certificate_serves_all_connections() -> None:
    async with serving(hold) as server, connected(server.url) as (first, _), connected(server.url) as (second, _):
        prints = {re.search("a=fingerprint:(.*)", client.pc.remoteDescription.sdp)[1] for client in (first, second)}
        assert len(prints) == 1


async def test_serves_the_client_for_browsers() -> None:
    async with (
        serving() as server,
        aiohttp.ClientSession() as http,
        http.get(server.url.replace("/rtc", "/datachan.js")) as response,
    ):
        assert response.content_type == "text/javascript"
        assert "export function connect" in await response.text()


async def test_configuration_is_not_changed() -> None:
    given = RTCConfiguration(hostAddresses=["127.0.0.1"])
    before = replace(given)
    async with serve(hold, "127.0.0.1", 0, configuration=given):
        assert given == before


async def test_all_connections_share_one_udp_port() -> None:
    async with serving(udp_port=0) as server, connected(server.url) as (a, first), connected(server.url) as (b, second):
        for client, channel in ((a, first), (b, second)):
            channel.send("hello")
            assert await anext(channel) == "hello"
            ports = re.findall(r"a=candidate:\S+ 1 udp \S+ \S+ (\d+) typ host", client.pc.remoteDescription.sdp)
            assert set(ports) == {str(server.udp_port)}


async def test_names_turn_servers_with_credentials_that_expire() -> None:
    turn = TurnSecret(("turn:192.0.2.1?transport=udp", "turn:192.0.2.1?transport=tcp"), "north", lifetime=60)
    async with serving(hold, ChannelServerOptions(turn=turn)) as server, connecting(server.url) as client:
        client.pc.createDataChannel("state")
        link = (await client.offer()).headers["Link"]
        named = re.findall(r'<([^>]+)>; rel="ice-server"; username="(\d+):datachan"; credential="[^"]+"', link)
        assert [url for url, _ in named] == list(turn.urls)
        assert all(0 < int(expiry) - time.time() <= 60 for _, expiry in named)
        assert "north" not in link
