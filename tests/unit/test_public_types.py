"""Check the types of the public names, as mypy --strict sees them in a program."""

from __future__ import annotations

from pathlib import Path

import pytest
from mypy import api

pytestmark = pytest.mark.timeout(300)  # the first run of mypy reads the whole package

PROGRAM = """
import asyncio

from datachan import RTCDataChannel, RTCPeerConnection


async def main() -> None:
    pc = RTCPeerConnection()

    @pc.on("datachannel")
    def announced(channel: RTCDataChannel) -> None:
        channel.on("message", print)

    @pc.once("connectionstatechange")
    async def changed() -> None:
        print(pc.connectionState)

    channel = pc.createDataChannel("chat")
    channel.add_listener("bufferedamountlow", print)
    channel.onopen = announced
    {statement}


asyncio.run(main())
"""


def errors(tmp_path: Path, statement: str) -> list[str]:
    """Return the errors of mypy in a program with this statement."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.replace("{statement}", statement))
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nstrict = true\n")
    cache = Path(__file__).parents[2] / ".mypy_cache" / "public_types"
    out, _, _ = api.run(["--config-file", str(config), "--cache-dir", str(cache), str(program)])
    return [line for line in out.splitlines() if ": error:" in line]


def test_a_program_with_events_passes_mypy_strict(tmp_path: Path) -> None:
    assert errors(tmp_path, "pass") == []


@pytest.mark.parametrize(
    "statement",
    [
        'channel.on("messages", print)',
        'channel.once("datachannel", print)',
        'pc.on("icegatheringstatechanged", print)',
        'pc.add_listener("open", print)',
    ],
)
def test_mypy_reports_the_name_of_an_event_that_does_not_exist(tmp_path: Path, statement: str) -> None:
    [error, *_] = errors(tmp_path, statement)
    assert "[arg-type]" in error or "[call-overload]" in error
