"""ChannelServer: answers the signaling requests of clients, and runs the application's handler for each connection.

It knows no web framework: `aiohttp_mount` and `asgi` bring it requests.

    POST    {endpoint}        offer in, answer out; 201 with Location and ETag
    OPTIONS {endpoint}        which body POST accepts; preflight of pages of other origins
    PATCH   {endpoint}/{id}   trickled candidates, or an ICE restart
    DELETE  {endpoint}/{id}   end of the connection
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from datachan.log_rate import get_limited_logger
from datachan.metrics import Counter as MetricCounter
from datachan.metrics import Metrics
from datachan.monitoring import ConnectionMetrics
from datachan.peer import InvalidStateError, RTCCertificate, RTCConfiguration
from datachan.server.colleagues import Colleagues
from datachan.server.connection import Connection
from datachan.server.exchange import (
    MAX_BODY_SIZE,
    ReadBody,
    Refusal,
    SignalingRequest,
    SignalingResponse,
    ice_server_links,
    location_of,
)
from datachan.server.ice_fragment import CONTENT_TYPE as FRAGMENT
from datachan.server.options import ChannelServerOptions
from datachan.server.session import Session
from datachan.server.shares import Shares
from datachan.server.worker import Worker
from datachan.signaling.client_address import share_key
from datachan.signaling.limits import KeyedLimiter
from datachan.signaling.origins import host_is_allowed, is_loopback, origin_is_allowed, wrong_host

logger = get_limited_logger("datachan.server")

Handler: TypeAlias = Callable[[Connection], Awaitable[None]]
Authenticate: TypeAlias = Callable[[SignalingRequest], object]
"""Returns the user of a request, or None to refuse it; may be a coroutine function."""

SDP: Final = "application/sdp"
_SESSION_METHODS: Final = "PATCH, DELETE, OPTIONS"
_ENDPOINT_METHODS: Final = "POST, OPTIONS"
_ASKED_HEADERS: Final = "Authorization, Content-Type, If-Match"
_SHOWN_HEADERS: Final = "ETag, Link, Location, Retry-After"
_RETRY_AFTER: Final = {"Retry-After": "5"}


@dataclass(slots=True)
class ServerCounts:
    """What has happened since the server was created.

    Attributes:
        offers: Offers that were answered.
        refused: Requests that were refused.
        connected: Connections that were established.
        failed: Connections that were not established in time, or gave way to others.
        restarts: ICE restarts.
        handler_errors: Handlers that raised an exception.
    """

    offers: int = 0
    refused: int = 0
    connected: int = 0
    failed: int = 0
    restarts: int = 0
    handler_errors: int = 0


class ChannelServer:
    """Accepts connections of browsers and programs.

    Args:
        handler: A coroutine function that is called with each `Connection` once it is established. The connection ends
            when the handler returns.
        options: The options and bounds.
        authenticate: Called with each request; returns the user, or None to refuse it. It may be a coroutine function.
        configuration: For every peer connection, such as STUN and TURN servers. One certificate serves all of them.
        metrics: Where the server registers its figures; None for a registry of its own.
        worker: This process, if several share the server's ports; its bounds are its share of the options.

    Attributes:
        counts: What has happened since the server was created.
        metrics: The figures of the server. An application may add its own.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        options: ChannelServerOptions | None = None,
        authenticate: Authenticate | None = None,
        configuration: RTCConfiguration | None = None,
        metrics: Metrics | None = None,
        worker: Worker | None = None,
    ) -> None:
        options = options or ChannelServerOptions()
        self.options = options if worker is None else worker.share(options)
        self._colleagues = None if worker is None else Colleagues(worker, self._respond_to_colleague)
        self.counts = ServerCounts()
        self._handler = handler
        self._authenticate = authenticate
        configuration = configuration or RTCConfiguration()
        if not configuration.certificates:
            configuration = replace(configuration, certificates=[RTCCertificate.generateCertificate()])
        self._configuration = configuration
        self._sessions: dict[str, Session] = {}
        self._shares = Shares()
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._offers = KeyedLimiter(self.options.offers_per_second, self.options.offer_burst)
        self._draining = False
        self._closed = False
        self.metrics = metrics or Metrics()
        self._connection_metrics = ConnectionMetrics(self.metrics, time.monotonic)
        self._refused = self._register(self.metrics)

    def _register(self, metrics: Metrics) -> MetricCounter:
        """Register the figures of the server, and return the counter of refused requests."""
        counts = self.counts
        metrics.counter("datachan_offers_total", "Offers that were answered.", read=lambda: counts.offers)
        metrics.counter("datachan_ice_restarts_total", "ICE restarts of clients.", read=lambda: counts.restarts)
        metrics.counter(
            "datachan_handler_errors_total", "Handlers that raised an exception.", read=lambda: counts.handler_errors
        )
        metrics.gauge("datachan_draining", "1 while the server shuts down.", read=lambda: self._draining)
        return metrics.counter("datachan_refused_requests_total", "Requests that were refused.", ("reason",))

    @property
    def connections(self) -> tuple[Connection, ...]:
        """The established connections."""
        return tuple(session.connection for session in self._sessions.values() if session.connected)

    @property
    def states(self) -> Counter[str]:
        """How many connections are in which state, those that are being established included."""
        return Counter(session.connection.state for session in self._sessions.values())

    @property
    def ready(self) -> bool:
        """Whether the server accepts another connection."""
        return not self._draining and len(self._sessions) < self.options.max_connections

    @property
    def draining(self) -> bool:
        """Whether the server is shutting down."""
        return self._draining

    async def open(self) -> None:
        """Answer the other workers about connections of this one; needed only with a `worker`.

        Raises:
            OSError: The folder of the workers cannot be used.
        """
        if self._colleagues is not None:
            await self._colleagues.open()

    async def drain(self, grace: float = 0.0) -> None:
        """Refuse new connections, tell the handlers, and wait until they have finished.

        Args:
            grace: Seconds to wait for the handlers and clients to end their connections by themselves.
        """
        self._draining = True
        for session in self._sessions.values():
            session.connection._draining.set()
        if self._watchers and grace > 0:
            await asyncio.wait(self._watchers.values(), timeout=grace)

    async def close(self, grace: float = 0.0) -> None:
        """Drain, then end every connection. Messages that were sent are still delivered. Further calls are harmless.

        Args:
            grace: Seconds to wait for the handlers and clients to end their connections by themselves.
        """
        await self.drain(grace)
        self._closed = True
        for session in self._sessions.values():
            session.connection.close()
        if self._watchers:
            await asyncio.wait(tuple(self._watchers.values()))
        if self._colleagues is not None:
            await self._colleagues.close()

    # -- requests ------------------------------------------------------------------------------------------------------

    async def respond(self, request: SignalingRequest, read_body: ReadBody) -> SignalingResponse:
        """Return the response to a request. Never raises because of what a client sent.

        Args:
            request: The request.
            read_body: Reads its body.
        """
        allowed = self._allows_origin(request)
        try:
            if not host_is_allowed(request.host, self.options):
                raise Refusal(421, "wrong-host", wrong_host(request.host, "allowed_origins"))
            response = await self._dispatch(request, read_body)
        except Refusal as refusal:
            self.counts.refused += 1
            self._refused.add(refusal.code)
            response = refusal.response()
        headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **response.headers}
        if allowed and "origin" in request.headers:
            headers |= {
                "Access-Control-Allow-Origin": request.headers["origin"],
                "Access-Control-Expose-Headers": _SHOWN_HEADERS,
                "Vary": "Origin",
            }
        return replace(response, headers=headers)

    async def _dispatch(self, request: SignalingRequest, read_body: ReadBody) -> SignalingResponse:
        methods = _ENDPOINT_METHODS if request.session is None else _SESSION_METHODS
        if request.method == "OPTIONS":
            if not self._allows_origin(request):
                origin = request.headers["origin"][:100]
                raise Refusal(403, "wrong-origin", f"Pages of {origin} may not connect: add it to allowed_origins.")
            return _options(methods)
        if request.method not in methods.split(", "):
            raise Refusal(405, "method", f"This resource has {methods}.", {"Allow": methods})
        if request.method == "POST":
            self._check_rate(request)
        if request.session is not None and self._colleagues is not None:
            owner = self._colleagues.owner_of(request.session)
            if owner is not None:
                return await self._colleagues.ask(owner, request, await self._read(read_body))
        user = await self._user(request)
        if request.session is None:
            return await self._post(request, user, read_body)
        session = self._sessions.get(request.session)
        if session is None or session.connection.ended or session.user != user:
            raise Refusal(404, "no-such-connection", "The connection has ended.")
        if request.method == "PATCH":
            return await self._patch(session, request, read_body)
        session.connection.close()
        return SignalingResponse(200)

    async def _respond_to_colleague(self, request: SignalingRequest, body: str) -> SignalingResponse:
        async def read_body(_: int) -> bytes:
            return body.encode()

        return await self.respond(request, read_body)

    async def _post(self, request: SignalingRequest, user: object, read_body: ReadBody) -> SignalingResponse:
        if request.content_type != SDP:
            # Without a preflight request, no page of another origin can send this type.
            raise Refusal(415, "not-sdp", f"Send the offer as {SDP}.", {"Accept-Post": SDP})
        offer = await self._read(read_body)
        session = self._admit(request, user)
        try:
            answer = await session.answer(offer)
        except BaseException:
            self._forget(session)
            await session.pc.close()
            raise
        self.counts.offers += 1
        watcher = asyncio.get_running_loop().create_task(self._watch(session))
        self._watchers[session.id] = watcher
        headers = {"Content-Type": SDP, "Location": location_of(request, session.id), "ETag": session.etag}
        if self.options.turn is not None:
            headers["Link"] = ice_server_links(self.options.turn, time.time())
        return SignalingResponse(201, headers, answer.encode())

    async def _patch(self, session: Session, request: SignalingRequest, read_body: ReadBody) -> SignalingResponse:
        if_match = request.headers.get("if-match")
        if if_match is None:
            raise Refusal(428, "no-if-match", "Send the ETag in If-Match, or `If-Match: *` to restart ICE.")
        if request.content_type != FRAGMENT:
            raise Refusal(415, "not-a-fragment", f"Send candidates as {FRAGMENT}.", {"Accept-Patch": FRAGMENT})
        fragment, etag = await session.patch(await self._read(read_body), if_match)
        if not etag:
            return SignalingResponse(204)
        self.counts.restarts += 1
        return SignalingResponse(200, {"Content-Type": FRAGMENT, "ETag": etag}, fragment.encode())

    async def _read(self, read_body: ReadBody) -> str:
        try:
            async with asyncio.timeout(self.options.body_timeout):
                body = await read_body(MAX_BODY_SIZE)
        except TimeoutError:
            raise Refusal(408, "body-timeout", "The body of the request did not arrive in time.") from None
        try:
            return body.decode()
        except UnicodeDecodeError:
            raise Refusal(400, "not-text", "The body is not UTF-8.") from None

    # -- who may connect -----------------------------------------------------------------------------------------------

    def _allows_origin(self, request: SignalingRequest) -> bool:
        """Return whether the pages of this origin may connect, besides those of the server's own.

        Browsers send no request to another origin before a preflight request (OPTIONS) has allowed it:
        `application/sdp`, PATCH and DELETE all take one. So only its answer decides, and a proxy may change `Host`.
        """
        origin = request.headers.get("origin", "").lower()
        return "*" in self.options.allowed_origins or origin_is_allowed(origin or None, request.host, self.options)

    def _check_rate(self, request: SignalingRequest) -> None:
        if self._draining:
            raise Refusal(503, "draining", "The server is shutting down. Try again soon.", _RETRY_AFTER)
        key = _key(request.remote)
        if key and not self._offers.take(key, asyncio.get_running_loop().time()):
            raise Refusal(
                429, "too-many-offers", "Offers come too fast from your address. Wait a few seconds.", _RETRY_AFTER
            )

    async def _user(self, request: SignalingRequest) -> object:
        if self._authenticate is None:
            return None
        user = self._authenticate(request)
        if inspect.isawaitable(user):
            user = await user
        if user is None:
            raise Refusal(401, "unauthorized", "The server does not accept your token.", {"WWW-Authenticate": "Bearer"})
        return user

    def _admit(self, request: SignalingRequest, user: object) -> Session:
        """Return a new session, which counts from now on.

        Raises:
            Refusal: The server, the address or the user has as many connections as it may.
        """
        options, key, shares = self.options, _key(request.remote), self._shares
        oldest = shares.oldest_connecting(key)
        if oldest is not None and shares.connecting(key) >= options.max_connecting_per_address:
            shares.settle(oldest)
            oldest.connection.close()
        if self._draining or len(self._sessions) >= options.max_connections:
            raise Refusal(503, "busy", "The server has as many connections as it can hold.", _RETRY_AFTER)
        if shares.of_address(key) >= options.max_connections_per_address:
            raise Refusal(429, "busy-address", "Your address has as many connections as it may.", _RETRY_AFTER)
        if user is not None and shares.of_user(user) >= options.max_connections_per_user:
            raise Refusal(429, "busy-user", "You have as many connections as you may.", _RETRY_AFTER)
        mark = "" if self._colleagues is None else self._colleagues.mark
        session = Session(request, user, self._configuration, options, key, mark)
        self._connection_metrics.watch(session.pc)
        self._sessions[session.id] = session
        shares.add(session)
        return session

    def _forget(self, session: Session) -> None:
        if self._sessions.pop(session.id, None) is not None:
            self._shares.remove(session)

    # -- connections ---------------------------------------------------------------------------------------------------

    async def _watch(self, session: Session) -> None:
        """Run one connection from its answer to its end."""
        try:
            if await self._established(session):
                session.connected = True
                self._shares.settle(session)
                self.counts.connected += 1
                await self._serve(session)
            else:
                self.counts.failed += 1
        finally:
            session.connection._end()
            try:
                await session.pc.close()
            finally:
                self._forget(session)
                self._watchers.pop(session.id, None)

    async def _established(self, session: Session) -> bool:
        """Wait until the connection is up, and return whether it is."""
        up = asyncio.Event()
        connection, pc = session.connection, session.pc

        def check() -> None:
            if pc.connectionState == "connected":
                up.set()

        pc.on("connectionstatechange", check)
        check()
        waiting = [asyncio.ensure_future(one) for one in (up.wait(), connection.closed())]
        try:
            await asyncio.wait(waiting, timeout=self.options.connect_timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            pc.remove_listener("connectionstatechange", check)
        return up.is_set() and not connection.ended

    async def _serve(self, session: Session) -> None:
        """Run the handler until it returns, or its time after the end of the connection is over."""
        connection = session.connection
        handler = asyncio.ensure_future(self._handle(connection))
        paths = asyncio.ensure_future(self._until_lost(session))
        try:
            await asyncio.wait({handler, paths}, return_when=asyncio.FIRST_COMPLETED)
            connection._end()
            await session.pc.close()  # delivers what was sent; then the iterations over its channels end
            if not handler.done():
                await asyncio.wait({handler}, timeout=self.options.handler_timeout)
        finally:
            for task in (handler, paths):
                task.cancel()
            await asyncio.gather(handler, paths, return_exceptions=True)

    async def _handle(self, connection: Connection) -> None:
        try:
            await self._handler(connection)
        except (ConnectionError, InvalidStateError) as error:  # the client left while the handler used a channel
            logger.info("server: the handler of a connection of %s ended: %s", connection.remote, error)
        except Exception:
            self.counts.handler_errors += 1
            logger.exception("server: the handler of a connection of %s failed", connection.remote)

    async def _until_lost(self, session: Session) -> None:
        """Wait until the connection has ended, or has had no path for `restart_timeout` seconds."""
        changed = asyncio.Event()
        session.pc.on("connectionstatechange", changed.set)
        connection = session.connection
        ended = asyncio.ensure_future(connection.closed())
        ended.add_done_callback(lambda _: changed.set())
        try:
            while not connection.ended:
                changed.clear()
                lost = session.pc.connectionState in {"failed", "disconnected"}
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.options.restart_timeout if lost else None):
                        await changed.wait()
                        continue
                logger.info("server: a connection of %s has had no path and ended", connection.remote)
                return
        finally:
            ended.cancel()


def _options(methods: str) -> SignalingResponse:
    headers = {
        "Allow": methods,
        "Accept-Post": SDP,
        "Accept-Patch": FRAGMENT,
        "Access-Control-Allow-Methods": methods,
        "Access-Control-Allow-Headers": _ASKED_HEADERS,
        "Access-Control-Max-Age": "600",
    }
    return SignalingResponse(204, headers)


def _key(remote: str) -> str:
    """Return the key by which the shares of an address are counted; "" for this machine, which has no shares."""
    return "" if is_loopback(remote) else share_key(remote)
