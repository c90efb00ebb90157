"""Connects with every member of a room, each over a peer connection of its own: a robot and its viewers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final, Self

from datachan.log_rate import get_limited_logger
from datachan.peer import RTCConfiguration, RTCPeerConnection
from datachan.signaling.client import SignalingClient, SignalingError
from datachan.signaling.connect import Call
from datachan.signaling.room_messages import (
    Answer,
    Bye,
    Candidate,
    Error,
    Offer,
    PeerInfo,
    PeerLeft,
    ServerMessage,
    Signal,
    Welcome,
)

logger = get_limited_logger("datachan.signaling")

_CALLED_PAUSE: Final = 5.0
"""Seconds in which a member that has called before calls again, when its connection is lost."""

_BYE_TIMEOUT: Final = 0.5
"""Seconds in which a bye may follow the end of its connection: it travels through the signaling server."""

_RETURN_TIMEOUT: Final = 600.0
"""Seconds in which a member whose connection was lost is called again."""

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 10.0
"""Seconds between two such calls: the pause doubles with each."""

_INBOX_SIZE: Final = 512  # messages; a peer that sends more before they are read loses the rest


async def serve_through(
    client: SignalingClient,
    prepare: Callable[[RTCPeerConnection, PeerInfo], object],
    configuration: RTCConfiguration | None = None,
    *,
    max_peers: int = 8,
    timeout: float = 60.0,  # noqa: ASYNC109 - for each connection, not for the call
    calls_again: bool = False,
) -> None:
    """Connect with every member of the room, now and later, until the client's connection ends.

    Members that are in the room receive an offer; offers of newcomers are answered. A connection lives until it closes
    or fails, even if its member leaves the room. As long as the member is there, ICE candidates are exchanged and its
    ICE restarts are answered. Use a client with `reconnect=True` to outlive the signaling server.

    Args:
        client: A client that has joined a room. Its messages are consumed.
        prepare: Called with each new connection before it is negotiated: creates channels and registers handlers.
        configuration: The configuration of the connections; its ICE servers default to those of the signaling server.
        max_peers: Connections at the same time; further members are declined.
        timeout: Seconds within which a connection must be established.
        calls_again: Call a member again whose connection was lost, with growing pauses for ten minutes, unless it has
            hung up or left the room.
    """
    service = _Service(client, prepare, client.configuration(configuration), max_peers, timeout, calls_again)
    try:
        await service.run()
    finally:
        await service.close()


class _Inbox:
    """The messages of one peer, and the way back to it: the client as one `Call` sees it."""

    def __init__(self, client: SignalingClient, peer: PeerInfo, *, calling: bool) -> None:
        self.calling = calling
        self.connected = False
        self.hung_up = asyncio.Event()
        self.peer = peer
        self.call: Call | None = None
        self.restarting: asyncio.Task[None] | None = None
        self.peers = {peer.id: peer}
        self.peers_at_join = (peer,) if calling else ()
        self._client = client
        self._messages: asyncio.Queue[ServerMessage] = asyncio.Queue(_INBOX_SIZE)

    @property
    def is_unanswered(self) -> bool:
        """Whether this side calls, and the peer has not answered yet."""
        return self.calling and (self.call is None or not self.call.described)

    def put(self, message: ServerMessage) -> None:
        """Add a message for the call; drop it when too many are waiting."""
        if not self._messages.full():
            self._messages.put_nowait(message)

    async def send(self, message: Signal) -> None:
        """Send a message to the peer."""
        await self._client.send(message)

    def __aiter__(self) -> Self:
        """Iterate over the messages, without an end."""
        return self

    async def __anext__(self) -> ServerMessage:
        """Return the next message."""
        return await self._messages.get()


class _Service:
    """All connections of one `serve_through`."""

    def __init__(
        self,
        client: SignalingClient,
        prepare: Callable[[RTCPeerConnection, PeerInfo], object],
        configuration: RTCConfiguration,
        max_peers: int,
        timeout: float,
        calls_again: bool,
    ) -> None:
        self._client = client
        self._prepare = prepare
        self._configuration = configuration
        self._max_peers = max_peers
        self._timeout = timeout
        self._calls_again = calls_again
        self._inboxes: dict[str, _Inbox] = {}
        self._tasks: dict[_Inbox, asyncio.Task[None]] = {}
        self._returning: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Call the members of the room, then follow the messages of the server."""
        self._call_each(self._client.peers_at_join)
        async for message in self._client:
            if isinstance(message, Welcome):
                if not message.is_seamless:  # otherwise newcomers have called, and their offers follow
                    await self._end_attempts()
                    self._call_each(message.peers)
            elif isinstance(message, Offer):
                await self._take_offer(message)
            elif isinstance(message, Answer | Candidate | Bye):
                self._put(message.peer, message)
            elif isinstance(message, PeerLeft):
                self._stop_calling(message.id)
                self._put(message.id, message)
            elif isinstance(message, Error):
                for inbox in self._inboxes.values():
                    inbox.put(message)

    async def close(self) -> None:
        """End all connections."""
        self._calls_again = False
        tasks = [*self._tasks.values(), *self._returning.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _call_each(self, peers: tuple[PeerInfo, ...]) -> None:
        for peer in peers:
            if peer.id not in self._inboxes and len(self._tasks) < self._max_peers:
                self._start(peer, calling=True)

    async def _end_attempts(self) -> None:
        """End the calls that are not connected: their offers or answers may be lost with the place in the room."""
        attempts = [inbox for inbox in self._tasks if not inbox.connected]
        tasks = [self._tasks[inbox] for inbox in attempts]
        for inbox, task in zip(attempts, tasks, strict=True):
            self._inboxes.pop(inbox.peer.id, None)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _take_offer(self, offer: Offer) -> None:
        inbox = self._inboxes.get(offer.peer)
        if inbox is not None and inbox.connected and inbox.call is not None and offer.session == inbox.call.session:
            await _end(inbox.restarting)
            inbox.restarting = asyncio.get_running_loop().create_task(_restart(inbox, inbox.call, offer))
            return
        if inbox is not None:
            # Both sides called at the same time: both use the offer of the smaller id. A peer that has answered ours
            # and offers now has given that call up.
            if inbox.is_unanswered and self._client.id < offer.peer:
                return
            self._tasks[inbox].cancel()
            self._inboxes.pop(offer.peer)
        if len(self._tasks) - (inbox is not None) >= self._max_peers:
            await self._client.send(Bye(offer.peer, offer.session, "busy: no connection is free"))
            return
        peer = self._client.peers.get(offer.peer) or PeerInfo(offer.peer, "")
        self._start(peer, calling=False).put(offer)

    def _put(self, peer_id: str, message: ServerMessage) -> None:
        inbox = self._inboxes.get(peer_id)
        if inbox is None:
            return
        if inbox.call is not None and isinstance(message, Bye) and message.session == inbox.call.session:
            inbox.hung_up.set()
            self._stop_calling(peer_id)
        inbox.put(message)

    def _start(self, peer: PeerInfo, *, calling: bool) -> _Inbox:
        inbox = self._inboxes[peer.id] = _Inbox(self._client, peer, calling=calling)
        task = self._tasks[inbox] = asyncio.get_running_loop().create_task(self._serve(peer, inbox))
        task.add_done_callback(lambda _: self._forget(peer.id, inbox))
        return inbox

    def _forget(self, peer_id: str, inbox: _Inbox) -> None:
        del self._tasks[inbox]
        if self._inboxes.get(peer_id) is inbox:
            del self._inboxes[peer_id]
            if self._calls_again and inbox.connected and not inbox.hung_up.is_set() and peer_id in self._client.peers:
                delay = 0.0 if inbox.calling else _CALLED_PAUSE
                self._returning[peer_id] = asyncio.get_running_loop().create_task(self._call_again(inbox.peer, delay))

    async def _call_again(self, peer: PeerInfo, delay: float) -> None:
        """Call a member until `_stop_calling`, or for `_RETURN_TIMEOUT`. An attempt that is on its way goes on."""
        pause = _FIRST_PAUSE
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RETURN_TIMEOUT):
                while True:
                    await asyncio.sleep(delay)
                    if peer.id in self._client.peers:
                        self._call_each((peer,))
                    delay, pause = pause, min(_LONGEST_PAUSE, 2 * pause)
        del self._returning[peer.id]

    def _stop_calling(self, peer_id: str) -> None:
        returning = self._returning.pop(peer_id, None)
        if returning is not None:
            returning.cancel()

    async def _serve(self, peer: PeerInfo, inbox: _Inbox) -> None:
        try:
            async with RTCPeerConnection(self._configuration) as pc:
                over = asyncio.Event()

                def state_changed() -> None:
                    if pc.connectionState in {"failed", "closed"}:
                        over.set()

                pc.on("connectionstatechange", state_changed)
                self._prepare(pc, peer)
                inbox.call = call = Call(inbox, pc)
                try:
                    await call.run(None, self._timeout)
                    inbox.connected = True
                    self._stop_calling(peer.id)
                    await over.wait()
                finally:
                    await call.close()
            if self._calls_again:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(inbox.hung_up.wait(), _BYE_TIMEOUT)
        except SignalingError as error:
            logger.info("signaling: no connection with %s: %s", peer.name, error)
        except Exception:
            logger.exception("signaling: serving %s failed", peer.name)
        finally:
            await _end(inbox.restarting)


async def _restart(inbox: _Inbox, call: Call, offer: Offer) -> None:
    """Answer an ICE restart of a connection that is up."""
    try:
        await call.answer_restart(offer)
    except SignalingError as error:
        logger.info("signaling: ICE is not restarted with %s: %s", inbox.peer.name, error)
        with contextlib.suppress(SignalingError):
            await inbox.send(Bye(offer.peer, offer.session, "the restart is refused"))


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
