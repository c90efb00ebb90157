"""Receives one offer over one channel: the asyncio shell of `ReceivingMachine`; knows no signaling and no terminal.

Three things go on at the same time: messages are read as they come, one thread checks and writes pieces, another one
flushes and finishes files. The credit of the machine bounds what waits between them.
"""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias, TypeVar

from datachan.transfer.actions import (
    Action,
    Ended,
    FileMissing,
    FinishFile,
    Offered,
    Outcome,
    Restarted,
    Send,
    StartFile,
    WritePiece,
)
from datachan.transfer.channel import TransferChannel, send
from datachan.transfer.digests import available_hashes
from datachan.transfer.messages import EndCode, Entry, Kind
from datachan.transfer.names import stored_paths
from datachan.transfer.receiving import ReceivingBounds, ReceivingMachine, ReceivingState
from datachan.transfer.storage import Conflict, Damaged, Storage
from datachan.transfer.targets import StreamTarget, Target

T = TypeVar("T")

FLUSH_EVERY: Final = 16 * 1024 * 1024
"""Bytes that are written before they are flushed."""

_BATCH_PIECES: Final = 128
_BATCH_BYTES: Final = 8 * 1024 * 1024
_MAX_UNFINISHED: Final = 128
"""Files that are written and not in place yet; each has a descriptor open."""


