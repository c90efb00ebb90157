"""Sends files to the members of a room and stores theirs, also across a break; knows no message of a transfer.

No code is proved: the members of a room are trusted (docs/transfer-protocol.md, "Without a code"). After a break, the
same certificate shows that it is the same program or page.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, TypeVar

from datachan.log_rate import get_limited_logger
from datachan.peer import RTCCertificate, RTCConfiguration, RTCDataChannel, RTCPeerConnection
from datachan.sdp import fingerprint_lines
from datachan.signaling import PeerInfo, SignalingClient, SignalingError, serve_through
from datachan.transfer.answer import Choose, answer_transfer
from datachan.transfer.channel import CLOSE_TIMEOUT, close_channel, is_transfer_channel, open_transfer_channel
from datachan.transfer.errors import TransferError, TransferFailed
from datachan.transfer.outgoing import OutgoingOffer
from datachan.transfer.receive_offer import Review
from datachan.transfer.receiver import ReceivePolicy, decide, request_files
from datachan.transfer.results import Progress, ReceivedFiles, SentFiles
from datachan.transfer.sender import send_offer
from datachan.transfer.sources import gather

logger = get_limited_logger("datachan.transfer")

RETURN_TIMEOUT: Final = 600.0
"""Seconds in which a transfer that was interrupted waits for its member."""

_CLOSED_TIMEOUT: Final = 2.0
"""Seconds in which a closed channel turns out to be a lost connection."""

_MAX_ANSWERS: Final = 50
"""Offers and requests of one connection that are served at the same time. Further channels are closed."""

_MAX_ACCEPTED: Final = 64
"""Accepted offers that are remembered, so that the policy is not asked again after a break."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class TransferWaits:
    """A transfer was interrupted. It goes on by itself when the member is connected again.

    Attributes:
        peer: The member.
        done: Bytes at which it goes on.
        total: Bytes of all; None if not known.
    """

    peer: PeerInfo
    done: int
    total: int | None


@dataclass(frozen=True, slots=True)
class TransferReceived:
    """What a member has offered is stored and verified.

    Attributes:
        peer: The member.
        files: What is stored.
    """

    peer: PeerInfo
    files: ReceivedFiles


RoomEvent: TypeAlias = TransferWaits | TransferReceived


@dataclass(frozen=True, slots=True)
class _Link:
    """A connection with a member.

    Attributes:
        pc: The connection.
        peer: The member.
    """

    pc: RTCPeerConnection
    peer: PeerInfo

    @property
    def certificate(self) -> frozenset[str]:
        """The fingerprint lines of the member. They stay when ICE is restarted."""
        remote = self.pc.remoteDescription
        return frozenset() if remote is None else fingerprint_lines(remote.sdp)


class _Reached:
    """How far a transfer has come, over all its connections.

    Attributes:
        done: Bytes that are done.
        total: Bytes of all; None if not known.
    """

    def __init__(self, progress: Progress | None = None) -> None:
        self.done = 0
        self.total: int | None = None
        self._progress = progress

    def count(self, done: int, total: int | None) -> None:
        """Take the progress of one connection, and report it. A new connection does not go back."""
        self.done, self.total = max(done, self.done), total
        if self._progress is not None:
            self._progress(self.done, self.total)


