"""Measure ten thousand associations on one socket: `make bench-scale`, or `python -m tests.bench.associations --help`.

The measured process has a one-to-many socket; another process has the peers, each with its own SCTP port. The output
has the memory of an association while it is idle and after it has received and sent a message, and the time to set one
up. At the end, every association still works.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from typing import Final

from datachan.sockets import SndInfo, sctpsocket_tcp, sctpsocket_udp
from tests.stacks.peers.common import memory_in_use, standard_input

HOST: Final = "127.0.0.1"
_AT_A_TIME: Final = 50
_WARM_UP: Final = 50
_HELLO: Final = b"hello"


async def measure(count: int) -> dict[str, float]:
    """Measure `count` associations: kB each when idle, kB each once used, ms to set one up, and their number.

    Raises:
        RuntimeError: the process with the peers has ended.
    """
    async with sctpsocket_udp(udp_port=0) as server:
        server.bind((HOST, 0))
        server.listen()
        command = [sys.executable, "-P", "-m", "tests.bench.associations", "--peers-of"]
        command += [str(server.getsockname()[1]), str(server.udp_port)]
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
        echoing = asyncio.create_task(_echo(server))

        async def order(words: str) -> None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{words}\n".encode())
            if not await process.stdout.readline():
                raise RuntimeError("the process with the peers has ended")

        try:
            await order(f"connect {_WARM_UP}")
            await order("talk")
            before, begun = memory_in_use(), time.perf_counter()
            await order(f"connect {count - _WARM_UP}")
            took, idle = time.perf_counter() - begun, memory_in_use()
            await order("talk")
            used = memory_in_use()
            there = len(server.associations())
        finally:
            echoing.cancel()
            await server.close()  # while the peers can still answer
            process.kill()
            await process.wait()
    made = count - _WARM_UP
    return {
        "idle": (idle - before) / made / 1e3,
        "used": (used - before) / made / 1e3,
        "setup": took / made * 1e3,
        "associations": there,
    }


async def _echo(server: sctpsocket_udp) -> None:
    while True:
        message = await server.recvmsg()
        if message.notification is None:
            await server.sendmsg(message.data, [SndInfo(assoc_id=message.assoc_id)])


async def be_the_peers(port: int, udp_port: int) -> None:
    """Connect, and use all associations when the measuring process says so."""
    lines = await standard_input()
    peers: list[sctpsocket_tcp] = []

    async def connect() -> None:
        peer = sctpsocket_tcp(remote_udp_port=udp_port)
        await peer.connect((HOST, port))
        peers.append(peer)

    async def talk(peer: sctpsocket_tcp) -> None:
        await peer.send(_HELLO)
        if await peer.recv(100) != _HELLO:
            raise RuntimeError("another answer than the one expected")

    while words := (await lines.readline()).split():
        if words[0] == b"connect":
            wanted = len(peers) + int(words[1])
            while len(peers) < wanted:
                await asyncio.gather(*[connect() for _ in range(min(_AT_A_TIME, wanted - len(peers)))])
        else:
            for start in range(0, len(peers), _AT_A_TIME):
                await asyncio.gather(*[talk(peer) for peer in peers[start : start + _AT_A_TIME]])
        print("done", flush=True)


def rows(count: int) -> list[str]:
    """Measure, and return the rows of a table."""
    figures = asyncio.run(measure(count))
    there = f"{figures['associations']:.0f} on one SCTP socket"
    return [
        f"| memory per idle association, of {there} | {figures['idle']:.1f} kB |",
        f"| the same once it has received and sent a message | {figures['used']:.1f} kB |",
        f"| for one to come, {_AT_A_TIME} at a time, both processes on this machine | {figures['setup']:.1f} ms |",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.associations", description=__doc__.partition("\n")[0])
    parser.add_argument("--associations", type=int, default=10_000, help="on one socket (%(default)s)")
    parser.add_argument("--peers-of", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.peers_of is not None:
        asyncio.run(be_the_peers(*options.peers_of))
    else:
        print("\n".join(rows(options.associations)))


if __name__ == "__main__":
    main()
