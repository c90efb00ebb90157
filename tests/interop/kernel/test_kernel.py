"""Test our sockets with the SCTP of the Linux kernel in a small virtual machine, as server and as client.

`build.sh` builds the machine once, in build/kernel-sctp, from Debian's packages. It runs under software emulation, so
it needs no privilege, and boots in about ten seconds. A port of this host forwards UDP to its port 9899; the machine
reaches this host as 10.0.2.2.
"""

from __future__ import annotations

import asyncio
import fcntl
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from datachan.sockets import (
    SCTP_ENABLE_RESET_STREAM_REQ,
    SCTP_UNORDERED,
    PrInfo,
    PrPolicy,
    ResetFlag,
    ResetStreams,
    SndInfo,
    SocketOption,
    default_options,
    sctpsocket_tcp,
)
from tests.missing import missing
from tests.ports import free_port

HERE = Path(__file__).parent
FOLDER = HERE.parents[2] / "build" / "kernel-sctp"
TOOLS = ("qemu-system-x86_64", "busybox", "cpio", "gcc", "apt-get", "dpkg-deb")
ECHO_PORT = 5001
PATIENCE = 15.0
BOOT_PATIENCE = 90.0  # about ten seconds while nothing else runs

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def machine() -> Path:
    """Return the folder of the kernel and its files, and build them when they are missing."""
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    if lacking or not Path("/usr/include/netinet/sctp.h").exists():
        missing("no virtual machine (apt install qemu-system-x86 seabios busybox-static cpio gcc libsctp-dev)")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:  # both workers of the suite may run this at the same time
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (FOLDER / "initrd.gz").exists():
            done = subprocess.run([HERE / "build.sh", FOLDER], check=False, capture_output=True, text=True, timeout=100)
            if done.returncode:
                missing(f"the virtual machine cannot be built here: {done.stderr.strip().splitlines()[-1:]}")
    return FOLDER


class Guest:
    """The running machine and the output of its console."""

    def __init__(self, process: asyncio.subprocess.Process, udp_port: int) -> None:
        self.udp_port = udp_port
        self._process = process
        self._told = ""

    async def tells(self, pattern: str, patience: float = PATIENCE) -> re.Match[str]:
        """Wait for the next line that contains these words."""
        assert self._process.stdout is not None
        async with asyncio.timeout(patience):
            while line := (await self._process.stdout.readline()).decode(errors="replace"):
                self._told += line
                if match := re.search(pattern, line):
                    return match
        raise AssertionError(f"ended without telling {pattern!r}:\n{self._told}")


@asynccontextmanager
async def running(folder: Path, *arguments: str) -> AsyncIterator[Guest]:
    port = free_port()
    kernel = "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on tsc=reliable " + " ".join(arguments)
    command = ["qemu-system-x86_64", "-accel", "tcg", "-M", "q35", "-cpu", "max", "-m", "256", "-smp", "1"]
    command += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"]
    command += ["-kernel", str(folder / "vmlinuz"), "-initrd", str(folder / "initrd.gz"), "-append", kernel]
    command += [
        "-netdev",
        f"user,id=n0,hostfwd=udp:127.0.0.1:{port}-:9899",
        "-device",
        "virtio-net-pci,romfile=,netdev=n0",
    ]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        guest = Guest(process, port)
        await guest.tells("KS ready", BOOT_PATIENCE)
        yield guest
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_the_kernel_echoes_our_messages(machine: Path) -> None:
    async with running(machine, "idata=1") as guest:
        await guest.tells("KS listening")
        await _many_sizes(guest)
        await _unordered_and_limited(guest)
        await _with_i_data(guest)
        await _reset(guest)


async def _connected(guest: Guest, interleaving: bool = False) -> sctpsocket_tcp:
    options = replace(default_options(), outbound_streams=64, inbound_streams=64, interleaving=interleaving)
    sock = sctpsocket_tcp(remote_udp_port=guest.udp_port, options=options)
    async with asyncio.timeout(PATIENCE):
        await sock.connect(("127.0.0.1", ECHO_PORT))
    await guest.tells("KS accepted")
    return sock