class RoomTransfers:
    """A member of a room that sends files to the others, and stores what they offer.

        async with SignalingClient(server, "kitchen", name="robot", reconnect=True) as client:
            async with RoomTransfers(client, folder) as transfers:
                sent = await transfers.send(await transfers.member("Ada"), "holiday.mp4")

    A transfer that breaks off goes on by itself when the two are connected again, at the last durable piece.

    Args:
        client: A client in the room, with `reconnect=True`. Its messages are consumed.
        folder: Where offers are stored.
        policy: What to accept, as for `receive_files`. It is asked once for each offer.
        choose: Picks what to offer for a request, as for `answer_transfer`.
        notify: Called with what happens: `TransferWaits`, `TransferReceived`.
        prepare: Called with each new connection, to use it for other channels, too. It has to read or discard what
            arrives on the channels of a page, such as its chat.
        configuration: For the connections; its ICE servers default to those of the signaling server.
    """

    def __init__(
        self,
        client: SignalingClient,
        folder: str | PathLike[str],
        policy: ReceivePolicy | None = None,
        *,
        choose: Choose | None = None,
        notify: Callable[[RoomEvent], object] = lambda event: None,
        prepare: Callable[[RTCPeerConnection, PeerInfo], object] | None = None,
        configuration: RTCConfiguration | None = None,
    ) -> None:
        self._client = client
        self._folder = Path(folder)
        self._policy = policy or ReceivePolicy()
        self._choose = choose
        self._notify = notify
        self._prepare = prepare or _discard_other_channels
        given = configuration or RTCConfiguration()
        certificates = given.certificates or (RTCCertificate.generateCertificate(),)
        self._configuration = replace(given, certificates=certificates, closeTimeout=CLOSE_TIMEOUT)
        self._links: dict[str, _Link] = {}
        self._changed = asyncio.Condition()
        self._left = False
        self._accepted: OrderedDict[object, None] = OrderedDict()
        self._answers: dict[asyncio.Task[None], _Link] = {}
        self._serving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Connect with every member of the room from now on."""
        self._serving = asyncio.create_task(self._serve())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the connections and the transfers."""
        self._left = True
        tasks = [*self._answers, *([] if self._serving is None else [self._serving])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self) -> None:
        """Connect with the members until the client's connection ends; then end what waits for one of them."""
        try:
            await serve_through(self._client, self._take_connection, self._configuration, calls_again=True)
        except SignalingError as error:
            logger.warning("transfer: no more connections with members of the room: %s", error)
        finally:
            self._left = True
            await self._notify_waiting()

    async def member(self, name: str | None = None) -> PeerInfo:
        """Wait until a member of this name, or any member, is connected, and return it.

        Raises:
            TransferFailed: This program has left the room.
        """
        link = await self._connected(lambda link: name in (None, link.peer.name))
        return link.peer

    async def send(
        self,
        peer: PeerInfo,
        paths: str | PathLike[str] | Sequence[str | PathLike[str]],
        *,
        progress: Progress | None = None,
    ) -> SentFiles:
        """Offer files and folders to a member, and return once all of it is stored and verified there.

        Raises:
            OSError: A path does not exist or cannot be read.
            TransferError: As for `send_files`; `TransferFailed` also if the member does not come back.
        """
        several = [paths] if isinstance(paths, str | PathLike) else list(paths)
        offer = OutgoingOffer(await asyncio.to_thread(gather, several))

        async def attempt(channel: RTCDataChannel, count: Progress) -> SentFiles:
            return await send_offer(channel, offer, progress=count)

        return await self._until_done(peer, attempt, progress)

    async def request(self, peer: PeerInfo, name: str | None, *, progress: Progress | None = None) -> ReceivedFiles:
        """Ask a member for the file or folder of this name, or for everything it offers, and store it.

        Raises:
            TransferError: As for `request_files`; `TransferFailed` also if the member does not come back.
        """

        async def attempt(channel: RTCDataChannel, count: Progress) -> ReceivedFiles:
            return await request_files(channel, name, self._folder, self._policy, progress=count)

        return await self._until_done(peer, attempt, progress)

    # -- breaks --------------------------------------------------------------------------------------------------------

    async def _until_done(
        self,
        peer: PeerInfo,
        attempt: Callable[[RTCDataChannel, Progress], Coroutine[Any, Any, _T]],
        progress: Progress | None,
    ) -> _T:
        reached = _Reached(progress)
        link = await self._link(peer)
        while True:
            try:
                return await attempt(open_transfer_channel(link.pc), reached.count)
            except TransferFailed as error:
                if error.code is not None or not await self._has_ended(link):
                    raise
            if not self._left:
                self._notify(TransferWaits(peer, reached.done, reached.total))
            before, link = link, await self._link(peer)
            if link.certificate != before.certificate:
                raise TransferFailed(f"{peer.name} came back as another program or page: send it again")

    async def _link(self, peer: PeerInfo) -> _Link:
        """Return the connection with a member, or wait for it."""
        try:
            async with asyncio.timeout(RETURN_TIMEOUT):
                return await self._connected(lambda link: link.peer.id == peer.id)
        except TimeoutError:
            raise TransferFailed(f"{peer.name} did not come back within {RETURN_TIMEOUT:g} seconds") from None

    async def _connected(self, wanted: Callable[[_Link], bool]) -> _Link:
        """Return the first connection that is wanted, or wait for it."""
        async with self._changed:
            while not self._left:
                for link in self._links.values():
                    if wanted(link):
                        return link
                await self._changed.wait()
        raise TransferFailed("this program has left the room")

    async def _has_ended(self, link: _Link) -> bool:
        """Return whether a connection has ended, or ends in a moment: its channels close first."""
        try:
            async with asyncio.timeout(_CLOSED_TIMEOUT), self._changed:
                await self._changed.wait_for(lambda: self._links.get(link.peer.id) is not link)
        except TimeoutError:
            return False
        return True

    def _take_connection(self, pc: RTCPeerConnection, peer: PeerInfo) -> None:
        link = _Link(pc, peer)

        async def state_changed() -> None:
            if pc.connectionState == "connected":
                self._links[peer.id] = link
            elif pc.connectionState in ("failed", "closed") and self._links.get(peer.id) is link:
                del self._links[peer.id]
            await self._notify_waiting()

        pc.on("datachannel", lambda channel: self._take_channel(channel, link))
        pc.on("connectionstatechange", state_changed)
        self._prepare(pc, peer)

    async def _notify_waiting(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # -- receiving -----------------------------------------------------------------------------------------------------

    def _take_channel(self, channel: RTCDataChannel, link: _Link) -> None:
        if not is_transfer_channel(channel):
            return
        if sum(other is link for other in self._answers.values()) >= _MAX_ANSWERS:
            close_channel(channel)
            return
        task = asyncio.get_running_loop().create_task(self._answer(channel, link))
        self._answers[task] = link
        task.add_done_callback(self._answers.pop)

    async def _answer(self, channel: RTCDataChannel, link: _Link) -> None:
        """Store what a member offers, or send what it requests. After a break the member opens another channel."""
        peer, reached = link.peer, _Reached()
        await self._connections_before_ended(link)
        policy = replace(self._policy, accept=lambda review: self._accepts(link, review))
        try:
            result = await answer_transfer(channel, self._folder, policy, choose=self._choose, progress=reached.count)
        except TransferFailed as error:
            logger.info("transfer: with %s: %s", peer.name, error.reason)
            if error.code is None and (reached.done or reached.total is not None):
                self._notify(TransferWaits(peer, reached.done, reached.total))
        except (TransferError, OSError) as error:
            logger.info("transfer: with %s: %s", peer.name, error)
        else:
            if isinstance(result, ReceivedFiles):
                self._notify(TransferReceived(peer, result))

    async def _connections_before_ended(self, link: _Link) -> None:
        """Wait for what earlier connections still store: they hold the partial files with which this one goes on."""
        others = self._answers.items()
        before = [task for task, other in others if other is not link and other.peer.id == link.peer.id]
        if before:
            await asyncio.wait(before)

    async def _accepts(self, link: _Link, review: Review) -> bool | str:
        """Ask the policy, unless it has accepted the same offer of the same member before."""
        manifest = hashlib.sha256(repr(review.entries).encode()).digest()
        key = (link.peer.id, link.certificate, review.id, manifest)
        if key in self._accepted:
            return True
        answer = await decide(self._policy, review)
        if answer is True:
            self._accepted[key] = None
            while len(self._accepted) > _MAX_ACCEPTED:
                self._accepted.popitem(last=False)
        return answer


def _discard_other_channels(pc: RTCPeerConnection, peer: PeerInfo) -> None:
    """Open the chat that a page expects of the side that calls, and discard what arrives on other channels."""

    def discard(channel: RTCDataChannel) -> None:
        if not is_transfer_channel(channel):
            channel.on("message", lambda message: None)

    discard(pc.createDataChannel("chat"))
    pc.on("datachannel", discard)
