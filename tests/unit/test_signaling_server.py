"""The signaling server as a client sees it: a real aiohttp server on loopback, real WebSockets, raw JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from datachan.signaling import IceServerOption, ServerOptions, SignalingServer
from datachan.signaling.assets import page_folder
from datachan.signaling.room_messages import MAX_MESSAGE_SIZE

SDP = "v=0\r\n"
PATIENCE = 10.0


class Client:
    """A WebSocket that exchanges JSON and waits for at most `PATIENCE` seconds."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.id = ""

    async def say(self, message: object) -> None:
        await self.socket.send_str(message if isinstance(message, str) else json.dumps(message))

    async def receive(self) -> dict[str, object]:
        frame = await asyncio.wait_for(self.socket.receive(), PATIENCE)
        assert frame.type is WSMsgType.TEXT, f"{frame.type!r} {frame.data!r} {frame.extra!r}"
        message: dict[str, object] = json.loads(frame.data)
        return message

    async def receive_close(self) -> int | None:
        """Skip messages until the server has closed the connection; return the close code."""
        async with asyncio.timeout(PATIENCE):
            while (await self.socket.receive()).type is WSMsgType.TEXT:
                pass
        return self.socket.close_code

    async def join(self, name: str = "Ada") -> dict[str, object]:
        await self.say({"type": "join", "version": 1, "name": name})
        welcome = await self.receive()
        self.id = str(welcome.get("id"))
        return welcome


