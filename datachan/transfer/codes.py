"""Knows codes such as `7-marble-kitten`: how they are made, read and completed; knows nothing of proofs or servers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Final

from datachan.transfer.errors import TransferError

MAX_SLOT: Final = 9999

PREFIX_LENGTH: Final = 4
"""Letters that identify a word: no two words of the list begin with the same four."""

BITS_PER_WORD: Final = 11
_MAX_LENGTH: Final = 100


class BadCode(TransferError):
    """A text is not a code; the message says what a code looks like."""


@dataclass(frozen=True, slots=True)
class Code:
    """A slot of the signaling server and two words.

    Attributes:
        slot: A number from 1 to `MAX_SLOT`. The signaling server learns it.
        words: Two words of the list. Only the two people know them.
    """

    slot: int
    words: tuple[str, str]

    def __str__(self) -> str:
        """Return the normalized code, which both sides prove to know."""
        return "-".join((str(self.slot), *self.words))


def room_of(slot: int) -> str:
    """Return the name of the room in which the sender with this slot waits."""
    return f"send-{slot}"


@lru_cache(maxsize=1)
def word_list() -> tuple[str, ...]:
    """Return the 2048 words, in the order of their numbers."""
    text = files("datachan.transfer").joinpath("words.txt").read_text(encoding="ascii")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


@lru_cache(maxsize=1)
def _by_prefix() -> dict[str, str]:
    return {word[:PREFIX_LENGTH]: word for word in word_list()}


def make_code(slot: int, entropy: Callable[[int], bytes]) -> Code:
    """Return a code with two words chosen at random.

    Args:
        slot: A free slot.
        entropy: Returns the requested number of random bytes.
    """
    first, second = words_of(entropy(3), 2)
    return Code(slot, (first, second))


def words_of(data: bytes, count: int) -> list[str]:
    """Return `count` words for the first `count` times 11 bits of `data`."""
    number = int.from_bytes(data, "big") >> (8 * len(data) - count * BITS_PER_WORD)
    indexes = [number >> BITS_PER_WORD * place & (1 << BITS_PER_WORD) - 1 for place in reversed(range(count))]
    return [word_list()[index] for index in indexes]


def parse_code(text: str) -> Code:
    """Read a code as a person types it: any case, spaces or hyphens, words cut after four letters or more.

    Raises:
        BadCode: The text is not a code. The message names the part that is wrong.
    """
    parts = text[:_MAX_LENGTH].lower().replace("-", " ").split()
    if len(parts) != 3 or len(text) > _MAX_LENGTH:
        raise BadCode("a code is a number and two words, such as 7-marble-kitten")
    number, first, second = parts
    if not (number.isascii() and number.isdigit()) or not 1 <= int(number) <= MAX_SLOT:
        raise BadCode(f"a code begins with a number from 1 to {MAX_SLOT}")
    return Code(int(number), (_word(first), _word(second)))


def _word(text: str) -> str:
    word = _by_prefix().get(text[:PREFIX_LENGTH])
    if word is None or not word.startswith(text):
        shown = text if text.isascii() and text.isalpha() and len(text) <= 20 else "this"
        raise BadCode(f"no code has the word {shown!r}: listen again, or press Tab to complete the word")
    return word


def complete(text: str) -> list[str]:
    """Return the codes, as far as their words are complete, that begin with `text`; for the Tab key."""
    head, hyphen, last = text.lower().rpartition("-")
    number, _, first = head.partition("-")
    if not hyphen or not number.isdigit() or "-" in first:
        return []
    end = "" if first else "-"
    return [f"{head}-{word}{end}" for word in word_list() if word.startswith(last)]
