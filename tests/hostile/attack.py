"""Attack a server on this machine with full sizes: `make attack`. Prints what each attack used, as a table.

The server is `datachan serve` with its defaults, in a process of its own; the engine's rows run in this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import sys
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp

from datachan import RTCPeerConnection
from datachan.dcep.control_messages import OpenMessage
from datachan.dtls.errors import DtlsError
from datachan.sctp import SctpError
from datachan.sctp.rx.interleaved import InterleavedReassembly
from datachan.sctp.rx.reassembly import ReassemblyQueue
from datachan.sctp.wire.chunks import DataChunk, SackChunk
from datachan.sctp.wire.extensions import IDataChunk
from datachan.transfer import open_transfer_channel
from tests.fuzz.server import HERE, Process, Server, calling, check_honest, elsewhere
from tests.hostile import attack_page, attack_sockets
from tests.hostile.test_engine_work import ALL_AT_ONCE, Victim
from tests.hostile.test_signaling_members import silent_member
from tests.interop.test_page import offer_of
from tests.scenario.sctp_pair import changed, packet
from tests.sim.steps import count_steps
from tests.unit.test_ice_agent import PASSWORD

MIB = 1 << 20


# -- against the server ------------------------------------------------------------------------------------------------


async def silent_connections(server: Server) -> str:
    """Open 1,024 TCP connections with half a header each."""
    writers = []
    for number in range(1024):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127."[: number % 40])
        writers.append(writer)
    await check_honest(server)
    for writer in writers:
        writer.close()
    return "1,024 connections"


async def unread_echoes(server: Server) -> str:
    """Send 16 MiB on each of 60 channels, and read nothing back."""
    with contextlib.suppress(TimeoutError, Exception):
        async with calling(server, ["x"] * 60) as (pc, channels, _, _):
            for channel in channels:
                channel.send(bytes(16 * MIB))
            while pc.connectionState == "connected":
                await asyncio.sleep(0.05)
    return "60 × 16 MiB"


async def offers_of_one_name(server: Server) -> str:
    """Offer one file of 1 GiB on 200 channels."""
    async with calling(server, ["chat"]) as (pc, _, _, _):
        for _ in range(200):
            channel = open_transfer_channel(pc)
            await channel.opened()
            for message in offer_of("a", 1 << 30):
                channel.send(message)
        await asyncio.sleep(2.0)
        descriptors = len(list(Path(f"/proc/{server.process.process.pid}/fd").iterdir()))
    return f"200 offers, {descriptors} descriptors"


async def pieces_without_an_end(server: Server) -> str:
    """Send all but the last bytes of a piece of 1 MiB, in 4 transfers of each of 10 calls."""

    async def send_most(pc: RTCPeerConnection, number: int) -> None:
        channel = open_transfer_channel(pc)
        await channel.opened()
        for message in offer_of(str(number), MIB, MIB):
            channel.send(message)
        with contextlib.suppress(TimeoutError):  # what has no turn is not answered
            await asyncio.wait_for(anext(channel), 3.0)
            for _ in range(16):
                channel.send(os.urandom(MIB // 16 - 1))
            await channel.drain()

    async with contextlib.AsyncExitStack() as stack:
        calls = [(await stack.enter_async_context(calling(server, ["chat"])))[0] for _ in range(10)]
        await asyncio.gather(*(send_most(pc, number) for pc in calls for number in range(4)))
        await asyncio.sleep(1.0)
    return "10 calls of 4 transfers, of which 24 at a time"


async def channel_flood(server: Server) -> str:
    """Send 32,000 DATA_CHANNEL_OPENs, each on another stream if there is one."""
    sent = 0
    async with calling(server, ["chat"]) as (pc, _, _, _):
        association = pc._transport.stack.association
        opening = OpenMessage(label="x" * 20, protocol="", ordered=True).serialize()
        for number in range(32_000):
            with contextlib.suppress(SctpError):
                stream = number % association.outbound_streams
                association.send(stream, opening, ppid=50, now=asyncio.get_running_loop().time())
                sent += 1
            if number % 500 == 0:
                pc._transport.wake()
                await asyncio.sleep(0.01)
        while association.stats().buffered and pc.connectionState == "connected":
            await asyncio.sleep(0.05)
        streams = association.outbound_streams
    return f"{sent:,} OPENs on {streams:,} streams"


async def calls_that_never_connect(server: Server) -> str:
    """Post 200 offers from as many addresses, and connect none."""
    answered = 0
    async with RTCPeerConnection(HERE) as pc, aiohttp.ClientSession() as session:
        pc.createDataChannel("x")
        offer = {"type": "offer", "sdp": (await pc.createOffer()).sdp}
        for _ in range(200):
            async with session.post(server.echo, json=offer, headers=elsewhere()) as response:
                answered += response.status == 201
    await check_honest(server)
    return f"{answered} of 200 answered"


async def role_conflicts(server: Server) -> str:
    """Post an offer of ten candidates that answer every check with 487."""
    from tests.hostile.test_ice import Answering  # noqa: PLC0415 (opens sockets in its fixtures only)

    answering = Answering(10)
    async with RTCPeerConnection(HERE) as pc, aiohttp.ClientSession() as session:
        pc.createDataChannel("x")
        sdp = re.sub("(?m)^a=candidate:.*\r\n", "", (await pc.createOffer()).sdp)
        sdp = re.sub("a=ice-ufrag:[^\r]*", "a=ice-ufrag:peer", sdp)
        sdp = re.sub("a=ice-pwd:[^\r]*", f"a=ice-pwd:{PASSWORD}", sdp)
        for socket in answering.sockets:
            port = socket.local_address[1]
            sdp += f"a=candidate:{port} 1 udp 2113937151 127.0.0.1 {port} typ host\r\n"
        async with session.post(server.echo, json={"type": "offer", "sdp": sdp}, headers=elsewhere()) as response:
            await response.read()
        await asyncio.sleep(10.0)
    answering.close()
    pairs = len(answering.pairs)
    return f"10 candidates, {pairs} pairs, {len(answering.checks)} checks answered with 487 in 10 s"


async def candidates_of_a_victim(server: Server) -> str:
    """Post an offer with 100 candidates on the server's machine, once from elsewhere and once from this machine."""
    counts = []
    for caller in ("203.0.113.9", "127.0.0.9"):
        with contextlib.ExitStack() as stack:
            victims = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(100)]
            for victim in victims:
                victim.bind(("127.0.0.1", 0))
                victim.setblocking(False)
            async with RTCPeerConnection(HERE) as pc, aiohttp.ClientSession() as session:
                pc.createDataChannel("x")
                sdp = re.sub("(?m)^a=candidate:.*\r\n", "", (await pc.createOffer()).sdp)
                for number, victim in enumerate(victims):
                    port = victim.getsockname()[1]
                    sdp += f"a=candidate:{number} 1 udp 2113937151 127.0.0.1 {port} typ host\r\n"
                offer, headers = {"type": "offer", "sdp": sdp}, {"X-Forwarded-For": caller}
                async with session.post(server.echo, json=offer, headers=headers) as response:
                    await response.read()
            await asyncio.sleep(20.0)
            counts.append(sum(received(victim) for victim in victims))
    return f"100 candidates; {counts[0]} packets to a victim on this machine; {counts[1]} if the caller is there, too"