class Service:
    """A running server."""

    def __init__(self, server: SignalingServer, runner: web.AppRunner, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.runner = runner
        self.session = session
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._clients: list[Client] = []  # an unreferenced WebSocket closes by itself

    async def connect(self, room: str = "kitchen", **options: object) -> Client:
        client = Client(await self.session.ws_connect(f"{self.url}/api/v1/rooms/{room}", **options))
        self._clients.append(client)
        return client

    async def joined(self, name: str = "Ada", room: str = "kitchen") -> Client:
        client = await self.connect(room)
        assert (await client.join(name))["type"] == "welcome"
        return client


@contextlib.asynccontextmanager
async def running(options: ServerOptions | None = None, page: Path | None = None) -> AsyncIterator[Service]:
    server = SignalingServer(options, page=page)
    runner = web.AppRunner(server.create_app(), shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession() as session:
            yield Service(server, runner, session)
    finally:
        await runner.cleanup()


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with running() as service:
        yield service


async def test_two_members_of_a_room_learn_of_each_other(service):
    ada = await service.connect()
    welcome = await ada.join("Ada")
    assert welcome == {"type": "welcome", "version": 1, "id": ada.id, "room": "kitchen", "capacity": 8, "peers": []}
    grace = await service.connect()
    welcome = await grace.join("Grace")
    assert welcome["peers"] == [{"id": ada.id, "name": "Ada"}]
    assert await ada.receive() == {"type": "peer-joined", "peer": {"id": grace.id, "name": "Grace"}}
    await grace.socket.close()
    assert await ada.receive() == {"type": "peer-left", "id": grace.id}


async def test_descriptions_and_candidates_go_both_ways_in_order(service):
    ada, grace = await service.joined("Ada"), await service.joined("Grace")
    await ada.receive()
    candidate = {"candidate": "candidate:1", "sdpMid": "0", "sdpMLineIndex": 0, "usernameFragment": "abcd"}
    said = [
        {"type": "offer", "sdp": SDP},
        {"type": "candidate", "candidate": candidate},
        {"type": "candidate", "candidate": None},
        {"type": "bye", "reason": "enough"},
    ]
    for sender, receiver in ((grace, ada), (ada, grace)):
        for message in said:
            await sender.say({**message, "to": receiver.id, "session": "s"})
        assert [await receiver.receive() for _ in said] == [{**m, "from": sender.id, "session": "s"} for m in said]


async def test_a_client_cannot_forge_the_sender_or_add_fields(service):
    ada, grace = await service.joined("Ada"), await service.joined("Grace")
    await ada.receive()
    forged = {"type": "offer", "to": ada.id, "session": "s", "sdp": SDP, "from": ada.id, "admin": True, "__proto__": 1}
    await grace.say(forged)
    assert await ada.receive() == {"type": "offer", "from": grace.id, "session": "s", "sdp": SDP}


async def test_a_message_reaches_only_its_target(service):
    ada, grace, alan = [await service.joined(name) for name in ("Ada", "Grace", "Alan")]
    outside = await service.joined("Eve", room="cellar")
    await ada.say({"type": "bye", "to": outside.id, "session": "s1"})
    for expected in ("peer-joined", "peer-joined"):
        assert (await ada.receive())["type"] == expected
    assert await ada.receive() == {
        "type": "error",
        "code": "no-such-peer",
        "message": "Whom the message is for is not in the room, or has left it.",
        "session": "s1",
    }
    assert (await grace.receive())["type"] == "peer-joined"
    await ada.say({"type": "bye", "to": alan.id, "session": "s2"})
    assert (await alan.receive())["session"] == "s2"
    await ada.say({"type": "bye", "to": grace.id, "session": "s3"})
    assert (await grace.receive())["session"] == "s3"


async def test_a_full_room_sends_an_error_and_accepts_again_after_a_leave():
    async with running(ServerOptions(room_capacity=2)) as service:
        ada, grace = await service.joined("Ada"), await service.joined("Grace")
        third = await service.connect()
        assert (await third.join())["code"] == "room-full"
        assert await third.receive_close() == 1013
        assert (await ada.receive())["type"] == "peer-joined"
        await grace.socket.close()
        assert (await ada.receive())["type"] == "peer-left"
        await service.joined("Alan")


async def test_refuses_a_room_past_the_limit():
    async with running(ServerOptions(max_rooms=1)) as service:
        await service.joined("Ada")
        other = await service.connect("cellar")
        assert (await other.join())["code"] == "no-more-rooms"


async def test_refuses_a_connection_past_the_limit():
    async with running(ServerOptions(max_connections=1)) as service:
        await service.joined("Ada")
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await service.connect()


async def test_closes_a_connection_that_does_not_join_in_time():
    async with running(ServerOptions(join_timeout=0.05)) as service:
        client = await service.connect()
        assert (await client.receive())["code"] == "join-timeout"
        assert await client.receive_close() == 1008


async def test_requires_join_first_and_once(service):
    client = await service.connect()
    await client.say({"type": "bye", "to": "a", "session": "s"})
    assert (await client.receive())["code"] == "not-joined"
    await client.join()
    await client.say({"type": "join", "version": 1, "name": "Ada"})
    assert (await client.receive())["code"] == "already-joined"


async def test_refuses_another_protocol_version(service):
    client = await service.connect()
    await client.say({"type": "join", "version": 2})
    assert (await client.receive())["code"] == "unsupported-version"
    assert await client.receive_close() == 1008


async def test_answers_malformed_messages_with_errors_and_keeps_the_room(service):
    ada, grace = await service.joined("Ada"), await service.joined("Grace")
    for text, code in (("{", "not-json"), ("[]", "not-an-object"), ('{"type":"dance"}', "unknown-type")):
        await grace.say(text)
        error = await grace.receive()
        assert (error["type"], error["code"]) == ("error", code)
        assert str(error["message"]).endswith(".")
    await grace.socket.send_bytes(b"\x00")
    assert (await grace.receive())["code"] == "not-text"
    await grace.say({"type": "bye", "to": ada.id, "session": "s"})
    assert [(await ada.receive())["type"] for _ in range(2)] == ["peer-joined", "bye"]


async def test_closes_a_connection_after_too_many_malformed_messages():
    async with running(ServerOptions(max_faults=3)) as service:
        client = await service.joined()
        for _ in range(3):
            await client.say("{")
            assert (await client.receive())["code"] == "not-json"
        assert await client.receive_close() == 1008


async def test_answers_a_large_message_with_an_error_and_closes_on_a_huge_one(service):
    client = await service.joined()
    await client.say(" " * (MAX_MESSAGE_SIZE + 1))
    assert (await client.receive())["code"] == "too-large"
    await client.say(" " * (5 * MAX_MESSAGE_SIZE))
    assert await client.receive_close() == 1009


async def test_warns_a_client_that_sends_too_fast_then_closes_it():
    async with running(ServerOptions(message_burst=5, messages_per_second=0.001, max_faults=4)) as service:
        ada, grace = await service.joined("Ada"), await service.joined("Grace")
        for number in range(8):
            await grace.say({"type": "bye", "to": ada.id, "session": f"s{number}"})
        assert [(await grace.receive())["code"] for _ in range(4)] == ["too-many-messages"] * 4
        assert await grace.receive_close() == 1008
        heard = [await ada.receive() for _ in range(6)]
        assert [message.get("session") for message in heard] == [None, "s0", "s1", "s2", "s3", None]


async def test_removes_a_client_that_answers_no_ping():
    async with running(ServerOptions(heartbeat=0.2)) as service:
        ada = await service.joined("Ada")
        deaf = await service.connect(autoping=False)
        await deaf.say({"type": "join", "version": 1, "name": "Deaf"})
        assert (await ada.receive())["type"] == "peer-joined"
        assert (await ada.receive())["type"] == "peer-left"  # Ada answers the pings and stays


async def test_aborts_a_client_that_does_not_read_and_keeps_no_other_waiting():
    async with running(ServerOptions(outbound_bytes=600_000, message_burst=1e6)) as service:
        ada = await service.joined("Ada")
        reader, writer = await _raw_member(service)
        lazy = str((await ada.receive())["peer"]["id"])
        offer = {"type": "offer", "to": lazy, "session": "s", "sdp": SDP + "x" * 30_000}
        said = asyncio.create_task(_say_often(ada, offer, 2000))
        heard = await ada.receive()
        while heard["type"] == "error":
            heard = await ada.receive()
        assert heard == {"type": "peer-left", "id": lazy}
        await said
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        assert reader is not None


async def _say_often(client: Client, message: object, times: int) -> None:
    with contextlib.suppress(ConnectionError):
        for _ in range(times):
            await client.say(message)


async def _raw_member(service: Service) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Join over a plain socket that never reads; aiohttp's client would read in the background."""
    port = service.runner.addresses[0][1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(
        b"GET /api/v1/rooms/kitchen HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    join = b'{"type":"join","version":1,"name":"Lazy"}'
    writer.write(bytes([0x81, 0x80 | len(join)]) + b"\x00\x00\x00\x00" + join)
    return reader, writer


@pytest.mark.parametrize(
    ("origin", "enters"),
    [(None, True), ("same", True), ("https://friend.example", True), ("https://evil.example", False), ("null", False)],
)
async def test_only_pages_of_allowed_origins_may_join(origin, enters):
    async with running(ServerOptions(allowed_origins=frozenset({"https://friend.example"}))) as service:
        headers = {} if origin is None else {"Origin": service.url if origin == "same" else origin}
        if enters:
            client = await service.connect(headers=headers)
            assert (await client.join())["type"] == "welcome"
        else:
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await service.connect(headers=headers)
            assert caught.value.status == 403


async def test_refuses_a_foreign_name_that_resolves_to_loopback():
    async with running(ServerOptions(loopback_only=True)) as service:
        async with service.session.get(f"{service.url}/healthz") as response:
            assert response.status == 200
        headers = {"Host": "rebound.example", "Origin": "http://rebound.example"}
        async with service.session.get(f"{service.url}/healthz", headers=headers) as response:
            assert response.status == 421
            assert (await response.json())["error"]["code"] == "wrong-host"


@pytest.mark.parametrize("room", ["", "a%2Fb", "a%20b", "x" * 65, "..%2F..%2Fetc"])
async def test_refuses_a_malformed_room_name(service, room):
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await service.connect(room)
    assert caught.value.status in {400, 404}


async def test_every_refusal_is_json_with_a_code_and_a_sentence(service):
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("GET", "/../pyproject.toml", 404),
        ("GET", "/api/v1/rooms/kitchen", 400),
        ("DELETE", "/healthz", 405),
        ("POST", "/api/v1/peers/echo", 404),
    ):
        async with service.session.request(method, service.url + path) as response:
            assert response.status == status, path
            error = (await response.json())["error"]
            assert error["code"]
            assert error["message"].endswith(".")


async def test_health_reports_counts_but_no_names(service):
    await service.joined("Ada", room="secret-room")
    async with service.session.get(f"{service.url}/healthz") as response:
        text = await response.text()
    health = json.loads(text)
    assert (health["status"], health["rooms"], health["members"]) == ("ok", 1, 1)
    assert "secret-room" not in text
    assert "Ada" not in text


@pytest.mark.parametrize(("token", "counts"), [("", False), ("wrong", False), ("right", True)])
async def test_health_shows_counts_elsewhere_only_with_the_token(token, counts):
    async with running(ServerOptions(health_token="right")) as service:
        # The header of a proxy on this machine, which forwards for a client elsewhere.
        headers = {"X-Forwarded-For": "192.0.2.1", "Authorization": f"Bearer {token}"}
        async with service.session.get(f"{service.url}/healthz", headers=headers) as response:
            health = await response.json()
            assert health["status"] == "ok"
            assert ("rooms" in health) is ("version" in health) is counts
            assert response.headers["Server"] == "datachan"


async def test_serves_only_the_page_with_a_strict_content_policy():
    async with running(page=page_folder()) as service:
        async with service.session.get(f"{service.url}/") as response:
            assert response.status == 200
            assert response.content_type == "text/html"
            policy = response.headers["Content-Security-Policy"]
            html = await response.text()
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        for forbidden in ("<style", " style=", "onclick", "onload", "javascript:", "http://", "https://"):
            assert forbidden not in html
        async with service.session.get(f"{service.url}/js/app.js") as response:
            assert response.content_type == "text/javascript"
            assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_stopping_the_server_notifies_all_clients_and_leaves_no_task():
    tasks_before = asyncio.all_tasks()
    async with running() as service:
        clients = [await service.joined(name) for name in ("Ada", "Grace")]
        closing = [asyncio.create_task(client.receive_close()) for client in clients]
        await service.runner.cleanup()
        assert await asyncio.gather(*closing) == [1001, 1001]
        assert service.server.broker.member_count == 0
    assert asyncio.all_tasks() == tasks_before


async def test_survives_every_kind_of_malformed_input():
    texts = st.text(max_size=40) | st.sampled_from(["{}", "null", '{"type":"offer"}', '{"type":"join","version":1}'])
    async with running(ServerOptions(max_faults=10_000, message_burst=1e6)) as service:
        ada = await service.joined("Ada")
        garbage = await service.connect()
        for text in _examples(texts, 150):
            await garbage.say(text)
            assert (await garbage.receive())["type"] in {"error", "welcome"}
        await ada.say({"type": "bye", "to": "absent", "session": "s"})
        while (heard := await ada.receive())["type"] != "error":
            assert heard["type"] in {"peer-joined", "peer-left"}


def _examples(strategy: st.SearchStrategy[str], count: int) -> list[str]:
    found: list[str] = []

    @settings(max_examples=count, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(strategy)
    def collect(text: str) -> None:
        found.append(text)

    collect()
    return found


# -- behind a proxy that changes Host and path -------------------------------------------------------------------------


async def test_passwords_and_tokens_are_for_the_page_and_programs_only():
    turn = IceServerOption("turn:192.0.2.1", "ada", "secret")
    async with running(ServerOptions(ice_servers=(turn,))) as service:
        async with service.session.get(f"{service.url}/config.json") as response:
            config = await response.json()
            assert config["iceServers"] == [{"urls": "turn:192.0.2.1"}]
            assert "token" not in config
        async with service.session.get(f"{service.url}/config.json", headers={"X-Datachan": "page"}) as response:
            config = await response.json()
            assert config["iceServers"] == [turn.to_json()]
        foreign = {"Origin": "https://behind.proxy"}
        client = await service.connect(f"kitchen?token={config['token']}", headers=foreign)
        assert (await client.join())["type"] == "welcome"
        room = f"{service.url}/api/v1/rooms/kitchen?token=1.a"
        async with service.session.get(room, headers=foreign | {"Upgrade": "websocket"}) as response:
            assert response.status == 403


async def test_refusals_name_the_option_that_is_missing():
    async with running(ServerOptions(loopback_only=True)) as service:
        async with service.session.get(service.url, headers={"Host": "robot.example"}) as response:
            assert response.status == 421
            assert "--allow-origin https://robot.example" in (await response.json())["error"]["message"]
        headers = {"Origin": "https://robot.example"}
        async with service.session.post(f"{service.url}/api/v1/peers/echo", headers=headers) as response:
            assert response.status == 403
            assert "--allow-origin https://robot.example" in (await response.json())["error"]["message"]


# -- members that join again -------------------------------------------------------------------------------------------


async def test_a_member_that_joins_again_with_its_secret_replaces_its_old_connection(service):
    secret = "a" * 32
    join = {"type": "join", "version": 1, "name": "Ada", "secret": secret}
    grace = await service.joined("Grace")
    first, second = await service.connect(), await service.connect()
    await first.say(join)
    known_as = (await first.receive())["id"]
    assert (await grace.receive())["peer"]["id"] == known_as
    closing = asyncio.create_task(first.receive_close())
    await second.say(join)
    welcome = await second.receive()
    assert (welcome["id"], [peer["name"] for peer in welcome["peers"]]) == (known_as, ["Grace"])
    assert (await grace.receive())["peer"]["id"] == known_as
    assert secret not in known_as
    assert await closing == 1008
    await grace.say({"type": "bye", "to": known_as, "session": "s"})
    assert (await second.receive())["type"] == "bye"
    assert service.server.broker.member_count == 2


@pytest.mark.parametrize("secret", ["short", "a" * 65, "b d" * 10, 7])
async def test_refuses_a_malformed_secret(service, secret):
    client = await service.connect()
    await client.say({"type": "join", "version": 1, "name": "Ada", "secret": secret})
    assert (await client.receive())["code"] == "bad-field"


# -- members that return to their place --------------------------------------------------------------------------------


async def join_to_resume(client: Client, token: str | bool = True, seq: int | None = None) -> dict[str, object]:
    join = {"type": "join", "version": 1, "name": "Grace", "resume": token}
    await client.say(join if seq is None else join | {"seq": seq})
    welcome = await client.receive()
    client.id = str(welcome.get("id"))
    return welcome


async def test_a_client_returns_with_its_token_and_gets_what_it_missed(service):
    ada, grace = await service.joined("Ada"), await service.connect()
    welcome = await join_to_resume(grace)
    assert (welcome["resumed"], welcome["missed"], welcome["received"]) == (False, False, 0)
    assert (await ada.receive())["peer"]["id"] == grace.id
    await grace.say({"type": "bye", "to": ada.id, "session": "s1", "seq": 1})
    assert await ada.receive() == {"type": "bye", "from": grace.id, "session": "s1", "reason": ""}  # Ada has no numbers
    grace.socket._response.connection.transport.abort()
    await ada.say({"type": "bye", "to": grace.id, "session": "s2"})
    back = await service.connect()
    again = await join_to_resume(back, str(welcome["resume"]), int(str(welcome["seq"])))
    assert (again["id"], again["resumed"], again["received"]) == (grace.id, True, 1)
    missed = await back.receive()
    assert (missed["type"], missed["from"], missed["session"]) == ("bye", ada.id, "s2")
    assert missed["seq"] > welcome["seq"]
    for seq, session in ((1, "s1"), (2, "s3")):
        await back.say({"type": "bye", "to": ada.id, "session": session, "seq": seq})
    assert (await ada.receive())["session"] == "s3"  # the others saw neither a leave nor the repetition


async def test_a_client_that_closes_its_connection_leaves_at_once(service):
    ada, grace = await service.joined("Ada"), await service.connect()
    welcome = await join_to_resume(grace)
    await ada.receive()
    await grace.socket.close()
    assert await ada.receive() == {"type": "peer-left", "id": grace.id}
    again = await join_to_resume(await service.connect(), str(welcome["resume"]), 0)
    assert again["resumed"] is False
    assert again["id"] != grace.id


async def test_a_client_that_is_thrown_out_does_not_keep_its_place():
    async with running(ServerOptions(max_faults=1)) as service:
        ada, grace = await service.joined("Ada"), await service.connect()
        await join_to_resume(grace)
        await ada.receive()
        await grace.say("{")
        assert await ada.receive() == {"type": "peer-left", "id": grace.id}


async def test_a_slow_reader_that_is_ended_may_return(service):
    ada, grace = await service.joined("Ada"), await service.connect()
    welcome = await join_to_resume(grace)
    await ada.receive()
    for connection in tuple(service.server._connections):
        if connection._resumes:
            connection.drop()
    await ada.say({"type": "bye", "to": grace.id, "session": "s"})
    back = await service.connect()
    assert (await join_to_resume(back, str(welcome["resume"]), int(str(welcome["seq"]))))["resumed"] is True
    assert (await back.receive())["session"] == "s"


@pytest.mark.parametrize(
    ("fields", "seq"), [({"resume": 1}, None), ({"resume": "no-dot"}, 0), ({"resume": "a." + "b" * 30}, -1)]
)
async def test_refuses_malformed_fields_of_a_return(service, fields, seq):
    client = await service.connect()
    await client.say({"type": "join", "version": 1, "name": "Ada", "seq": seq, **fields})
    assert (await client.receive())["code"] == "bad-field"


async def test_refuses_a_malformed_number(service):
    client = await service.connect()
    await join_to_resume(client)
    for seq in (-1, 1.5, True, "1", 1 << 60):
        await client.say({"type": "bye", "to": "a", "session": "s", "seq": seq})
        assert (await client.receive())["code"] == "bad-field"
