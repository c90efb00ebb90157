"""Serving a room: connections with every member, now and later, and again after they were lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast
from urllib.parse import urlsplit

import pytest

from datachan.peer import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from datachan.signaling import (
    PeerInfo,
    SignalingClient,
    SignalingError,
    call_through,
    connect_through,
    serve_through,
    service,
)
from datachan.signaling.room_messages import Answer, Bye, Offer, ServerMessage, Signal, Welcome
from tests.signaling_site import listening

HERE = RTCConfiguration(hostAddresses=["127.0.0.1"], closeTimeout=1.0)
ASKING = RTCConfiguration(hostAddresses=["127.0.0.1"], alwaysNegotiateDataChannels=True, closeTimeout=1.0)
PATIENCE = 20.0


def send_own_name(pc: RTCPeerConnection, peer: PeerInfo) -> None:
    channel = pc.createDataChannel("robot")
    channel.on("open", lambda: channel.send(f"hello {peer.name}"))


async def view(url: str, name: str, first: asyncio.Event | None = None) -> str:
    """Join, wait for the robot's channel and return its first message."""
    async with SignalingClient(url, "robot", name=name) as client, RTCPeerConnection(ASKING) as pc:
        arrived = asyncio.get_running_loop().create_future()
        pc.on("datachannel", arrived.set_result)
        if first is not None:
            first.set()
        await connect_through(client, pc)
        return await anext(aiter(await arrived))


async def test_a_robot_serves_viewers_that_came_before_and_after_it_and_outlives_them():
    async with asyncio.timeout(3 * PATIENCE):
        async with listening() as url:
            there = asyncio.Event()
            early = asyncio.create_task(view(url, "early", there))
            await there.wait()
            robot = await SignalingClient(url, "robot", reconnect=True).__aenter__()
            serving = asyncio.create_task(serve_through(robot, send_own_name, HERE))
            assert await early == "hello early"
            assert await asyncio.gather(view(url, "Ada"), view(url, "Zoe")) == ["hello Ada", "hello Zoe"]
        async with listening(port=urlsplit(url).port) as url:  # the server was restarted, and the robot joins again
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(2):
                        assert await view(url, "late") == "hello late"
                        break
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            await robot.__aexit__(None, None, None)


async def test_a_robot_declines_viewers_past_its_limit():
    async with listening() as url, SignalingClient(url, "robot") as robot, asyncio.timeout(PATIENCE):
        serving = asyncio.create_task(serve_through(robot, send_own_name, HERE, max_peers=1))
        async with SignalingClient(url, "robot", name="Ada") as ada, RTCPeerConnection(ASKING) as pc:
            await connect_through(ada, pc)
            async with SignalingClient(url, "robot", name="Zoe") as zoe, RTCPeerConnection(ASKING) as other:
                with pytest.raises(SignalingError, match="busy: no connection is free"):
                    await connect_through(zoe, other, to=robot.id)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


class Robot:
    """Serves a room, and calls its members again. From the second connection on, it refuses some."""

    def __init__(self, url: str) -> None:
        self.client = SignalingClient(url, "robot", name="robot", reconnect=True)
        self.refused = 0
        self.attempts: asyncio.Queue[RTCPeerConnection] = asyncio.Queue()

    def prepare(self, pc: RTCPeerConnection, peer: PeerInfo) -> None:
        self.attempts.put_nowait(pc)
        if self.refused:
            self.refused -= 1
            raise SignalingError("not now")
        send_own_name(pc, peer)


@asynccontextmanager
async def robot_in(url: str) -> AsyncIterator[Robot]:
    robot = Robot(url)
    async with robot.client, asyncio.timeout(PATIENCE):
        serving = asyncio.create_task(serve_through(robot.client, robot.prepare, HERE, calls_again=True))
        try:
            yield robot
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


@asynccontextmanager
async def viewer_that_answers(url: str) -> AsyncIterator[tuple[SignalingClient, asyncio.Queue[RTCPeerConnection]]]:
    """Serve connections of the robot; it calls them, because they were there before it."""
    taken: asyncio.Queue[RTCPeerConnection] = asyncio.Queue()
    async with SignalingClient(url, "robot", name="Ada") as client:
        serving = asyncio.create_task(serve_through(client, lambda pc, peer: taken.put_nowait(pc), HERE))
        try:
            yield client, taken
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


async def until_connected(pc: RTCPeerConnection) -> None:
    while pc.connectionState != "connected":
        await asyncio.sleep(0.01)


async def until_refused(client: SignalingClient, session: str) -> None:
    """Read messages until the member has declined an offer. It must not call."""
    while not (isinstance(message := await client.receive(), Bye) and message.session == session):
        assert not isinstance(message, Offer)


async def test_a_lost_member_is_called_again_until_it_is_connected() -> None:
    async with listening() as url, viewer_that_answers(url) as (_, taken), robot_in(url) as robot:
        lost = await robot.attempts.get()
        await until_connected(lost)
        robot.refused = 2
        await (await taken.get()).close()
        again = [await robot.attempts.get() for _ in range(3)]
        await until_connected(again[-1])
        assert [pc.connectionState for pc in (lost, *again[:-1])] == ["closed"] * 3
        await asyncio.sleep(0)
        assert robot.attempts.empty()


async def test_a_member_that_has_left_is_not_called_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(service, "_FIRST_PAUSE", 0.01)
    async with listening() as url, viewer_that_answers(url) as (viewer, taken), robot_in(url) as robot:
        await until_connected(await robot.attempts.get())
        robot.refused = 1_000_000
        before = asyncio.all_tasks()
        await (await taken.get()).close()
        await robot.attempts.get()
        await robot.attempts.get()
        await viewer.__aexit__(None, None, None)
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.01)


