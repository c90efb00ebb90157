"""Finds the sender of a code, proves the code, and receives its offer; connects again when the connection breaks.

Knows no terminal.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final

from datachan.peer import InvalidStateError, RTCConfiguration, RTCDataChannel, RTCPeerConnection
from datachan.signaling import ConnectTimeout, PeerInfo, SignalingClient, SignalingError, call_through
from datachan.transfer.actions import Ended, Outcome, Proven
from datachan.transfer.channel import CHANNEL_LABEL, CHANNEL_PROTOCOL, CLOSE_TIMEOUT, say_goodbye, wait_for_receipt
from datachan.transfer.codes import Code, room_of
from datachan.transfer.fingerprints import BadFingerprint
from datachan.transfer.messages import EndCode
from datachan.transfer.pake import Keys, Role
from datachan.transfer.path_keeper import keep_path
from datachan.transfer.proving import follow_path, proof_for, prove
from datachan.transfer.receive_offer import Decision, OfferReceiving, Review
from datachan.transfer.send_session import RECEIVER_NAME, SENDER_NAME
from datachan.transfer.session_events import (
    Connected,
    Connecting,
    Happened,
    Lost,
    NoSender,
    PathChanged,
    SessionEvent,
)

CONNECT_TIMEOUT: Final = 60.0
"""Seconds until a connection must be up once the sender is there."""

RETURN_TIMEOUT: Final = 600.0
"""Seconds in which a receiver tries to reach a sender again that it was connected with."""

BUSY_TIMEOUT: Final = 60.0
"""Seconds in which a receiver tries again while the sender has no room for it, as after a killed receiver."""

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 5.0


class SenderMissing(SignalingError):
    """No sender with this code came in time."""


class SenderSilent(SignalingError):
    """The sender is in the room, and does not answer. A server keeps the place of a killed one for two minutes."""


class ReceiveSession:
    """One code, and what is received with it.

    Args:
        code: The code.
        server: The address of the signaling server.
        folder: Where files are stored.
        decide: Called with the offer; returns what to do. It is not asked again after a break.
        compare: Called with the words if either person compares them; returns whether they agree. None does not ask.
        verify: Whether this side's person compares words.
        stream: Write the only file of the offer to this stream instead of the folder.
        patience: Seconds to wait for a sender.
        configuration: For each connection; its ICE servers default to those of the signaling server.

    Attributes:
        notify: Called with each event.
        receiving: The offer as it is or was received on the last connection; None before.
    """

    def __init__(
        self,
        code: Code,
        server: str,
        folder: Path,
        decide: Callable[[Review], Awaitable[Decision]],
        *,
        compare: Callable[[tuple[str, ...]], Awaitable[bool]] | None = None,
        verify: bool = False,
        stream: BinaryIO | None = None,
        patience: float = 60.0,
        configuration: RTCConfiguration | None = None,
    ) -> None:
        self.receiving: OfferReceiving | None = None
        self._code = code
        self._server = server
        self._folder = folder
        self._ask = decide
        self.notify: Callable[[SessionEvent], None] = lambda event: None
        self._compare = compare
        self._verify = verify
        self._stream = stream
        self._patience = patience
        self._configuration = replace(configuration or RTCConfiguration(), closeTimeout=CLOSE_TIMEOUT)
        self._keys: Keys | None = None
        self._decided: tuple[str, Decision] | None = None

    async def run(self) -> Ended:
        """Receive the offer, and return how it ended.

        Raises:
            SenderMissing: No sender came in time.
            SignalingError: The server or the sender cannot be reached.
        """
        pause = _FIRST_PAUSE
        lost_since: float | None = None
        while True:
            before = self._received()
            ended = await self._attempt()
            if not self._may_try_again(ended):
                return ended
            now = time.monotonic()
            if lost_since is None or self._received() > before:
                lost_since, pause = now, _FIRST_PAUSE
            if now - lost_since > (BUSY_TIMEOUT if ended.code is EndCode.BUSY else RETURN_TIMEOUT):
                return ended
            self.notify(Lost(1, ended.reason))
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, 2 * pause)

    async def _attempt(self) -> Ended:
        try:
            ended = await self._connect_and_receive()
        except (SignalingError, InvalidStateError) as error:
            if self._keys is None:
                raise
            return Ended(Outcome.BROKEN, reason=str(error))
        if ended.code is EndCode.BUSY:
            self._keys = None  # the sender has not admitted this session
        return ended

    def _may_try_again(self, ended: Ended) -> bool:
        return ended.code is EndCode.BUSY or (ended.outcome is Outcome.BROKEN and self._keys is not None)

    def _received(self) -> int:
        return 0 if self.receiving is None else self.receiving.machine.received

    async def _connect_and_receive(self) -> Ended:
        patience = self._patience if self._keys is None else RETURN_TIMEOUT
        async with RTCPeerConnection(self._configuration) as pc:
            channel = pc.createDataChannel(CHANNEL_LABEL, protocol=CHANNEL_PROTOCOL, negotiated=True, id=0)
            client = SignalingClient(self._server, room_of(self._code.slot), name=RECEIVER_NAME)
            async with client:
                sender = await self._find_sender(client, patience)
                self.notify(Connecting())
                session = await _call(client, pc, sender)
            await channel.opened()
            watching = asyncio.create_task(keep_path(pc, client, sender.id, session))
            try:
                return await self._prove_and_receive(pc, channel)
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)

    async def _prove_and_receive(self, pc: RTCPeerConnection, channel: RTCDataChannel) -> Ended:
        messages = aiter(channel)
        session = None if self._keys is None else (self._keys.session, self._keys.reconnect_secret)
        try:
            proof = proof_for(pc, Role.RECEIVER, str(self._code), verify=self._verify, session=session)
        except BadFingerprint as error:
            return Ended(Outcome.ENDED_HERE, EndCode.PROTOCOL, error.reason)
        try:
            result = await prove(channel, messages, proof)
            if not isinstance(result, Proven):
                return _told(result, exposed=proof.exposed)
            receiving = self.receiving = OfferReceiving(
                channel,
                self._folder,
                self._decide,
                notify=lambda action: self.notify(Happened(1, action)),
                stream=self._stream,
            )
            if not await self._words_agree(pc, result):
                receiving.stop(EndCode.WRONG_CODE, "the words that both people compared differ")
                return Ended(Outcome.ENDED_HERE, EndCode.WRONG_CODE, "the words differ")
            ended = await receiving.run(messages)
            if ended.outcome is Outcome.COMPLETED:
                await wait_for_receipt(messages)
            return ended
        finally:
            await say_goodbye(channel, messages)

    async def _words_agree(self, pc: RTCPeerConnection, proven: Proven) -> bool:
        """Take over the keys, and let the person compare the words if either side asks for it."""
        again = self._keys is not None
        self._keys = proven.keys
        verify = self._verify or proven.verify
        path = follow_path(pc, lambda path: self.notify(PathChanged(1, path)))
        self.notify(Connected(1, again, path, proven.words, verify))
        return not verify or again or self._compare is None or await self._compare(proven.words)

    async def _find_sender(self, client: SignalingClient, patience: float) -> PeerInfo:
        """Return the sender in the room, or wait until one joins."""
        told = False
        try:
            async with asyncio.timeout(patience):
                while True:
                    for peer in client.peers.values():
                        if peer.name == SENDER_NAME:
                            return peer
                    if not told:
                        self.notify(NoSender())
                        told = True
                    if await client.receive() is None:
                        raise SignalingError("the connection to the signaling server ended")
        except TimeoutError:
            raise SenderMissing(
                f"no sender with this code came within {patience:g} seconds: check the number of the code, "
                "and that the sender is running and uses the same signaling server"
            ) from None

    async def _decide(self, review: Review) -> Decision:
        if self._decided is not None and self._decided[0] == review.id:
            return self._decided[1]
        decision = await self._ask(review)
        self._decided = (review.id, decision)
        return decision


async def _call(client: SignalingClient, pc: RTCPeerConnection, sender: PeerInfo) -> str:
    """Connect with the sender, and return the session of the call.

    Raises:
        SenderSilent: It does not answer.
        SignalingError: There is no way to it.
    """
    try:
        _, session = await call_through(client, pc, to=sender.id, timeout=CONNECT_TIMEOUT)
    except ConnectTimeout:
        if pc.remoteDescription is not None:
            raise
        raise SenderSilent(
            "the sender does not answer: it was stopped, or its network is gone. "
            "If it was started again, use its new code"
        ) from None
    return session


def _told(ended: Ended, *, exposed: bool) -> Ended:
    """Return the end of a proof that failed; the code must not be tried again if this side has shown its proof."""
    if exposed and ended.outcome is Outcome.BROKEN:
        reason = "the other side left when it should have proved the code: it may not be the sender. Ask for a new code"
        return Ended(Outcome.ENDED_HERE, EndCode.WRONG_CODE, reason)
    return ended
