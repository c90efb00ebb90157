"""Captures of real connections: their files, their contents, and that no capture is lost or damaged."""

from __future__ import annotations

import logging
import os
import resource
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from datachan import RTCConfiguration, RTCPeerConnection, pcapng
from datachan.decode import CaptureReader, Encapsulated, Frame, find_sctp
from datachan.peer import ArgumentError
from datachan.sctp.checksum import crc32c
from datachan.trace import VARIABLE, open_tap
from tests.pairs import configuration, pair, soon

PACKET = bytes.fromhex("115cc66888e5e376883432df030000108a70484a00019ffa00000000")
HERE, THERE = ("198.51.100.1", 9899), ("198.51.100.2", 40000)


@pytest.fixture(autouse=True)
def untraced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def frames(path: Path) -> list[Frame]:
    return list(CaptureReader().feed(path.read_bytes()))


def packets(path: Path) -> list[Encapsulated]:
    found = [find_sctp(frame) for frame in frames(path)]
    assert None not in found
    return [one for one in found if one is not None]


def test_captures_both_directions_with_addresses_and_growing_times(tmp_path: Path) -> None:
    path = tmp_path / "run.pcapng"
    tap = open_tap(path, "a")
    assert tap is not None
    tap.sent([PACKET, PACKET], HERE, THERE)
    tap.received([PACKET], HERE, THERE)
    tap.close()
    assert packets(path) == [
        Encapsulated(PACKET, 28, HERE[0], THERE[0], (9899, 40000)),
        Encapsulated(PACKET, 28, HERE[0], THERE[0], (9899, 40000)),
        Encapsulated(PACKET, 28, THERE[0], HERE[0], (40000, 9899)),
    ]
    seen = frames(path)
    assert [frame.direction for frame in seen] == ["sent", "sent", "received"]
    assert [frame.interface for frame in seen] == ["a"] * 3
    times = [frame.time for frame in seen if frame.time is not None]
    assert times == sorted(times)
    assert abs(times[0] / 1e9 - path.stat().st_mtime) < 10


@pytest.mark.parametrize(
    ("local", "remote", "shown"),
    [
        # Wireshark requires port 9899 on one side. The local port is replaced, because the user knows it.
        (("10.0.0.1", 5000), ("10.0.0.2", 6000), ("10.0.0.1", "10.0.0.2", (9899, 6000))),
        (("10.0.0.1", 5000), ("10.0.0.2", 9899), ("10.0.0.1", "10.0.0.2", (5000, 9899))),
        (("2001:db8::1", 9899), ("2001:db8::2", 1), ("2001:db8::1", "2001:db8::2", (9899, 1))),
        (("fe80::1%eth0", 9899), ("fe80::2%eth0", 1), ("fe80::1", "fe80::2", (9899, 1))),
        (("10.0.0.1", 9899), ("2001:db8::2", 1), ("::ffff:a00:1", "2001:db8::2", (9899, 1))),
        (("10.0.0.1", 9899), ("a.local", 1), ("192.0.2.1", "192.0.2.2", (9899, 1))),
        (None, None, ("192.0.2.1", "192.0.2.2", (9899, 9899))),
    ],
)
def test_captures_addresses_of_every_kind(tmp_path: Path, local: None, remote: None, shown: tuple[object, ...]) -> None:
    tap = open_tap(tmp_path / "run.pcapng", "a")
    assert tap is not None
    tap.sent([PACKET], local, remote)
    tap.close()
    [found] = packets(tmp_path / "run.pcapng")
    assert (found.source, found.destination, found.udp_ports) == shown


def test_fills_in_an_omitted_checksum_and_keeps_a_wrong_one(tmp_path: Path) -> None:
    zero, wrong = PACKET[:8] + bytes(4) + PACKET[12:], PACKET[:-1] + b"\1"
    tap = open_tap(tmp_path / "run.pcapng", "a")
    assert tap is not None
    tap.sent([zero, wrong, b"short"])
    tap.close()
    assert [found.data for found in packets(tmp_path / "run.pcapng")] == [PACKET, wrong, b"short"]
    assert crc32c(PACKET[:8] + bytes(4) + PACKET[12:]) == int.from_bytes(PACKET[8:12], "little")


def test_writes_at_once_without_buffering(tmp_path: Path) -> None:
    tap = open_tap(tmp_path / "run.pcapng", "a")
    assert tap is not None
    for count in range(1, 4):
        tap.sent([PACKET])
        assert len(frames(tmp_path / "run.pcapng")) == count
    tap.close()


