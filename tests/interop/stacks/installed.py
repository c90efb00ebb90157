"""The other stacks that the tests drive: how to start each, which version it is, and what it does not do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]
PEERS: Final = ROOT / "tests" / "stacks" / "peers"
NODE_MODULES: Final = Path(__file__).parent / "node_modules"
PION: Final = ROOT / "build" / "stacks" / "pion_peer"
# Debian's python3-gi is for the system's Python only.
_SYSTEM_PYTHON: Final = "/usr/bin/python3"
INSTALL: Final = "make peers"
KIB: Final = 1024
ROLES: Final = ("datachan offers", "datachan answers")


class Missing(Exception):
    """The stack is not installed; the text says how to install it."""


@dataclass(frozen=True)
class Stack:
    """Another WebRTC stack.

    Attributes:
        name: its name in the table.
        command: returns the peer program's command line without its options, or raises `Missing`.
        version: returns the installed version.
        largest: bytes of the longest message it can send and receive.
        lacks: cases, or "case, role", that the stack does not do, with the reason.
        late_candidates: whether our peer learns this stack's candidates only after the stack has applied our answer.
    """

    name: str
    command: Callable[[], list[str]]
    version: Callable[[], str]
    largest: int
    lacks: Mapping[str, str] = field(default_factory=dict)
    late_candidates: bool = False

    def lack(self, case: str, role: str) -> str | None:
        """Return the reason why the stack does not do a case in a role of datachan's, or None."""
        return self.lacks.get(case) or self.lacks.get(f"{case}, {role}")


def _node_command(package: str) -> Callable[[], list[str]]:
    def command() -> list[str]:
        node = shutil.which("node")
        if node is None or not (NODE_MODULES / package).is_dir():
            raise Missing(f"{package} is not installed: apt install nodejs npm, then {INSTALL}")
        return [node, str(PEERS / "node_commands.js"), package]

    return command


def _node_version(package: str) -> Callable[[], str]:
    return lambda: str(json.loads((NODE_MODULES / package / "package.json").read_text())["version"])


def _python_command(distribution: str) -> Callable[[], list[str]]:
    def command() -> list[str]:
        try:
            version(distribution)
        except PackageNotFoundError as error:
            raise Missing(f"{distribution} is not installed: {INSTALL}") from error
        return [sys.executable, "-P", "-m", "tests.stacks.peers.python_commands", distribution]

    return command


def _pion_command() -> list[str]:
    if not PION.exists():
        raise Missing(f"apt install golang-go golang-github-pion-webrtc.v3-dev, then {INSTALL}")
    return [str(PION)]


def _debian_version(package: str) -> Callable[[], str]:
    def installed() -> str:
        command = ["dpkg-query", "-W", "-f", "${Version}", package]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return done.stdout.partition("-")[0]

    return installed


@cache
def _gstreamer_imports() -> bool:
    program = "import gi; gi.require_version('GstWebRTC', '1.0'); from gi.repository import GstWebRTC"
    command = [_SYSTEM_PYTHON, "-c", program]
    return Path(_SYSTEM_PYTHON).exists() and not subprocess.run(command, capture_output=True, check=False).returncode


def _gstreamer_command() -> list[str]:
    if not _gstreamer_imports():
        raise Missing(
            "apt install python3-gi gir1.2-gst-plugins-bad-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-bad "
            "gstreamer1.0-nice"
        )
    return [_SYSTEM_PYTHON, str(PEERS / "gstreamer_commands.py")]


STACKS: Final = (
    Stack(
        "node-datachannel",
        _node_command("node-datachannel"),
        _node_version("node-datachannel"),
        256 * KIB,
        {"ICE restart": "libdatachannel has no ICE restart."},
        # It gives the answer to its ICE transport before it stores the fingerprint of the answer. If a path is found at
        # once, the DTLS handshake of its other threads can come first and fails: 1 of 60 times on a busy machine.
        late_candidates=True,
    ),
    Stack("@roamhq/wrtc", _node_command("@roamhq/wrtc"), _node_version("@roamhq/wrtc"), 256 * KIB),
    Stack(
        "werift",
        _node_command("werift"),
        _node_version("werift"),
        64 * KIB,
        {
            "empty": "It sends no packet for an empty message.",
            "connection closed by the peer": "It closes its socket without a message to the peer.",
            "opens with any one packet of the handshake lost, datachan offers": "Its DTLS client retransmits records "
            "with their first sequence numbers, which OpenSSL discards as replayed.",
        },
    ),
    Stack("wrtc", _python_command("wrtc"), lambda: version("wrtc"), 256 * KIB),
    Stack(
        "aiortc",
        _python_command("aiortc"),
        lambda: version("aiortc"),
        64 * KIB,
        {"ICE restart": "It has no ICE restart."},
    ),
    # Its receive buffer is one byte too short for the size it announces.
    Stack("pion", _pion_command, _debian_version("golang-github-pion-webrtc.v3-dev"), 64 * KIB - 1),
    Stack(
        "webrtcbin",
        _gstreamer_command,
        _debian_version("gstreamer1.0-plugins-bad"),
        64 * KIB,
        {
            "ICE restart": "It has no ICE restart.",
            "empty": "It discards empty messages.",
            "connection closed by datachan": "It does not report the end of the association to its channels.",
            "connection closed by the peer": "It stops without a message to the peer.",
        },
    ),
)


def environment() -> dict[str, str]:
    """Return the environment of a peer program."""
    return {**os.environ, "NODE_PATH": str(NODE_MODULES), "PYTHONPATH": str(ROOT)}
