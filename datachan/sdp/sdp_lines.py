"""SDP split into session part, media sections and attributes (RFC 8866); it does not interpret them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from .errors import SdpError

MAX_SDP_LENGTH: Final = 256 * 1024
MAX_SECTIONS: Final = 256
MAX_ATTRIBUTES: Final = 8192


@dataclass(frozen=True, slots=True)
class Attribute:
    """One ``a=name`` or ``a=name:value`` line; without a value, `value` is empty."""

    name: str
    value: str
    line: int


@dataclass(frozen=True, slots=True)
class MediaText:
    """One ``m=`` section as text.

    Attributes:
        kind: "audio", "video", "application" or anything else.
        port: the port; 0 when the section is rejected or bundle-only.
        protocol: the transport protocol, such as "UDP/DTLS/SCTP".
        formats: the words after the protocol.
        attributes: the a= lines in order.
        line: the number of the m= line.
    """

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    attributes: tuple[Attribute, ...]
    line: int


@dataclass(frozen=True, slots=True)
class SessionText:
    """A whole description as text."""

    origin: str
    attributes: tuple[Attribute, ...]
    media: tuple[MediaText, ...]


def split_untrusted(text: str) -> SessionText:
    """Split a description into its lines and sections.

    Both CR LF and a bare LF end a line. Empty lines, also before the first one, and lines of unused types are skipped.

    Raises:
        SdpError: the text is not SDP, or exceeds the limits above.
    """
    if len(text) > MAX_SDP_LENGTH:
        raise SdpError(f"the description has {len(text)} characters, more than {MAX_SDP_LENGTH}")
    origin = ""
    session: list[Attribute] = []
    current = session
    sections: list[tuple[str, int, list[Attribute]]] = []
    total = 0
    lines = _lines(text)
    if lines[0][1:] != ("v", "0"):
        # RFC 8866, 5.1: the version line is the first, and 0 is the only version.
        raise SdpError("a description must start with v=0", lines[0][0])
    for number, kind, value in lines:
        if kind == "o" and not sections:
            origin = value
        elif kind == "m":
            current = []
            sections.append((value, number, current))
        elif kind == "a":
            total += 1
            name, _, attribute_value = value.partition(":")
            current.append(Attribute(name.strip().lower(), attribute_value.strip(), number))
        if len(sections) > MAX_SECTIONS or total > MAX_ATTRIBUTES:
            raise SdpError("the description has too many sections or attributes", number)
    return SessionText(origin, tuple(session), tuple(_media(*section) for section in sections))


def _lines(text: str) -> list[tuple[int, str, str]]:
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.rstrip("\r")
        if not line.strip():
            continue
        if len(line) < 2 or line[1] != "=" or not line[0].isalpha():
            raise SdpError(f"a line must look like x=value, not {line[:60]!r}", number)
        if "\0" in line:
            raise SdpError("a line contains a NUL character", number)
        found.append((number, line[0], line[2:].rstrip()))
    if not found:
        raise SdpError("the description is empty")
    return found


def _media(value: str, line: int, attributes: list[Attribute]) -> MediaText:
    words = value.split()
    if len(words) < 4:
        raise SdpError("an m= line needs a kind, a port, a protocol and a format", line)
    # RFC 8866, 5.14: m=<media> <port>/<number of ports> <proto> <fmt> ...
    port = words[1].partition("/")[0]
    return MediaText(
        kind=words[0].lower(),
        port=parse_number(port, "the port of an m= line", 0, 65535, line),
        protocol=words[2],
        formats=tuple(words[3:]),
        attributes=tuple(attributes),
        line=line,
    )


def parse_number(word: str, what: str, low: int, high: int, line: int) -> int:
    """Return a decimal number from `low` to `high`; raise `SdpError` with the line for anything else."""
    if not (word.isascii() and word.isdigit() and len(word) <= 20 and low <= int(word) <= high):
        raise SdpError(f"{what} is a number from {low} to {high}, not {word[:30]!r}", line)
    return int(word)
