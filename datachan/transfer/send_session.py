"""Waits in a room with a code, and sends one offer to every receiver that proves it; knows no terminal.

A receiver that loses its connection may come back: it proves that it was there before, or the code again.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, Final

from datachan.log_rate import get_limited_logger
from datachan.peer import InvalidStateError, RTCConfiguration, RTCDataChannel, RTCPeerConnection
from datachan.signaling import PeerInfo, SignalingClient, SignalingError, serve_through
from datachan.transfer.actions import Action, Ended, FilesStored, Outcome, Progress, Proven
from datachan.transfer.channel import CHANNEL_LABEL, CHANNEL_PROTOCOL, CLOSE_TIMEOUT, RateLimit, say_goodbye
from datachan.transfer.codes import MAX_SLOT, Code, make_code, room_of
from datachan.transfer.fingerprints import BadFingerprint
from datachan.transfer.messages import EndCode
from datachan.transfer.outgoing import OutgoingOffer
from datachan.transfer.pake import Role
from datachan.transfer.proof import Proof
from datachan.transfer.proving import follow_path, proof_for, prove
from datachan.transfer.send_offer import OfferSending
from datachan.transfer.sending import DATA_MESSAGE, LONG_DATA_MESSAGE, SendingState
from datachan.transfer.session_events import (
    CodeReady,
    Connected,
    Happened,
    Lost,
    PathChanged,
    ReceiverResult,
    SessionEvent,
    WrongCode,
)

logger = get_limited_logger("datachan.transfer")

SENDER_NAME: Final = "sender"
RECEIVER_NAME: Final = "receiver"

_SLOT_ATTEMPTS: Final = 12
_SILENCE: Final = 2.0
"""Seconds of silence of a receiver that has accepted, after which another one with the code may take its place."""

_OVER: Final = frozenset({EndCode.REFUSED, EndCode.TOO_LARGE, EndCode.PROTOCOL})
"""Ends after which a receiver is not expected to come back."""


class NoSlot(SignalingError):
    """No free slot was found on the signaling server."""


async def claim_slot(
    server: str, *, proxy: str | None = None, choose: Callable[[int, int], int] = random.randint
) -> tuple[SignalingClient, int]:
    """Enter the room of a free slot, and return the client and the slot. The caller leaves the room.

    Raises:
        SignalingError: The server cannot be reached.
        NoSlot: All slots that were tried are in use.
    """
    for attempt in range(_SLOT_ATTEMPTS):
        slot = choose(1, 9 if attempt < 2 else 99 if attempt < 4 else MAX_SLOT)
        client = SignalingClient(server, room_of(slot), name=SENDER_NAME, reconnect=True, proxy=proxy)
        await client.__aenter__()
        if not client.peers_at_join:
            return client, slot
        await client.__aexit__(None, None, None)
    raise NoSlot("the signaling server has no free slot; try again in a minute")


class _Receiver:
    """One receiver, over all its connections."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.pc: RTCPeerConnection | None = None
        self.sending: OfferSending | None = None
        self.last_heard = time.monotonic()
        self.result: ReceiverResult | None = None

    @property
    def is_silent(self) -> bool:
        """Whether another receiver may take this place. A person who reviews the offer says nothing, either."""
        if self.pc is None:
            return True
        reviews = self.sending is None or self.sending.machine.state in (SendingState.NEW, SendingState.OFFERED)
        return not reviews and time.monotonic() - self.last_heard > _SILENCE


