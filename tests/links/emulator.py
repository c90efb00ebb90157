"""A link between two processes on this machine: a UDP relay that delays, drops and loses datagrams as a link would.

It has one port facing each peer. Each peer's only remote candidate is the port facing it. The first address from which
a datagram reaches a port is its peer. Thus the datagrams of any stack, in any language, cross the link.

    python -m tests.links.emulator '{"rate": 1e8, "delay": 0.02, "loss": 0.01, "queue": 500000}'

This prints one line of JSON with the two addresses, answers each line on its standard input with its account so far,
and ends when its standard input does.

It must not be the bottleneck, and reports when it was. It takes real-time priority where it may, and polls its sockets
five thousand times a second while datagrams are in transit. It reads and writes runs of datagrams (UDP_GRO,
UDP_SEGMENT), and reports by how much it sent datagrams late.
"""

from __future__ import annotations

import gc
import json
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from tests.links.model import Direction, Link

# Seconds between two polls of sockets and clock while datagrams are in transit: the error of each delay.
GRAIN: Final = 0.0002
# Seconds of lateness from which a datagram counts as late.
LATE: Final = 0.001
_CONTROL_INTERVAL: Final = 0.02
_BUFFER: Final = 32 << 20
_READS_AT_ONCE: Final = 64

# linux/udp.h and asm-generic/socket.h; the socket module has no names for them.
_SOL_UDP: Final = 17
_UDP_SEGMENT: Final = 103
_UDP_GRO: Final = 104
_SO_SNDBUFFORCE: Final = 32
_SO_RCVBUFFORCE: Final = 33
_MAX_SEGMENTS: Final = 64
_MAX_RUN_BYTES: Final = 65_000


class Port:
    """A socket facing one peer."""

    def __init__(self, host: str) -> None:
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setblocking(False)
        self.sock.bind((host, 0))
        for forced, option in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
            if not _set(self.sock, socket.SOL_SOCKET, forced, _BUFFER):
                _set(self.sock, socket.SOL_SOCKET, option, _BUFFER)
        _set(self.sock, _SOL_UDP, _UDP_GRO, 1)
        self.offload = _set(self.sock, _SOL_UDP, _UDP_SEGMENT, 0)
        self.peer: Any = None
        self.strangers = 0
        self.unsent = 0

    def receive(self) -> list[bytes]:
        """Return everything that has arrived from the peer."""
        batch: list[bytes] = []
        for _ in range(_READS_AT_ONCE):
            try:
                data, ancillary, _, source = self.sock.recvmsg(65_535, 32)
            except (BlockingIOError, ConnectionError):
                break
            if source != self.peer:
                if self.peer is not None:
                    self.strangers += 1
                    continue
                self.peer = source
            size = struct.unpack_from("=H", ancillary[0][2])[0] if ancillary else 0
            if 0 < size < len(data):
                batch += [data[start : start + size] for start in range(0, len(data), size)]
            else:
                batch.append(data)
        return batch

    def send(self, datagrams: Sequence[bytes]) -> None:
        """Send datagrams to the peer, runs of equal size in one call."""
        if self.peer is None:
            self.unsent += len(datagrams)
            return
        start = 0
        while start < len(datagrams):
            end = self._run_end(datagrams, start)
            size = len(datagrams[start])
            segmenting = [(_SOL_UDP, _UDP_SEGMENT, struct.pack("=H", size))] if end - start > 1 else ()
            try:
                self.sock.sendmsg(datagrams[start:end], segmenting, 0, self.peer)
            except OSError:
                self.unsent += end - start
            start = end

    def _run_end(self, datagrams: Sequence[bytes], start: int) -> int:
        size = len(datagrams[start])
        end = start + 1
        if not self.offload or not size:
            return end
        limit = min(len(datagrams), start + min(_MAX_SEGMENTS, _MAX_RUN_BYTES // size))
        while end < limit and len(datagrams[end]) == size:
            end += 1
        if end < limit and 0 < len(datagrams[end]) < size:
            end += 1
        return end


class Relay:
    """Two ports, the two directions between them, and the lateness of this process."""

    def __init__(self, link: Link, host: str, seed: int) -> None:
        self.ports = (Port(host), Port(host))
        self.directions = (Direction(link, 2 * seed), Direction(link, 2 * seed + 1))
        self.latest = 0.0
        self.late = 0
        self.looks = 0
        self._looked_at = time.monotonic()

    def turn(self) -> float | None:
        """Receive and send what is due; return when to call again, or None to wait for an arrival."""
        now = time.monotonic()
        # A datagram found now arrived at some time since the last poll: half of that time ago, on average.
        arrived = (self._looked_at + now) / 2
        self._looked_at = now
        self.looks += 1
        due = now + GRAIN / 2
        busy = False
        for port, direction, other in zip(self.ports, self.directions, reversed(self.ports), strict=True):
            batch = port.receive()
            if batch:
                direction.offer(batch, arrived)
            in_flight = direction.in_flight
            if in_flight:
                if in_flight[0][0] <= due:
                    self._note_lateness(now - in_flight[0][0])
                    other.send(direction.due(due))
                busy = True
        return now + GRAIN if busy else None

    def note_idle(self) -> None:
        """Note that the process waited for an arrival, so that a datagram found next arrived just now."""
        self._looked_at = time.monotonic()

    def _note_lateness(self, lateness: float) -> None:
        if lateness > LATE:
            self.late += 1
        self.latest = max(self.latest, lateness)

    def report(self, priority: str) -> dict[str, Any]:
        """Return the account of both directions and of the emulator itself."""
        return {
            "time": time.monotonic(),
            "from_a": self.directions[0].report().as_dict(),
            "from_z": self.directions[1].report().as_dict(),
            "peers": [port.peer for port in self.ports],
            "priority": priority,
            "cpu": time.process_time(),
            "looks": self.looks,
            "late": self.late,
            "latest": self.latest,
            "strangers": sum(port.strangers for port in self.ports),
            "unsent": sum(port.unsent for port in self.ports),
        }


def _set(sock: socket.socket, level: int, option: int, value: int) -> bool:
    try:
        sock.setsockopt(level, option, value)
    except OSError:
        return False
    return True


def take_priority() -> str:
    """Run before other processes as far as this user may; return the priority reached.

    The emulator sleeps most of the time, so it starves no other process.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except (AttributeError, OSError):
        pass
    else:
        return "real-time"
    try:
        os.nice(-20)
    except (AttributeError, OSError):
        return "ordinary"
    return "nice -20"


def main(link: Link, host: str, seed: int) -> None:
    """Run the link until standard input ends."""
    priority = take_priority()
    gc.disable()
    relay = Relay(link, host, seed)
    control = sys.stdin.fileno()
    everything = [control, *(port.sock.fileno() for port in relay.ports)]
    print(json.dumps([port.sock.getsockname()[:2] for port in relay.ports]), flush=True)
    next_control = 0.0
    while True:
        again = relay.turn()
        now = time.monotonic()
        if again is None:
            select.select(everything, (), ())
            relay.note_idle()
        elif again > now:
            time.sleep(again - now)
        if again is None or now >= next_control:
            next_control = now + _CONTROL_INTERVAL
            if select.select([control], (), (), 0)[0]:
                if not os.read(control, 4096):
                    return
                print(json.dumps(relay.report(priority)), flush=True)


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    seed = int(options.pop("seed", 0))
    address = options.pop("host", "127.0.0.1")
    main(Link(**options), address, seed)
