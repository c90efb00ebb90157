"""Connects a peer connection with a member of a room: decides which side offers, and exchanges trickled candidates.

The member that joined later makes the offer, so two members never offer to each other at the same time. Each attempt
has its own `session`: messages of another session are ignored, and an offer that arrives during an attempt is answered
with `bye`.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Coroutine
from functools import partial
from typing import Any, Final, Protocol

from datachan.log_rate import get_limited_logger
from datachan.peer import PeerError, RTCPeerConnection, RTCSessionDescription, SdpError
from datachan.sdp import fingerprint_lines, verification_code
from datachan.signaling.client import SignalingClient, SignalingError
from datachan.signaling.room_messages import (
    Answer,
    Bye,
    Candidate,
    CandidateInit,
    Error,
    Offer,
    PeerInfo,
    PeerLeft,
    ServerMessage,
    Signal,
    Welcome,
)

logger = get_limited_logger("datachan.signaling")

# Seconds for which servers may still answer after the connection is up; gathering itself takes five at most.
_LATE_CANDIDATES: Final = 10.0
# The event loop itself keeps no strong reference to a task.
_kept: set[asyncio.Task[None]] = set()


async def connect_through(
    client: SignalingClient,
    pc: RTCPeerConnection,
    *,
    to: str | None = None,
    timeout: float | None = 60.0,  # noqa: ASYNC109 - starts when a peer is there, which the caller cannot know
) -> PeerInfo:
    """Connect `pc` with a member of the room and return that member once the connection is established.

    If a member was in the room before this client, that member receives an offer. Otherwise the first offer of a
    newcomer is answered. Create at least one data channel on `pc` first, at least on the side that joins later: an
    offer without a data channel asks for nothing. A connection that fails later is closed, because the exchange of
    descriptions has ended, and without it ICE cannot be restarted. Candidates that are found later still reach the
    peer, and `client` applies those of the peer for as long as its messages are read.

    Args:
        client: A client that has joined a room. Its messages are consumed until the connection is established.
        pc: A new connection, without descriptions. If it has no ICE servers, it uses those of the signaling server.
        to: The id of the member to connect with; None for the first in the room.
        timeout: Seconds from the moment there is a member to connect with; None for no limit.

    Raises:
        SignalingError: The peer left, declined or sent a malformed description, the signaling connection broke, or the
            peer connection failed. The message has the connection's own reason, and advice.
        ConnectTimeout: The connection was not established in time. It is a `SignalingError` and a `TimeoutError`.
    """
    return (await call_through(client, pc, to=to, timeout=timeout))[0]


async def call_through(
    client: SignalingClient,
    pc: RTCPeerConnection,
    *,
    to: str | None = None,
    timeout: float | None = 60.0,  # noqa: ASYNC109 - starts when a peer is there, which the caller cannot know
) -> tuple[PeerInfo, str]:
    """Do what `connect_through` does, and return the peer and the session, which `restart_through` needs."""
    configuration = pc.getConfiguration()
    if not configuration.iceServers and client.ice_servers:
        pc.setConfiguration(client.configuration(configuration))
    call = Call(client, pc)
    try:
        peer = await call.run(to, timeout)
    except BaseException:
        await call.close()
        raise
    call.finish_in_background(client)
    pc.on("connectionstatechange", partial(_follow_to_the_end, pc, client, peer, call.session))
    logger.info("signaling: connected with %s; code to compare: %s", peer.name, code_of(pc))
    return peer, call.session


async def restart_through(
    client: SignalingClient,
    pc: RTCPeerConnection,
    *,
    to: str,
    session: str,
    timeout: float = 10.0,  # noqa: ASYNC109 - for one attempt
) -> None:
    """Restart ICE on a connection that has lost its path, and return once it is connected again.

    The peer must serve the room with `serve_through`, and know this client by the same id as before: use the client
    that the connection was set up with.

    Raises:
        RestartRefused: The peer does not restart this connection, or another party has answered.
        SignalingError: The peer is not in the room, or no path was found in time.
    """
    client.route_candidates(to, session, None)
    call = Call(client, pc, restarts=session)
    try:
        await call.restart(to, timeout)
    except BaseException:
        await call.close()
        raise
    call.finish_in_background(client)


def code_of(pc: RTCPeerConnection) -> str:
    """Return the code that both people compare to find out whether the signaling server changed the descriptions.

    The other side's program or page shows the same code, unless another party is between the two. Ask for it by a way
    that the server does not control, such as a telephone call. It is empty before both descriptions are set.
    """
    local, remote = pc.localDescription, pc.remoteDescription
    return "" if local is None or remote is None else verification_code(local.sdp, remote.sdp)


async def _follow_to_the_end(pc: RTCPeerConnection, client: SignalingClient, peer: PeerInfo, session: str) -> None:
    """Close a connection that has failed, so that its channels end: no offer can restart it after the call.

    No candidates are taken for a connection that is closed.
    """
    if pc.connectionState == "failed":
        await pc.close()
    elif pc.connectionState == "closed":
        client.route_candidates(peer.id, session, None)


class ConnectTimeout(SignalingError, TimeoutError):
    """The connection was not established in time."""


class RestartRefused(SignalingError):
    """The peer declined to restart ICE, or the description is that of another certificate."""


class Membership(Protocol):
    """The part of `SignalingClient` that a call uses."""

    @property
    def peers(self) -> dict[str, PeerInfo]:
        """The other members of the room, by id."""

    @property
    def peers_at_join(self) -> tuple[PeerInfo, ...]:
        """The members that were in the room before this client."""

    async def send(self, message: Signal) -> None:
        """Send a message to the member `message.peer`."""

    def __aiter__(self) -> AsyncIterator[ServerMessage]:
        """Iterate over the messages of the server."""


class Call:
    """One attempt to connect a peer connection with a member of a room, or to restart its ICE.

    Args:
        client: The way to the member.
        pc: The connection.
        restarts: The session of the call that set the connection up, if this one restarts its ICE. Descriptions with
            another certificate are refused then: the server could put itself in between with them.
    """

    def __init__(self, client: Membership, pc: RTCPeerConnection, *, restarts: str = "") -> None:
        self._client = client
        self._pc = pc
        self._peer: PeerInfo | None = None
        self._session = restarts
        self._restarts = bool(restarts)
        self._described = False
        self._early: list[Candidate] = []
        self._outbound: asyncio.Queue[Signal] = asyncio.Queue()
        self._tasks: list[asyncio.Task[None]] = []
        self._connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._all_sent = asyncio.Event()

    async def run(self, to: str | None, limit: float | None) -> PeerInfo:
        """Connect and return the peer. The arguments and exceptions are those of `connect_through`."""
        self._follow_connection()
        offer = None
        before = {peer.id for peer in self._client.peers_at_join} & self._client.peers.keys()
        if to is None:
            self._peer = next((peer for peer in self._client.peers_at_join if peer.id in before), None)
        else:
            self._peer = self._client.peers.get(to)
            if self._peer is None:
                raise SignalingError(f"no member with the id {to} is in the room")
        if self._peer is None or self._peer.id not in before:
            offer = await self._first_offer(to)
        try:
            async with asyncio.timeout(limit):
                await self._exchange(self._call() if offer is None else self._answer(offer))
                await self._connected
        except TimeoutError:
            sentence = self._timeout_sentence(limit or 0.0)
            await self._send_bye("it took too long to connect")
            raise ConnectTimeout(sentence) from None
        if self._peer is None:
            raise SignalingError("there is no member to connect with")
        return self._peer

    @property
    def session(self) -> str:
        """The name of this call in the messages of both sides."""
        return self._session

    @property
    def described(self) -> bool:
        """Whether the peer's description has been set."""
        return self._described

    async def restart(self, to: str, limit: float) -> None:
        """Offer new ICE credentials. The arguments and exceptions are those of `restart_through`."""
        self._follow_connection()
        self._peer = self._client.peers.get(to)
        if self._peer is None:
            raise SignalingError("the peer is not in the room")
        try:
            async with asyncio.timeout(limit):
                self._pc.restartIce()
                await self._exchange(self._call())
                await self._connected
        except TimeoutError:
            raise ConnectTimeout(f"no path was found within {limit:g} seconds") from None

    async def answer_restart(self, offer: Offer) -> None:
        """Answer new ICE credentials of the peer on a connection that this call has set up.

        Raises:
            RestartRefused: The offer has another certificate.
            SignalingError: The offer is malformed.
        """
        self._restarts = True
        await self._answer(offer)

    def _follow_connection(self) -> None:
        self._pc.on("icecandidate", self._local_candidate)
        self._pc.on("connectionstatechange", self._state_changed)

    async def _exchange(self, describing: Coroutine[Any, Any, None]) -> None:
        """Send our description while messages leave, then read those of the peer."""
        self._start(self._send())
        await describing
        self._start(self._listen())

    async def close(self) -> None:
        """Stop exchanging messages; the peer connection stays as it is."""
        self._pc.remove_listener("icecandidate", self._local_candidate)
        self._pc.remove_listener("connectionstatechange", self._state_changed)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._connected.done() and not self._connected.cancelled():
            self._connected.exception()
        self._connected.cancel()

    def finish_in_background(self, client: SignalingClient) -> None:
        """Go on to exchange candidates once the connection is up: servers may still answer, and add another path."""
        peer = self._peer_id()
        client.route_candidates(peer, self._session, lambda message: _keep(self._add_candidate(message)))
        _keep(self._finish())

    async def _finish(self) -> None:
        """Send the rest of our candidates; other messages that arrive belong to the application now."""
        for task in self._tasks[1:]:
            task.cancel()
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_sent.wait(), _LATE_CANDIDATES)
        finally:
            await self.close()

    # -- descriptions --------------------------------------------------------------------------------------------------

    async def _first_offer(self, to: str | None) -> Offer | None:
        """Wait for an offer. Return None if the client joined again, and is now the newcomer that has to offer."""
        async for message in self._client:
            if isinstance(message, Welcome) and not message.is_seamless:
                self._peer = next((peer for peer in message.peers if to in (None, peer.id)), None)
                if self._peer is not None:
                    return None
            if isinstance(message, Offer) and (self._peer is None or message.peer == self._peer.id):
                self._peer = self._client.peers.get(message.peer) or PeerInfo(message.peer, "")
                return message
            if isinstance(message, Offer):
                await self._decline(message)
            elif isinstance(message, PeerLeft) and self._peer is not None and message.id == self._peer.id:
                raise SignalingError("the peer left the room before it called")
        raise SignalingError("the connection to the signaling server ended before a peer called")

    async def _call(self) -> None:
        self._session = self._session or secrets.token_urlsafe(9)
        offer = await self._pc.createOffer()
        self._post(Offer(self._peer_id(), self._session, offer.sdp))
        # Gathering continues while the offer travels; its candidates follow the offer.
        await self._pc.setLocalDescription(offer)

    async def _answer(self, offer: Offer) -> None:
        self._session = offer.session
        await self._set_remote("offer", offer.sdp)
        answer = await self._pc.createAnswer()
        self._post(Answer(self._peer_id(), self._session, answer.sdp))
        await self._pc.setLocalDescription(answer)

    async def _set_remote(self, kind: str, sdp: str) -> None:
        if self._restarts and not self._has_same_certificate(sdp):
            raise RestartRefused(f"the {kind} names another certificate than the one of this connection")
        try:
            await self._pc.setRemoteDescription(RTCSessionDescription(sdp=sdp, type=kind))
        except (SdpError, PeerError) as error:
            await self._client.send(Bye(self._peer_id(), self._session, f"the {kind} cannot be understood"))
            raise SignalingError(f"the {kind} of the peer cannot be understood: {error}") from error
        self._described = True
        for candidate in self._early:
            await self._add_candidate(candidate)
        self._early.clear()

    def _has_same_certificate(self, sdp: str) -> bool:
        before = self._pc.remoteDescription
        return before is not None and fingerprint_lines(before.sdp) == fingerprint_lines(sdp)

    # -- candidates ----------------------------------------------------------------------------------------------------

    def _local_candidate(self, candidate: Any) -> None:
        if self._peer is None:
            return
        init = None
        if candidate is not None:
            fields = candidate.toJSON()
            init = CandidateInit(
                fields["candidate"], fields["sdpMid"], fields["sdpMLineIndex"], fields["usernameFragment"]
            )
        self._post(Candidate(self._peer.id, self._session, init))

    async def _add_candidate(self, message: Candidate) -> None:
        if not self._described:
            if len(self._early) < 256:
                self._early.append(message)
            return
        init = message.candidate
        try:
            if init is None or not init.candidate:
                await self._pc.addIceCandidate(None)
                return
            fields = {
                "candidate": init.candidate,
                "sdpMid": init.sdp_mid,
                "sdpMLineIndex": init.sdp_mline_index,
                "usernameFragment": init.username_fragment,
            }
            await self._pc.addIceCandidate(fields)
        except (SdpError, PeerError, ValueError):
            return  # one path less; the connection may still come up over another

    # -- send and receive ----------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        while True:
            message = await self._outbound.get()
            try:
                await self._client.send(message)
            except SignalingError:
                # The peer has our description: the connection may come up without our latest candidates.
                if not (self._described and isinstance(message, Candidate)):
                    raise
            if isinstance(message, Candidate) and message.candidate is None:
                self._all_sent.set()

    async def _listen(self) -> None:
        async for message in self._client:
            if not self._is_up:
                await self._handle(message)
            elif isinstance(message, Candidate):
                await self._handle_ours(message)
        # The connection may still come up: descriptions and candidates may all have been exchanged already.
        if not self._described:
            raise SignalingError("the connection to the signaling server ended before the peer answered")

    async def _handle(self, message: ServerMessage) -> None:
        if isinstance(message, Offer):
            await self._decline(message)
        elif isinstance(message, Welcome):
            if not self._described and not message.is_seamless:
                raise SignalingError("the connection to the signaling server broke before the peer answered")
        elif isinstance(message, PeerLeft):
            if message.id == self._peer_id() and not self._described:
                raise SignalingError("the peer left the room before the connection was up")
        elif isinstance(message, Error):
            if message.session == self._session:
                raise SignalingError(message.message, message.code)
        elif isinstance(message, Answer | Candidate | Bye):
            await self._handle_ours(message)

    async def _handle_ours(self, message: Answer | Candidate | Bye) -> None:
        if message.session != self._session or message.peer != self._peer_id():
            return
        if isinstance(message, Candidate):
            await self._add_candidate(message)
        elif isinstance(message, Bye):
            error = RestartRefused if self._restarts else SignalingError
            raise error(f"the peer declined: {message.reason or 'no reason given'}")
        elif not self._described:
            await self._set_remote("answer", message.sdp)
            self._state_changed()

    async def _decline(self, offer: Offer) -> None:
        await self._client.send(Bye(offer.peer, offer.session, "busy: connecting with another member"))

    def _post(self, message: Signal) -> None:
        self._outbound.put_nowait(message)

    def _peer_id(self) -> str:
        return "" if self._peer is None else self._peer.id

    @property
    def _is_up(self) -> bool:
        """Whether the connection was established, so that only candidates still matter."""
        return self._connected.done() and not self._connected.cancelled() and self._connected.exception() is None

    # -- the end -------------------------------------------------------------------------------------------------------

    def _state_changed(self) -> None:
        state = self._pc.connectionState
        if state == "closed":
            self._all_sent.set()
        if self._connected.done() or (self._restarts and not self._described):
            return
        if state == "connected":
            self._connected.set_result(None)
        elif state in {"failed", "closed"}:
            reason = self._pc.failureReason or "the peer closed the connection"
            self._connected.set_exception(SignalingError(f"the connection failed: {reason}"))

    def _timeout_sentence(self, limit: float) -> str:
        name = (self._peer and self._peer.name) or "the peer"
        if not self._described:
            return f"{name} did not answer within {limit:g} seconds"
        return f"no connection to {name} within {limit:g} seconds (ICE: {self._pc.iceConnectionState}){self._advice()}"

    def _advice(self) -> str:
        """Return advice if ICE has found no path; "" otherwise."""
        if self._pc.iceConnectionState in {"connected", "completed", "closed"}:
            return ""
        if self._pc.getConfiguration().iceServers:
            return ". UDP may be blocked: a TURN server over TCP may help (turn:…?transport=tcp)"
        return ". A firewall may block UDP, or the peers are on different networks: name a STUN or TURN server"

    async def _send_bye(self, reason: str) -> None:
        """Tell the peer that this side has given up, so that it need not wait either."""
        with contextlib.suppress(SignalingError):
            await self._client.send(Bye(self._peer_id(), self._session, reason))

    def _start(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        task.add_done_callback(self._task_done)
        self._tasks.append(task)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._connected.done():
            self._connected.set_exception(error)


def _keep(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that nothing waits for."""
    task = asyncio.get_running_loop().create_task(coroutine)
    _kept.add(task)
    task.add_done_callback(_kept.discard)