async def test_a_member_that_has_hung_up_is_not_called_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_CALLED_PAUSE", 0.0)
    async with listening() as url, robot_in(url) as robot, SignalingClient(url, "robot", name="Ada") as ada:
        async with RTCPeerConnection(ASKING) as pc:
            _, session = await call_through(ada, pc)
            served = await robot.attempts.get()
            await until_connected(served)
            await ada.send(Bye(robot.client.id, session, ""))
            await ada.send(Offer(robot.client.id, session, "v=0\r\n"))
            await until_refused(ada, session)  # the bye was read before
        while served.connectionState != "closed":
            await asyncio.sleep(0.01)
        await ada.send(Offer(robot.client.id, "another", "v=0\r\n"))
        await until_refused(ada, "another")
        assert await robot.attempts.get() is not served
        assert robot.attempts.empty()


async def test_a_bye_may_arrive_after_the_end_of_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_BYE_TIMEOUT", PATIENCE)
    async with listening() as url, SignalingClient(url, "robot", name="Ada") as ada, RTCPeerConnection(ASKING) as pc:
        calling = asyncio.create_task(call_through(ada, pc))
        async with robot_in(url) as robot:
            _, session = await calling
            served = await robot.attempts.get()
            await until_connected(served)
            await pc.close()
            while served.connectionState != "closed":
                await asyncio.sleep(0.01)
            await ada.send(Bye(robot.client.id, session, ""))
            await ada.send(Offer(robot.client.id, session, "v=0\r\n"))
            await until_refused(ada, session)  # the bye was read before
            await ada.send(Offer(robot.client.id, "another", "v=0\r\n"))
            await until_refused(ada, "another")


ZOE = PeerInfo("zoe", "Zoe")


class Membership:
    """A member whose server the test plays: what is sent to it does not arrive anywhere."""

    id = "ada"

    def __init__(self) -> None:
        self.peers = {ZOE.id: ZOE}
        self.peers_at_join = (ZOE,)
        self.sent: asyncio.Queue[Signal] = asyncio.Queue()
        self.messages: asyncio.Queue[ServerMessage] = asyncio.Queue()
        self.connections: list[RTCPeerConnection] = []

    def prepare(self, pc: RTCPeerConnection, peer: PeerInfo) -> None:
        self.connections.append(pc)
        send_own_name(pc, peer)

    def configuration(self, base: RTCConfiguration) -> RTCConfiguration:
        return base

    async def send(self, message: Signal) -> None:
        if isinstance(message, Offer | Answer):
            self.sent.put_nowait(message)

    def __aiter__(self) -> Membership:
        return self

    async def __anext__(self) -> ServerMessage:
        return await self.messages.get()

    def join_again(self, *peers: PeerInfo) -> None:
        """Have the server, which knows nothing of the time before, welcome the member."""
        self.messages.put_nowait(Welcome(self.id, "robot", 8, peers))


@asynccontextmanager
async def member_that_calls(max_peers: int = 8) -> AsyncIterator[tuple[Membership, Offer]]:
    """Serve a room with Zoe in it; give the offer to her."""
    member = Membership()
    client = cast("SignalingClient", member)
    async with asyncio.timeout(PATIENCE):
        serving = asyncio.create_task(
            serve_through(client, member.prepare, HERE, max_peers=max_peers, calls_again=True)
        )
        try:
            offer = await member.sent.get()
            assert isinstance(offer, Offer)
            yield member, offer
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


async def offer_of_zoe(pc: RTCPeerConnection) -> Offer:
    pc.createDataChannel("robot")
    return Offer(ZOE.id, "hers", (await pc.createOffer()).sdp)


async def test_a_member_whose_offer_was_lost_with_the_server_calls_again() -> None:
    async with member_that_calls(max_peers=1) as (member, lost):
        member.join_again(ZOE)
        again = await member.sent.get()
        assert isinstance(again, Offer)
        assert again.session != lost.session


async def test_a_member_whose_offer_was_lost_with_the_server_answers_the_peer_that_joins_later() -> None:
    async with member_that_calls() as (member, _), RTCPeerConnection(HERE) as pc:
        member.join_again()
        member.messages.put_nowait(await offer_of_zoe(pc))
        answer = await member.sent.get()
        assert isinstance(answer, Answer)
        assert answer.session == "hers"


async def test_of_two_calls_at_the_same_time_that_of_the_smaller_id_counts() -> None:
    async with member_that_calls() as (member, ours), RTCPeerConnection(HERE) as pc, RTCPeerConnection(HERE) as other:
        member.messages.put_nowait(await offer_of_zoe(pc))
        await other.setRemoteDescription(RTCSessionDescription(ours.sdp, "offer"))
        answer = await other.createAnswer()
        member.messages.put_nowait(Answer(ZOE.id, ours.session, answer.sdp))
        while member.connections[0].signalingState != "stable":
            await asyncio.sleep(0.01)
        assert len(member.connections) == 1
        assert member.sent.empty()


async def test_a_peer_that_has_answered_and_calls_itself_is_answered() -> None:
    async with member_that_calls() as (member, ours), RTCPeerConnection(HERE) as pc, RTCPeerConnection(HERE) as other:
        await other.setRemoteDescription(RTCSessionDescription(ours.sdp, "offer"))
        answer = await other.createAnswer()
        member.messages.put_nowait(Answer(ZOE.id, ours.session, answer.sdp))
        reply: Signal | None = None
        while reply is None:  # an offer that is read before our answer is ignored
            member.messages.put_nowait(await offer_of_zoe(pc))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    reply = await member.sent.get()
        assert isinstance(reply, Answer)
        assert reply.session == "hers"