def received(victim: socket.socket) -> int:
    """Return the number of packets that have arrived at a socket."""
    count = 0
    with contextlib.suppress(BlockingIOError):
        while victim.recv(2048):
            count += 1
    return count


async def members_that_never_read(server: Server) -> str:
    """Send as much as the server takes to 210 members that answer pings, if the server waits, and never read."""
    sdp = "v=0\r\n" + "x" * 30_000
    writers: list[asyncio.StreamWriter] = []
    sent = 0

    async def fill(room: str, session: aiohttp.ClientSession) -> None:
        nonlocal sent
        async with session.ws_connect(f"{server.url}api/v1/rooms/{room}", headers=elsewhere()) as speaker:
            await speaker.send_json({"type": "join", "version": 1, "name": "Ada"})
            await speaker.receive_json()
            silent = []
            for _ in range(7):
                writers.append((await silent_member(server.url.rstrip("/"), room, elsewhere()))[1])
                silent.append((await speaker.receive_json())["peer"]["id"])
            with contextlib.suppress(ConnectionError):
                for number in range(300 + 20 * 20):
                    await speaker.send_json({"type": "offer", "to": silent[number % 7], "session": "s", "sdp": sdp})
                    sent += 1
                    await asyncio.sleep(0.05 if number >= 290 else 0)

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*[fill(f"room{number}", session) for number in range(30)])
    await check_honest(server)
    for writer in writers:
        writer.close()
    return f"210 members in 30 rooms, {sent:,} messages of 30 kB"


async def messages_without_an_end(server: Server) -> str:
    """Begin 20 messages in each of 16 calls, send 1.6 MB of each, and never end them."""
    ended = 0

    async def begin() -> None:
        nonlocal ended
        async with calling(server, ["chat"]) as (pc, _, _, _):
            stack = pc._transport.stack
            outstanding, tag = stack.association._core.tcb.sender.outstanding, stack.association.peer_tag
            for number in range(2150):
                tsn = outstanding.next_tsn
                outstanding.next_tsn += 1
                stream, part = 2 + 2 * (number % 20), number // 20
                chunk = IDataChunk(tsn & 0xFFFFFFFF, stream, 0, part or 51, bytes(15_000), False, part == 0, False)
                with contextlib.suppress(DtlsError):
                    stack.dtls.send_messages([packet(tag, chunk)])
                pc._transport.wake()
                await asyncio.sleep(0.001)
            await asyncio.sleep(1.0)
            ended += pc.connectionState != "connected"

    for _ in range(4):
        await asyncio.gather(*[begin() for _ in range(4)])
    return f"16 calls, 4 at a time, of 20 messages of 1.6 MB each; {ended} calls ended"


