"""Fuzz a live `datachan serve`: `python -m tests.fuzz.server --seconds N`.

The server is a process of its own. Structured and damaged input arrives at each of its layers in turn: HTTP,
WebSocket, STUN, DTLS, SCTP, DCEP and file transfer. After each round, an honest client has to be served. A crash, a
traceback in the log, an honest client that is not served, or memory above the limit is a finding.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

from datachan import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from datachan.dtls.errors import DtlsError
from datachan.peer import PeerError
from datachan.sctp import SctpError
from datachan.sctp.checksum import crc32c
from datachan.transfer import TransferError, open_transfer_channel
from datachan.transfer.channel import wait_until_open

from . import corpus
from .mutation import mutated

HERE = RTCConfiguration(hostAddresses=["127.0.0.1"])
MAX_MEMORY = 512 * 1024 * 1024
PATIENCE = 20.0


class Finding(Exception):
    """The server broke a promise; the text says which."""


class Process:
    """A process with a victim in it, and what it wrote."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log: list[str] = []
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, *arguments: str) -> tuple[Process, str]:
        """Start Python with these arguments; return the process and its first line, which says that it is ready."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), PATIENCE)).decode()
        return cls(process), line.strip()

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.log.append(line.decode("utf-8", "replace").rstrip())
            del self.log[:-2000]

    def memory(self) -> int:
        """Return the resident bytes of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        return int(status.split("VmRSS:")[1].split()[0]) * 1024

    def cpu_seconds(self) -> float:
        """Return the processor time that the process has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def check(self) -> None:
        """Raise Finding if the process has ended, logged a traceback, or uses too much memory."""
        if self.process.returncode is not None:
            raise Finding(f"the process ended with {self.process.returncode}")
        if any("Traceback" in line for line in self.log):
            raise Finding("a traceback:\n" + "\n".join(self.log[-40:]))
        if self.memory() > MAX_MEMORY:
            raise Finding(f"the process uses {self.memory() >> 20} MiB")

    async def stop(self) -> None:
        """End the process."""
        if self.process.returncode is None:
            self.process.terminate()
        await self.process.wait()
        await self._reading


class Server:
    """A `datachan serve` process on a free port."""

    def __init__(self, process: Process, url: str) -> None:
        self.process = process
        self.url = url
        self.echo = f"{url}api/v1/peers/echo"
        self.port = int(url.rstrip("/").rpartition(":")[2])

    @classmethod
    async def start(cls) -> Server:
        """Start the process and wait until it is ready."""
        arguments = ("-m", "datachan", "serve", "--port", "0", "-v", "--trust-proxy", "127.0.0.1")
        process, line = await Process.start(*arguments)
        return cls(process, line.split(": ", 1)[1].strip())


def elsewhere() -> dict[str, str]:
    """Return a header that makes the next request come from another address, each of which has its own share."""
    return {"X-Forwarded-For": f"127.{random.randrange(256)}.{random.randrange(256)}.{random.randrange(1, 255)}"}


# -- the layers --------------------------------------------------------------------------------------------------------


async def fuzz_http(server: Server, chance: random.Random) -> None:
    """Send damaged requests over plain TCP."""
    requests = [
        b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        (
            b"POST /api/v1/peers/echo HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b'Content-Length: 31\r\n\r\n{"type": "offer", "sdp": "v=0"}'
        ),
        (
            b"GET /api/v1/rooms/a HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n\x81\x80\0\0\0\0"
        ),
        b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
    ]
    for _ in range(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        with contextlib.suppress(ConnectionError, TimeoutError):
            writer.write(mutated(requests, chance))
            await writer.drain()
            if chance.random() < 0.5:
                await asyncio.wait_for(reader.read(2000), 0.05)
        writer.close()


async def fuzz_websocket(server: Server, chance: random.Random) -> None:
    """Send damaged messages of members to a room."""
    messages = [
        {"type": "join", "version": 1, "name": "x"},
        {"type": "offer", "to": "a", "session": "s", "sdp": "v=0\r\n"},
        {"type": "candidate", "to": "a", "session": "s", "candidate": {"candidate": "", "sdpMid": "0"}},
        {"type": "bye", "to": "a", "session": "s", "reason": ""},
    ]
    texts = [json.dumps(message).encode() for message in messages]
    async with aiohttp.ClientSession() as session:
        for _ in range(5):
            with contextlib.suppress(aiohttp.ClientError, ConnectionError, RuntimeError):
                async with session.ws_connect(f"{server.url}api/v1/rooms/fuzz", headers=elsewhere()) as joined:
                    if chance.random() < 0.8:
                        await joined.send_str(texts[0].decode())
                    for _ in range(10):
                        data = mutated(texts, chance)
                        if chance.random() < 0.2:
                            await joined.send_bytes(data)
                        else:
                            await joined.send_str(data.decode("utf-8", "replace"))


@contextlib.asynccontextmanager
async def calling(server: Server, labels: list[str]):  # type: ignore[no-untyped-def]
    """Call the echo peer; give the connection, its channels and the server's UDP address."""
    async with asyncio.timeout(PATIENCE), RTCPeerConnection(HERE) as pc, aiohttp.ClientSession() as session:
        channels = [pc.createDataChannel(label) for label in labels]
        await pc.setLocalDescription()
        assert pc.localDescription is not None
        offer = {"type": "offer", "sdp": pc.localDescription.sdp}
        async with session.post(f"{server.url}api/v1/peers/echo", json=offer, headers=elsewhere()) as response:
            body = await response.json()
        if "sdp" not in body:
            raise Finding(f"an honest call was refused: {body}")
        await pc.setRemoteDescription(RTCSessionDescription(body["sdp"], "answer"))
        for channel in channels:
            await channel.opened()
        line = next(line for line in body["sdp"].splitlines() if line.startswith("a=candidate:"))
        yield pc, channels, ("127.0.0.1", int(line.split(" ")[5])), body["sdp"]


