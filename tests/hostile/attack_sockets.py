"""Attacks on an SCTP port over UDP, for `make attack`: INITs, packets out of the blue, and packets of 64 kB.

The listening sockets are in a process of their own (`python -m tests.hostile.attack_sockets`), which echoes messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence

from datachan.sctp.wire.chunks import InitChunk, ShutdownAckChunk
from datachan.sctp.wire.extensions import AuthChunk
from datachan.sctp.wire.packet import serialize_packet
from datachan.sockets import sctpsocket_tcp
from tests.fuzz.server import Finding, Process

HOST = "127.0.0.1"
STRANGER = "127.0.0.66"
SECONDS = 5.0
PATIENCE = 20.0


async def echo() -> None:
    """Listen on free ports, print them, and send everything back."""
    async with sctpsocket_tcp(udp_port=0) as listener:
        listener.bind((HOST, 0))
        listener.listen(100)
        print(f"listening: {listener.udp_port} {listener.getsockname()[1]}", flush=True)
        while True:
            accepted, _ = await listener.accept()
            async with accepted:
                await accepted.send(await accepted.recv(100))


class Victim:
    """The process that listens, and its ports."""

    def __init__(self, process: Process, udp_port: int, port: int) -> None:
        self.process = process
        self.udp_port = udp_port
        self.port = port

    @classmethod
    async def start(cls) -> Victim:
        """Start the process."""
        process, line = await Process.start("-m", "tests.hostile.attack_sockets")
        udp_port, port = line.rpartition(": ")[2].split()
        return cls(process, int(udp_port), int(port))

    async def connect(self) -> float:
        """Exchange a message on a new association; return the seconds that took.

        Raises:
            Finding: that took longer than `PATIENCE`.
        """
        begun = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE), sctpsocket_tcp(remote_udp_port=self.udp_port) as sock:
                await sock.connect((HOST, self.port))
                await sock.send(b"hello")
                if await sock.recv(100) != b"hello":
                    raise Finding("the echo is another message")
        except TimeoutError as error:
            raise Finding("an honest peer does not get an association") from error
        return time.monotonic() - begun


def inits(port: int) -> list[bytes]:
    """Return INITs of 1,000 peers that do not exist."""
    chance = random.Random(1)
    made = [InitChunk(chance.getrandbits(32) | 1, 100_000, 10, 10, chance.getrandbits(32), []) for _ in range(1000)]
    return [serialize_packet(chance.randrange(1, 65536), port, 0, [init.serialize()]) for init in made]


def strays(port: int) -> list[bytes]:
    """Return a packet that section 8.4 of RFC 9260 answers, as often as a flood repeats it."""
    return [serialize_packet(7, port, 99, [ShutdownAckChunk().serialize()])]


def large(port: int) -> list[bytes]:
    """Return packets as long as UDP allows, full of the shortest chunks."""
    auth = AuthChunk(0, 1, b"").serialize()
    parameters = InitChunk(1, 100_000, 10, 10, 1, []).serialize()
    init = parameters[:2] + (65_000).to_bytes(2, "big") + parameters[4:] + bytes.fromhex("c1230004") * 16_245
    return [serialize_packet(7, port, 99, [auth] * 8000), serialize_packet(7, port, 0, [init])]


FLOODS = {
    "INITs at an SCTP port": (inits, 20_000),
    "packets out of the blue at an SCTP port": (strays, 20_000),
    "packets of 64 kB at an SCTP port": (large, 50),
}


@contextlib.contextmanager
def flooding(packets: Sequence[bytes], rate: int, udp_port: int) -> Iterator[list[int]]:
    """Send the packets in turn, `rate` a second, from a thread; give a list that holds their number."""
    ended, sent = threading.Event(), [0]

    def flood() -> None:
        begun = time.monotonic()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind((STRANGER, 0))
            while not ended.wait(0.005):
                due = int((time.monotonic() - begun) * rate)
                while sent[0] < due:
                    stranger.sendto(packets[sent[0] % len(packets)], (HOST, udp_port))
                    sent[0] += 1

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        yield sent
    finally:
        ended.set()
        thread.join()


async def attack(name: str) -> tuple[str, str, str]:
    """Run one flood; return its size, what it used, and what an honest peer got meanwhile."""
    make, rate = FLOODS[name]
    victim = await Victim.start()
    try:
        await victim.connect()
        before, used, most = victim.process.memory(), victim.process.cpu_seconds(), 0
        with flooding(make(victim.port), rate, victim.udp_port) as sent:
            end, times = time.monotonic() + SECONDS, []
            while time.monotonic() < end:
                times.append(await victim.connect())
                most = max(most, victim.process.memory())
                await asyncio.sleep(0.1)
        await victim.connect()
        victim.process.check()
        cost = f"{before >> 20} → {most >> 20} MiB, {victim.process.cpu_seconds() - used:.1f} s of CPU"
        waited = f"an honest association meanwhile takes {max(times):.2f} s at most"
        return f"{sent[0]:,} packets in {SECONDS:.0f} s", cost, waited
    finally:
        await victim.process.stop()


if __name__ == "__main__":
    sys.exit(asyncio.run(echo()))
