"""Shows a transfer to a person (lines and a progress line) or to a program (JSON); knows no connection."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, TextIO

from datachan.transfer.messages import EndCode

_REFRESH: Final = 0.2
_SMOOTHING: Final = 0.2
_STALLED: Final = 3.0
"""Seconds without a byte after which the time left is not shown."""

_LONGEST_SHOWN: Final = 99 * 3600


class ExitStatus(IntEnum):
    """The exit statuses of `datachan send` and `datachan receive`."""

    OK = 0
    ERROR = 1
    USAGE = 2
    REFUSED = 3
    WRONG_CODE = 4
    NO_CONNECTION = 5
    DAMAGED = 6
    DISK = 7
    INTERRUPTED = 130


_STATUS: Final = {
    None: ExitStatus.OK,
    EndCode.REFUSED: ExitStatus.REFUSED,
    EndCode.TOO_LARGE: ExitStatus.REFUSED,
    EndCode.BUSY: ExitStatus.REFUSED,
    EndCode.WRONG_CODE: ExitStatus.WRONG_CODE,
    EndCode.DAMAGED: ExitStatus.DAMAGED,
    EndCode.NO_SPACE: ExitStatus.DISK,
    EndCode.DISK: ExitStatus.DISK,
}


def status_of(code: EndCode | None) -> ExitStatus:
    """Return the exit status for the end of a transfer."""
    return _STATUS.get(code, ExitStatus.ERROR)


def format_size(size: float) -> str:
    """Return bytes in decimal units, as disks and links are sold: `1.5 GB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 999.5 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 99.95 else f"{size:.1f} {unit}"
        size /= 1000
    return ""


def format_duration(seconds: float) -> str:
    """Return a time that is left: `8 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


@dataclass(slots=True)
class Measure:
    """How far a transfer is.

    Attributes:
        label: What is shown at the beginning of the line.
        done: Bytes.
        total: Bytes; None if not known.
        note: What is shown at the end of the line, such as `direct`.
    """

    label: str
    done: int
    total: int | None
    note: str = ""


class Rate:
    """The rate of a transfer, smoothed, and the time that is left."""

    def __init__(self) -> None:
        self._rate: float | None = None
        self._done = 0
        self._at: float | None = None
        self._moved_at = 0.0

    def update(self, done: int, now: float) -> None:
        """Take the bytes that are done now, in monotonic seconds."""
        if self._at is None:
            self._at, self._done, self._moved_at = now, done, now
            return
        if now - self._at < _REFRESH / 2:
            return
        current = max(0, done - self._done) / (now - self._at)
        self._rate = current if self._rate is None else self._rate + _SMOOTHING * (current - self._rate)
        if done > self._done:
            self._moved_at = now
        self._at, self._done = now, done

    def text(self, left: int | None, now: float) -> str:
        """Return the rate and the time left; nothing that is only guessed."""
        if self._rate is None:
            return ""
        if now - self._moved_at > _STALLED:
            return "waiting"
        rate = f"{format_size(self._rate)}/s"
        if left is None or self._rate < 1 or left / self._rate > _LONGEST_SHOWN:
            return rate
        return f"{rate}  {format_duration(left / self._rate)} left"


class Screen:
    """Writes lines for people to one stream and JSON for programs to another.

    Args:
        errors: Where lines for people go.
        output: Where JSON goes.
        quiet: Write only errors.
        as_json: Write JSON instead of lines.
        progress: Show a progress line, if `errors` is a terminal.
    """

    def __init__(
        self,
        errors: TextIO = sys.stderr,
        output: TextIO = sys.stdout,
        *,
        quiet: bool = False,
        as_json: bool = False,
        progress: bool = True,
    ) -> None:
        self.interactive = errors.isatty() and not as_json
        self.as_json = as_json
        self._errors = errors
        self._output = output
        self._quiet = quiet or as_json
        self._progress = progress and not quiet
        self._line = ""

    def say(self, text: str = "") -> None:
        """Write a line for people."""
        if not self._quiet:
            self._write(text)

    def insist(self, text: str) -> None:
        """Write a line for people that is needed even when quiet: the code."""
        if not self.as_json:
            self._write(text)

    def complain(self, text: str, code: str = "error", status: int = ExitStatus.ERROR) -> None:
        """Write an error, in each mode."""
        if self.as_json:
            self.event("error", code=code, message=text, status=int(status))
        else:
            self._write(f"datachan: {text}")

    def event(self, name: str, **fields: Any) -> None:
        """Write a line of JSON for programs, if they are the readers."""
        if self.as_json:
            self._output.write(json.dumps({"event": name, **fields}) + "\n")
            self._output.flush()

    def _write(self, text: str) -> None:
        self._clear()
        self._errors.write(text + "\n")
        self._errors.flush()

    def _clear(self) -> None:
        if self._line:
            self._errors.write("\r\x1b[K")
            self._line = ""

    def _show(self, line: str) -> None:
        if not self._errors.isatty():
            return
        width = _width(self._errors)
        self._errors.write("\r\x1b[K" + line[: width - 1])
        self._errors.flush()
        self._line = line

    async def follow(self, measure: Callable[[], list[Measure]]) -> None:
        """Show the progress until this task is canceled."""
        rates: dict[str, Rate] = {}
        last: list[tuple[str, int]] = []
        try:
            while True:
                await asyncio.sleep(_REFRESH)
                now = time.monotonic()
                lines = []
                state = []
                for item in measure():
                    rate = rates.setdefault(item.label, Rate())
                    rate.update(item.done, now)
                    lines.append(_line(item, rate, now))
                    state.append((item.label, item.done))
                    if self.as_json and self._progress and (item.label, item.done) not in last:
                        self.event("progress", label=item.label, bytes=item.done, total=item.total)
                last = state
                if lines and not self._quiet and self._progress:
                    self._show("   ".join(lines))
        finally:
            self._clear()

    async def ask(self, question: str) -> str:
        """Ask the person and return the answer without spaces around it; empty at the end of the input."""
        self._clear()
        self._errors.write(question)
        self._errors.flush()
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(sys.stdin.fileno(), ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(sys.stdin.fileno())
        return sys.stdin.readline().strip()


def _line(item: Measure, rate: Rate, now: float) -> str:
    parts = [item.label]
    if item.total is None:
        parts.append(format_size(item.done))
    else:
        percent = 100 if item.total == 0 else min(100, 100 * item.done // item.total)
        parts.append(f"{percent:3d} %")
        parts.append(f"{format_size(item.done)} of {format_size(item.total)}")
    left = None if item.total is None else item.total - item.done
    parts.append(rate.text(left, now))
    parts.append(item.note)
    return "  ".join(part for part in parts if part)


def _width(stream: TextIO) -> int:
    with suppress(OSError, ValueError):
        return os.get_terminal_size(stream.fileno()).columns
    return 80
