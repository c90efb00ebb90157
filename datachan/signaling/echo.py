"""A peer that can be called: answers an offer and echoes every message; knows nothing of HTTP or rooms.

Each message is sent back on its channel, with back-pressure in both directions: while a caller does not read, nothing
is read from it. A channel whose label belongs to a `ChannelService` is served by that service instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from datachan.log_rate import get_limited_logger
from datachan.peer import (
    InvalidStateError,
    MessageTooLargeError,
    PeerError,
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
    SdpError,
)
from datachan.sctp import ReceiveBudget
from datachan.signaling.client_address import share_key
from datachan.signaling.offered_candidates import without_unsafe_candidates
from datachan.signaling.room_messages import BadMessage

logger = get_limited_logger("datachan.signaling")


@dataclass(frozen=True, slots=True)
class EchoOptions:
    """The bounds of the echo peer.

    Attributes:
        max_sessions: Calls at the same time.
        max_connecting_per_address: Calls of one address (IPv6: of one /64) that are not connected yet. One more ends
            the oldest of them. The oldest of all such calls also gives way when `max_sessions` is reached.
        max_channels: Channels of one call at the same time. Further channels are closed, and a caller may have as many
            again that are closing.
        max_message_size: Bytes of one message. It is announced to the caller, which then sends none longer.
        max_bytes_per_call: Bytes of messages on their way back to one caller. A call that exceeds this is ended: its
            caller sends without reading.
        max_bytes: The same for all calls together.
        max_incomplete: Bytes of incomplete messages of all calls. Beyond that, a call that takes more than its share
            is ended.
        connect_timeout: Seconds from the answer until the connection must be established.
        idle_timeout: Seconds without a message after which a call is ended.
        close_timeout: Seconds to wait while closing for a caller that acknowledges nothing.
    """

    max_sessions: int = 16
    max_connecting_per_address: int = 4
    max_channels: int = 256
    max_message_size: int = 16 * 1024 * 1024
    max_bytes_per_call: int = 48 * 1024 * 1024
    max_bytes: int = 192 * 1024 * 1024
    max_incomplete: int = 80 * 1024 * 1024
    connect_timeout: float = 30.0
    idle_timeout: float = 300.0
    close_timeout: float = 1.0


class ChannelService(Protocol):
    """A service for all channels of one label."""

    async def serve(self, channel: RTCDataChannel, session: EchoSession) -> None:
        """Serve one channel until it closes or is no longer needed. `session.touch()` records activity."""

    def session_ended(self, session_id: str) -> None:
        """Discard everything kept for a call. All its channels have ended."""


@dataclass(frozen=True, slots=True)
class EchoAnswer:
    """The answer to a call, and the id by which the caller can end it."""

    session: str
    sdp: str


class EchoPeer:
    """Answers offers, each with a peer connection of its own.

    Args:
        configuration: For every peer connection, such as STUN and TURN servers.
        services: The services, by channel label.
        options: The bounds.
        watch: Called with the peer connection of each call, before it is negotiated.
        ice_servers: Returns further STUN and TURN servers for a call, such as those whose credentials expire.

    Attributes:
        budget: The bytes that wait on their way back to callers.
    """

    def __init__(
        self,
        configuration: RTCConfiguration | None = None,
        services: Mapping[str, ChannelService] | None = None,
        options: EchoOptions | None = None,
        ice_servers: Callable[[], list[RTCIceServer]] = list,
        watch: Callable[[RTCPeerConnection], None] = lambda pc: None,
    ) -> None:
        self.options = options or EchoOptions()
        self._configuration = configuration or RTCConfiguration()
        self._ice_servers = ice_servers
        self._watch = watch
        self._services = dict(services or {})
        self._sessions: dict[str, EchoSession] = {}
        self._giving_way: set[EchoSession] = set()  # no longer counted, but not closed yet
        self.budget = EchoBudget(self.options, self._settle)
        self._closed = False

    @property
    def session_count(self) -> int:
        """The number of calls in progress."""
        return len(self._sessions)

    async def answer(self, sdp: str, caller: str = "127.0.0.1") -> EchoAnswer:
        """Answer a call.

        Args:
            sdp: The offer.
            caller: The IP address that the offer came from. It decides which candidates are checked, and whose share of
                the calls this one counts against.

        Raises:
            BadMessage: `busy`: there are too many calls. `bad-sdp`: the offer is malformed.
        """
        key = share_key(caller)
        self._make_room(key)
        if self._closed or len(self._sessions) >= self.options.max_sessions:
            raise BadMessage("busy", "The echo peer has as many calls as it can serve. Try again in a minute.")
        servers = [*(self._configuration.iceServers or ()), *self._ice_servers()]
        configuration = replace(self._configuration, iceServers=servers)
        session = EchoSession(secrets.token_urlsafe(16), configuration, self._services, self.options, key, self.budget)
        self._watch(session.peer_connection)
        self._sessions[session.id] = session
        try:
            answer = await session.answer(without_unsafe_candidates(sdp, caller))
        except BaseException:
            await self._end_failed(session)
            raise
        session.start(lambda: self._forget(session))
        return EchoAnswer(session.id, answer)

    def _make_room(self, key: str) -> None:
        """End calls that are not connected, the oldest first, when this address or all callers have too many."""
        connecting = [session for session in self._sessions.values() if not session.connected]
        own = [session for session in connecting if session.key == key]
        if len(own) >= self.options.max_connecting_per_address:
            self._give_way(own[0])
        elif connecting and len(self._sessions) >= self.options.max_sessions:
            self._give_way(connecting[0])

    async def _end_failed(self, session: EchoSession) -> None:
        try:
            await session.close()
        finally:
            self._forget(session)

    def _forget(self, session: EchoSession) -> None:
        self._sessions.pop(session.id, None)
        self._giving_way.discard(session)

    def _settle(self) -> None:
        for session in self._sessions.values():
            session.settle()

    def _give_way(self, session: EchoSession) -> None:
        logger.info("echo: a call that was not connected gives way to a new one")
        self._sessions.pop(session.id, None)
        self._giving_way.add(session)
        session.end()

    async def hang_up(self, session_id: str) -> bool:
        """End a call and return True; return False if there is no call with this id."""
        session = self._sessions.get(session_id)
        if session is None:
            return False
        await session.close()
        return True

    async def calls_ended(self) -> None:
        """Wait until no call is in progress."""
        while self._sessions:
            await asyncio.gather(*(session.ended() for session in tuple(self._sessions.values())))

    async def close(self) -> None:
        """End every call and accept no more."""
        self._closed = True
        await asyncio.gather(*(session.close() for session in (*self._sessions.values(), *self._giving_way)))


class EchoBudget:
    """Counts the bytes that wait on their way back to callers, for each call and for all together.

    Attributes:
        incomplete: Counts the bytes of messages whose ends have not arrived.

    Args:
        options: The bounds.
        settle: Makes every call count its bytes again, because some may have been sent meanwhile.
    """

    def __init__(self, options: EchoOptions, settle: Callable[[], None]) -> None:
        self.incomplete = ReceiveBudget(options.max_incomplete)
        self._per_call = options.max_bytes_per_call
        self._limit = options.max_bytes
        self._settle = settle
        self._of_call: Counter[str] = Counter()

    @property
    def total(self) -> int:
        """The bytes of all calls at the last count."""
        return self._of_call.total()

    def take(self, session_id: str, size: int) -> bool:
        """Count `size` bytes more for a call and return True, or return False if that exceeds a limit."""
        if not self._has_room(session_id, size):
            self._settle()
            if not self._has_room(session_id, size):
                return False
        self._of_call[session_id] += size
        return True

    def give_back(self, session_id: str, size: int) -> None:
        """Count `size` bytes less for a call."""
        self._of_call[session_id] -= size
        if not self._of_call[session_id]:
            del self._of_call[session_id]

    def _has_room(self, session_id: str, size: int) -> bool:
        return self._of_call[session_id] + size <= self._per_call and self.total + size <= self._limit


class EchoSession:
    """One call: a peer connection, a task for each of its channels, and a task that ends the call when it is idle.

    Attributes:
        id: The id by which the caller ends the call.
        key: The key under which this call is counted.
        connected: Whether the connection has been up.
    """

    def __init__(
        self,
        session_id: str,
        configuration: RTCConfiguration,
        services: Mapping[str, ChannelService],
        options: EchoOptions,
        key: str,
        budget: EchoBudget,
    ) -> None:
        self.id = session_id
        self.key = key
        self.connected = False
        self._budget = budget
        self._holding: dict[RTCDataChannel, int] = {}
        self._services = services
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._pc = RTCPeerConnection(
            replace(
                configuration,
                maxMessageSize=options.max_message_size,
                receiveBudget=budget.incomplete,
                # The caller may open half of them. Those above `max_channels` are closed, and some may be closing.
                maxChannels=min(4 * options.max_channels, 65535),
                closeTimeout=options.close_timeout,
                iceTcp=False,  # callers choose where to; they connect to our TCP port if they need it
                waitForCandidates=True,  # the answer is all that the caller gets
            )
        )
        self._channel_tasks: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()
        self._last_activity = self._loop.time()
        self._watcher: asyncio.Task[None] | None = None
        self._pc.on("datachannel", self._take_channel)
        self._pc.on("connectionstatechange", self._connection_changed)

    @property
    def peer_connection(self) -> RTCPeerConnection:
        """The peer connection of the call."""
        return self._pc

    def touch(self) -> None:
        """Record activity: the call is not idle."""
        self._last_activity = self._loop.time()

    async def answer(self, sdp: str) -> str:
        """Return the answer to an offer, with all its candidates.

        Raises:
            BadMessage: `bad-sdp`, with the reason.
        """
        try:
            await self._pc.setRemoteDescription(RTCSessionDescription(sdp=sdp, type="offer"))
            await self._pc.setLocalDescription(await self._pc.createAnswer())
        except (SdpError, PeerError) as error:
            raise BadMessage("bad-sdp", f"The offer cannot be answered: {error}.") from error
        local = self._pc.localDescription
        if local is None or self._pc.sctp is None:
            raise BadMessage("bad-sdp", "The offer has no data channel; create one before the offer.")
        return local.sdp

    def start(self, when_over: Callable[[], object]) -> None:
        """Watch the call from now on, and call `when_over` when it has ended."""
        self._watcher = self._loop.create_task(self._watch(when_over))

    def end(self) -> None:
        """End the call soon, without waiting for it."""
        self._over.set()

    async def ended(self) -> None:
        """Wait until the call has ended."""
        if self._watcher is None:
            await self._over.wait()
        else:
            await asyncio.wait({self._watcher})

    async def close(self) -> None:
        """End the call and return once all its resources are released."""
        self._over.set()
        if self._watcher is None:
            await self._tear_down()
        else:
            await asyncio.wait({self._watcher})

    async def _watch(self, when_over: Callable[[], object]) -> None:
        try:
            await self._until_over()
        finally:
            try:
                await self._tear_down()
            finally:
                when_over()

    async def _until_over(self) -> None:
        started = self._loop.time()
        while not self._over.is_set():
            if self.connected:
                deadline = self._last_activity + self._options.idle_timeout
            else:
                deadline = started + self._options.connect_timeout
            left = deadline - self._loop.time()
            if left <= 0:
                logger.info("echo: call ended: %s", "it was idle" if self.connected else "it did not connect in time")
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), left)

    async def _tear_down(self) -> None:
        for task in self._channel_tasks:
            task.cancel()
        await asyncio.gather(*self._channel_tasks, return_exceptions=True)
        await self._pc.close()
        for service in self._services.values():
            service.session_ended(self.id)

    def _connection_changed(self) -> None:
        state = self._pc.connectionState
        if state == "connected":
            self.connected = True
            self.touch()
            logger.info("echo: a caller has connected")
        elif state in {"failed", "closed"}:
            self._over.set()

    def _take_channel(self, channel: RTCDataChannel) -> None:
        if self._over.is_set() or len(self._channel_tasks) >= self._options.max_channels:
            channel.close()
            return
        task = self._loop.create_task(self._serve(channel))
        self._channel_tasks.add(task)
        task.add_done_callback(self._channel_tasks.discard)

    async def _serve(self, channel: RTCDataChannel) -> None:
        service = self._services.get(channel.label)
        try:
            if service is None:
                await self._echo(channel)
            else:
                await service.serve(channel, self)
        except InvalidStateError:
            pass  # the channel closed during a send
        except Exception:
            logger.exception("echo: serving channel %r failed", channel.label)
        finally:
            channel.close()

    async def _echo(self, channel: RTCDataChannel) -> None:
        try:
            async for message in channel:
                self.touch()
                size = len(message.encode()) if isinstance(message, str) else len(message)
                if not self._hold(channel, size):
                    logger.info("echo: call ended: the caller sends without reading what comes back")
                    self.end()
                    return
                with contextlib.suppress(MessageTooLargeError):  # longer than what the caller itself accepts
                    channel.send(message)
                await channel.drain()
                self._hold(channel, 0)
        finally:
            self._budget.give_back(self.id, self._holding.pop(channel, 0))

    def settle(self) -> None:
        """Count the waiting bytes of each channel again: some may have been sent since its last message."""
        for channel in self._holding:
            self._hold_exactly(channel, channel.bufferedAmount)

    def _hold(self, channel: RTCDataChannel, size: int) -> bool:
        """Count the waiting bytes of a channel and `size` more; return False if the budget does not allow that."""
        return self._hold_exactly(channel, channel.bufferedAmount + size)

    def _hold_exactly(self, channel: RTCDataChannel, size: int) -> bool:
        before = self._holding.get(channel, 0)
        if size > before and not self._budget.take(self.id, size - before):
            return False
        if size < before:
            self._budget.give_back(self.id, before - size)
        self._holding[channel] = size
        return True