async def fuzz_offers(server: Server, chance: random.Random) -> None:
    """Post damaged offers to the echo peer."""
    async with RTCPeerConnection(HERE) as pc, aiohttp.ClientSession() as session:
        pc.createDataChannel("x")
        sdp = (await pc.createOffer()).sdp.encode()
        for _ in range(8):
            offer = {"type": "offer", "sdp": mutated([sdp, sdp], chance).decode("utf-8", "replace")}
            with contextlib.suppress(aiohttp.ClientError):
                async with session.post(f"{server.url}api/v1/peers/echo", json=offer, headers=elsewhere()) as response:
                    await response.read()
                    session_id = (await response.json()).get("session", "")
                    if session_id:
                        await (await session.delete(f"{server.echo}/{session_id}")).read()


async def fuzz_udp(server: Server, chance: random.Random) -> None:
    """Send damaged STUN and DTLS from a stranger's port into a call, which has to go on."""
    inputs = [*corpus.load("dtls.records.record_end_untrusted"), b"\x16\xfe\xfd" + bytes(8) + b"\0\x10" + bytes(16)]
    stun = struct.pack("!HHI12s", 1, 8, 0x2112A442, bytes(12)) + struct.pack("!HHI", 0x24, 4, 1)
    async with calling(server, ["chat"]) as (_, [channel], address, _):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.setblocking(False)
            for _ in range(200):
                with contextlib.suppress(OSError):
                    stranger.sendto(mutated([stun, *inputs], chance)[:60_000], address)
        await check_echo(channel)


async def fuzz_sctp(server: Server, chance: random.Random) -> None:
    """Send damaged SCTP packets inside an authenticated call, which may end."""
    with contextlib.suppress(PeerError, SctpError, TimeoutError, DtlsError):
        async with calling(server, ["chat"]) as (pc, _, _, _):
            stack = pc._transport.stack
            association = stack.association
            packets: list[bytes] = []
            for name in ("live.plain", "live.interleaved"):
                packets += corpus.load(name)
            types = (0, 3, 4, 5, 6, 7, 9, 14, 64, 130, 192, 193, 194, 200)
            tag = association.peer_tag
            for _ in range(40):
                body = b""
                for _ in range(chance.randint(1, 5)):
                    content = mutated(packets, chance)[: chance.choice((40, 400, 15_000))]
                    kind, flags = chance.choice(types), chance.randrange(16)
                    body += struct.pack("!BBH", kind, flags, 4 + len(content)) + content + bytes(-len(content) & 3)
                packet = struct.pack("!HHI", 5000, 5000, tag) + bytes(4) + body[:15_000]
                packet = packet[:8] + struct.pack("<I", crc32c(packet)) + packet[12:]
                stack.dtls.send_messages([packet])
                pc._transport.wake()
                await asyncio.sleep(0.002)


