"""One WebSocket to the signaling server: joins a room, sends and receives its messages; knows no peer connection."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote, urlsplit, urlunsplit

import aiohttp

from datachan.signaling.room_messages import (
    DEFAULT_NAME,
    MAX_MESSAGE_SIZE,
    BadMessage,
    Error,
    Join,
    PeerInfo,
    PeerJoined,
    PeerLeft,
    ServerMessage,
    Signal,
    Welcome,
    is_room_name,
    parse_server_message_untrusted,
    serialize_client_message,
)

_MAX_WELCOME_SIZE: Final = 4 * MAX_MESSAGE_SIZE


class SignalingError(ConnectionError):
    """The server cannot be reached, refused the client, or does not speak the protocol. `code` is the server's."""

    def __init__(self, sentence: str, code: str = "") -> None:
        """Keep the server's code apart from the sentence."""
        super().__init__(sentence)
        self.code = code


class SignalingClient:
    """A member of one room.

        async with SignalingClient("http://127.0.0.1:8080", "kitchen", name="robot") as client:
            async for message in client:
                ...

    The iteration gives every message of the server after the welcome (see `room_messages`), and ends with the
    connection. Each message that is received updates `peers`.

    Args:
        url: The server's address: http, https, ws or wss.
        room: The room's name: 1 to 64 letters, digits, `-` or `_`.
        name: The name that the other members see.
        timeout: Seconds within which the welcome must arrive.

    Raises:
        ValueError: The URL or the room's name is malformed.
    """

    def __init__(self, url: str, room: str, *, name: str = DEFAULT_NAME, timeout: float = 10.0) -> None:
        if not is_room_name(room):
            raise ValueError("a room's name is 1 to 64 letters, digits, - or _")
        self._url = _room_url(url, room)
        self._name = name
        self._timeout = timeout
        self._stack = contextlib.AsyncExitStack()
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._welcome: Welcome | None = None
        self.peers: dict[str, PeerInfo] = {}

    @property
    def id(self) -> str:
        """The id that the server gave this connection."""
        return self._joined().id

    @property
    def peers_at_join(self) -> tuple[PeerInfo, ...]:
        """The members that were in the room before this client, in the order in which they joined."""
        return self._joined().peers

    async def __aenter__(self) -> Self:
        """Connect and join the room.

        Raises:
            SignalingError: The server cannot be reached, refused the client, or does not speak the protocol.
        """
        try:
            async with asyncio.timeout(self._timeout):
                session = await self._stack.enter_async_context(aiohttp.ClientSession())
                self._socket = await session.ws_connect(
                    self._url, heartbeat=20.0, max_msg_size=_MAX_WELCOME_SIZE, compress=0
                )
                self._stack.push_async_callback(self._socket.close)
                await self._socket.send_str(serialize_client_message(Join(self._name)))
                self._welcome = await self._receive_welcome()
        except BaseException as error:
            await self._stack.aclose()
            if isinstance(error, TimeoutError):
                raise SignalingError(f"{self._url} did not answer within {self._timeout:g} seconds") from error
            if isinstance(error, aiohttp.WSServerHandshakeError):
                raise SignalingError(f"{self._url} is not a signaling room: HTTP status {error.status}") from error
            if isinstance(error, aiohttp.ClientError | OSError) and not isinstance(error, SignalingError):
                raise SignalingError(f"{self._url} cannot be reached: {error}") from error
            raise
        self.peers = {peer.id: peer for peer in self._welcome.peers}
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the room."""
        await self._stack.aclose()

    async def send(self, message: Signal) -> None:
        """Send an offer, an answer, a candidate or a bye to the member with the id `message.peer`.

        Raises:
            SignalingError: The connection is closed.
        """
        if self._socket is None:
            raise SignalingError("not in the room: use `async with`")
        try:
            await self._socket.send_str(serialize_client_message(message))
        except (ConnectionError, aiohttp.ClientError) as error:
            raise SignalingError("the connection to the signaling server is closed") from error

    async def receive(self) -> ServerMessage | None:
        """Return the next message; None once the connection has ended. Messages that cannot be read are skipped."""
        if self._socket is None:
            raise SignalingError("not in the room: use `async with`")
        while True:
            frame = await self._socket.receive()
            if frame.type in {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED}:
                return None
            if frame.type is aiohttp.WSMsgType.ERROR:
                return None
            if frame.type is not aiohttp.WSMsgType.TEXT:
                continue
            try:
                message = parse_server_message_untrusted(frame.data)
            except BadMessage:
                continue
            if message is not None:
                self._update_peers(message)
                return message

    def __aiter__(self) -> Self:
        """Iterate over the server's messages until the connection ends."""
        return self

    async def __anext__(self) -> ServerMessage:
        """Return the next message, as `receive` does."""
        message = await self.receive()
        if message is None:
            raise StopAsyncIteration
        return message

    def _update_peers(self, message: ServerMessage) -> None:
        if isinstance(message, PeerJoined):
            self.peers[message.peer.id] = message.peer
        elif isinstance(message, PeerLeft):
            self.peers.pop(message.id, None)

    async def _receive_welcome(self) -> Welcome:
        message = await self.receive()
        if isinstance(message, Welcome):
            return message
        if isinstance(message, Error):
            raise SignalingError(message.message, message.code)
        raise SignalingError(f"{self._url} does not speak the signaling protocol of datachan")

    def _joined(self) -> Welcome:
        if self._welcome is None:
            raise SignalingError("not in the room: use `async with`")
        return self._welcome


def _room_url(url: str, room: str) -> str:
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
    if scheme is None or not parts.hostname:
        raise ValueError(f"the server's address looks like http://127.0.0.1:8080, not {url!r}")
    path = f"{parts.path.rstrip('/')}/api/v1/rooms/{quote(room)}"
    return urlunsplit((scheme, parts.netloc, path, "", ""))
