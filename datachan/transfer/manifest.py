"""Knows how a manifest is cut into messages and put together again within its bounds; knows no state of a transfer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from datachan.transfer.errors import TransferMisuse
from datachan.transfer.messages import (
    MAX_ENTRIES,
    MAX_ENTRIES_PER_MESSAGE,
    MAX_MANIFEST_BYTES,
    MAX_MESSAGE_BYTES,
    BadMessage,
    Entries,
    Entry,
    Kind,
    Offer,
    serialize_message,
)

_ENTRY_OVERHEAD: Final = 160
"""Bytes of JSON of an entry besides its path, at most."""


def total_size(entries: Sequence[Entry]) -> int | None:
    """Return the bytes of all entries, or None if one size is not known."""
    total = 0
    for entry in entries:
        if entry.size is None:
            return None
        total += entry.size
    return total


def count_pieces(entries: Iterable[Entry], piece: int) -> int:
    """Return the pieces of all entries: each piece but the last one of a file has `piece` bytes."""
    return sum(-(-(entry.size or 0) // piece) for entry in entries)


def pages(entries: Sequence[Entry]) -> Iterator[str]:
    """Return the `entries` messages of a manifest, each within the bounds.

    Raises:
        TransferMisuse: There are no entries or too many, or their paths are too long in all.
    """
    if not 1 <= len(entries) <= MAX_ENTRIES:
        raise TransferMisuse(f"an offer has 1 to {MAX_ENTRIES} files and folders, not {len(entries)}")
    page: list[Entry] = []
    used = total = 0
    for entry in entries:
        length = 6 * len(entry.path.encode("utf-8", "replace")) + _ENTRY_OVERHEAD  # JSON escapes a byte as six
        total += weight(entry)
        if total > MAX_MANIFEST_BYTES:
            raise TransferMisuse("the names of all files are too long in all: send the folder in parts")
        if page and (used + length > MAX_MESSAGE_BYTES - 100 or len(page) == MAX_ENTRIES_PER_MESSAGE):
            yield serialize_message(Entries(tuple(page)))
            page, used = [], 0
        page.append(entry)
        used += length
    yield serialize_message(Entries(tuple(page)))


def weight(entry: Entry) -> int:
    """Return the bytes that count towards the bound of the manifest."""
    return len(entry.path.encode("utf-8", "surrogatepass")) + 64


class ManifestReader:
    """Collects the entries of one offer.

    Args:
        offer: The offer that came before them.
    """

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self._entries: list[Entry] = []
        self._weight = 0

    def add_untrusted(self, message: Entries) -> None:
        """Add the next entries.

        Raises:
            BadMessage: There are more than announced, or they exceed a bound.
        """
        self._weight += sum(map(weight, message.entries))
        self._entries += message.entries
        if len(self._entries) > self.offer.count or self._weight > MAX_MANIFEST_BYTES:
            raise BadMessage("the offer has more entries than announced or allowed")

    def finish_untrusted(self) -> tuple[Entry, ...]:
        """Return all entries.

        Raises:
            BadMessage: They do not agree with the offer.
        """
        entries = tuple(self._entries)
        if len(entries) != self.offer.count or total_size(entries) != self.offer.size:
            raise BadMessage("the entries of the offer do not agree with its count and size")
        if any(entry.size is None for entry in entries[:-1]):
            raise BadMessage("only the last entry may be of unknown size")
        if len(entries) > 1 and any(entry.kind is Kind.TEXT for entry in entries):
            raise BadMessage("a text is offered alone")
        return entries
