"""`datachan trace` as users run it, with real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from datachan.cli import main
from datachan.decode import CaptureReader

TALK = """
import asyncio
from datachan import RTCConfiguration, RTCPeerConnection

async def main():
    # Without SNAP, so that the handshake is to be seen.
    here = RTCConfiguration(hostAddresses=["127.0.0.1"], snap=False)
    async with RTCPeerConnection(here) as z, RTCPeerConnection(here) as a:
        channel = a.createDataChannel("chat")
        await a.setLocalDescription()
        await z.setRemoteDescription(a.localDescription)
        await z.setLocalDescription()
        await a.setRemoteDescription(z.localDescription)
        await channel.opened()
        channel.send("hello")
    print("said hello")

asyncio.run(main())
"""


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    path = tmp_path / "talk.py"
    path.write_text(TALK)
    return path


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "datachan", "trace", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def count(path: Path) -> int:
    return len(list(CaptureReader().feed(path.read_bytes())))


def test_captures_a_program_and_names_the_capture(talk: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.pcapng"
    for _ in range(2):  # the second run replaces what the first one wrote
        done = run(path, talk)
        assert (done.returncode, done.stdout) == (0, "said hello\n")
        assert done.stderr == (
            f"datachan: {count(path)} packets in {path}; Wireshark opens it, or: datachan decode {path}\n"
        )
        assert 20 < count(path) < 100


def test_captures_into_a_folder(talk: Path, tmp_path: Path) -> None:
    done = run(f"{tmp_path}/captures/", sys.executable, talk)
    assert done.returncode == 0
    [path] = (tmp_path / "captures").iterdir()
    assert str(path) in done.stderr


def test_prints_packets_as_they_arrive(talk: Path) -> None:
    # The program prints nothing: its output would mix with the printed packets.
    talk.write_text(TALK.replace('print("said hello")', "pass"))
    done = run("--json", "-", talk)
    assert (done.returncode, done.stderr) == (0, "")
    shown = [json.loads(line) for line in done.stdout.splitlines()]
    names = {chunk["name"] for packet in shown for chunk in packet["chunks"]}
    assert {"INIT", "COOKIE ECHO", "I-DATA", "SHUTDOWN COMPLETE"} <= names
    assert {packet["checksum_status"] for packet in shown} == {"correct"}


def test_says_that_a_program_opened_no_connection(tmp_path: Path) -> None:
    done = run(tmp_path / "run.pcapng", sys.executable, "-c", "raise SystemExit(3)")
    assert done.returncode == 3
    assert done.stderr == f"datachan: nothing was captured: {sys.executable} opened no connection with datachan\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{}/run.pcapng", "no-such-program"], "no-such-program cannot be run: No such file or directory"),
        (["{}/missing/run.pcapng", "true"], "there is no folder"),
        (["{}/talk.py", "true"], "exists and is not a capture; nothing was run"),
    ],
)
def test_explains_failures_and_exits_with_status_1(
    arguments: list[str], sentence: str, talk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trace", *[argument.format(tmp_path) for argument in arguments]]) == 1
    assert sentence in capsys.readouterr().err
    assert talk.read_text() == TALK


def test_requires_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["trace", "run.pcapng"])
    assert "a COMMAND to run is missing" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_forwards_the_signal_and_returns_the_exit_status(number: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "datachan", "trace", str(tmp_path / "run.pcapng")]
    command += ["datachan", "serve", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("datachan is ready")
        if number == signal.SIGINT:  # a terminal sends it to both processes
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "nothing was captured" in errors
