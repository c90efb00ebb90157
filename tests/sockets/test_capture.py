"""Captures of sockets, by option and by environment variable, read by Wireshark."""

from __future__ import annotations

from pathlib import Path

import pytest

from datachan.decode import CaptureReader, find_sctp
from datachan.sockets import SndInfo, sctpsocket_tcp
from datachan.trace import VARIABLE
from tests.tshark import assert_flawless, fields

from .conftest import HOST, Opened


@pytest.fixture(autouse=True)
def untraced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


async def talk(opened: Opened, **arguments: object) -> None:
    client, server = await opened.pair(**arguments)
    for index in range(5):
        await client.send(b"message %d" % index)
        assert await server.recv(100) == b"message %d" % index
        await server.sendmsg(b"OK" * 2000, [SndInfo(sid=index)])
        assert len(await client.recv(10_000)) == 4000
    await client.close()
    assert await server.recv(100) == b""
    await server.close()


async def test_an_option_captures_every_association_of_a_port(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / "run.pcapng"
    listener = await opened.listener(trace=path)
    for _ in range(2):
        client = await opened.client(listener)
        accepted, _ = await listener.accept()
        await opened.add(accepted)
        await client.send(b"hello")
        assert await accepted.recv(100) == b"hello"
        await client.close()
        assert await accepted.recv(100) == b""
    await listener.close()
    types = assert_flawless(path)
    assert {"0", "1", "2", "3", "7", "8", "10", "11", "14"} <= set(types)
    assert types["1"] == 2
    frames = list(CaptureReader().feed(path.read_bytes()))
    assert {frame.interface for frame in frames} == {f"SCTP port {listener.getsockname()[1]}"}
    assert {frame.direction for frame in frames} == {"sent", "received"}
    for frame in frames:
        found = find_sctp(frame)
        assert found is not None
        assert {found.source, found.destination} == {HOST}


async def test_a_socket_bound_to_the_wildcard_answers_from_the_address_the_peer_used(
    opened: Opened, tmp_path: Path
) -> None:
    path = tmp_path / "run.pcapng"
    listener = await opened.add(sctpsocket_tcp(udp_port=0, trace=path))
    listener.bind(("", 4444))
    listener.listen()
    client = await opened.add(sctpsocket_tcp(remote_udp_port=listener.udp_port))
    await client.connect(("127.0.0.2", 4444))
    accepted, _ = await listener.accept()
    await opened.add(accepted)
    await accepted.send(b"from there")
    assert await client.recv(100) == b"from there"
    assert client.getpaddrs() == [("127.0.0.2", 4444)]
    found = [find_sctp(frame) for frame in CaptureReader().feed(path.read_bytes()) if frame.direction == "sent"]
    assert {each.source for each in found if each is not None} == {"127.0.0.2"}


async def test_the_variable_captures_all_sockets(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.pcapng"
    monkeypatch.setenv(VARIABLE, str(path))
    await talk(opened)
    types = assert_flawless(path)
    assert types["0"] >= 2 * (5 + 5)  # both ends write into this file
    assert len(set(map(tuple, fields(path, ["frame.interface_id"])))) == 2


async def test_without_option_and_variable_nothing_is_written(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    await talk(opened)
    assert list(tmp_path.iterdir()) == []


async def test_bind_raises_when_the_capture_cannot_be_written(tmp_path: Path) -> None:
    async with sctpsocket_tcp(udp_port=0, trace=tmp_path / "missing" / "run.pcapng") as sock:
        with pytest.raises(FileNotFoundError):
            sock.bind((HOST, 0))
        with pytest.raises(FileNotFoundError):
            sock.bind((HOST, 0))