async def fuzz_dcep(server: Server, chance: random.Random) -> None:
    """Send damaged DCEP and user messages of any PPID on any stream."""
    opening = b"\x03\x00\x01\x00" + bytes(4) + b"\x00\x01\x00\x00x"
    with contextlib.suppress(PeerError, SctpError, TimeoutError, DtlsError):
        async with calling(server, ["chat"]) as (pc, _, _, _):
            association = pc._transport.stack.association
            for _ in range(100):
                association.send(
                    chance.randrange(association.outbound_streams),
                    mutated([opening, b"\x02"], chance)[:60_000] or b"x",
                    ppid=chance.choice((50, 50, 50, 51, 52, 53, 54, 56, 57, 99)),
                    now=asyncio.get_running_loop().time(),
                    unordered=chance.random() < 0.3,
                )
                pc._transport.wake()
                if chance.random() < 0.2:
                    await asyncio.sleep(0.005)


async def fuzz_transfer(server: Server, chance: random.Random) -> None:
    """Send damaged messages of the transfer protocol."""
    messages = [
        b'{"type":"offer","version":1,"id":"a","count":1,"size":5,"hashes":["sha256"],"piece":65536}',
        b'{"type":"offer","version":1,"id":"b","count":2,"size":null,"hashes":["blake3","sha256"],"piece":1048576}',
        b'{"type":"entries","entries":[{"path":"a.txt","size":5}]}',
        b'{"type":"entries","entries":[{"path":"b/c","kind":"folder"},{"path":"d","size":null,"mtime":1}]}',
        b'{"type":"offered"}',
        b'{"type":"request","name":"a.txt"}',
        b'{"type":"accept","id":"a","hash":"sha256","credit":100000}',
        b'{"type":"size","file":1,"size":3}',
        b'{"type":"missing","file":0,"code":"changed","reason":"x"}',
        b'{"type":"sent"}',
        b'{"type":"end","code":"cancelled","reason":"x"}',
    ]
    with contextlib.suppress(PeerError, SctpError, TimeoutError, DtlsError, TransferError):
        async with calling(server, ["chat"]) as (pc, _, _, _):
            channels = [open_transfer_channel(pc) for _ in range(4)]
            for channel in channels:
                await wait_until_open(channel)
            for number in range(120):
                channel = channels[number * len(channels) // 120]
                if channel.readyState != "open":
                    continue
                # In order at first, so that the states behind an accepted offer are reached, too.
                data = messages[number % len(messages)] if chance.random() < 0.5 else chance.choice(messages)
                data = mutated([data], chance) if chance.random() < 0.4 else data
                channel.send(data if chance.random() < 0.2 else data.decode("utf-8", "replace"))
                await asyncio.sleep(0.001)


async def check_echo(channel: RTCDataChannel) -> None:
    """Raise unless the echo peer sends a message back."""
    channel.send("still there?")
    if await asyncio.wait_for(anext(channel), PATIENCE) != "still there?":
        raise Finding("the echo peer sent something else")


LAYERS: dict[str, Callable[[Server, random.Random], Awaitable[None]]] = {
    "HTTP": fuzz_http,
    "WebSocket": fuzz_websocket,
    "offers": fuzz_offers,
    "STUN and DTLS": fuzz_udp,
    "SCTP": fuzz_sctp,
    "DCEP": fuzz_dcep,
    "transfer": fuzz_transfer,
}


async def check_honest(server: Server) -> None:
    """Raise Finding unless a call and a request are served."""
    try:
        async with calling(server, ["chat"]) as (_, [channel], _, _):
            await check_echo(channel)
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise Finding(f"an honest caller is not served: {error!r}") from error


async def fuzz(seconds: float, seed: int) -> int:
    """Fuzz a server for `seconds`; return 1 with a finding."""
    chance = random.Random(seed)
    server = await Server.start()
    rounds: Counter[str] = Counter()
    end, most = time.monotonic() + seconds, 0
    try:
        while time.monotonic() < end:
            name = chance.choice(list(LAYERS))
            await LAYERS[name](server, chance)
            rounds[name] += 1
            if sum(rounds.values()) % 10 == 0:
                await check_honest(server)
            server.process.check()
            most = max(most, server.process.memory())
        await check_honest(server)
    except Finding as finding:
        print(f"seed {seed}, after {dict(rounds)}: {finding}")
        return 1
    finally:
        await server.process.stop()
    print(f"seed {seed}: {dict(rounds)}, no finding; at most {most >> 20} MiB")
    return 0


def main() -> int:
    """Parse the command line and fuzz."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.server", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (default %(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="of chance; printed, so that a run can be repeated")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(1 << 31) if arguments.seed is None else arguments.seed
    return asyncio.run(fuzz(arguments.seconds, seed))


if __name__ == "__main__":
    sys.exit(main())
