"""The signaling of one connection: its offer, trickled candidates and ICE restarts; knows no HTTP status but refusals.

The resource of RFC 9725 (WHIP): a POST creates it, PATCH changes its ICE parameters, DELETE ends it. Its entity tag
names the ICE session, and changes with each restart.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace

from datachan.peer import PeerError, RTCConfiguration, RTCPeerConnection, RTCSessionDescription, SdpError
from datachan.server.connection import Connection
from datachan.server.exchange import Refusal, SignalingRequest
from datachan.server.ice_fragment import (
    BadFragment,
    IceFragment,
    format_fragment,
    parse_fragment_untrusted,
    with_credentials,
)
from datachan.server.options import ChannelServerOptions
from datachan.signaling.offered_candidates import MAX_CANDIDATES, without_unsafe_candidates
from datachan.token_bucket import TokenBucket


class Session:
    """One connection and its signaling.

    Args:
        request: The request that carries the offer.
        user: The value that the authentication hook returned.
        configuration: For the peer connection.
        options: The options of the server.
        key: The key of the attribute.
        mark: What the id begins with.

    Attributes:
        id: The id in the path of the resource.
        key: The key by which the shares of the client's address are counted; "" for loopback.
        connection: The connection, as the handler sees it.
        connected: Whether the connection has been up.
        etag: The entity tag of the ICE session, with its quotes.
    """

    def __init__(
        self,
        request: SignalingRequest,
        user: object,
        configuration: RTCConfiguration,
        options: ChannelServerOptions,
        key: str,
        mark: str = "",
    ) -> None:
        self.id = mark + secrets.token_urlsafe(18)
        self.key = key
        self.user = user
        self.connected = False
        self.etag = _new_etag()
        self._remote = request.remote
        self._options = options
        self._loop = asyncio.get_running_loop()
        self.pc = RTCPeerConnection(
            replace(
                configuration,
                maxMessageSize=options.max_message_size,
                # The client may open half of them, and some may be closing.
                maxChannels=min(4 * options.max_channels, 65535),
                closeTimeout=options.close_timeout,
                iceTcp=False,  # callers choose where to; they connect to our TCP port if they need it
            )
        )
        self.connection = Connection(self.id, user, request, self.pc, options.max_channels)
        self._candidates_left = MAX_CANDIDATES
        self._patches = TokenBucket(options.patches_per_second, options.patch_burst, self._loop.time())
        self._lock = asyncio.Lock()

    async def answer(self, offer: str) -> str:
        """Return the answer to the offer, with our candidates.

        Raises:
            Refusal: The offer is malformed, or has no data channel.
        """
        allowed = without_unsafe_candidates(offer, self._remote)
        self._candidates_left -= sum(line.startswith("a=candidate:") for line in allowed.splitlines())
        return await self._negotiate(allowed)

    async def patch(self, text: str, if_match: str) -> tuple[str, str]:
        """Add candidates, or restart ICE if `if_match` is "*" (RFC 9725, section 4.3).

        Returns:
            The fragment of our new ICE session and its entity tag; two empty strings if ICE was not restarted.

        Raises:
            Refusal: The fragment is malformed, belongs to another ICE session, or comes too fast.
        """
        if not self._patches.take(self._loop.time()):
            raise Refusal(429, "too-many-patches", "Candidates come too fast. Wait a second.", {"Retry-After": "1"})
        try:
            fragment = parse_fragment_untrusted(text)
        except BadFragment as error:
            raise Refusal(400, "bad-fragment", str(error)) from None
        async with self._lock:
            if if_match == "*":
                return await self._restart(fragment), self.etag
            if if_match != self.etag:
                raise Refusal(412, "other-ice-session", "ICE was restarted since: send the latest ETag in If-Match.")
            await self._add(fragment)
            return "", ""

    # -- private -------------------------------------------------------------------------------------------------------

    async def _negotiate(self, offer: str) -> str:
        try:
            await self.pc.setRemoteDescription(RTCSessionDescription(sdp=offer, type="offer"))
            await self.pc.setLocalDescription(await self.pc.createAnswer())
        except (SdpError, PeerError) as error:
            raise Refusal(400, "bad-sdp", f"The offer cannot be answered: {error}.") from error
        if self.pc.sctp is None:
            raise Refusal(400, "bad-sdp", "The offer has no data channel; create one before the offer.")
        await self._gathered()
        local = self.pc.localDescription
        return "" if local is None else local.sdp

    async def _gathered(self) -> None:
        """Wait for our candidates. After the timeout, the client connects with those found until then."""
        complete = asyncio.Event()

        def check() -> None:
            if self.pc.iceGatheringState == "complete":
                complete.set()

        self.pc.on("icegatheringstatechange", check)
        try:
            check()
            async with asyncio.timeout(self._options.gathering_timeout):
                await complete.wait()
        except TimeoutError:
            pass
        finally:
            self.pc.remove_listener("icegatheringstatechange", check)

    async def _restart(self, fragment: IceFragment) -> str:
        remote = self.pc.remoteDescription
        if fragment.ufrag is None or fragment.password is None or remote is None:
            raise Refusal(400, "bad-fragment", "An ICE restart needs a=ice-ufrag and a=ice-pwd.")
        if fragment.ufrag == self._remote_ufrag():
            raise Refusal(409, "same-ice-session", "An ICE restart needs a new a=ice-ufrag.")
        self._candidates_left = MAX_CANDIDATES
        candidates = self._allowed(fragment.candidates)
        answer = await self._negotiate(with_credentials(remote.sdp, fragment.ufrag, fragment.password, candidates))
        self.etag = _new_etag()
        return format_fragment(answer)

    async def _add(self, fragment: IceFragment) -> None:
        if fragment.ufrag is not None and fragment.ufrag != self._remote_ufrag():
            raise Refusal(422, "other-ice-session", "To restart ICE, send `If-Match: *`.")
        try:
            for candidate in self._allowed(fragment.candidates):
                await self.pc.addIceCandidate({"candidate": candidate, "sdpMLineIndex": 0})
            if fragment.complete:
                await self.pc.addIceCandidate(None)
        except (SdpError, PeerError) as error:
            raise Refusal(400, "bad-candidate", f"The candidate cannot be used: {error}.") from error

    def _allowed(self, candidates: tuple[str, ...]) -> list[str]:
        """Return the candidates that are checked for this client, at most as many as are left to it."""
        lines = "".join(f"a={candidate}\n" for candidate in candidates)
        allowed = without_unsafe_candidates(lines, self._remote).splitlines()[: self._candidates_left]
        self._candidates_left -= len(allowed)
        return [line.removeprefix("a=") for line in allowed]

    def _remote_ufrag(self) -> str | None:
        remote = self.pc.remoteDescription
        return None if remote is None else parse_fragment_untrusted(format_fragment(remote.sdp)).ufrag


def _new_etag() -> str:
    return f'"{secrets.token_hex(8)}"'
