"""Receives files, folders or a text over a channel of the caller; knows no code, room or message.

These functions are for peers that trust each other already: nothing is proved before the offer
(docs/transfer-protocol.md, "Without a code").
"""

from __future__ import annotations

import errno
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Final, TypeAlias

from datachan.transfer.actions import Action, Ended, Outcome
from datachan.transfer.channel import TransferChannel, close_channel, wait_for_receipt, wait_until_open
from datachan.transfer.messages import EndCode, Kind
from datachan.transfer.receive_offer import Decision, OfferReceiving, Review, resolve_conflicts
from datachan.transfer.receiving import ReceivingBounds
from datachan.transfer.results import Payload, Progress, ReceivedFile, ReceivedFiles, missing_files, raise_for
from datachan.transfer.storage import Conflict, Storage

DEFAULT_MAX_SIZE: Final = 1024 * 1024 * 1024
"""Bytes of the largest offer that is received by default."""

Accept: TypeAlias = Callable[[Review], bool | str | Awaitable[bool | str]]
"""Returns whether to accept an offer; a sentence refuses it and tells the peer why."""


@dataclass(frozen=True, slots=True)
class ReceivePolicy:
    """What a receiver accepts, and how it stores it.

    Attributes:
        accept: Called with each offer; may be a coroutine function. None accepts every offer up to `max_size`.
        max_size: Bytes of an offer; larger ones, and those of unknown size, are refused. None accepts any size that the
            disk has room for.
        conflict: What to do with a file whose name is taken by another one. A file with the same content is kept.
        bounds: What is held in memory for the offer.
    """

    accept: Accept | None = None
    max_size: int | None = DEFAULT_MAX_SIZE
    conflict: Conflict = Conflict.RENAME
    bounds: ReceivingBounds = field(default_factory=ReceivingBounds)


async def decide(policy: ReceivePolicy, review: Review) -> bool | str:
    """Return what `policy.accept` says to an offer."""
    if policy.accept is None:
        return True
    answer = policy.accept(review)
    return await answer if inspect.isawaitable(answer) else answer


async def receive_files(
    channel: TransferChannel,
    folder: str | PathLike[str],
    policy: ReceivePolicy | None = None,
    *,
    progress: Progress | None = None,
) -> ReceivedFiles:
    """Wait for the peer's offer, receive it, and return once all of it is stored and verified.

    A file gets its name when it is complete: written, flushed to the disk, and verified. The channel is always closed
    at the end. If the task is canceled, the peer is told. What is incomplete by then is kept in `.datachan-partial` for
    14 days: receiving the same files again goes on at that point.

    Args:
        channel: Reliable and ordered, used for nothing else.
        folder: An existing folder. Names are made safe, so they cannot leave it.
        policy: What to accept, and how to store it.
        progress: Called with the bytes received, and the bytes offered.

    Raises:
        NotADirectoryError: The folder does not exist.
        OSError: The folder cannot be opened.
        TransferRefused: This side refused the offer.
        TransferCancelled: The peer stopped the transfer.
        TransferFailed: The channel closed, a digest was wrong, or the files could not be stored.
    """
    try:
        _require_folder(folder)
        await wait_until_open(channel)
        return await Reception(channel, folder, policy, progress).run(aiter(channel))
    finally:
        close_channel(channel)


async def request_files(
    channel: TransferChannel,
    name: str | None,
    folder: str | PathLike[str],
    policy: ReceivePolicy | None = None,
    *,
    progress: Progress | None = None,
) -> ReceivedFiles:
    """Ask the peer for the file or folder of this name, and store it as `receive_files` does.

    Args:
        channel: A channel that this side has opened, used for nothing else. It need not be open yet.
        name: The name; None for everything that the peer has for us.
        folder: As for `receive_files`.
        policy: As for `receive_files`.
        progress: As for `receive_files`.

    Raises:
        TransferRefused: Also if the peer does not have it.
        TransferError: As for `receive_files`.
    """
    try:
        _require_folder(folder)
        await wait_until_open(channel)
        reception = Reception(channel, folder, policy, progress)
        reception.receiving.request(name)
        return await reception.run(aiter(channel))
    finally:
        close_channel(channel)


