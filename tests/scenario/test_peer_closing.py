"""The end of channels and of connections: what is delivered, what the peer learns, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import socket
from pathlib import Path

import pytest

import datachan
from datachan import InvalidStateError, OperationError, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from tests.pairs import channel_pair, configuration, event, pair, signal, soon, state

pytestmark = pytest.mark.patient_loop


async def _read_all(channel: RTCDataChannel) -> list[str | bytes]:
    return [message async for message in channel]


# -- closing channels --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"negotiated": True, "id": 5}])
async def test_closing_a_channel_delivers_its_messages_and_closes_both_ends(options: dict[str, object]) -> None:
    async with pair(**options) as p:
        for number in range(20):
            p.a_channel.send(bytes([number]) * 50_000)
        p.a_channel.close()
        assert p.a_channel.readyState == "closing"

        received = [message[0] async for message in p.z_channel]

        assert received == list(range(20))
        await soon(asyncio.gather(p.a_channel.closed(), p.z_channel.closed()))
        assert (p.a_channel.closeReason, p.z_channel.closeReason) == (None, None)
        assert (p.a.connectionState, p.z.connectionState) == ("connected", "connected")


async def test_a_channel_can_be_closed_before_it_opens() -> None:
    a, z = RTCPeerConnection(configuration()), RTCPeerConnection(configuration())
    async with a, z:
        early, other = a.createDataChannel("early"), a.createDataChannel("other")
        early.close()
        await signal(a, z)

        await soon(early.closed())
        await soon(other.opened())
        with pytest.raises(InvalidStateError):
            await early.opened()


async def test_many_channels_open_and_close_in_turn() -> None:
    async with pair() as p:
        for number in range(20):
            a_channel, z_channel = await channel_pair(p.a, p.z)
            a_channel.send(str(number))
            a_channel.close()
            assert await _read_all(z_channel) == [str(number)]
            await soon(asyncio.gather(a_channel.closed(), z_channel.closed()))

        report = await p.z.getStats()
        assert (report["peer-connection"].dataChannelsOpened, report["peer-connection"].dataChannelsClosed) == (21, 20)


async def test_a_closed_channel_that_is_dropped_with_unread_messages_frees_the_window() -> None:
    async def window_of_z() -> int:
        p.a_channel.send("?")  # an answer to DATA carries the window
        assert await soon(anext(p.z_channel)) == "?"
        await asyncio.sleep(0.3)
        stats = next(entry for entry in (await p.a.getStats()).values() if entry.type == "sctp-transport")
        return stats.receiverWindow

    async with pair() as p:
        a_channel, z_channel = await channel_pair(p.a, p.z, "unread")
        a_channel.send(bytes(50_000))
        a_channel.close()
        await soon(z_channel.closed())
        before = await window_of_z()

        del z_channel
        gc.collect()
        await asyncio.sleep(1)

        assert await window_of_z() >= before + 50_000


def test_nothing_in_the_package_has_a_finalizer() -> None:
    # A finalizer runs in any thread, and at the end of the interpreter: it must not touch an event loop.
    package = Path(datachan.__file__).parent
    assert [path.name for path in package.rglob("*.py") if "def __del__" in path.read_text()] == []


# -- closing connections -----------------------------------------------------------------------------------------------


async def test_messages_sent_right_before_close_arrive() -> None:
    a, z = RTCPeerConnection(configuration()), RTCPeerConnection(configuration())
    async with z:
        async with a:
            a_channel, z_channel = await channel_pair(a, z)
            reading = asyncio.ensure_future(_read_all(z_channel))
            for number in range(50):
                a_channel.send(bytes([number]) * 100_000)

        received = await soon(reading)

        assert [message[0] for message in received] == list(range(50))
        assert z_channel.readyState == "closed"


async def test_the_other_side_detects_that_we_closed() -> None:
    async with pair() as p:
        seen: list[str] = []
        p.z_channel.on("close", lambda: seen.append("close"))
        p.z_channel.on("error", lambda error: seen.append(str(error)))

        await soon(p.a.close())
        await state(p.z, "connectionState", "closed", "connectionstatechange")

        assert seen == ["close"]
        assert (p.a_channel.readyState, p.z_channel.readyState) == ("closed", "closed")
        assert p.z.sctp.state == "closed"
        with pytest.raises(InvalidStateError):
            p.z.createDataChannel("late")


async def test_both_may_close_at_once() -> None:
    async with pair() as p:
        p.a_channel.send("bye")
        p.z_channel.send("bye")

        await soon(asyncio.gather(p.a.close(), p.z.close()))

        assert (p.a.connectionState, p.z.connectionState) == ("closed", "closed")


async def test_closing_leaves_no_task_and_no_socket() -> None:
    def sockets() -> int:
        gc.collect()
        return sum(isinstance(thing, socket.socket) and thing.fileno() >= 0 for thing in gc.get_objects())

    before_tasks, before_sockets = asyncio.all_tasks(), sockets()
    async with pair() as p:
        p.a_channel.send("hello")
        assert sockets() > before_sockets

    assert asyncio.all_tasks() == before_tasks
    assert sockets() == before_sockets


@pytest.mark.parametrize("turns", range(0, 60, 3))
async def test_closing_while_connecting_leaves_no_task(turns: int) -> None:
    a, z = RTCPeerConnection(configuration()), RTCPeerConnection(configuration())
    channel = a.createDataChannel("chat")
    signaling = asyncio.ensure_future(signal(a, z))
    for _ in range(turns):
        await asyncio.sleep(0)

    await soon(asyncio.gather(a.close(), z.close()))
    with_error = (await asyncio.gather(signaling, return_exceptions=True))[0]

    assert with_error is None or isinstance(with_error, (InvalidStateError, AttributeError, ValueError)), with_error
    assert channel.readyState == "closed"


@pytest.mark.parametrize("sped", [False, True])
@pytest.mark.parametrize("closer", ["offerer", "answerer"])
@pytest.mark.parametrize("moment", ["both descriptions are set", "ICE has found a path"])
async def test_the_other_side_detects_a_close_before_its_handshake_is_complete(
    moment: str, closer: str, sped: bool
) -> None:
    a, z = RTCPeerConnection(configuration(sped=sped)), RTCPeerConnection(configuration(sped=sped))
    a.createDataChannel("chat")
    leaving, staying = (a, z) if closer == "offerer" else (z, a)
    states, late = [], []
    staying.on("iceconnectionstatechange", lambda: states.append(staying.iceConnectionState))
    ended = asyncio.ensure_future(state(staying, "connectionState", "closed", "connectionstatechange"))
    await signal(a, z)
    if moment == "ICE has found a path":
        while leaving.iceConnectionState not in ("connected", "completed"):
            await event(leaving, "iceconnectionstatechange")
    dtls = leaving.sctp.transport
    closing = asyncio.ensure_future(leaving.close())
    await asyncio.sleep(0)
    leaving.on("datachannel", late.append)
    dtls.on("statechange", lambda: late.append(dtls.state))

    await soon(ended)
    await soon(closing)
    await staying.close()

    assert not {"disconnected", "failed"} & set(states), "the peer was told, rather than missed"
    assert set(late) <= {"closed"}


async def test_close_waits_for_no_handshake_with_a_peer_that_was_never_heard() -> None:
    async with pair() as p, RTCPeerConnection(configuration()) as a:
        a.createDataChannel("chat")
        await a.setLocalDescription()
        silent = p.z.localDescription.sdp.replace("a=setup:actpass", "a=setup:active")
        ports = {line.split()[5] for line in silent.splitlines() if line.startswith("a=candidate:")}
        for port in ports:
            silent = silent.replace(f" {port} typ", " 9 typ")
        await a.setRemoteDescription(RTCSessionDescription(silent, "answer"))
        began = asyncio.get_running_loop().time()
        await a.close()
        assert asyncio.get_running_loop().time() - began < 1


async def test_close_gives_up_on_a_peer_that_does_not_read() -> None:
    async with pair(a_configuration=configuration(closeTimeout=0.3)) as p:
        for _ in range(200):
            p.a_channel.send(bytes(64 * 1024))  # more than Z's window holds

        began = asyncio.get_running_loop().time()
        await soon(p.a.close())

        assert asyncio.get_running_loop().time() - began < 10
        await soon(p.z_channel.closed())


async def test_canceling_close_ends_its_wait_and_leaves_no_task() -> None:
    async with pair() as p:
        for _ in range(200):
            p.a_channel.send(bytes(64 * 1024))
        closing = asyncio.ensure_future(p.a.close())
        await asyncio.sleep(0.05)
        assert not closing.done()

        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        began = asyncio.get_running_loop().time()
        await soon(p.a.close())

        assert asyncio.get_running_loop().time() - began < 1
        await soon(p.z_channel.closed())


@pytest.mark.parametrize("turns", range(1, 8))
async def test_the_peer_is_told_when_the_end_of_asyncio_run_cancels_a_close(turns: int) -> None:
    async with pair() as p:
        before = asyncio.all_tasks()
        for _ in range(200):
            p.a_channel.send(bytes(64 * 1024))  # a graceful end would wait for the reader
        closing = asyncio.ensure_future(p.a.close())
        for _ in range(turns):
            await asyncio.sleep(0)

        ended = asyncio.all_tasks() - before
        for task in ended:  # as asyncio.run does when a program ends
            task.cancel()
        await soon(asyncio.wait(ended | {closing}))
        await soon(p.z_channel.closed())


async def test_a_callback_may_close_the_connection() -> None:
    async with pair() as p:
        closed: list[asyncio.Task[None]] = []
        p.z_channel.on("message", lambda message: closed.append(asyncio.ensure_future(p.z.close())))

        p.a_channel.send("go away")
        await soon(p.a_channel.closed())

        await soon(closed[0])


async def test_a_peer_that_gives_up_fails_the_channel_with_a_reason() -> None:
    async with pair(a_configuration=configuration(closeTimeout=0.1)) as p:
        failed: list[OperationError] = []
        p.z_channel.on("error", failed.append)
        for _ in range(200):
            p.a_channel.send(bytes(64 * 1024))  # more than Z's window, and Z does not read

        await soon(p.a.close())
        await soon(p.z_channel.closed())

        assert [str(error) for error in failed] == [p.z_channel.closeReason]
        assert p.z_channel.closeReason
        assert p.z.failureReason
        assert p.z.connectionState == "closed"


async def test_close_returns_although_the_peer_waits_for_our_window() -> None:
    async with pair() as p:
        for _ in range(200):
            p.a_channel.send(bytes(64 * 1024))
        while p.a_channel.bufferedAmount == 200 * 64 * 1024:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)

        began = asyncio.get_running_loop().time()
        await soon(p.z.close())

        assert asyncio.get_running_loop().time() - began < 3
        assert p.z_channel.closeReason is None
        await soon(p.a_channel.closed())
