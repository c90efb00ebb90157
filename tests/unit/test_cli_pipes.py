"""Every command with its output in a closed pipe, as in `datachan … | head`; and the modules that `--help` loads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from datachan import pcapng

SACK = bytes.fromhex("115cc66888e5e376883432df030000108a70484a00019ffa00000000")
# Sends without an end, so that only `trace` can stop it.
TALK = """
import asyncio
from datachan import RTCConfiguration, RTCPeerConnection

async def main():
    here = RTCConfiguration(hostAddresses=["127.0.0.1"])
    async with RTCPeerConnection(here) as z, RTCPeerConnection(here) as a:
        channel = a.createDataChannel("chat")
        await a.setLocalDescription()
        await z.setRemoteDescription(a.localDescription)
        await z.setLocalDescription()
        await a.setRemoteDescription(z.localDescription)
        await channel.opened()
        while True:
            channel.send("hello")
            await asyncio.sleep(0.01)

asyncio.run(main())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "talk.py").write_text(TALK)
    datagram = pcapng.udp_datagram(SACK, bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2]))
    blocks = [pcapng.packet(datagram, number) for number in range(5000)]
    (tmp_path / "run.pcapng").write_bytes(b"".join([pcapng.section(), pcapng.interface("one"), *blocks]))
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        [],
        ["trace", "--help"],
        ["decode", SACK.hex()],
        ["decode", "run.pcapng"],
        ["decode", "--json", "run.pcapng"],
        ["trace", "--json", "-", "talk.py"],
        ["trace", "--summary", "-", "talk.py"],
        ["bench", "--local", "--seconds", "0.1"],
        ["serve", "--port", "0"],
    ],
    ids=" ".join,
)
def test_exits_without_a_traceback_when_its_output_is_closed(arguments: list[str], folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "datachan", *arguments],
            check=False,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr.decode()) == (0, "")


def test_help_imports_neither_asyncio_nor_the_network_stack() -> None:
    code = "import sys; from datachan.cli import build_parser; build_parser().format_help(); print(*sys.modules)"
    # The measurement of coverage would import modules of its own into the process.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    modules = set(run.stdout.split())
    assert not modules & {"asyncio", "ssl", "OpenSSL", "aiohttp", "aioice", "socket", "subprocess", "logging"}
    assert {name for name in modules if name.startswith("datachan")} == {
        "datachan",
        "datachan.cli",
        "datachan.cli_help",
        "datachan.cli_transfer",
    }
    assert len(modules) < 120
