"""The signaling server as one aiohttp application: rooms, the echo peer, the page, and its health.

GET    /api/v1/rooms/{room}            WebSocket; `room_messages` describes the messages
POST   /api/v1/peers/echo              offer in, answer out
DELETE /api/v1/peers/echo/{session}    end the call
GET    /config.json                    the configuration of the page
GET    /healthz                        whether the server is alive, and how many rooms and calls it has
GET    /readyz                         whether the server accepts rooms and calls: 503 if not, as while it shuts down
GET    /                               the page
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from aiohttp import WSCloseCode, web

import datachan
from datachan.log_rate import get_limited_logger
from datachan.metrics import Counter as MetricCounter
from datachan.metrics import Metrics
from datachan.signaling.assets import SECURITY_HEADERS, add_page
from datachan.signaling.broker import Broker
from datachan.signaling.broker_figures import add_broker_figures
from datachan.signaling.client_address import client_address, share_key
from datachan.signaling.door import Door, Handler
from datachan.signaling.echo import EchoPeer
from datachan.signaling.limits import KeyedLimiter
from datachan.signaling.memory_broker import MemoryBroker
from datachan.signaling.origins import PAGE_HEADER, host_is_allowed, is_loopback, origin_is_allowed, wrong_host
from datachan.signaling.outbound_budget import OutboundBudget
from datachan.signaling.page_tokens import PageTokens
from datachan.signaling.room_connection import RoomConnection
from datachan.signaling.room_messages import MAX_SDP_LENGTH, PROTOCOL_VERSION, BadMessage, is_room_name
from datachan.signaling.server_options import ServerOptions

logger = get_limited_logger("datachan.signaling")

_SHOWN_LENGTH: Final = 100
_STATUS: Final = {"busy": 503, "too-many-offers": 429, "too-large": 413, "body-timeout": 408}


class SignalingServer:
    """The server and its request handlers.

    Args:
        options: The options and bounds.
        echo: The peer that can be called, or None.
        page: The folder of the page, or None for a server without a page.
        door: Limits the TCP connections; the server reports to it when a request begins and ends. None for no limits.
        clock: Returns monotonic seconds.
        metrics: Where the server registers its figures; None for a registry of its own.
        broker: Has the rooms; None for rooms in the memory of this process. The server starts and closes it.
    """

    def __init__(
        self,
        options: ServerOptions | None = None,
        *,
        echo: EchoPeer | None = None,
        page: Path | None = None,
        door: Door | None = None,
        clock: Callable[[], float] = time.monotonic,
        metrics: Metrics | None = None,
        broker: Broker | None = None,
    ) -> None:
        self.options = options or ServerOptions()
        self.broker: Broker = broker or MemoryBroker(self.options.broker_limits(), clock=clock)
        self.outbound = OutboundBudget(self.options.outbound_bytes_of_all)
        self._echo = echo
        self._page = page
        self._door = door
        self._clock = clock
        self._started = clock()
        self._connections: set[RoomConnection] = set()
        self._connections_of: Counter[str] = Counter()
        self._offers = KeyedLimiter(self.options.offers_per_second, self.options.offer_burst)
        self._draining = False
        self._tokens = PageTokens(secrets.token_bytes(32))
        self._refused = self._register(metrics or Metrics())

    def _register(self, metrics: Metrics) -> MetricCounter:
        """Register the figures of the server, and return the counter of refused requests."""
        metrics.gauge("datachan_signaling_rooms", "Rooms with members.", read=lambda: self.broker.room_count)
        metrics.gauge("datachan_signaling_members", "Members of all rooms.", read=lambda: self.broker.member_count)
        add_broker_figures(metrics, self.broker)
        metrics.gauge(
            "datachan_signaling_queue_bytes", "Bytes that wait for slow readers.", read=lambda: self.outbound.total
        )
        metrics.gauge("datachan_draining", "1 while the server shuts down.", read=lambda: self._draining)
        return metrics.counter(
            "datachan_refused_requests_total", "Requests and messages that were refused.", ("reason",)
        )

    def create_app(self) -> web.Application:
        """Return the application. It closes every WebSocket and every call when it shuts down."""
        reporting = [] if self._door is None else [self._door.middleware]
        app = web.Application(middlewares=[*reporting, self._checked], client_max_size=2 * MAX_SDP_LENGTH)
        app.router.add_get("/api/v1/rooms/{room}", self._serve_room)
        app.router.add_post("/api/v1/peers/echo", self._serve_offer)
        app.router.add_delete("/api/v1/peers/echo/{session}", self._serve_hang_up)
        app.router.add_get("/config.json", self._serve_config)
        app.router.add_get("/healthz", self._serve_health)
        app.router.add_get("/readyz", self._serve_readiness)
        if self._page is not None:
            add_page(app, self._page)
        app.on_response_prepare.append(_add_headers)
        app.on_startup.append(self._start)
        app.on_shutdown.append(self._shut_down)
        app.on_cleanup.append(self._clean_up)
        return app

    def drain(self) -> None:
        """Refuse new members and calls from now on. Those that are there stay."""
        self._draining = True

    async def calls_ended(self) -> None:
        """Wait until no call of the echo peer is in progress."""
        if self._echo is not None:
            await self._echo.calls_ended()

    def _check_draining(self) -> None:
        if self._draining:
            raise BadMessage("busy", "The server is shutting down. Try again soon.")

    # -- every request -------------------------------------------------------------------------------------------------

    @web.middleware
    async def _checked(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request whose host and origin are allowed; turn every refusal into JSON."""
        if not _is_text(request):
            return self._refusal(400, "not-text", "The request has bytes that are not UTF-8.")
        if not host_is_allowed(request.host, self.options):
            return self._refusal(421, "wrong-host", wrong_host(request.host, "--allow-origin"))
        if not self._allows_page(request):
            origin = request.headers.get("Origin", "")[:_SHOWN_LENGTH]
            return self._refusal(
                403,
                "wrong-origin",
                f"Pages of {origin} may not use the server. To allow them, start it with --allow-origin {origin}.",
            )
        try:
            return await handler(request)
        except BadMessage as error:
            return self._refusal(_STATUS.get(error.code, 400), error.code, error.sentence)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            return self._refusal(error.status, "http", f"{error.reason}.", error.headers.get("Allow"))

    def _refusal(self, status: int, code: str, sentence: str, allow: str | None = None) -> web.Response:
        self._refused.add(code)
        headers = {} if allow is None else {"Allow": allow}
        return web.json_response({"error": {"code": code, "message": sentence}}, status=status, headers=headers)

    def _allows_page(self, request: web.Request) -> bool:
        """Return whether a request comes from a program or an allowed page.

        A page of another origin cannot read what it gets, nor can it set `PAGE_HEADER` without asking first. WebSockets
        have no such protection, and their pages no such header: they bring a token of /config.json instead.
        """
        if "Upgrade" not in request.headers:
            if request.method in {"GET", "HEAD"} or PAGE_HEADER in request.headers:
                return True
        elif self._tokens.is_valid(request.query.get("token", ""), share_key(self._client(request)), self._clock()):
            return True
        return origin_is_allowed(request.headers.get("Origin"), request.host, self.options)

    # -- rooms ---------------------------------------------------------------------------------------------------------

    async def _serve_room(self, request: web.Request) -> web.StreamResponse:
        room = request.match_info["room"]
        if not is_room_name(room):
            raise BadMessage("bad-room", "A room's name is 1 to 64 letters, digits, - or _.")
        socket = web.WebSocketResponse(
            heartbeat=self.options.heartbeat,
            # Larger than the limit, so that a client slightly over it receives an error instead of a closed socket.
            max_msg_size=4 * self.options.max_message_size,
            compress=False,
            timeout=2.0,
        )
        if not socket.can_prepare(request):
            raise BadMessage("not-a-websocket", "A room is entered with a WebSocket.")
        self._check_draining()
        if len(self._connections) >= self.options.max_connections:
            raise BadMessage("busy", "The server has as many connections as it can hold. Try again later.")
        owner = self._share_of(request)
        if owner and self._connections_of[owner] >= self.options.max_connections_per_address:
            raise BadMessage("busy", "Your address has as many connections as it may. Close one of them first.")
        connection = RoomConnection(
            request, socket, self.broker, self.options, self._clock, self.outbound, owner, self._refused.add
        )
        self._connections.add(connection)
        self._connections_of[owner] += 1
        try:
            await socket.prepare(request)
            await connection.run(room)
        finally:
            self._connections.discard(connection)
            self._connections_of[owner] -= 1
            if not self._connections_of[owner]:
                del self._connections_of[owner]
        return socket

    def _client(self, request: web.Request) -> str:
        forwarded = ",".join(request.headers.getall("X-Forwarded-For", ()))
        return client_address(request.remote or "", forwarded, self.options.trusted_proxies)

    def _share_of(self, request: web.Request) -> str:
        """Return the key that the shares of a client are counted by; empty for this machine, which has no shares."""
        client = self._client(request)
        return "" if is_loopback(client) else share_key(client)

    # -- the echo peer -------------------------------------------------------------------------------------------------

    async def _serve_offer(self, request: web.Request) -> web.Response:
        echo = self._echo_peer()
        self._check_draining()
        client = self._client(request)
        if not self._offers.take(share_key(client), self._clock()):
            raise BadMessage("too-many-offers", "Offers come too fast from your address. Wait a few seconds.")
        try:
            async with asyncio.timeout(self.options.body_timeout):
                offer = await _read_offer(request)
        except TimeoutError:
            raise BadMessage("body-timeout", "The body of the request did not arrive in time.") from None
        answer = await echo.answer(offer, client)
        return web.json_response(
            {"type": "answer", "sdp": answer.sdp, "session": answer.session},
            status=201,
            headers={"Location": f"./echo/{answer.session}"},  # relative: a proxy may have changed the path
        )

    async def _serve_hang_up(self, request: web.Request) -> web.Response:
        if not await self._echo_peer().hang_up(request.match_info["session"]):
            raise web.HTTPNotFound
        return web.Response(status=204)

    def _echo_peer(self) -> EchoPeer:
        if self._echo is None:
            raise web.HTTPNotFound
        return self._echo

    # -- configuration and health --------------------------------------------------------------------------------------

    async def _serve_config(self, request: web.Request) -> web.Response:
        config: dict[str, object] = {
            "version": PROTOCOL_VERSION,
            # Relative to this file: a proxy may serve all of it under a path of its own.
            "echo": None if self._echo is None else "api/v1/peers/echo",
            "rooms": "api/v1/rooms/",
            "roomCapacity": self.options.room_capacity,
        }
        # Passwords go to pages and programs only, not to everything that follows a link.
        if PAGE_HEADER in request.headers:
            servers: list[object] = [server.to_json() for server in self.options.ice_servers]
            if self.options.turn is not None:
                servers.append(self.options.turn.to_json(time.time()))
            config["iceServers"] = servers
            config["token"] = self._tokens.issue(share_key(self._client(request)), self._clock())
        else:
            config["iceServers"] = [{"urls": server.url} for server in self.options.ice_servers]
        return web.json_response(config, headers={"Cache-Control": "no-store"})

    async def _serve_readiness(self, request: web.Request) -> web.Response:
        status = "draining" if self._draining else "no-broker" if self.broker.problem else "ok"
        headers = {"Cache-Control": "no-store"}
        return web.json_response({"status": status}, status=200 if status == "ok" else 503, headers=headers)

    async def _serve_health(self, request: web.Request) -> web.Response:
        health: dict[str, object] = {"status": "ok"}
        if self._may_see_counts(request):
            health |= {
                "version": datachan.__version__,
                "uptime_seconds": round(self._clock() - self._started, 1),
                "rooms": self.broker.room_count,
                "members": self.broker.member_count,
                "echo_calls": 0 if self._echo is None else self._echo.session_count,
            }
        return web.json_response(health, headers={"Cache-Control": "no-store"})

    def _may_see_counts(self, request: web.Request) -> bool:
        token = self.options.health_token
        if token is not None:
            given = request.headers.get("Authorization", "")
            if hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
                return True
        # A proxy on this machine forwards for clients elsewhere: its own address does not identify them.
        forwarded = "X-Forwarded-For" in request.headers and not self.options.trusted_proxies
        return not forwarded and is_loopback(self._client(request))

    async def _start(self, app: web.Application) -> None:
        await self.broker.start()

    async def _clean_up(self, app: web.Application) -> None:
        await self.broker.close()

    async def _shut_down(self, app: web.Application) -> None:
        for connection in tuple(self._connections):
            connection.close(WSCloseCode.GOING_AWAY, "the server stops")
        if self._echo is not None:
            await self._echo.close()


