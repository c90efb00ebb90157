"""Reads and hashes the pieces of an offer for all its receivers, from one read of the disk; knows no message.

Receivers that are close to each other share what was read. One that is far behind reads again, so it does not hold the
others, and the memory stays bounded.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from datachan.transfer.digests import Hash, available_hashes
from datachan.transfer.manifest import count_pieces
from datachan.transfer.sending import PIECE, CheckPrefix, ReadPiece
from datachan.transfer.sources import Gathered, SourceChanged, prefix_pieces, read_piece

CACHE_BYTES: Final = 16 * 1024 * 1024
"""Bytes that are kept for receivers that are a little behind; nothing is kept for a single receiver."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The bytes of a piece and their digest."""

    data: bytes
    digest: bytes


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a piece cannot be read: `changed` or `unreadable`, and a sentence."""

    code: str
    reason: str


_Key: TypeAlias = tuple[int, int, str]


class OutgoingOffer:
    """What is offered: entries, their sources, and the pieces that were read lately.

    Args:
        gathered: The entries with their sources.
        receivers: How many receivers may be served at the same time; pieces are kept if there are several.
        piece: Bytes of a piece.
    """

    def __init__(self, gathered: Gathered, *, receivers: int = 1, piece: int = PIECE) -> None:
        self.id = secrets.token_urlsafe(16)
        self.entries = tuple(gathered.entries)
        self.piece = piece
        self.pieces = count_pieces(self.entries, piece)
        self.disk_bytes = 0
        self._sources = tuple(gathered.sources)
        self._capacity = CACHE_BYTES if receivers > 1 else 0
        self._kept: OrderedDict[_Key, Piece] = OrderedDict()
        self._kept_bytes = 0
        self._reading: dict[_Key, asyncio.Future[Piece | Unreadable]] = {}

    async def read(self, works: Sequence[ReadPiece], hash_name: str) -> list[Piece | Unreadable]:
        """Return the pieces, from memory, from a read that is under way, or from the disk."""
        loop = asyncio.get_running_loop()
        results: list[asyncio.Future[Piece | Unreadable]] = []
        missing: list[ReadPiece] = []
        for work in works:
            key = (work.file, work.offset, hash_name)
            future = self._reading.get(key)
            if future is None:
                future = loop.create_future()
                kept = self._kept.get(key)
                if kept is not None:
                    future.set_result(kept)
                else:
                    self._reading[key] = future
                    missing.append(work)
            results.append(future)
        if missing:
            read = loop.run_in_executor(None, partial(self._read, missing, available_hashes()[hash_name]))
            read.add_done_callback(partial(self._keep, missing, hash_name))
        return [await asyncio.shield(future) for future in results]

    def _read(self, works: Sequence[ReadPiece], hash_function: Hash) -> list[Piece | Unreadable]:
        return [self._read_one(work, hash_function) for work in works]

    def _read_one(self, work: ReadPiece, hash_function: Hash) -> Piece | Unreadable:
        entry, source = self.entries[work.file], self._sources[work.file]
        try:
            data = read_piece(entry, source, work.offset, work.length)
        except SourceChanged:
            return Unreadable("changed", "the file has changed since it was offered")
        except OSError as error:
            return Unreadable("unreadable", f"the file cannot be read: {(error.strerror or str(error)).lower()}")
        self.disk_bytes += len(data)
        return Piece(data, hash_function(data))

    def _keep(self, works: Sequence[ReadPiece], hash_name: str, read: asyncio.Future[list[Piece | Unreadable]]) -> None:
        error = None if read.cancelled() else read.exception()
        results = [] if read.cancelled() or error is not None else read.result()
        for number, work in enumerate(works):
            key = (work.file, work.offset, hash_name)
            future = self._reading.pop(key)
            result = results[number] if results else Unreadable("unreadable", f"the file cannot be read: {error}")
            if not future.done():
                future.set_result(result)
            if isinstance(result, Piece) and self._capacity:
                self._kept[key] = result
                self._kept_bytes += len(result.data)
        while self._kept_bytes > self._capacity:
            self._kept_bytes -= len(self._kept.popitem(last=False)[1].data)

    async def hash_prefix(self, work: CheckPrefix, hash_name: str) -> list[bytes] | Unreadable:
        """Return the digests of the pieces of the beginning of a file."""
        entry, source = self.entries[work.file], self._sources[work.file]
        function = available_hashes()[hash_name]
        try:
            return await asyncio.to_thread(
                lambda: list(prefix_pieces(entry, source, work.offset, self.piece, function))
            )
        except SourceChanged:
            return Unreadable("changed", "the file has changed since it was offered")
        except OSError as error:
            return Unreadable("unreadable", f"the file cannot be read: {(error.strerror or str(error)).lower()}")
