"""What a decoder found: a tree of named fields; and the reader that takes them from bytes until these end."""

from __future__ import annotations

from dataclasses import dataclass

Value = None | bool | int | str | list["Value"] | dict[str, "Value"]


class Ended(Exception):
    """The bytes end before a field does; `str()` says where."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field.

    Attributes:
        key: its name as in the RFC, in lower case with underscores.
        value: as in JSON; bytes are hexadecimal.
        text: the value for people.
    """

    key: str
    value: Value
    text: str


class Node:
    """A packet, chunk, parameter or error cause.

    Attributes:
        kind: the key of the list it stands in: "packet", "chunks", "parameters", "causes", "dcep".
        name: what it is called.
        detail: shown behind the name, for people.
        fields: its fields in the order of the wire.
        children: the nodes inside.
        problem: what is wrong with it, one sentence; empty when all is well.
    """

    __slots__ = ("children", "detail", "fields", "kind", "name", "problem")

    def __init__(self, kind: str, name: str, detail: str = "") -> None:
        self.kind = kind
        self.name = name
        self.detail = detail
        self.fields: list[Field] = []
        self.children: list[Node] = []
        self.problem = ""

    def add(self, key: str, value: Value, text: str | None = None) -> None:
        """Add a field; without a text, people see the value."""
        self.fields.append(Field(key, value, str(value) if text is None else text))

    def get(self, key: str) -> Value:
        """The value of a field, None when there is none."""
        return next((field.value for field in self.fields if field.key == key), None)

    def complain(self, problem: str) -> None:
        """Say what is wrong; the first problem is the one that is told."""
        self.problem = self.problem or problem

    @property
    def sound(self) -> bool:
        """Whether neither it nor anything inside has a problem."""
        return not self.problem and all(child.sound for child in self.children)


class Reader:
    """Takes fields from bytes, one after the other.

    Args:
        data: the bytes.
        offset: where the first of them stands in the packet, for sentences.
        depth: in how many lists they stand.
    """

    __slots__ = ("data", "depth", "offset", "position")

    def __init__(self, data: bytes, offset: int = 0, depth: int = 0) -> None:
        self.data = data
        self.offset = offset
        self.depth = depth
        self.position = 0

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return len(self.data) - self.position

    def take(self, count: int) -> bytes:
        """The next bytes.

        Raises:
            Ended: there are fewer.
        """
        if count > self.left:
            at = self.offset + self.position
            raise Ended(f"a field of {count} bytes at byte {at} has {self.left} of them left")
        self.position += count
        return self.data[self.position - count : self.position]

    def number(self, size: int) -> int:
        """The next bytes as a number, in network order."""
        return int.from_bytes(self.take(size), "big")

    def u8(self) -> int:
        """One byte."""
        return self.number(1)

    def u16(self) -> int:
        """Two bytes."""
        return self.number(2)

    def u32(self) -> int:
        """Four bytes."""
        return self.number(4)

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.left)


def shown_bytes(data: bytes, longest: int = 32) -> str:
    """How many bytes, and the first of them."""
    if not data:
        return "none"
    shown = data[:longest].hex() + ("…" if len(data) > longest else "")
    return f"{len(data)} byte{'s' if len(data) > 1 else ''}  {shown}"


def quoted(text: str, longest: int = 64) -> str:
    """Text from a stranger in quotation marks, without anything a terminal would obey."""
    shown = "".join([_escaped(character) for character in text[:longest]])
    return f'"{shown}"' + ("…" if len(text) > longest else "")


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
