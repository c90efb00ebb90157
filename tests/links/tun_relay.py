"""A link between two TUN devices: whole IP packets cross it, those of TCP as well as those of UDP.

    python -m tests.links.tun_relay '{"rate": 1e7, "delay": 0.02, "queue": 50000, "mtu": 1500}' FD FD

The file descriptors are those of the devices. It ends when its standard input does.
"""

from __future__ import annotations

import gc
import json
import os
import select
import sys
import time
from typing import Final

from tests.links.emulator import GRAIN, take_priority
from tests.links.model import Direction, Link

_LONGEST: Final = 65_535
_READS_AT_ONCE: Final = 64


def _read_all(device: int) -> list[bytes]:
    packets: list[bytes] = []
    for _ in range(_READS_AT_ONCE):
        try:
            packets.append(os.read(device, _LONGEST))
        except BlockingIOError:
            break
    return packets


def _write_all(device: int, packets: list[bytes]) -> None:
    for packet in packets:
        try:
            os.write(device, packet)
        except BlockingIOError:
            return


def main(link: Link, devices: tuple[int, int]) -> None:
    """Run the link until standard input ends."""
    take_priority()
    gc.disable()
    directions = (Direction(link, 0), Direction(link, 1))
    control = sys.stdin.fileno()
    while True:
        busy = any(direction.in_flight for direction in directions)
        readable, _, _ = select.select([control, *devices], (), (), 0 if busy else None)
        if control in readable:
            return
        now = time.monotonic()
        for device, direction, other in zip(devices, directions, reversed(devices), strict=True):
            if device in readable:
                direction.offer(_read_all(device), now)
            if direction.in_flight:
                _write_all(other, direction.due(now + GRAIN / 2))
        if busy:
            time.sleep(GRAIN)


if __name__ == "__main__":
    main(Link(**json.loads(sys.argv[1])), (int(sys.argv[2]), int(sys.argv[3])))
