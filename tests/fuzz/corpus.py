"""Keep the corpus: inputs that reached new code, or found something. A file per target, a line of hex per input."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

FOLDER = Path(__file__).parent.parent / "data" / "fuzz"
EMPTY = "-"

Step = tuple[str, int, int]
"""A file, and two lines one after the other."""


def load(name: str) -> list[bytes]:
    """Return the inputs of a target; none when it has no file."""
    path = FOLDER / f"{name}.txt"
    lines = path.read_text(encoding="ascii").split() if path.exists() else []
    return [b"" if line == EMPTY else bytes.fromhex(line) for line in lines]


def store(name: str, inputs: Iterable[bytes]) -> int:
    """Replace the inputs of a target, each once, the shortest first; return their number."""
    kept = sorted(set(inputs), key=lambda data: (len(data), data))
    FOLDER.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{data.hex() or EMPTY}\n" for data in kept)
    (FOLDER / f"{name}.txt").write_text(text, encoding="ascii")
    return len(kept)


def unpack(name: str, folder: Path) -> None:
    """Write each input into a file of its own, as libFuzzer needs them."""
    folder.mkdir(parents=True, exist_ok=True)
    for data in load(name):
        (folder / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)


def read_folder(folder: Path) -> list[bytes]:
    """Return the inputs in a folder of libFuzzer."""
    return [path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()]


def needed(target: Callable[[bytes], None], inputs: Iterable[bytes]) -> list[bytes]:
    """Return the inputs that reach code which no earlier one reached, shortest first."""
    kept: list[bytes] = []
    reached: set[Step] = set()
    for data in sorted(set(inputs), key=lambda data: (len(data), data)):
        steps = reach(target, data)
        if not steps <= reached:
            reached |= steps
            kept.append(data)
    return kept


def package_folder() -> str:
    """Return the folder of the package without importing it, because atheris instruments the package on import."""
    spec = importlib.util.find_spec("datachan")
    return str(Path(spec.origin).parent) if spec is not None and spec.origin is not None else ""


def reach(target: Callable[[bytes], None], data: bytes) -> set[Step]:
    """Return the steps of an input through the package."""
    steps: set[Step] = set()
    package = package_folder()

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(package):
            return None
        before = 0

        def move(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal before
            if event == "line":
                steps.add((name, before, frame.f_lineno))
                before = frame.f_lineno
            return move

        return move

    sys.settrace(enter)
    try:
        target(data)
    finally:
        sys.settrace(None)
    return steps