async def _read_offer(request: web.Request) -> str:
    if request.content_type != "application/json":
        # A form on another origin can send its own content types, but not this one, without a preflight request.
        raise BadMessage("not-json", 'Send the offer as application/json: {"type": "offer", "sdp": "v=0…"}.')
    try:
        offer = json.loads(await request.read())
    except web.HTTPRequestEntityTooLarge:
        raise BadMessage("too-large", f"An offer may have at most {MAX_SDP_LENGTH} characters.") from None
    except (ValueError, RecursionError):
        raise BadMessage("not-json", "The body is not JSON.") from None
    sdp = offer.get("sdp") if isinstance(offer, dict) and offer.get("type") == "offer" else None
    if not isinstance(sdp, str):
        raise BadMessage("bad-field", 'The body must be {"type": "offer", "sdp": "v=0…"}.')
    if len(sdp) > MAX_SDP_LENGTH:
        raise BadMessage("too-large", f"An offer may have at most {MAX_SDP_LENGTH} characters.")
    return sdp


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    # aiohttp's default names its version and Python's.
    response.headers["Server"] = "datachan"
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)


def _is_text(request: web.Request) -> bool:
    """Return whether all headers are UTF-8. aiohttp fails when it repeats others in an answer."""
    try:
        for name, value in request.headers.items():
            name.encode()
            value.encode()
    except UnicodeEncodeError:
        return False
    return True
