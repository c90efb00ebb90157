"""Shows a transfer to a person (lines and a progress line) or to a program (JSON); knows no connection."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
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
_LONGEST_BAR: Final = 30
_SHORTEST_BAR: Final = 10
_BEHIND_LINE: Final = 3
"""Columns that the progress line leaves free, so that a terminal shows ^C behind it and does not break the line."""


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
        before: Bytes that were done before this connection.
    """

    label: str
    done: int
    total: int | None
    note: str = ""
    before: int = 0

    @property
    def percent(self) -> int | None:
        """How much of it is done; None if the size is not known."""
        if self.total is None:
            return None
        return 100 if self.total == 0 else min(100, 100 * self.done // self.total)


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

    def parts(self, left: int | None, now: float) -> list[str]:
        """Return the rate and the time left; nothing that is only guessed."""
        if self._rate is None:
            return []
        if now - self._moved_at > _STALLED:
            return ["waiting"]
        rate = f"{format_size(self._rate)}/s"
        if left is None or self._rate < 1 or left / self._rate > _LONGEST_SHOWN:
            return [rate]
        return [rate, f"{format_duration(left / self._rate)} left"]


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
        self._bold = self.interactive and os.environ.get("TERM", "dumb") != "dumb" and "NO_COLOR" not in os.environ
        self.as_json = as_json
        self._errors = errors
        self._output = output
        self._quiet = quiet or as_json
        self._progress = progress and not quiet
        self._line = ""
        self._question = ""

    def say(self, text: str = "") -> None:
        """Write a sentence for people, broken between words on a narrow terminal."""
        if not self._quiet:
            self._write(self._broken(text))

    def show(self, text: str) -> None:
        """Write lines for people that must not be broken: commands, links, pictures."""
        if not self._quiet:
            self._write(text)

    def emphasized(self, text: str) -> str:
        """Return the text in bold, if people read it on a terminal."""
        return f"\x1b[1m{text}\x1b[0m" if self._bold else text

    def insist(self, text: str) -> None:
        """Write a line for people that is needed even when quiet: the code."""
        if not self.as_json:
            self._write(text)

    def complain(self, text: str, code: str = "error", status: int = ExitStatus.ERROR) -> None:
        """Write an error, in each mode."""
        if self.as_json:
            self.event("error", code=code, message=text, status=int(status))
        else:
            self._write(self._broken(f"datachan: {text}"))

    def event(self, name: str, **fields: Any) -> None:
        """Write a line of JSON for programs, if they are the readers."""
        if self.as_json:
            self._output.write(json.dumps({"event": name, **fields}) + "\n")
            self._output.flush()

    def _broken(self, text: str) -> str:
        if not self.interactive:
            return text
        width = _width(self._errors) - 1
        return "\n".join(
            textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False) for line in text.split("\n")
        )

    def _write(self, text: str) -> None:
        self._clear()
        if self.interactive:
            self._errors.write("\r\x1b[K")  # a question, or the ^C that the terminal shows
        self._errors.write(text + "\n" + self._question)
        self._errors.flush()

    def _clear(self) -> None:
        if self._line:
            self._errors.write("\r\x1b[K")
            self._line = ""

    def _show(self, lines: Callable[[int], str]) -> None:
        if not self._errors.isatty() or self._question:
            return
        line = lines(_width(self._errors) - _BEHIND_LINE)
        self._errors.write("\r\x1b[K" + line)
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
                shown = []
                state = []
                for item in measure():
                    rate = rates.setdefault(item.label, Rate())
                    rate.update(item.done, now)
                    shown.append((item, rate))
                    state.append((item.label, item.done))
                    if self.as_json and self._progress and (item.label, item.done) not in last:
                        self.event("progress", label=item.label, bytes=item.done, total=item.total)
                last = state
                if shown and not self._quiet and self._progress:
                    self._show(lambda width, shown=shown, now=now: _joined(shown, now, width))  # type: ignore[misc]
        finally:
            self._clear()

    async def ask(self, question: str, answers: Sequence[str], default: str) -> str:
        """Ask the person until the answer is one of these, and return it. Enter chooses `default`.

        Capital letters count only if an answer has them. At the end of the input the last of the answers is returned.
        """
        while True:
            self._clear()
            self._question = question
            self._errors.write(question)
            self._errors.flush()
            try:
                line = await _line_of_input()
            finally:
                self._question = ""
            if not line:
                return answers[-1]
            answer = line.strip() or default
            for known in (answer, answer.lower()):
                if known in answers:
                    return known
            self.say(f"Please answer one of: {', '.join(answers)}.")

    async def agrees(self, question: str, *, default: bool) -> bool:
        """Ask a question whose answer is yes or no. The end of the input means no."""
        hint = "[Y/n]" if default else "[y/N]"
        answer = await self.ask(f"{question} {hint} ", ("y", "yes", "n", "no"), "y" if default else "n")
        return answer.startswith("y")


async def _line_of_input() -> str:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sys.stdin.fileno())
    return sys.stdin.readline()


def _joined(shown: Sequence[tuple[Measure, Rate]], now: float, width: int) -> str:
    """Return the progress of all in one line of at most `width` columns."""
    each = (width + 3) // len(shown) - 3
    return "   ".join(progress_line(item, rate, now, each) for item, rate in shown)[:width]


def progress_line(item: Measure, rate: Rate, now: float, width: int) -> str:
    """Return the progress in `width` columns. What does not fit is left out, except for the first two parts."""
    if item.total is None:
        parts = [item.label, format_size(item.done)]
    else:
        parts = [item.label, f"{item.percent:3d} %", f"{format_size(item.done)} of {format_size(item.total)}"]
    left = None if item.total is None else item.total - item.done
    parts += [part for part in (*rate.parts(left, now), item.note) if part]
    while len(parts) > 2 and len("  ".join(parts)) > width:
        parts.pop()
    if item.total is not None:
        parts[2:2] = _bar(item, min(_LONGEST_BAR, width - len("  ".join(parts)) - 4))
    return "  ".join(parts)


def _bar(item: Measure, length: int) -> list[str]:
    if length < _SHORTEST_BAR:
        return []
    filled = length if not item.total else min(length, length * item.done // item.total)
    return ["[" + "#" * filled + "-" * (length - filled) + "]"]


def _width(stream: TextIO) -> int:
    with suppress(OSError, ValueError):
        return os.get_terminal_size(stream.fileno()).columns or 80
    return 80
