"""Sends one offer to one receiver over one channel: the asyncio shell of `SendingMachine`; knows no signaling."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from datachan.peer import InvalidStateError
from datachan.transfer.actions import Action, Ended, Outcome, Send
from datachan.transfer.channel import RateLimit, TransferChannel, send
from datachan.transfer.digests import available_hashes
from datachan.transfer.messages import EndCode
from datachan.transfer.outgoing import OutgoingOffer, Piece, Unreadable
from datachan.transfer.sending import DATA_MESSAGE, CheckPrefix, ReadPiece, SendingMachine, SendingState, Work

_GROUP_BYTES: Final = 256 * 1024
"""Bytes of small pieces that are read in one visit to a thread."""


class OfferSending:
    """One offer on its way to one receiver.

    Args:
        channel: An open channel.
        offer: What to send.
        notify: Called with each action that is not a message.
        limit: Limits the bytes per second.
        data_message: Bytes of one binary message, at most.

    Attributes:
        machine: The machine; its state may be read.
    """

    def __init__(
        self,
        channel: TransferChannel,
        offer: OutgoingOffer,
        *,
        notify: Callable[[Action], None] = lambda action: None,
        limit: RateLimit | None = None,
        data_message: int = DATA_MESSAGE,
    ) -> None:
        self.machine = SendingMachine(
            offer.id, offer.entries, available_hashes(), piece=offer.piece, data_message=data_message
        )
        self._channel = channel
        self._offer = offer
        self._notify = notify
        self._limit = limit
        self._wake = asyncio.Event()
        self._reads: deque[tuple[list[Work], asyncio.Task[list[Piece | Unreadable] | list[bytes] | Unreadable]]] = (
            deque()
        )
        self._ended: Ended | None = None

    async def run(self, messages: AsyncIterator[str | bytes]) -> Ended:
        """Offer everything, send what is accepted, and return how it ended. The channel stays open.

        Raises:
            Exception: What `notify` raised.
        """
        tasks: list[asyncio.Task[Any]] = []
        try:
            self._carry_out(self.machine.start())
            tasks = [asyncio.create_task(self._listen(messages)), asyncio.create_task(self._send())]
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        except asyncio.CancelledError:
            self._carry_out(self.machine.end(EndCode.CANCELLED, "the sender stopped the transfer"))
            raise
        finally:
            self._carry_out(self.machine.end(EndCode.FAILED, "the sender's program failed"))
            tasks += [task for _, task in self._reads]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return self._ended or Ended(Outcome.BROKEN)

    def stop(self, code: EndCode, reason: str) -> None:
        """End the transfer, and tell the receiver why."""
        self._carry_out(self.machine.end(code, reason))

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                send(self._channel, action.message)
                continue
            if isinstance(action, Ended):
                self._ended = action
            self._notify(action)
        self._wake.set()

    async def _listen(self, messages: AsyncIterator[str | bytes]) -> None:
        async for message in messages:
            self._carry_out(self.machine.receive_message(message))
            if self.machine.state is SendingState.ENDED:
                return
        self._carry_out(self.machine.channel_closed())

    async def _send(self) -> None:
        while self.machine.state is not SendingState.ENDED:
            self._wake.clear()
            self._start_reads()
            self._take_reads()
            for message in self.machine.messages_to_send():
                if self._limit is not None:
                    await self._limit.take(len(message))
                send(self._channel, message)
                try:
                    await self._channel.drain()
                except InvalidStateError:
                    break  # the listener finds the reason
                self._take_reads()
                self._start_reads()
            if not self._wake.is_set():
                await self._wake.wait()

    def _start_reads(self) -> None:
        """Start reading what the machine needs next; small pieces together, in one visit to a thread."""
        group: list[ReadPiece] = []
        size = 0
        while self.machine.wants_more and (work := self.machine.next_work()) is not None:
            if isinstance(work, CheckPrefix):
                self._start(list(group))
                group, size = [], 0
                self._start_prefix(work)
                continue
            group.append(work)
            size += work.length
            if size >= _GROUP_BYTES:
                self._start(group)
                group, size = [], 0
        self._start(group)

    def _start(self, group: list[ReadPiece]) -> None:
        if group:
            task = asyncio.create_task(self._offer.read(group, self._hash_name()))
            task.add_done_callback(lambda _: self._wake.set())
            self._reads.append((list(group), task))

    def _start_prefix(self, work: CheckPrefix) -> None:
        task = asyncio.create_task(self._offer.hash_prefix(work, self._hash_name()))
        task.add_done_callback(lambda _: self._wake.set())
        self._reads.append(([work], task))

    def _take_reads(self) -> None:
        """Give the machine what was read, in order."""
        while self._reads and self._reads[0][1].done():
            works, task = self._reads.popleft()
            result = task.result()
            if isinstance(result, Unreadable):
                self.machine.unreadable(works[0], result.code, result.reason)
                continue
            for number, work in enumerate(works):
                item = result if isinstance(work, CheckPrefix) else result[number]
                self._take(work, item)
            self._wake.set()

    def _take(self, work: Work, item: object) -> None:
        if isinstance(item, Unreadable):
            self.machine.unreadable(work, item.code, item.reason)
        elif isinstance(work, CheckPrefix) and isinstance(item, list):
            self._carry_out(self.machine.prefix_hashed(work, item))
        elif isinstance(work, ReadPiece) and isinstance(item, Piece):
            self.machine.piece_read(work, item.data, item.digest)

    def _hash_name(self) -> str:
        return next(name for name, function in available_hashes().items() if function is self.machine.hash)