def _require_folder(folder: str | PathLike[str]) -> None:
    if not Path(folder).is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "there is no such folder", str(folder))


class Reception:
    """One run of `OfferReceiving` under a policy.

    Args:
        channel: An open channel.
        folder: Where files are stored.
        policy: What to accept, and how to store it.
        progress: Called with the bytes received, and the bytes offered.
        completed: Called at the moment at which the sender is told that everything is stored.
    """

    def __init__(
        self,
        channel: TransferChannel,
        folder: str | PathLike[str],
        policy: ReceivePolicy | None,
        progress: Progress | None,
        completed: Callable[[ReceivedFiles], object] | None = None,
    ) -> None:
        self._policy = policy or ReceivePolicy()
        self._folder = Path(folder)
        self._progress = progress
        self._payload: Payload | None = None
        self._completed = completed
        self.receiving = OfferReceiving(
            channel, self._folder, self._decide, notify=self._take, bounds=self._policy.bounds
        )

    async def run(self, messages: AsyncIterator[str | bytes], first: str | bytes | None = None) -> ReceivedFiles:
        """Receive the offer, wait for the sender to close, and return what is stored.

        Args:
            messages: The messages of the channel.
            first: A message that was read already.
        """
        async with aclosing(self._counted(messages, first)) as counted:
            raise_for(await self.receiving.run(counted))
        self._count()
        await wait_for_receipt(messages)
        return self._result()

    async def _counted(
        self, messages: AsyncIterator[str | bytes], first: str | bytes | None
    ) -> AsyncGenerator[str | bytes, None]:
        """Yield the messages, and report progress after each has been processed."""
        if first is not None:
            yield first
        async for message in messages:
            yield message
            self._count()

    def _take(self, action: Action) -> None:
        if self._completed is not None and isinstance(action, Ended) and action.outcome is Outcome.COMPLETED:
            self._completed(self._result())

    def _count(self) -> None:
        machine = self.receiving.machine
        if self._progress is not None and self._payload is not None and machine.hash is not None:
            self._progress(self._payload.done(machine.received, self.receiving.resumed), self._payload.size)

    async def _decide(self, review: Review) -> Decision:
        limit = self._policy.max_size
        if limit is not None and (review.size is None or review.size > limit):
            size = "of unknown size" if review.size is None else f"of {review.size} bytes"
            return Decision(f"the receiver accepts at most {limit} bytes, and the offer is {size}", EndCode.TOO_LARGE)
        answer = await decide(self._policy, review)
        if answer is not True:
            return Decision(answer or "the receiver does not want the files")
        conflicts = resolve_conflicts(review, self._policy.conflict)
        unwanted = {file for file, what in conflicts.items() if what is Conflict.SKIP}
        wanted = [entry for file, entry in enumerate(review.entries) if file not in unwanted]
        self._payload = Payload(wanted, review.piece)
        return Decision(conflicts=conflicts)

    def _result(self) -> ReceivedFiles:
        machine, target = self.receiving.machine, self.receiving.target
        missing = missing_files(machine.entries, machine.missing.items())
        if not isinstance(target, Storage):
            return ReceivedFiles((), (), missing, self.receiving.text)
        files = [
            ReceivedFile(self._folder.joinpath(*place), machine.size_of(file))
            for file, place in sorted(target.stored_at.items())
        ]
        folders = [target.places[file] for file, entry in enumerate(machine.entries) if entry.kind is Kind.FOLDER]
        paths = dict.fromkeys(self._folder / place[0] for place in (*target.stored_at.values(), *folders))
        return ReceivedFiles(tuple(paths), tuple(files), missing)
