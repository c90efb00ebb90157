"""One client of the signaling server: reads its messages, enforces the limits, and writes the room's messages to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Final

from aiohttp import WSCloseCode, WSMsgType, web

from datachan.signaling.broker import Broker, JoinRequest, Membership
from datachan.signaling.outbound_budget import OutboundBudget
from datachan.signaling.room_messages import (
    MAX_MESSAGE_SIZE,
    BadMessage,
    Error,
    Join,
    ServerMessage,
    parse_numbered_client_message_untrusted,
    serialize_server_message,
    with_number,
)
from datachan.signaling.server_options import ServerOptions
from datachan.token_bucket import TokenBucket

_CLOSING_TIMEOUT: Final = 2.0

_QUEUED_OVERHEAD: Final = 100
"""Bytes that a queued message takes in memory besides its characters."""


class _CloseWith(Exception):
    """Close the connection with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class RoomConnection:
    """One WebSocket in one room, from its first message to its end.

    Two coroutines share it: `run` reads, and a task of its own writes. Messages for a client that reads too slowly wait
    in a queue of at most `outbound_bytes`. When it is full, or one message waits longer than `write_timeout`, or this
    client is the slowest when too many bytes wait for all clients, the connection is aborted, so that no other member
    waits for this one.

    Args:
        request: The request that became the WebSocket.
        socket: The WebSocket.
        broker: Has the rooms.
        options: The options of the server.
        clock: Returns monotonic seconds.
        budget: Counts the bytes that wait for all clients.
        owner: The key under which rooms that this client opens are counted; empty to count none.
        refused: Called with the code of each message that is refused.

    Attributes:
        queued_bytes: The bytes that wait for this client.
    """

    def __init__(
        self,
        request: web.Request,
        socket: web.WebSocketResponse,
        broker: Broker,
        options: ServerOptions,
        clock: Callable[[], float],
        budget: OutboundBudget,
        owner: str = "",
        refused: Callable[[str], None] = lambda code: None,
    ) -> None:
        self._owner = owner
        self._refused = refused
        self._request = request
        self._socket = socket
        self._broker = broker
        self._options = options
        self._clock = clock
        self._bucket = TokenBucket(options.messages_per_second, options.message_burst, clock())
        self._faults = 0
        self._member: Membership | None = None
        self._resumes = False
        self._leaves = False
        self._last_number = 0
        self._outbound: asyncio.Queue[str | _CloseWith] = asyncio.Queue()
        self._budget = budget
        self.queued_bytes = 0
        self._closing = False

    async def run(self, room_name: str) -> None:
        """Serve the client until it leaves or its connection is closed."""
        writer = asyncio.create_task(self._write())
        try:
            try:
                await self._join(room_name)
                while True:
                    await self._receive()
                    await asyncio.sleep(0)  # buffered messages are received without a wait: let the writers run
            except _CloseWith as close:
                self.close(close.code, close.reason)
        finally:
            if self._member is not None:
                await self._broker.leave(self._member, for_good=self._leaves)
            self.close(WSCloseCode.OK, "")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(writer, _CLOSING_TIMEOUT)
            self._budget.release(self)

    def deliver(self, message: ServerMessage) -> None:
        """Send a message."""
        self._enqueue(serialize_server_message(message))

    def deliver_text(self, text: str, seq: int | None) -> None:
        """Send a message, with its number if the client knows of numbers."""
        self._enqueue(with_number(text, seq) if self._resumes and seq is not None else text)

    def replaced(self) -> None:
        """End the connection: the same member has joined on another one."""
        self.close(WSCloseCode.POLICY_VIOLATION, "joined again")

    def interrupted(self) -> None:
        """End the connection, because messages for the client were dropped or its place is gone."""
        self.close(WSCloseCode.TRY_AGAIN_LATER, "join again")

    def close(self, code: int, reason: str) -> None:
        """Close once everything queued is written. Later calls do nothing."""
        if self._closing:
            return
        self._closing = True
        self._outbound.put_nowait(_CloseWith(code, reason))

    # -- reading -------------------------------------------------------------------------------------------------------

    async def _join(self, room_name: str) -> None:
        try:
            async with asyncio.timeout(self._options.join_timeout):
                while self._member is None:
                    await self._receive(room_name)
        except TimeoutError:
            self._refused("join-timeout")
            self.deliver(Error("join-timeout", "No `join` arrived in time."))
            raise _CloseWith(WSCloseCode.POLICY_VIOLATION, "no join") from None

    async def _receive(self, room_name: str | None = None) -> None:
        message = await self._socket.receive()
        if message.type in {WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR}:
            # A client that closes with 1000 leaves, and so does a page that is closed: its browser sends 1001.
            # Any other end, such as a lost connection, may be against its will.
            ended = message.type is WSMsgType.CLOSE and message.data in {WSCloseCode.OK, WSCloseCode.GOING_AWAY}
            self._leaves = ended and not self._closing
            raise _CloseWith(WSCloseCode.OK, "")
        try:
            if not self._bucket.take(self._clock()):
                raise BadMessage("too-many-messages", "Messages come too fast; this one was dropped. Slow down.")
            if message.type is not WSMsgType.TEXT:
                raise BadMessage("not-text", "A message must be a text frame.")
            await self._handle(message.data, room_name)
        except BadMessage as error:
            self._refused(error.code)
            self.deliver(Error(error.code, error.sentence, _session_in(message.data)))
            self._count_fault(error.code)

    async def _handle(self, text: str, room_name: str | None) -> None:
        message, number = parse_numbered_client_message_untrusted(text)
        if self._member is not None:
            if isinstance(message, Join):
                raise BadMessage("already-joined", "You are in the room already.")
            if number is None or not self._resumes:
                number = self._last_number + 1
            self._last_number = max(number, self._last_number)
            await self._broker.relay(self._member, message, number)
        elif isinstance(message, Join):
            self._resumes = message.resumes
            request = JoinRequest(
                room_name or "",
                message.name,
                self._owner,
                message.secret,
                resumes=message.resumes,
                token=message.token,
                seq=message.seq,
            )
            self._member = await self._broker.join(request, self)
            self._last_number = self._member.received
        else:
            raise BadMessage("not-joined", "The first message must be `join`.")

    def _count_fault(self, code: str) -> None:
        if code == "no-such-peer":
            return  # the target may have left a moment ago: not the sender's fault
        if code == "broker-unavailable" and self._member is not None:
            return  # not the sender's fault, either
        if code in {"room-full", "no-more-rooms", "bad-room", "broker-unavailable"}:
            raise _CloseWith(WSCloseCode.TRY_AGAIN_LATER, code)
        self._faults += 1
        if code == "unsupported-version" or self._faults >= self._options.max_faults:
            self._leaves = True
            raise _CloseWith(WSCloseCode.POLICY_VIOLATION, code)

    # -- writing -------------------------------------------------------------------------------------------------------

    def _enqueue(self, text: str) -> None:
        if self._closing:
            return
        size = len(text) + _QUEUED_OVERHEAD
        if self.queued_bytes + size > self._options.outbound_bytes:
            self.drop()
            return
        self._outbound.put_nowait(text)
        self._budget.add(self, size)

    def drop(self) -> None:
        """End the connection without a close frame, because the client does not read."""
        self._closing = True
        while not self._outbound.empty():
            self._outbound.get_nowait()
        self._budget.release(self)
        self._outbound.put_nowait(_CloseWith(WSCloseCode.POLICY_VIOLATION, ""))  # ends the writer
        if self._request.transport is not None:
            self._request.transport.abort()

    async def _write(self) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                item = await self._outbound.get()
                if isinstance(item, _CloseWith):
                    await self._socket.close(code=item.code, message=item.reason.encode())
                    return
                self._budget.remove(self, len(item) + _QUEUED_OVERHEAD)
                try:
                    async with asyncio.timeout(self._options.write_timeout):
                        await self._socket.send_str(item)
                except TimeoutError:
                    self.drop()
                    return


def _session_in(text: object) -> str | None:
    """Return the session of a refused message, so that the client knows to which of its calls the error belongs."""
    if not isinstance(text, str) or len(text) > MAX_MESSAGE_SIZE:
        return None
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return None
    session = fields.get("session") if isinstance(fields, dict) else None
    return session if isinstance(session, str) and len(session) <= 64 and session.isascii() else None
