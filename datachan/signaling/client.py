"""One WebSocket to the signaling server: joins a room, sends and receives its messages; knows no description."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from ssl import SSLContext
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from datachan.log_rate import get_limited_logger
from datachan.peer import InvalidAccessError, RTCConfiguration, RTCIceServer
from datachan.signaling.host_resolver import HostResolver
from datachan.signaling.origins import PAGE_HEADER, is_loopback
from datachan.signaling.room_messages import (
    DEFAULT_NAME,
    MAX_MESSAGE_SIZE,
    BadMessage,
    Candidate,
    Error,
    Join,
    PeerInfo,
    PeerJoined,
    PeerLeft,
    ServerMessage,
    Signal,
    Welcome,
    is_room_name,
    parse_numbered_server_message_untrusted,
    serialize_client_message,
)

logger = get_limited_logger("datachan.signaling")

MAX_ICE_SERVERS: Final = 8
"""ICE servers taken from one signaling server."""

MAX_PEERS: Final = 1024
"""Members of a room that a client remembers."""

MAX_UNCONFIRMED: Final = 256
"""Messages that a client keeps, because the server may not have received them when the connection breaks."""

_MAX_WELCOME_SIZE: Final = 4 * MAX_MESSAGE_SIZE
_CONFIG_TIMEOUT: Final = 5.0
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 10.0


class SignalingError(ConnectionError):
    """The server cannot be reached, refused the client, or does not speak the protocol. `code` is the server's."""

    def __init__(self, sentence: str, code: str = "") -> None:
        """Store the server's code and the sentence separately."""
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
        reconnect: Join again whenever the connection breaks, with the same id. The iteration then gives the new
            `Welcome`, and goes on. Within two minutes the client returns to its place, also over another node of the
            same service: `Welcome.is_seamless` is true, the others have not seen it leave, what it missed follows, and
            what was sent meanwhile is delivered.
        ssl: The TLS context for https; False accepts every certificate.
        headers: HTTP headers to send to the server, such as `Authorization`.
        proxy: The URL of an HTTP proxy. None uses HTTP_PROXY, HTTPS_PROXY and NO_PROXY, but none of them for loopback.

    Raises:
        ValueError: The URL or the room's name is malformed.
    """

    def __init__(
        self,
        url: str,
        room: str,
        *,
        name: str = DEFAULT_NAME,
        timeout: float = 10.0,
        reconnect: bool = False,
        ssl: SSLContext | bool = True,
        headers: Mapping[str, str] | None = None,
        proxy: str | None = None,
    ) -> None:
        if not is_room_name(room):
            raise ValueError("a room's name is 1 to 64 letters, digits, - or _")
        base = _http_url(url)
        if base.startswith("http:") and not is_loopback(urlsplit(base).hostname or ""):
            logger.warning("signaling: %s is not https: others on the network can replace the fingerprints", base)
        self._url = f"{base}/api/v1/rooms/{quote(room)}"
        self._config_url = f"{base}/config.json"
        self._timeout = timeout
        self._reconnect = reconnect
        self._ssl = ssl
        self._headers = dict(headers or {})
        self._proxy = proxy or _proxy_from_environment(base)
        self._session: aiohttp.ClientSession | None = None
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._welcome: Welcome | None = None
        self._peers_at_join: tuple[PeerInfo, ...] = ()
        self._request = Join(name, secret=secrets.token_urlsafe(24), resumes=reconnect)
        self._number = 0
        self._unconfirmed: deque[tuple[int, Signal]] = deque()
        self._candidate_handlers: dict[tuple[str, str], Callable[[Candidate], None]] = {}
        self.peers: dict[str, PeerInfo] = {}
        self.ice_servers: list[RTCIceServer] = []

    @property
    def id(self) -> str:
        """The id of this client in the room."""
        return self._joined().id

    @property
    def peers_at_join(self) -> tuple[PeerInfo, ...]:
        """The members that were in the room before this client, in the order in which they joined."""
        self._joined()
        return self._peers_at_join

    def configuration(self, base: RTCConfiguration | None = None) -> RTCConfiguration:
        """Return `base` with the ICE servers that the signaling server offers, unless it has ICE servers of its own."""
        base = base or RTCConfiguration()
        return base if base.iceServers else replace(base, iceServers=list(self.ice_servers))

    async def __aenter__(self) -> Self:
        """Connect, join the room, and request the server's ICE servers.

        Raises:
            SignalingError: The server cannot be reached, refused the client, or does not speak the protocol.
        """
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=HostResolver()), headers=self._headers
        )
        try:
            await self._join()
            self.ice_servers = await self._fetch_ice_servers()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the room."""
        self._reconnect = False
        if self._socket is not None:
            await self._socket.close()
        if self._session is not None:
            await self._session.close()

    async def send(self, message: Signal) -> None:
        """Send an offer, an answer, a candidate or a bye to the member with the id `message.peer`.

        With `reconnect`, a message that is sent while the connection is broken waits until it is back.

        Raises:
            SignalingError: The connection is closed, or too many messages wait for it.
        """
        if self._socket is None:
            raise SignalingError("not in the room: use `async with`")
        number = self._keep(message) if self._reconnect and self._request.token is not None else None
        try:
            await self._socket.send_str(serialize_client_message(message, number))
        except (ConnectionError, aiohttp.ClientError) as error:
            if number is None:
                raise SignalingError("the connection to the signaling server is closed") from error

    def _keep(self, message: Signal) -> int:
        """Number a message and keep it until the server must have received it."""
        if len(self._unconfirmed) >= MAX_UNCONFIRMED:
            if self._socket is None or self._socket.closed:
                raise SignalingError("too many messages wait for the connection to the signaling server")
            self._unconfirmed.popleft()
        self._number += 1
        self._unconfirmed.append((self._number, message))
        return self._number

    def route_candidates(self, peer: str, session: str, handler: Callable[[Candidate], None] | None) -> None:
        """Have a handler take the candidates of a session while messages are read.

        Args:
            peer: the id of the member.
            session: the session of its offer and answer.
            handler: called with each candidate, which `receive` no longer returns; None returns them again.
        """
        if handler is None:
            self._candidate_handlers.pop((peer, session), None)
        else:
            self._candidate_handlers[peer, session] = handler

    async def receive(self) -> ServerMessage | None:
        """Return the next message; None once the connection has ended. Messages that cannot be read are skipped.

        With `reconnect`, the next message after a break is the `Welcome` of the new connection.
        """
        message = await self._receive_one()
        if message is None and self._reconnect:
            return await self._join_again()
        return message

    async def _receive_one(self) -> ServerMessage | None:
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
                message, seq = parse_numbered_server_message_untrusted(frame.data)
            except BadMessage:
                continue
            if seq is not None:
                self._request = replace(self._request, seq=seq)
            if isinstance(message, Candidate) and (message.peer, message.session) in self._candidate_handlers:
                self._candidate_handlers[message.peer, message.session](message)
            elif message is not None:
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
            if len(self.peers) < MAX_PEERS:
                self.peers[message.peer.id] = message.peer
        elif isinstance(message, PeerLeft):
            self.peers.pop(message.id, None)

    # -- joining -------------------------------------------------------------------------------------------------------

    async def _join(self) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                self._socket = await self._open_session().ws_connect(
                    self._url, heartbeat=20.0, max_msg_size=_MAX_WELCOME_SIZE, ssl=self._ssl, proxy=self._proxy
                )
                await self._socket.send_str(serialize_client_message(self._request))
                self._welcome = await self._receive_welcome()
                await self._send_unconfirmed(self._welcome)
        except TimeoutError as error:
            raise SignalingError(f"{self._url} did not answer within {self._timeout:g} seconds") from error
        except aiohttp.WSServerHandshakeError as error:
            raise SignalingError(f"{self._url} is not a signaling room: HTTP status {error.status}") from error
        except SignalingError:
            raise
        except (aiohttp.ClientError, OSError) as error:
            raise SignalingError(f"{self._url} cannot be reached: {error}") from error
        self.peers = {peer.id: peer for peer in self._welcome.peers}

    async def _send_unconfirmed(self, welcome: Welcome) -> None:
        """Follow the welcome: keep the token, and repeat what the server has not received."""
        back = welcome.resumption
        if back is None or not back.resumed:
            self._peers_at_join = welcome.peers
            self._unconfirmed.clear()
            self._request = replace(
                self._request, token=None if back is None else back.token, seq=0 if back is None else back.seq
            )
            return
        while self._unconfirmed and self._unconfirmed[0][0] <= back.received:
            self._unconfirmed.popleft()
        if self._socket is not None:
            for number, message in tuple(self._unconfirmed):
                await self._socket.send_str(serialize_client_message(message, number))

    async def _join_again(self) -> Welcome | None:
        """Join until it succeeds, with pauses that grow; return None if the client is closed in the meantime."""
        pause = _FIRST_PAUSE
        while self._reconnect:
            if self._socket is not None:
                await self._socket.close()
            logger.info("signaling: the connection broke; joining again in %.1f s", pause)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(_LONGEST_PAUSE, 2 * pause)
            try:
                await self._join()
            except SignalingError as error:
                logger.info("signaling: %s", error)
            else:
                return self._welcome
        return None

    async def _receive_welcome(self) -> Welcome:
        message = await self._receive_one()
        if isinstance(message, Welcome):
            return message
        if isinstance(message, Error):
            raise SignalingError(message.message, message.code)
        raise SignalingError(f"{self._url} does not speak the signaling protocol of datachan")

    async def _fetch_ice_servers(self) -> list[RTCIceServer]:
        """Return the ICE servers in /config.json; none if a server has no such file."""
        try:
            async with (
                asyncio.timeout(_CONFIG_TIMEOUT),
                self._open_session().get(
                    self._config_url, headers={PAGE_HEADER: "program"}, ssl=self._ssl, proxy=self._proxy
                ) as response,
            ):
                body = bytearray()
                async for piece in response.content.iter_any():
                    body += piece
                    if len(body) > MAX_MESSAGE_SIZE:
                        return []
                return parse_ice_servers_untrusted(bytes(body))
        except (TimeoutError, aiohttp.ClientError, OSError):
            return []

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise SignalingError("not in the room: use `async with`")
        return self._session

    def _joined(self) -> Welcome:
        if self._welcome is None:
            raise SignalingError("not in the room: use `async with`")
        return self._welcome


def parse_ice_servers_untrusted(data: bytes) -> list[RTCIceServer]:
    """Return the ICE servers of a /config.json, without those that are malformed. Never raises."""
    try:
        entries = json.loads(data)["iceServers"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return []
    servers = []
    for entry in entries[:MAX_ICE_SERVERS] if isinstance(entries, list) else []:
        if not isinstance(entry, dict):
            continue
        try:
            server = RTCIceServer(entry.get("urls", ""), entry.get("username"), entry.get("credential"))
            server.to_ice()
        except (ValueError, InvalidAccessError):
            continue
        servers.append(server)
    return servers


def _http_url(url: str) -> str:
    parts = urlsplit(url)
    scheme = {"http": "http", "https": "https", "ws": "http", "wss": "https"}.get(parts.scheme)
    if scheme is None or not parts.hostname:
        raise ValueError(f"the server's address looks like http://127.0.0.1:8080, not {url!r}")
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/"), "", ""))


def _proxy_from_environment(url: str) -> str | None:
    parts = urlsplit(url)
    if is_loopback(parts.hostname or "") or proxy_bypass(parts.hostname or ""):
        return None
    return getproxies().get(parts.scheme)
