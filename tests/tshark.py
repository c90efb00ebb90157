"""Check captures with Wireshark's dissectors, through tshark."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.missing import missing

GOOD = "1"
ERROR = 0x00800000

_CHECKS = ("sctp.checksum:CRC 32c", "udp.check_checksum:TRUE", "ip.check_checksum:TRUE")


def fields(path: Path, names: Sequence[str], *, occurrence: str = "a") -> list[list[str]]:
    """Return the values of these fields for each packet of a capture; several values are joined by commas."""
    tshark = shutil.which("tshark")
    if tshark is None:
        missing("tshark is not installed (apt install tshark)")
    command = [tshark, "-r", str(path), "-T", "fields", "-E", "separator=|", "-E", f"occurrence={occurrence}"]
    command += [part for check in _CHECKS for part in ("-o", check)]
    command += [part for name in names for part in ("-e", name)]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100).stdout
    return [line.split("|") for line in output.splitlines()]


def assert_flawless(path: Path) -> Counter[str]:
    """Assert that every packet is well-formed SCTP in UDP with good checksums; return the number of chunks by type."""
    names = ["sctp.checksum.status", "udp.checksum.status", "ip.checksum.status", "_ws.malformed"]
    names += ["_ws.expert.severity", "_ws.expert.message", "sctp.chunk_type"]
    rows = fields(path, names)
    assert rows
    types: Counter[str] = Counter()
    for number, (sctp, udp, ip, malformed, severities, messages, chunk_types) in enumerate(rows, 1):
        assert (sctp, udp, malformed) == (GOOD, GOOD, ""), f"packet {number}: {messages}"
        assert ip in {GOOD, ""}, f"packet {number}"  # IPv6 has none
        assert all(int(one, 0) < ERROR for one in severities.split(",") if one), f"packet {number}: {messages}"
        types.update(chunk_types.split(","))
    return types
