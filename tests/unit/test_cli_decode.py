"""`datachan decode` as users run it."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from datachan import pcapng
from datachan.cli import main
from datachan.sctp.wire.chunks import DataChunk
from datachan.sctp.wire.packet import serialize_packet

SACK = "115cc66888e5e376883432df030000108a70484a00019ffa00000000"
A, Z = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])


def capture(*, packets: int = 2, port: int = 9899) -> bytes:
    data = pcapng.section() + pcapng.interface()
    for index in range(packets):
        datagram = pcapng.udp_datagram(bytes.fromhex(SACK), A, Z, port, port)
        data += pcapng.packet(datagram, 1_700_000_000 + index * 0.25, "" if index else "lost")
    return data


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = main(["decode", *arguments])
    shown = capsys.readouterr()
    return status, shown.out, shown.err


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Any:
    def give(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return give


@pytest.mark.parametrize(
    "arguments", [[SACK], [f"0x{SACK}"], [SACK[:20], SACK[20:]], [":".join([SACK[i : i + 2] for i in range(0, 56, 2)])]]
)
def test_decodes_hexadecimal_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    status, output, errors = run(capsys, *arguments)
    assert (status, errors) == (0, "")
    assert "checksum                   0x883432df, correct\nSACK  type 3" in output


def test_decodes_hexadecimal_from_standard_input(stdin: Any, capsys: pytest.CaptureFixture[str]) -> None:
    stdin(f"{SACK}\n\n{SACK[:28]}\n{SACK[28:]}\n".encode())
    status, output, _ = run(capsys)
    assert status == 0
    assert output.count("cumulative TSN ack       2322614346") == 2


def test_decodes_a_file_of_hexadecimal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "packet.txt").write_text(SACK)
    assert "a_rwnd                   106490" in run(capsys, str(tmp_path / "packet.txt"))[1]


def test_decodes_a_capture_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.pcapng").write_bytes(capture())
    status, output, errors = run(capsys, str(tmp_path / "run.pcapng"))
    assert (status, errors) == (0, "")
    [first, second] = [line for line in output.splitlines() if line.startswith("Packet")]
    assert first.startswith("Packet 1  ")
    assert first.endswith('192.0.2.1:9899 → 192.0.2.2:9899  "lost"')
    assert "+0.250000 s" in second
    assert output.count("a_rwnd                   106490") == 2


def test_prints_one_line_per_packet(stdin: Any, capsys: pytest.CaptureFixture[str]) -> None:
    stdin(capture())
    _, output, _ = run(capsys, "--summary", "-")
    assert output.splitlines() == [
        f"    {number}    {moment}  192.0.2.1:9899 → 192.0.2.2:9899  4444 → 50792  0x88e5e376  "
        "SACK ack 2322614346 a_rwnd 106490"
        for number, moment in ((1, "0.000000"), (2, "0.250000"))
    ]


def test_prints_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.pcapng").write_bytes(capture())
    _, output, _ = run(capsys, "--json", str(tmp_path / "run.pcapng"))
    [first, second] = map(json.loads, output.splitlines())
    assert (first["number"], first["time_ns"], first["comment"]) == (1, 1_700_000_000_000_000_000, "lost")
    assert (second["source"], second["destination"], second["udp_ports"]) == ("192.0.2.1", "192.0.2.2", [9899, 9899])
    assert second["chunks"][0]["cumulative_tsn_ack"] == 2322614346
    _, output, _ = run(capsys, "--json", SACK)
    assert json.loads(output)["checksum_status"] == "correct"


@pytest.mark.parametrize(
    ("data", "arguments", "sentence"),
    [
        (capture(port=5000), [], "none of 2 frames contains SCTP; if SCTP uses a UDP port other than 9899, pass"),
        (pcapng.section(), [], "the capture is empty"),
        (
            pcapng.section() + pcapng.interface(link_type=105) + pcapng.packet(b"wifi", 0),
            [],
            "frames of link type 105 cannot be decoded",
        ),
    ],
)
def test_gives_advice_when_no_packet_was_found(
    data: bytes, arguments: list[str], sentence: str, stdin: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin(data)
    status, output, errors = run(capsys, *arguments)
    assert (status, output) == (0, "")
    assert sentence in errors


def test_finds_sctp_on_another_udp_port(stdin: Any, capsys: pytest.CaptureFixture[str]) -> None:
    stdin(capture(port=5000))
    assert "SACK" in run(capsys, "--port", "5000")[1]


@pytest.mark.parametrize(
    ("data", "words", "sentence"),
    [
        (
            b"",
            ["run.pcapng"],
            "datachan: \"run.pcapng\" is neither a file nor hexadecimal: 'r' is not a hexadecimal digit",
        ),
        (b"GIF89a", [], "datachan: this is neither a capture file nor hexadecimal: 'G' is not a hexadecimal digit"),
        (b"", [], "datachan: this is neither a capture file nor hexadecimal: there is nothing to decode"),
        (b"", ["/"], "datachan: / cannot be read: Is a directory"),
        (capture()[:-3], [], "datachan: the capture ends within a record, after"),
    ],
)
def test_explains_unreadable_input_and_exits_with_status_1(
    data: bytes, words: list[str], sentence: str, stdin: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    stdin(data)
    status, _, errors = run(capsys, *words)
    assert status == 1
    assert errors.startswith(sentence)


@pytest.mark.parametrize("seconds", [2**33, 2**44])
def test_prints_a_damaged_time_as_seconds(tmp_path: Path, capsys: pytest.CaptureFixture[str], seconds: int) -> None:
    datagram = pcapng.udp_datagram(bytes.fromhex(SACK), bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2]))
    packet = pcapng.packet(datagram, seconds)
    (tmp_path / "run.pcapng").write_bytes(pcapng.section() + pcapng.interface("one") + packet)
    status, output, errors = run(capsys, str(tmp_path / "run.pcapng"))
    assert (status, errors) == (0, "")
    assert (f"Packet 1  {seconds} s.000000" in output) == (seconds == 2**44)


def test_json_escapes_what_could_control_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    text = "\x85\x9b\u202e\u2066\U000e0001é"
    packet = serialize_packet(5000, 5001, 0x01020304, [DataChunk(1, 2, 3, 51, text.encode()).serialize()])
    status, output, _ = run(capsys, "--json", packet.hex())
    assert status == 0
    assert output.rstrip("\n").isprintable()
    assert json.loads(output)["chunks"][0]["text"] == text


def test_follows_a_growing_capture_until_ctrl_c(tmp_path: Path) -> None:
    path = tmp_path / "run.pcapng"  # need not exist yet
    command = [sys.executable, "-m", "datachan", "decode", "--follow", "--summary", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        whole = capture(packets=3)
        path.write_bytes(whole[:300])
        assert "SACK" in process.stdout.readline()
        with path.open("ab") as file:
            file.write(whole[300:])
        assert "SACK" in process.stdout.readline()
        assert "SACK" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (0, "", "")


def test_exits_quietly_when_the_pipe_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "run.pcapng"
    path.write_bytes(capture(packets=5000))
    command = [sys.executable, "-m", "datachan", "decode", "--summary", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == b""
        assert process.wait(30) == 0
