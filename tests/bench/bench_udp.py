"""Measure datagrams over loopback: asyncio's own endpoint, UdpSocket without offload, and UdpSocket with it.

    python -m tests.bench.bench_udp [datagrams] [size]

All of them run in turns, in one process. Compare the ratios, not the times.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

from datachan.udp import UdpSocket

BURST = 54
ROUNDS = 5
BUFFER = 4 << 20


class _Counter(asyncio.DatagramProtocol):
    """Count datagrams, and report when a burst is complete."""

    def __init__(self) -> None:
        self.count = 0
        self.wanted = 0
        self.enough = asyncio.Event()

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.take(1)

    def take(self, count: int) -> None:
        self.count += count
        if self.count >= self.wanted:
            self.enough.set()

    async def wait_for(self, count: int) -> None:
        self.wanted = count
        if self.count < count:
            self.enough.clear()
            await self.enough.wait()


async def with_asyncio(datagrams: int, size: int) -> float:
    """Measure the seconds for `count` datagrams through asyncio's datagram endpoints."""
    loop = asyncio.get_running_loop()
    counter = _Counter()
    into, _ = await loop.create_datagram_endpoint(lambda: counter, local_addr=("127.0.0.1", 0))
    into.get_extra_info("socket").setsockopt(1, 8, BUFFER)
    out, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
    address = into.get_extra_info("sockname")
    burst = [bytes(size)] * BURST
    started = time.perf_counter()
    for sent in range(BURST, datagrams + 1, BURST):
        for datagram in burst:
            out.sendto(datagram, address)
        await counter.wait_for(sent)
    elapsed = time.perf_counter() - started
    into.close()
    out.close()
    return elapsed


async def with_udp_socket(datagrams: int, size: int, *, offload: bool) -> float:
    """Measure the seconds for `count` datagrams through `UdpSocket`."""
    counter = _Counter()
    into = UdpSocket.bind("127.0.0.1", receive_buffer=BUFFER, offload=offload)
    out = UdpSocket.bind("127.0.0.1", offload=offload)
    into.set_receiver(lambda batch, _: counter.take(len(batch)))
    address = into.local_address
    burst = [bytes(size)] * BURST
    started = time.perf_counter()
    for sent in range(BURST, datagrams + 1, BURST):
        out.send(burst, address)
        await counter.wait_for(sent)
    elapsed = time.perf_counter() - started
    into.close()
    out.close()
    return elapsed


CANDIDATES: dict[str, Callable[[int, int], Awaitable[float]]] = {
    "asyncio endpoint": with_asyncio,
    "UdpSocket, one by one": lambda datagrams, size: with_udp_socket(datagrams, size, offload=False),
    "UdpSocket, GSO and GRO": lambda datagrams, size: with_udp_socket(datagrams, size, offload=True),
}


async def main(datagrams: int = 54_000, size: int = 1200) -> None:
    """Measure all candidates in turns and print their medians."""
    times: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    for _ in range(ROUNDS):
        for name, candidate in CANDIDATES.items():
            times[name].append(await candidate(datagrams, size))
    slowest = statistics.median(times["asyncio endpoint"])
    print(f"{datagrams} datagrams of {size} bytes, bursts of {BURST}, there only; median of {ROUNDS}")
    for name, measured in times.items():
        median = statistics.median(measured)
        rate = datagrams * size / median / 1e6
        print(f"{name:24} {median / datagrams * 1e6:7.2f} us each {rate:8.0f} MB/s {slowest / median:6.1f} x")


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