class SendSession:
    """One code, and everything that is sent with it.

    Args:
        offer: What to send.
        server: The address of the signaling server.
        receivers: How many receivers get it.
        notify: Called with each event.
        compare: Called with the words if either person compares them; returns whether they agree. None does not ask.
        verify: Whether this side's person compares words.
        limit: Limits the bytes per second.
        configuration: For each connection; its ICE servers default to those of the signaling server.
    """

    def __init__(
        self,
        offer: OutgoingOffer,
        server: str,
        *,
        receivers: int = 1,
        notify: Callable[[SessionEvent], None] = lambda event: None,
        compare: Callable[[tuple[str, ...]], Awaitable[bool]] | None = None,
        verify: bool = False,
        limit: RateLimit | None = None,
        configuration: RTCConfiguration | None = None,
    ) -> None:
        self._offer = offer
        self._server = server
        self._wanted = receivers
        self._notify = notify
        self._compare = compare
        self._verify = verify
        self._limit = limit
        self._configuration = replace(configuration or RTCConfiguration(), closeTimeout=CLOSE_TIMEOUT)
        self._password = ""
        self._burnt = False
        self._proving = asyncio.Lock()
        self._sessions: dict[str, tuple[str, _Receiver]] = {}
        self.receivers: list[_Receiver] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._error: BaseException | None = None

    async def run(self) -> list[ReceiverResult]:
        """Wait for the receivers, send to each, and return once all have ended or the code was guessed wrong.

        Raises:
            SignalingError: The server cannot be reached, or has no free slot.
        """
        client, slot = await claim_slot(self._server)
        code = make_code(slot, secrets.token_bytes)
        self._password = str(code)
        self._notify(CodeReady(code))
        serving = asyncio.create_task(
            serve_through(client, self._prepare, self._configuration, max_peers=self._wanted + 3)
        )
        try:
            while not self._is_over():
                self._changed.clear()
                waiting = asyncio.create_task(self._changed.wait())
                try:
                    await asyncio.wait({waiting, serving}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    waiting.cancel()
                if serving.done():
                    serving.result()
                    raise SignalingError("the connection to the signaling server ended")
                if self._error is not None:
                    raise self._error
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            await client.__aexit__(None, None, None)
        return [receiver.result for receiver in self.receivers if receiver.result is not None]

    def _is_over(self) -> bool:
        done = sum(receiver.result is not None for receiver in self.receivers)
        waiting = any(receiver.result is None for receiver in self.receivers)
        return done >= self._wanted or (self._burnt and not waiting)

    # -- one connection ------------------------------------------------------------------------------------------------

    def _prepare(self, pc: RTCPeerConnection, peer: PeerInfo) -> None:
        channel = pc.createDataChannel(CHANNEL_LABEL, protocol=CHANNEL_PROTOCOL, negotiated=True, id=0)
        self._start(self._serve(pc, channel))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._error = task.exception()
        self._changed.set()

    async def _serve(self, pc: RTCPeerConnection, channel: RTCDataChannel) -> None:
        messages = aiter(channel)
        try:
            await channel.opened()
            proof = proof_for(pc, Role.SENDER, self._password, verify=self._verify, secret_of=self._secret_of)
            proven = await self._prove(channel, messages, proof)
            if proven is not None:
                receiver = await self._admit(channel, messages, proven, proof)
                if receiver is not None:
                    await self._send(pc, channel, messages, receiver, proven)
        except (InvalidStateError, BadFingerprint) as error:
            logger.info("transfer: a receiver did not connect: %s", error)
        finally:
            await pc.close()

    def _secret_of(self, session: str) -> str | None:
        known = self._sessions.get(session)
        return None if known is None else known[0]

    async def _prove(
        self, channel: RTCDataChannel, messages: AsyncIterator[str | bytes], proof: Proof
    ) -> Proven | None:
        async with self._proving:
            if self._burnt:
                proof.forbid_code()
            result = await prove(channel, messages, proof)
            if proof.guessed and not self._burnt:
                self._burnt = True
                self._notify(WrongCode())
        if isinstance(result, Proven):
            return result
        await say_goodbye(channel, messages)
        return None

    async def _admit(
        self, channel: RTCDataChannel, messages: AsyncIterator[str | bytes], proven: Proven, proof: Proof
    ) -> _Receiver | None:
        """Return the receiver that has proved itself; None if there is no room for one more."""
        receiver = None if proof.session is None else self._sessions[proof.session][1]
        if receiver is None:
            receiver = self._place_for_one()
        if receiver is None or receiver.result is not None:
            busy = OfferSending(channel, self._offer)
            busy.stop(EndCode.BUSY, "the sender is sending to as many receivers as it was asked to")
            await say_goodbye(channel, messages)
            return None
        self._sessions[proven.keys.session] = (proven.keys.reconnect_secret, receiver)
        return receiver

    def _place_for_one(self) -> _Receiver | None:
        if len(self.receivers) < self._wanted:
            receiver = _Receiver(len(self.receivers) + 1)
            self.receivers.append(receiver)
            return receiver
        return next((r for r in self.receivers if r.result is None and r.is_silent), None)

    async def _send(
        self,
        pc: RTCPeerConnection,
        channel: RTCDataChannel,
        messages: AsyncIterator[str | bytes],
        receiver: _Receiver,
        proven: Proven,
    ) -> None:
        again = receiver.sending is not None
        before, receiver.pc = receiver.pc, pc
        if before is not None:
            self._start(before.close())  # its peer may be gone, and closing waits for it
        receiver.last_heard = time.monotonic()
        verify = self._verify or proven.verify
        path = follow_path(pc, lambda path: self._notify(PathChanged(receiver.number, path)))
        self._notify(Connected(receiver.number, again, path, proven.words, verify))
        accepted = None if pc.sctp is None else pc.sctp.maxMessageSize
        sending = receiver.sending = OfferSending(
            channel,
            self._offer,
            notify=lambda action: self._heard(receiver, action),
            limit=self._limit,
            data_message=data_message_size(accepted, limited=self._limit is not None),
        )
        if verify and not again and self._compare is not None and not await self._compare(proven.words):
            sending.stop(EndCode.WRONG_CODE, "the words that both people compared differ")
            ended = Ended(Outcome.ENDED_HERE, EndCode.WRONG_CODE, "the words differ")
        else:
            ended = await sending.run(messages)
        if receiver.pc is pc:
            receiver.pc = None
            self._settle(receiver, sending, ended)
        await say_goodbye(channel, messages)

    def _heard(self, receiver: _Receiver, action: Action) -> None:
        if isinstance(action, Progress | FilesStored):
            receiver.last_heard = time.monotonic()
        self._notify(Happened(receiver.number, action))

    def _settle(self, receiver: _Receiver, sending: OfferSending, ended: Ended) -> None:
        machine = sending.machine
        missing = tuple((file, item.reason) for file, item in machine.missing.items())
        over = ended.outcome is Outcome.COMPLETED or ended.code in _OVER or ended.code is EndCode.WRONG_CODE
        if over:
            receiver.result = ReceiverResult(receiver.number, ended.code, ended.reason, len(machine.stored), missing)
        else:
            self._notify(Lost(receiver.number, ended.reason))
        self._changed.set()


def data_message_size(accepted: float | None, *, limited: bool) -> int:
    """Return the bytes of a binary message.

    Args:
        accepted: Bytes of the longest message that the peer accepts, if that is known.
        limited: The rate is limited: short messages leave more evenly.
    """
    preferred = DATA_MESSAGE if limited else LONG_DATA_MESSAGE
    return int(min(preferred, DATA_MESSAGE if accepted is None else accepted))


def code_link(page: str, code: Code) -> str:
    """Return the link with which a browser receives; `page` is the address of the page."""
    return f"{page.rstrip('/')}/#/receive/{code}"
