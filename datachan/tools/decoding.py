"""`datachan decode`: finds packets in arguments, streams and capture files, and prints them."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final, TextIO

from datachan.decode import (
    BadCapture,
    CaptureReader,
    Encapsulated,
    Frame,
    NotHexadecimal,
    Style,
    decode_packet,
    find_sctp,
    parse_packets,
    render,
    render_summary,
    to_json,
)
from datachan.decode.capture import looks_like_capture
from datachan.decode.links import SCTP_OVER_UDP_PORT, knows_link
from datachan.decode.node import Value, quoted
from datachan.decode.rendering import dump

_CHUNK: Final = 1 << 16
_PAUSE: Final = 0.1  # seconds between two reads of a file that is followed
_NANOSECONDS: Final = 1_000_000_000


class ToolError(Exception):
    """The command cannot be carried out; the message is a sentence with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeOptions:
    """How packets are found and printed.

    Attributes:
        udp_ports: UDP ports that carry SCTP, in addition to 9899.
        json: Print one JSON object per packet, each on a line.
        summary: Print one line per packet.
        follow: Wait for more at the end of a capture file.
        colored: Use colors.
    """

    udp_ports: tuple[int, ...] = ()
    json: bool = False
    summary: bool = False
    follow: bool = False
    colored: bool = False


class Printer:
    """Prints packets one after the other.

    Attributes:
        shown: The number of packets printed.
        passed_over: The number of frames without SCTP.
    """

    def __init__(self, output: TextIO, options: DecodeOptions) -> None:
        self._output = output
        self._options = options
        self._style = Style.colored() if options.colored else Style()
        self._first: int | None = None
        self._previous: int | None = None
        self._unknown_links: set[int] = set()
        self._ports = frozenset((SCTP_OVER_UDP_PORT, *options.udp_ports))
        self.shown = 0
        self.passed_over = 0

    def print_packet(self, data: bytes) -> None:
        """Print an SCTP packet that has no frame."""
        node = decode_packet(data)
        if self._options.json:
            self._write(dump(to_json(node)))
        elif self._options.summary:
            self._write(render_summary(node))
        else:
            self._write(("\n" if self.shown else "") + render(node, self._style))
        self.shown += 1

    def print_frame(self, frame: Frame) -> None:
        """Print the SCTP packet in a frame, if there is one."""
        found = find_sctp(frame, self._ports)
        if found is None:
            self.passed_over += 1
            if not knows_link(frame.link_type):
                self._unknown_links.add(frame.link_type)
            return
        node = decode_packet(found.data, original_length=found.original_length)
        if self._options.json:
            self._write(dump({**_frame_json(frame, found), **to_json(node)}))
        elif self._options.summary:
            self._write(f"{frame.number:5}  {self._clock(frame):>10}  {_way(frame, found)}{render_summary(node)}")
        else:
            heading = f"{self._style.heading}{self._heading(frame, found)}{self._style.end}"
            self._write(("\n" if self.shown else "") + heading + "\n" + render(node, self._style))
        self.shown += 1

    def flush(self) -> None:
        """Flush the output, so that everything printed is visible."""
        self._output.flush()

    def hint(self) -> str:
        """Return advice for a capture without any SCTP packet, or "" if there is none to give."""
        if self.shown:
            return ""
        if self._unknown_links:
            return f"frames of link type {', '.join(map(str, sorted(self._unknown_links)))} cannot be decoded"
        if self.passed_over:
            return (
                f"none of {self.passed_over} frames contains SCTP; if SCTP uses a UDP port other than 9899, "
                "pass it with --port"
            )
        return "the capture is empty"

    def _clock(self, frame: Frame) -> str:
        """Return the seconds since the first packet that was printed."""
        if frame.time is None:
            return "-"
        if self._first is None:
            self._first = frame.time
        return f"{(frame.time - self._first) / _NANOSECONDS:.6f}"

    def _heading(self, frame: Frame, found: Encapsulated) -> str:
        parts = [f"Packet {frame.number}"]
        if frame.time is not None:
            since = "" if self._previous is None else f"  +{(frame.time - self._previous) / _NANOSECONDS:.6f} s"
            self._previous = frame.time
            parts.append(f"{_date(frame.time // _NANOSECONDS)}.{frame.time % _NANOSECONDS // 1000:06d}{since}")
        parts.append(_way(frame, found).strip())
        if found.fragment:
            parts.append("first fragment of an IP packet")
        if frame.comment:
            parts.append(quoted(frame.comment))
        return "  ".join([part for part in parts if part])

    def _write(self, text: str) -> None:
        self._output.write(text + "\n")


