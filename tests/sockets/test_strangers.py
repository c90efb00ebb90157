"""Answers of a UDP socket to unknown peers: their rate is limited. The tests count them on loopback."""

from __future__ import annotations

import asyncio
import socket

import pytest

from datachan.sctp.wire.chunks import ShutdownAckChunk
from datachan.sctp.wire.packet import serialize_packet
from datachan.sockets import ports

from .conftest import HOST


async def test_answers_for_closed_sctp_ports_are_limited(opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "REFUSALS", 10.0)
    listener = await opened.listener()
    address = listener.getsockname()
    closed = address[1] % 65535 + 1
    packet = serialize_packet(7, closed, 99, [ShutdownAckChunk().serialize()])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind((HOST, 0))
        stranger.setblocking(False)
        for _ in range(20):
            for length in range(2):  # packets of changing length are received one by one
                stranger.sendto(packet + bytes(4 * length), (HOST, listener.udp_port))
            await asyncio.sleep(0)
        client = await opened.client(listener)  # another peer connects at once
        await client.send(b"served")
        accepted, _ = await listener.accept()
        async with accepted:
            assert await accepted.recv(10) == b"served"
        answers = 0
        while True:
            try:
                stranger.recv(2048)
            except BlockingIOError:
                break
            answers += 1
    assert 0 < answers <= 20  # 10 at once, and 10 a second
