"""`datachan trace`: runs a program that captures its own packets, and prints or counts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final, TextIO

from datachan.decode import BadCapture, CaptureReader
from datachan.decode.capture import looks_like_capture
from datachan.tools.decoding import DecodeOptions, Printer, ToolError
from datachan.trace import VARIABLE

_CHUNK: Final = 1 << 16
_STOP_TIMEOUT: Final = 5.0
_PAUSE: Final = 0.05  # seconds between two reads of the captures


def trace(target: str, command: Sequence[str], options: DecodeOptions, output: TextIO, remarks: TextIO) -> int:
    """Run a command whose connections are captured, and return its exit status.

    Args:
        target: A file that is replaced, a folder, or "-" to print the packets as they are captured.
        command: The program and its arguments. A Python file is run with this Python.
        options: How packets are printed.
        output: Where packets are printed.
        remarks: Where the number of captured packets is printed.

    Raises:
        ToolError: The command cannot be run, or the target cannot be written.
    """
    if target == "-":
        with tempfile.TemporaryDirectory(prefix="datachan-") as folder:
            return _run_and_show(folder, command, Printer(output, options))
    path = Path(target)
    in_folder = path.is_dir() or target.endswith(os.sep)
    if not in_folder:
        _make_room(path)
    before = set(_captures(path, in_folder))
    with _running(command, target) as process:
        status = process.wait()
    written = [one for one in _captures(path, in_folder) if not in_folder or one not in before]
    _remark(written, command, remarks)
    return _exit_status(status)


def _make_room(path: Path) -> None:
    """Remove the capture of an earlier run; raise ToolError for any other file, which stays."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
        if head and not looks_like_capture(head):
            raise ToolError(f"{path} exists and is not a capture; nothing was run")
        path.unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ToolError(f"{path} cannot be written: {error.strerror}") from None
    if not path.parent.is_dir():
        raise ToolError(f"{path} cannot be written: there is no folder {path.parent}")


def _captures(path: Path, in_folder: bool) -> list[Path]:
    if in_folder:
        return sorted(path.glob("*.pcapng")) if path.is_dir() else []
    # If the command runs several programs at the same time, each writes its own file beside `path`.
    return sorted(
        one for one in path.parent.glob(f"{path.stem}*{path.suffix}") if one.is_file() and _belongs(one, path)
    )


def _belongs(one: Path, path: Path) -> bool:
    rest = one.stem.removeprefix(path.stem)
    return one == path or (rest.startswith("-") and rest[1:].isdigit())


@contextmanager
def _running(command: Sequence[str], target: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command as a process. Ctrl+C reaches only the process, and SIGTERM to this program ends the process."""
    words = list(command)
    if words[0].endswith(".py"):
        words = [sys.executable, *words]
    elif words[0] == "datachan":
        words = [sys.executable, "-m", "datachan", *words[1:]]
    environment = os.environ | {VARIABLE: os.path.abspath(target) + (os.sep if target.endswith(os.sep) else "")}
    try:
        process = subprocess.Popen(words, env=environment)
    except OSError as error:
        raise ToolError(f"{command[0]} cannot be run: {error.strerror}") from None
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    terminate = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        with process:
            yield process
    finally:
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTERM, terminate)


def _run_and_show(folder: str, command: Sequence[str], printer: Printer) -> int:
    followers: dict[Path, tuple[BinaryIO, CaptureReader]] = {}
    with ExitStack() as files, _running(command, folder + os.sep) as process:
        running = True
        while running:
            running = process.poll() is None
            for path in Path(folder).iterdir():
                if path not in followers:
                    followers[path] = files.enter_context(path.open("rb")), CaptureReader()
            try:
                busy = _show_new(followers, printer)
            except BrokenPipeError:
                _stop(process)
                raise
            if not busy and running:
                time.sleep(_PAUSE)
    return _exit_status(process.returncode)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the process: the reader of its packets has ended."""
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()


def _show_new(followers: dict[Path, tuple[BinaryIO, CaptureReader]], printer: Printer) -> bool:
    """Print the packets captured since the last call; return whether there were any."""
    busy = False
    for file, reader in followers.values():
        while piece := file.read(_CHUNK):
            busy = True
            for frame in reader.feed(piece):
                printer.print_frame(frame)
    printer.flush()
    return busy


def _remark(written: list[Path], command: Sequence[str], remarks: TextIO) -> None:
    if not written:
        remarks.write(f"datachan: nothing was captured: {command[0]} opened no connection with datachan\n")
    remarks.writelines(
        [
            f"datachan: {_count(one)} packets in {one}; Wireshark opens it, or: datachan decode {one}\n"
            for one in written
        ]
    )


def _count(path: Path) -> int:
    reader, count = CaptureReader(), 0
    with path.open("rb") as file:
        try:
            while piece := file.read(_CHUNK):
                count += sum(1 for _ in reader.feed(piece))
        except BadCapture:
            pass
    return count


def _exit_status(returncode: int) -> int:
    """Return the exit status as a shell does: 128 plus the number for a signal."""
    return returncode if returncode >= 0 else 128 - returncode