ATTACKS: dict[str, Callable[[Server], Awaitable[str]]] = {
    "silent TCP connections": silent_connections,
    "echoes that are never read": unread_echoes,
    "messages without an end": messages_without_an_end,
    "offers of one file name": offers_of_one_name,
    "pieces of a transfer without their ends": pieces_without_an_end,
    "DATA_CHANNEL_OPENs": channel_flood,
    "calls that never connect": calls_that_never_connect,
    "487 to every check": role_conflicts,
    "candidates of a victim": candidates_of_a_victim,
    "members that never read": members_that_never_read,
}


@contextlib.asynccontextmanager
async def attacked() -> AsyncIterator[Server]:
    server = await Server.start()
    try:
        yield server
    finally:
        await server.process.stop()


async def attack_server() -> None:
    """Print a row for each attack on the server, which then has to serve an honest call."""
    for name, attack in ATTACKS.items():
        async with attacked() as server:
            await check_honest(server)
            before, used = server.process.memory(), server.process.cpu_seconds()
            most = before

            async def watch(process: Process = server.process) -> None:
                nonlocal most
                while True:
                    most = max(most, process.memory())
                    await asyncio.sleep(0.02)

            watching = asyncio.create_task(watch())
            size = await attack(server)
            watching.cancel()
            await check_honest(server)
            server.process.check()
            cost = f"{before // MIB} → {most // MIB} MiB, {server.process.cpu_seconds() - used:.1f} s of CPU"
            print(f"| {name} | {size} | {cost} | an honest call is served |", flush=True)


# -- against sockets, and against the page -----------------------------------------------------------------------------


async def attack_ports() -> None:
    """Print a row for each flood at an SCTP port."""
    for name in attack_sockets.FLOODS:
        print("|", " | ".join((name, *await attack_sockets.attack(name))), "|", flush=True)


async def attack_the_page() -> None:
    """Print a row for each flood of the page."""
    async for name, size, cost, afterwards in attack_page.attack():
        print(f"| {name} | {size} | {cost} | {afterwards} |", flush=True)


# -- against the engine ------------------------------------------------------------------------------------------------


def forward_over_beginnings() -> tuple[str, str]:
    """Hold 40,000 first fragments, then skip them with an I-FORWARD-TSN of 16 kB."""
    reassembly = InterleavedReassembly(0, MIB)
    for number in range(40_000):
        reassembly.add(IDataChunk(number, 1, number, 51, b"x", ending=False), number, True, [])
    entries = [(1, False, number) for number in range(2000)]
    steps = count_steps(lambda: reassembly.forward(41_000, entries, []))
    return "40,000 fragments, 2,000 entries", f"{steps:,} steps, {steps / 40_000:.0f} for each fragment"


def reneging_sacks() -> tuple[str, str]:
    """Acknowledge 60,000 chunks and take that back, 33 times in one packet."""
    victim = Victim(changed(**ALL_AT_ONCE))
    first = victim.send(60_000)
    sacks = [SackChunk(first, 1 << 24, [] if number % 2 else [(2, 59_000)], []) for number in range(33)]
    steps = count_steps(lambda: victim.receive(*sacks))
    return "33 SACKs, 60,000 chunks", f"{steps:,} steps, {steps / 59_000:.0f} for each chunk acknowledged"


def tiny_fragments() -> tuple[str, str]:
    """Hold a million fragments of two bytes of one message."""
    reassembly = ReassemblyQueue(max_message_size=16 * MIB)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(1_000_000):
        data = (number & 0xFFFF).to_bytes(2, "big")
        reassembly.add(DataChunk(number, 1, 0, 51, data, beginning=number == 0, ending=False), number, True, [])
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return "1,000,000 fragments of 2 bytes", f"{held / MIB:.1f} MiB"


def attack_engine() -> None:
    """Print a row for each attack on the engine."""
    rows = {
        "I-FORWARD-TSN over beginnings": forward_over_beginnings,
        "SACKs that take back": reneging_sacks,
        "a message in tiny fragments": tiny_fragments,
    }
    for name, attack in rows.items():
        size, cost = attack()
        print(f"| {name} | {size} | {cost} | the association goes on |", flush=True)


def main() -> None:
    """Run every attack and print the table."""
    print("| attack | size | used | afterwards |\n|---|---|---|---|")
    asyncio.run(attack_server())
    asyncio.run(attack_ports())
    attack_engine()
    asyncio.run(attack_the_page())


if __name__ == "__main__":
    sys.exit(main())