async def _many_sizes(guest: Guest) -> None:
    async with await _connected(guest) as sock, asyncio.timeout(PATIENCE):
        for stream, size in enumerate([1, 2, 3, 4, 100, 1172, 1173, 1400, 5000, 65535, 65536, 150_000]):
            message = bytes(range(256)) * (size // 256) + bytes(size % 256)
            await sock.sendmsg(message, [SndInfo(sid=stream, ppid=stream + 100)])
            answer = await sock.recvmsg(1 << 20)
            assert answer.data == message
            assert answer.rcvinfo is not None
            assert (answer.rcvinfo.sid, answer.rcvinfo.ppid) == (stream, stream + 100)


async def _unordered_and_limited(guest: Guest) -> None:
    async with await _connected(guest) as sock, asyncio.timeout(PATIENCE):
        limited = PrInfo(PrPolicy.SCTP_PR_SCTP_RTX, 3)
        sent = {b"%03d" % index * 500 for index in range(100)}
        for message in sent:
            await sock.sendmsg(message, [SndInfo(sid=1, flags=SCTP_UNORDERED), limited])
        answers = [await sock.recvmsg(1 << 20) for _ in sent]
        assert {answer.data for answer in answers} == sent  # nothing is lost on the way to the machine
        assert all(answer.rcvinfo is not None and answer.rcvinfo.flags == SCTP_UNORDERED for answer in answers)


async def _with_i_data(guest: Guest) -> None:
    async with await _connected(guest, interleaving=True) as sock, asyncio.timeout(PATIENCE):
        for stream in (1, 2):
            # Each message is one chunk, because Linux numbers the second fragment 0, unlike RFC 8260.
            for size in (5, 1000):
                await sock.sendmsg(b"a" * size, [SndInfo(sid=stream, ppid=size)])
                answer = await sock.recvmsg(1 << 20)
                assert answer.data == b"a" * size
                assert answer.rcvinfo is not None
                assert (answer.rcvinfo.sid, answer.rcvinfo.ppid) == (stream, size)


async def _reset(guest: Guest) -> None:
    async with await _connected(guest) as sock, asyncio.timeout(PATIENCE):
        sock.setsockopt(SocketOption.SCTP_ENABLE_STREAM_RESET, SCTP_ENABLE_RESET_STREAM_REQ)
        sock.events.stream_reset = True
        for text in (b"before", b"after"):
            await sock.sendmsg(text, [SndInfo(sid=5)])
            assert (await sock.recvmsg()).data == text
            sock.setsockopt(SocketOption.SCTP_RESET_STREAMS, ResetStreams(ResetFlag.SCTP_STREAM_RESET_OUTGOING, (5,)))
            event = (await sock.recvmsg()).notification
            assert event is not None
            assert getattr(event, "streams", None) == (5,)


async def test_the_kernel_connects_to_our_listener(machine: Path) -> None:
    port, count, size = 5001, 30, 20_000
    async with sctpsocket_tcp(udp_port=0) as listener:
        listener.bind(("", port))
        listener.listen()
        async with running(machine, f"client=10.0.2.2,{port},{listener.udp_port},{count},{size}") as guest:
            async with asyncio.timeout(PATIENCE):
                connection, _ = await listener.accept()
            async with connection, asyncio.timeout(PATIENCE):
                for index in range(count):
                    message = await connection.recvmsg(1 << 20)
                    assert message.data == bytes([ord("a") + index % 26]) * size
                    assert message.rcvinfo is not None
                    assert (message.rcvinfo.sid, message.rcvinfo.ppid) == (index % 8, 53)
                    await connection.sendmsg(message.data, [SndInfo(sid=message.rcvinfo.sid)])
                assert await connection.recv(1) == b""
            done = await guest.tells(r"KS client done n=(\d+) bytes=(\d+)")
            assert (int(done[1]), int(done[2])) == (count, count * size)