def decode(words: Sequence[str], options: DecodeOptions, output: TextIO, source: BinaryIO) -> Printer:
    """Print the packets of a capture file or of hexadecimal text; no word or "-" reads them from `source`.

    Raises:
        ToolError: The input is neither, cannot be read, or is damaged. Packets before the damage were printed.
    """
    printer = Printer(output, options)
    if list(words) in ([], ["-"]):
        _decode_stream(source, printer)
    elif len(words) == 1 and (options.follow or _is_file(words[0])):
        _decode_file(Path(words[0]), printer, follow=options.follow)
    else:
        _decode_text(" ".join(words), printer, file_meant=len(words) == 1)
    return printer


def _is_file(word: str) -> bool:
    try:
        return Path(word).exists()
    except (OSError, ValueError):  # hexadecimal may be too long for a name
        return False


def _decode_file(path: Path, printer: Printer, *, follow: bool) -> None:
    while follow and not path.exists():
        time.sleep(_PAUSE)
    try:
        with path.open("rb") as file:
            head = file.peek(4)[:4] if not follow else b""
            if follow or looks_like_capture(head):
                _decode_capture(_chunks(file, follow=follow), printer)
            else:
                _decode_text(_as_text(file.read()), printer, file_meant=False)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ToolError(f"{path} cannot be read: {error.strerror}") from None


def _decode_stream(source: BinaryIO, printer: Printer) -> None:
    head = source.read(4)
    if looks_like_capture(head):
        _decode_capture(_after(head, source), printer)
    else:
        _decode_text(_as_text(head + source.read()), printer, file_meant=False)


def _decode_text(text: str, printer: Printer, *, file_meant: bool) -> None:
    """Print the packets of hexadecimal text or of a hex dump."""
    try:
        packets = parse_packets(text)
    except NotHexadecimal as error:
        shown = quoted(text, 40)
        if file_meant:
            raise ToolError(f"{shown} is neither a file nor hexadecimal: {error}") from None
        raise ToolError(f"this is neither a capture file nor hexadecimal: {error}") from None
    for packet in packets:
        printer.print_packet(packet)


def _decode_capture(pieces: Iterable[bytes], printer: Printer) -> None:
    reader = CaptureReader()
    try:
        for piece in pieces:
            for frame in reader.feed(piece):
                printer.print_frame(frame)
            printer.flush()
    except BadCapture as error:
        raise ToolError(str(error)) from None
    if reader.unfinished:
        raise ToolError(f"the capture ends within a record, after {reader.unfinished} bytes of it")


def _chunks(file: BinaryIO, *, follow: bool) -> Iterator[bytes]:
    while True:
        piece = file.read(_CHUNK)
        if piece:
            yield piece
        elif follow:
            time.sleep(_PAUSE)
        else:
            return


def _after(head: bytes, source: BinaryIO) -> Iterator[bytes]:
    yield head
    # Read only what is available, so that packets of a capture in a pipe are printed as they arrive.
    while piece := source.read1(_CHUNK) if isinstance(source, io.BufferedReader) else source.read(_CHUNK):
        yield piece


def _date(seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError, OSError):  # damaged, or later than the year 9999
        return f"{seconds} s"


def _as_text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _way(frame: Frame, found: Encapsulated) -> str:
    if not found.source:
        return f"{frame.direction:8}  " if frame.direction else ""
    source, destination = found.source, found.destination
    if found.udp_ports is not None:
        source, destination = (
            f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
            for address, port in zip((source, destination), found.udp_ports, strict=True)
        )
    return f"{source} → {destination}  " + (f"{frame.direction:8}  " if frame.direction else "")


def _frame_json(frame: Frame, found: Encapsulated) -> dict[str, Value]:
    known = {
        "direction": frame.direction,
        "interface": frame.interface,
        "comment": frame.comment,
        "source": found.source,
        "destination": found.destination,
    }
    value: dict[str, Value] = {"number": frame.number, "time_ns": frame.time}
    value.update({key: text for key, text in known.items() if text})
    if found.udp_ports is not None:
        value["udp_ports"] = list(found.udp_ports)
    return value