@dataclass(frozen=True, slots=True)
class Review:
    """An offer as a person sees it before accepting.

    Attributes:
        id: The id of the offer: the same after a reconnection.
        entries: The manifest.
        piece: Bytes of a piece.
        places: Where each entry would be stored, below the folder.
        size: Bytes of all entries; None if one size is unknown.
        free: Bytes that may be written; None if not known.
        conflicts: The entries whose name is taken by a file of another size, or by something else.
    """

    id: str
    entries: tuple[Entry, ...]
    piece: int
    places: tuple[tuple[str, ...], ...]
    size: int | None
    free: int | None
    conflicts: tuple[int, ...]

    @property
    def text(self) -> bool:
        """Whether the offer is a text to show."""
        return self.entries[0].kind is Kind.TEXT


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided about an offer.

    Attributes:
        refusal: Why the offer is refused; None if it is accepted.
        code: The code of the refusal.
        conflicts: What to do with the entries whose name is taken; RENAME by default.
    """

    refusal: str | None = None
    code: EndCode = EndCode.REFUSED
    conflicts: Mapping[int, Conflict] = field(default_factory=dict)


Decide: TypeAlias = Callable[[Review], Awaitable[Decision]]


def resolve_conflicts(review: Review, conflict: Conflict) -> dict[int, Conflict]:
    """Return the decision that treats all names that are taken alike."""
    if conflict is Conflict.SKIP:
        return dict.fromkeys(review.conflicts, conflict)
    # A file of the same size in place is compared first; the choice counts if its content differs.
    return dict.fromkeys(range(len(review.entries)), conflict)


@dataclass(slots=True)
class _Finishing:
    """What the second thread does next, in order."""

    file: int
    stream_end: int
    size: int | None = None
    """None: only flush the file."""
    missing: bool = False


class OfferReceiving:
    """One offer on its way into a folder.

    Args:
        channel: An open channel.
        folder: Where files are stored.
        decide: Called with the offer; returns what to do.
        notify: Called with each action that is not a message, after it was performed.
        stream: Write the only file of the offer to this stream instead of the folder.
        bounds: What is held in memory for the offer.

    Attributes:
        machine: The machine; its state may be read.
        text: The text, if the offer was one and has arrived.
        target: Where the files go, once the offer was accepted.
        resumed: Bytes that were here already.
    """

    def __init__(
        self,
        channel: TransferChannel,
        folder: Path,
        decide: Decide,
        *,
        notify: Callable[[Action], None] = lambda action: None,
        stream: BinaryIO | None = None,
        bounds: ReceivingBounds | None = None,
    ) -> None:
        self.machine = ReceivingMachine(available_hashes(), bounds)
        self.target: Target | None = None
        self.text: str | None = None
        self.resumed = 0
        self._channel = channel
        self._folder = folder
        self._decide = decide
        self._notify = notify
        self._stream = stream
        self._have: dict[int, tuple[int, list[bytes]]] = {}
        self._to_write: deque[Action] = deque()
        self._to_finish: deque[_Finishing] = deque()
        self._wake_writer = asyncio.Event()
        self._wake_finisher = asyncio.Event()
        self._room = asyncio.Event()
        self._unflushed = 0
        self._ended: Ended | None = None
        self._error: BaseException | None = None
        self._over = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._in_threads: set[asyncio.Task[None]] = set()

    async def run(self, messages: AsyncIterator[str | bytes]) -> Ended:
        """Receive the offer and return how it ended. The channel stays open.

        Raises:
            OSError: The folder cannot be opened.
            Exception: What `decide` or `notify` raised.
        """
        for work in (self._write(), self._finish(), self._listen(messages)):
            self._start(work)
        try:
            await self._over.wait()
        except asyncio.CancelledError:
            self._carry_out(self.machine.end(EndCode.CANCELLED, "the receiver stopped the transfer"))
            raise
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.gather(*self._in_threads, return_exceptions=True)
            if self.target is not None:
                await asyncio.to_thread(self.target.close)
        if self._error is not None:
            self._carry_out(self._end_of(self._error))
            raise self._error
        return self._ended or Ended(Outcome.BROKEN)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.append(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._error = self._error or error
            self._over.set()

    async def _in_thread(self, function: Callable[[Sequence[T]], None], batch: Sequence[T]) -> None:
        """Run a function in a thread; it goes on even if this task is canceled, and `run` waits for it."""
        running = asyncio.create_task(asyncio.to_thread(function, batch))
        self._in_threads.add(running)
        running.add_done_callback(self._in_threads.discard)
        await asyncio.shield(running)

    def request(self, name: str | None) -> None:
        """Ask the peer for the file or folder of this name, or for everything without a name. Call it before `run`."""
        self._carry_out(self.machine.request(name))

    def stop(self, code: EndCode, reason: str) -> None:
        """End the transfer, and tell the sender why."""
        self._carry_out(self.machine.end(code, reason))

    # -- messages ------------------------------------------------------------------------------------------------------

    async def _listen(self, messages: AsyncIterator[str | bytes]) -> None:
        async for message in messages:
            self._carry_out(self.machine.receive_message(message))
            if self.machine.state is ReceivingState.ENDED:
                return
        self._carry_out(self.machine.channel_closed())

    def _carry_out(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                send(self._channel, action.message)
            elif isinstance(action, Offered):
                self._start(self._review(action))
            elif isinstance(action, Ended):
                self._ended = action
                self._notify(action)
                self._over.set()
            elif isinstance(action, Restarted):
                self.resumed -= self._have.pop(action.file)[0]
                self._notify(action)
            else:
                self._to_write.append(action)
                self._wake_writer.set()

    async def _review(self, offered: Offered) -> None:
        places = tuple(stored_paths(offered.entries))
        storage = await asyncio.to_thread(self._open_storage, offered, places)
        taken = await asyncio.to_thread(storage.taken) if isinstance(storage, Storage) else ()
        free = storage.free_bytes()
        size = offered.offer.size
        review = Review(offered.offer.id, offered.entries, offered.offer.piece, places, size, free, tuple(taken))
        if self._stream is not None and (len(offered.entries) != 1 or offered.entries[0].kind is Kind.FOLDER):
            self._carry_out(self.machine.end(EndCode.REFUSED, "only one file can be written to standard output"))
            return
        decision = await self._decide(review)
        if decision.refusal is not None:
            self._carry_out(self.machine.end(decision.code, decision.refusal))
            return
        unwanted = [file for file, what in sorted(decision.conflicts.items()) if what is Conflict.SKIP]
        if isinstance(storage, Storage):
            storage.conflicts.update(decision.conflicts)
            await self._find_beginnings(storage, set(unwanted))
        needed = (size or 0) - self.resumed - sum(offered.entries[file].size or 0 for file in unwanted)
        if free is not None and needed > free:
            reason = f"the receiver's disk has {free} bytes free, and {needed} are needed"
            self._carry_out(self.machine.end(EndCode.NO_SPACE, reason, needed - free))
            return
        self._carry_out(self.machine.accept(self._have, unwanted))

    def _open_storage(self, offered: Offered, places: Sequence[tuple[str, ...]]) -> Target:
        hash_function = self.machine.agreed_hash()
        if offered.entries[0].kind is Kind.TEXT or self._stream is not None:
            self.target = StreamTarget(hash_function, self._stream)
        else:
            name = next(name for name, function in available_hashes().items() if function is hash_function)
            self.target = Storage(self._folder, offered.entries, places, offered.offer.piece, name, hash_function)
        return self.target

    async def _find_beginnings(self, storage: Storage, unwanted: set[int]) -> None:
        wanted = [file for file in range(len(self.machine.entries)) if file not in unwanted]

        def find() -> None:
            for file, pieces in storage.beginnings(wanted):
                offset = min(len(pieces) * storage.piece, self.machine.entries[file].size or 0)
                self._have[file] = (offset, pieces)
                self.resumed += offset

        await asyncio.to_thread(find)

    # -- the first thread: check and write -----------------------------------------------------------------------------

    async def _write(self) -> None:
        while True:
            await self._wake_writer.wait()
            self._wake_writer.clear()
            while self._to_write:
                while len(self._to_finish) >= _MAX_UNFINISHED:
                    self._room.clear()
                    await self._room.wait()
                batch = self._next_batch()
                try:
                    await self._in_thread(self._perform, batch)
                except (OSError, Damaged) as error:
                    self._fail(error)
                    return
                self._after_writing(batch)

    def _next_batch(self) -> list[Action]:
        batch: list[Action] = []
        size = 0
        while self._to_write and size < _BATCH_BYTES and len(batch) < _BATCH_PIECES:
            action = self._to_write.popleft()
            batch.append(action)
            if isinstance(action, WritePiece):
                size += sum(map(len, action.data))
        return batch

    def _perform(self, batch: Sequence[Action]) -> None:
        target = self._opened_target()
        for action in batch:
            if isinstance(action, StartFile):
                target.start(action.file, action.offset)
                if action.offset and action.file in self._have:
                    target.resume(action.file, self._have[action.file][1])
            elif isinstance(action, WritePiece):
                data = bytes(action.data[0]) if len(action.data) == 1 else b"".join(action.data)
                target.write(action.file, action.offset, data, action.digest)

    def _after_writing(self, batch: Sequence[Action]) -> None:
        for action in batch:
            if isinstance(action, WritePiece):
                self._carry_out(self.machine.written(action.stream_end))
                self._unflushed += sum(map(len, action.data))
                if self._unflushed >= FLUSH_EVERY:
                    self._put_finishing(_Finishing(action.file, action.stream_end))
            elif isinstance(action, FinishFile):
                self._put_finishing(_Finishing(action.file, action.stream_end, action.size))
            elif isinstance(action, FileMissing):
                self._put_finishing(_Finishing(action.file, action.stream_end, missing=True))
            self._notify(action)

    def _put_finishing(self, item: _Finishing) -> None:
        self._unflushed = 0
        self._to_finish.append(item)
        self._wake_finisher.set()

    # -- the second thread: flush and finish ---------------------------------------------------------------------------

    async def _finish(self) -> None:
        while True:
            await self._wake_finisher.wait()
            self._wake_finisher.clear()
            while self._to_finish:
                batch = list(self._to_finish)
                try:
                    await self._in_thread(self._perform_finishing, batch)
                except OSError as error:
                    self._fail(error)
                    return
                for _ in batch:
                    self._to_finish.popleft()
                self._room.set()
                self._after_finishing(batch)

    def _perform_finishing(self, batch: Sequence[_Finishing]) -> None:
        target = self._opened_target()
        complete = {item.file for item in batch if item.size is not None or item.missing}
        for item in batch:
            if item.missing:
                target.give_up(item.file)
            elif item.size is None and item.file not in complete:
                target.flush(item.file)
        done = [item for item in batch if item.size is not None]
        if done:
            target.finish([item.file for item in done], [item.size or 0 for item in done])

    def _after_finishing(self, batch: Sequence[_Finishing]) -> None:
        if self.machine.entries[0].kind is Kind.TEXT and isinstance(self.target, StreamTarget):
            self.text = self.target.data.decode("utf-8", "replace")
        self._carry_out(self.machine.flushed(batch[-1].stream_end))
        stored = [item.file for item in batch if item.size is not None]
        if stored:
            self._carry_out(self.machine.stored(stored))

    def _fail(self, error: OSError | Damaged) -> None:
        if isinstance(error, Damaged):
            self._carry_out(self.machine.end(EndCode.DAMAGED, "a piece arrived damaged: its digest differs"))
            return
        reason = (error.strerror or type(error).__name__).lower()
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = self._opened_target().free_bytes() or 0
            size = 0 if self.machine.offer is None else self.machine.offer.size or 0
            missing = max(1, size - self.resumed - self.machine.received - free)
            self._carry_out(self.machine.end(EndCode.NO_SPACE, "the receiver's disk is full", missing))
        else:
            self._carry_out(self.machine.end(EndCode.DISK, f"the receiver cannot write: {reason}"))

    def _end_of(self, error: BaseException) -> list[Action]:
        if isinstance(error, OSError):
            return self.machine.end(
                EndCode.DISK, f"the receiver cannot write: {(error.strerror or str(error)).lower()}"
            )
        return self.machine.end(EndCode.FAILED, "the receiver's program failed")

    def _opened_target(self) -> Target:
        if self.target is None:
            raise OSError(errno.EBADF, "no offer was accepted")
        return self.target
