"""The emulator as a process of its own, held by a test or a benchmark."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.links.model import Link

ROOT = Path(__file__).parents[2]
Address = tuple[str, int]


class Emulator:
    """A running link.

    Args:
        link: the properties of the link.
        host: an address of this machine, on which both ports are opened.
        seed: the seed of the random losses.

    Attributes:
        facing_a: the port that peer A sees in place of Z.
        facing_z: the port that peer Z sees in place of A.
    """

    def __init__(self, link: Link, host: str = "127.0.0.1", seed: int = 0) -> None:
        options = json.dumps({**asdict(link), "host": host, "seed": seed})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.links.emulator", options],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        addresses = self._read()
        self.facing_a: Address = (addresses[0][0], addresses[0][1])
        self.facing_z: Address = (addresses[1][0], addresses[1][1])

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the emulator ended with exit code {self._process.wait()}")
        return json.loads(line)

    def report(self) -> dict[str, Any]:
        """Return the account so far; see `Relay.report`."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"report\n")
        self._process.stdin.flush()
        report: dict[str, Any] = self._read()
        return report

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
