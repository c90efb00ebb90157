"""The files of the echo peer's callers: stores what they send, sends it on request, removes it when the call ends."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from datachan.log_rate import get_limited_logger
from datachan.peer import RTCDataChannel
from datachan.signaling import EchoSession
from datachan.transfer import (
    ReceivedFiles,
    ReceivePolicy,
    ReceivingBounds,
    Review,
    SentFiles,
    TransferError,
    is_transfer_channel,
)
from datachan.transfer.answer import answer_message, first_message
from datachan.transfer.channel import close_channel, wait_until_open

logger = get_limited_logger("datachan.serve")

MAX_OFFER_SIZE: Final = 1024 * 1024 * 1024
"""Bytes of one offer that the echo peer accepts."""

MAX_SHELF_SIZE: Final = 4 * 1024 * 1024 * 1024
"""Bytes of all files that the echo peer stores at the same time."""

MAX_FILES: Final = 100
"""Files and folders of one call."""

MAX_TRANSFERS: Final = 4
"""Transfers of one call at the same time; further ones wait for one of them to end."""

MAX_ALL_TRANSFERS: Final = 24
"""Transfers of all calls at the same time: each has folders open."""

MAX_OPEN_FILES: Final = 256
"""Files and folders of all running transfers: each may be open."""

STALL_TIMEOUT: Final = 60.0
"""Seconds without a message after which a transfer is ended, so that it keeps no place."""

_BOUNDS: Final = ReceivingBounds(
    max_entries=MAX_FILES, max_piece=1024 * 1024, write_window=4 * 1024 * 1024, flush_window=16 * 1024 * 1024
)


@dataclass(slots=True)
class _Item:
    """Describes a file or a folder on the shelf.

    Attributes:
        path: Where it is.
        size: Its bytes.
        entries: Files and folders in it.
    """

    path: Path
    size: int
    entries: int


@dataclass(slots=True, eq=False)
class _Promise:
    """Reserves what a running transfer may store.

    Attributes:
        folder: Where it is stored.
        size: Its bytes.
        names: How many files and folders it has of each name.
    """

    folder: Path
    size: int = 0
    names: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _Call:
    """Holds the files of one call. Each offer has a folder of its own, so two offers of one name do not meet.

    Attributes:
        folder: Where its offers are stored.
        turns: The transfers that may still start.
        items: What is stored, by name.
        promises: The running transfers.
        replaced: What has been replaced and is still on the disk.
        offers: How many offers there were.
    """

    folder: Path
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_TRANSFERS))
    items: dict[str, _Item] = field(default_factory=dict)
    promises: list[_Promise] = field(default_factory=list)
    replaced: list[Path] = field(default_factory=list)
    offers: int = 0

    def holds(self, folder: Path) -> bool:
        """Return whether anything in the folder of an offer is on the shelf."""
        return any(item.path.parent == folder for item in self.items.values())

    def choose(self, name: str | None) -> Sequence[Path]:
        """Return what to offer for a request: what has this name, or everything."""
        return [item.path for key, item in self.items.items() if name in (None, key)]


@dataclass(frozen=True, slots=True)
class _Request:
    """Joins a channel of a caller with the first message on it."""

    channel: RTCDataChannel
    messages: AsyncIterator[str | bytes]
    first: str | bytes
    session: EchoSession


class FileShelf:
    """Serves files over the transfer protocol without a code; it is a `ChannelService`.

    Args:
        folder: An existing folder that no other program uses.
        when_received: Called with what each offer has stored.
        max_offer_size: Bytes of one offer.
        max_size: Bytes of all files together, counted from the moment they are accepted.
    """

    def __init__(
        self,
        folder: Path,
        *,
        when_received: Callable[[ReceivedFiles], None] | None = None,
        max_offer_size: int = MAX_OFFER_SIZE,
        max_size: int = MAX_SHELF_SIZE,
    ) -> None:
        self._folder = folder
        self._when_received = when_received
        self._max_offer_size = max_offer_size
        self._max_size = max_size
        self._calls: dict[str, _Call] = {}
        self._turns = asyncio.Semaphore(MAX_ALL_TRANSFERS)

    @property
    def size(self) -> int:
        """The bytes that are stored, and those promised to running transfers."""
        calls = self._calls.values()
        stored = sum(item.size for call in calls for item in call.items.values())
        return stored + sum(promise.size for call in calls for promise in call.promises)

    async def serve(self, channel: RTCDataChannel, session: EchoSession) -> None:
        """Receive what the caller offers on this channel, or send what it requests."""
        if not is_transfer_channel(channel):
            return
        call = self._calls.setdefault(session.id, _Call(self._folder / session.id))
        try:
            await wait_until_open(channel)
            messages = aiter(channel)
            first = await first_message(messages)  # a channel without one takes no turn
            session.touch()
            async with call.turns, self._turns:
                await self._transfer(_Request(channel, messages, first, session), call)
        except TransferError as error:
            logger.info("echo: a transfer ended: %s", error.reason)
        except TimeoutError:
            logger.info("echo: a transfer was ended after %g seconds without a message", STALL_TIMEOUT)
        except OSError as error:
            logger.warning("echo: files of callers cannot be stored in %s: %s", self._folder, error)
        finally:
            close_channel(channel)

    async def _transfer(self, request: _Request, call: _Call) -> None:
        call.offers += 1
        promise = _Promise(call.folder / str(call.offers))
        promise.folder.mkdir(mode=0o700, parents=True)
        call.promises.append(promise)
        try:
            await self._answer(request, promise, call)
        finally:
            if promise in call.promises:
                call.promises.remove(promise)
            replaced, call.replaced = call.replaced, []
            await asyncio.to_thread(_remove, replaced, None if call.holds(promise.folder) else promise.folder)

    async def _answer(self, request: _Request, promise: _Promise, call: _Call) -> None:
        policy = ReceivePolicy(lambda review: self._decide(review, promise, call), self._max_offer_size, bounds=_BOUNDS)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(STALL_TIMEOUT) as limit:

            def progress(done: int, total: int | None) -> None:
                request.session.touch()
                limit.reschedule(loop.time() + STALL_TIMEOUT)

            done = await answer_message(
                request.channel,
                request.messages,
                request.first,
                promise.folder,
                policy,
                choose=call.choose,
                progress=progress,
                completed=lambda received: self._put(received, promise, call),
            )
        if isinstance(done, SentFiles):
            logger.info("echo: sent %d files", len(done.paths))

    def _put(self, received: ReceivedFiles, promise: _Promise, call: _Call) -> None:
        """Put on the shelf what an offer has stored; it replaces what has the same name."""
        call.promises.remove(promise)
        for path in received.paths:
            files = [file for file in received.files if path == file.path or path in file.path.parents]
            old = call.items.get(path.name)
            if old is not None:
                call.replaced.append(old.path)
            call.items[path.name] = _Item(path, sum(file.size for file in files), promise.names[path.name])
        logger.info("echo: received %d files, %d bytes", len(received.files), sum(f.size for f in received.files))
        if self._when_received is not None:
            self._when_received(received)

    def _decide(self, review: Review, promise: _Promise, call: _Call) -> bool | str:
        """Promise an offer its room, or return why there is none."""
        names = {place[0] for place in review.places}
        kept = sum(item.entries for name, item in call.items.items() if name not in names)
        folders = {place[:depth] for place in review.places for depth in range(1, len(place))}
        places = folders.union(review.places)
        entries, size = len(places), review.size or 0
        running = sum(other.names.total() for each in self._calls.values() for other in each.promises)
        if kept + sum(other.names.total() for other in call.promises) + entries > MAX_FILES:
            return f"the echo peer keeps at most {MAX_FILES} files and folders of a call"
        if self.size + size > self._max_size or running + entries > MAX_OPEN_FILES:
            return "the echo peer has no room for it at the moment"
        promise.size, promise.names = size, Counter(place[0] for place in places)
        return True

    def session_ended(self, session_id: str) -> None:
        """Remove the files of a call."""
        call = self._calls.pop(session_id, None)
        if call is not None:
            shutil.rmtree(call.folder, ignore_errors=True)


def _remove(replaced: Sequence[Path], folder: Path | None) -> None:
    """Remove files and folders that were replaced, and the folder of an offer that has stored nothing."""
    for path in replaced:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # the offer has stored more than this
            path.parent.rmdir()
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