def test_connections_of_a_process_share_a_file_until_the_last_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "run.pcapng"
    taps = [open_tap(path, name) for name in "abc"]
    for tap in taps:
        assert tap is not None
        tap.sent([PACKET])
        tap.close()
        tap.close()  # a second call is harmless
    assert [frame.interface for frame in frames(path)] == ["a", "b", "c"]
    later = open_tap(path, "d")  # appends a section of its own
    assert later is not None
    later.sent([PACKET])
    later.close()
    later.sent([PACKET])  # after close: ignored
    assert [frame.interface for frame in frames(path)] == ["a", "b", "c", "d"]


def test_another_process_writes_to_a_file_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "run.pcapng"
    tap = open_tap(path, "a")
    assert tap is not None
    program = f"from datachan.trace import open_tap; print(open_tap({str(path)!r}, 'b').path)"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    tap.sent([PACKET])
    tap.close()
    assert Path(other).parent == tmp_path
    assert Path(other).name != "run.pcapng"
    assert Path(other).name.startswith("run-")
    assert len(frames(path)) == 1


@pytest.mark.parametrize("name", ["there", "to be made/"])
def test_each_process_has_a_file_in_a_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "there").mkdir()
    tap = open_tap(f"{tmp_path}/{name}", "a")
    assert tap is not None
    tap.sent([PACKET])
    tap.close()
    [path] = (tmp_path / name).iterdir()
    assert str(os.getpid()) in path.name
    assert path.suffix == ".pcapng"
    assert len(frames(path)) == 1


def test_only_the_owner_may_read_the_file(tmp_path: Path) -> None:
    tap = open_tap(tmp_path / "run.pcapng", "a")
    assert tap is not None
    tap.close()
    assert stat.S_IMODE((tmp_path / "run.pcapng").stat().st_mode) == 0o600


def test_a_file_that_is_not_a_capture_stays_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "thesis.txt"
    path.write_text("all I have")
    with pytest.raises(FileExistsError, match="exists and is not a pcapng file"):
        open_tap(path, "a")
    assert path.read_text() == "all I have"


def test_the_environment_variable_enables_the_tap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert open_tap(None, "a") is None
    monkeypatch.setenv(VARIABLE, str(tmp_path / "run.pcapng"))
    tap = open_tap(None, "a")
    assert tap is not None
    assert tap.path == tmp_path / "run.pcapng"
    tap.close()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "missing" / "run.pcapng"))
    with caplog.at_level(logging.WARNING):
        assert open_tap(None, "a") is None
    assert "no capture is written" in caplog.text


def test_a_full_disk_ends_only_the_capture(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tap = open_tap(tmp_path / "run.pcapng", "a")
    assert tap is not None
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, limits[1]))
    try:
        for _ in range(5):
            tap.sent([PACKET])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    tap.close()
    assert caplog.text.count("ends here") == 1
    assert (tmp_path / "run.pcapng").stat().st_size <= 300


async def test_a_peer_connection_writes_to_the_configured_file(tmp_path: Path) -> None:
    path = tmp_path / "run.pcapng"
    async with pair(a_configuration=configuration(trace=path)) as connected:
        connected.a_channel.send("hello")
        assert await soon(anext(connected.z_channel)) == "hello"
    seen = frames(path)
    assert {frame.direction for frame in seen} == {"sent", "received"}
    assert len({frame.interface for frame in seen}) == 1
    found = packets(path)
    assert any(b"hello" in one.data for one in found)
    assert {one.source for one in found} == {one.destination for one in found} == {"127.0.0.1"}
    ports = {frozenset(one.udp_ports) for one in found if one.udp_ports}
    assert len(ports) == 1
    assert 9899 in next(iter(ports))


async def test_a_peer_connection_reports_that_it_cannot_write(tmp_path: Path) -> None:
    async with RTCPeerConnection(RTCConfiguration(trace=tmp_path / "missing" / "run.pcapng")) as pc:
        pc.createDataChannel("chat")
        with pytest.raises(ArgumentError, match=r"no capture can be written: .*No such file"):
            await pc.setLocalDescription()


def test_truncates_a_packet_that_is_too_long_for_ip(tmp_path: Path) -> None:
    tap = open_tap(tmp_path / "run.pcapng", "a")
    assert tap is not None
    tap.sent([bytes(70_000)])
    tap.close()
    [frame] = frames(tmp_path / "run.pcapng")
    assert len(frame.data) <= 65535


def test_udp_in_ipv6_has_the_checksum_of_its_pseudo_header() -> None:
    source, destination = bytes(15) + b"\1", bytes(15) + b"\2"
    datagram = pcapng.udp_datagram(PACKET, source, destination)
    udp = datagram[40:]
    pseudo_header = source + destination + len(udp).to_bytes(4, "big") + bytes(3) + b"\x11"
    assert pcapng.internet_checksum(pseudo_header + udp) == 0
