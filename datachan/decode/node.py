"""The result of decoding, a tree of named fields; and the reader that takes fields from bytes."""

from __future__ import annotations

from dataclasses import dataclass

Value = None | bool | int | str | list["Value"] | dict[str, "Value"]


class Truncated(Exception):
    """The bytes end within a field; `str()` describes the position."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field.

    Attributes:
        key: Its name in the RFC, in lower case with underscores.
        value: Its value as in JSON; bytes are hexadecimal.
        text: Its value for people.
    """

    key: str
    value: Value
    text: str


class Node:
    """A packet, chunk, parameter or error cause.

    Attributes:
        kind: The key of the list it belongs to: "packet", "chunks", "parameters", "causes", "dcep".
        name: Its name.
        detail: A remark shown after the name.
        fields: Its fields in wire order.
        children: The nodes inside it.
        problem: The fault in it, one sentence; empty if there is none.
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
        """Add a field; without `text`, people see the value."""
        self.fields.append(Field(key, value, str(value) if text is None else text))

    def get(self, key: str) -> Value:
        """Return the value of a field, or None if there is no such field."""
        return next((field.value for field in self.fields if field.key == key), None)

    def complain(self, problem: str) -> None:
        """Record a problem; only the first one is kept."""
        self.problem = self.problem or problem

    @property
    def sound(self) -> bool:
        """Whether neither the node nor any node inside it has a problem."""
        return not self.problem and all(child.sound for child in self.children)


class Reader:
    """Takes fields from bytes, one after the other.

    Args:
        data: The bytes.
        offset: The position of the first byte in the packet, for messages.
        depth: The number of lists around the bytes.
    """

    __slots__ = ("data", "depth", "offset", "position")

    def __init__(self, data: bytes, offset: int = 0, depth: int = 0) -> None:
        self.data = data
        self.offset = offset
        self.depth = depth
        self.position = 0

    @property
    def left(self) -> int:
        """The number of bytes left."""
        return len(self.data) - self.position

    def take(self, count: int) -> bytes:
        """Return the next bytes.

        Raises:
            Truncated: Fewer bytes are left.
        """
        if count > self.left:
            at = self.offset + self.position
            raise Truncated(f"a field of {count} bytes at byte {at} has {self.left} of them left")
        self.position += count
        return self.data[self.position - count : self.position]

    def number(self, size: int) -> int:
        """Return the next bytes as a number in network byte order."""
        return int.from_bytes(self.take(size), "big")

    def u8(self) -> int:
        """Return one byte as a number."""
        return self.number(1)

    def u16(self) -> int:
        """Return two bytes as a number."""
        return self.number(2)

    def u32(self) -> int:
        """Return four bytes as a number."""
        return self.number(4)

    def rest(self) -> bytes:
        """Return all bytes left."""
        return self.take(self.left)


def shown_bytes(data: bytes, longest: int = 32) -> str:
    """Return the number of bytes, and the first bytes."""
    if not data:
        return "none"
    shown = data[:longest].hex() + ("…" if len(data) > longest else "")
    return f"{len(data)} byte{'s' if len(data) > 1 else ''}  {shown}"


def quoted(text: str, longest: int = 64) -> str:
    """Return untrusted text in quotation marks, without anything that controls a terminal."""
    shown = "".join([_escaped(character) for character in text[:longest]])
    return f'"{shown}"' + ("…" if len(text) > longest else "")


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
