"""Measure a message in both peers without sockets: from `send` to the datagram, and from there to the callback.

    python -m tests.bench.bench_stack [--size 100] [--megabytes 12] [--profile send|receive]

It is one process without system calls, so the results repeat well. To compare two builds, run it in turns with
PYTHONPATH set to each. The output is the best of some repetitions, in microseconds of CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
from collections.abc import Callable
from datetime import UTC, datetime
from time import perf_counter, sleep, thread_time
from typing import Any

from datachan.dcep.channel_events import ChannelEvent
from datachan.dtls import Certificate
from datachan.peer.channel_registry import ChannelRegistry
from datachan.sctp.options import data_channel_options
from datachan.stack import Stack

QUEUED = 1 << 20  # bytes that the application keeps queued in a channel


class Transports:
    """The connection that a channel registry needs."""

    running = True
    max_message_size = float("inf")

    def send_now(self) -> bool:
        return True

    def wake(self) -> None:
        return


class End:
    """A peer without a socket, and the time it has used."""

    def __init__(self, certificate: Certificate, theirs: Certificate, *, is_client: bool) -> None:
        self.registry: Any = ChannelRegistry(self.announced)
        self.registry.transport = Transports()
        self.stack = Stack(
            certificate=certificate,
            is_dtls_client=is_client,
            remote_fingerprints=[theirs.fingerprint()],
            channels=self.registry.core,
            sctp_options=data_channel_options(),
            entropy=os.urandom,
            now=perf_counter(),
        )
        self.arriving: list[bytes] = []  # the datagrams on their way to this end
        self.used = 0.0  # seconds of CPU
        self.on_message: Callable[[bytes], None] = lambda message: None
        self.channel: Any = None

    def announced(self, channel: Any) -> None:
        self.channel = channel
        channel.on("message", self.heard)

    def heard(self, message: bytes) -> None:
        self.on_message(message)

    def take(self, datagrams: list[bytes], profile: cProfile.Profile | None = None) -> list[bytes]:
        """Process received datagrams, deliver events, and return the datagrams to send."""
        if profile is not None:
            profile.enable()
        begun = thread_time()
        now = perf_counter()
        stack = self.stack
        if datagrams:
            stack.receive_datagrams(datagrams, now)
        due = stack.next_timeout()
        if due is not None and due <= now:
            stack.handle_timeout(now)
        for event in stack.events():
            if isinstance(event, ChannelEvent):
                self.registry.handle(event)
        answer = stack.datagrams_to_send(now)
        self.used += thread_time() - begun
        if profile is not None:
            profile.disable()
        return answer


def connected() -> tuple[End, End]:
    """Return two ends with an open channel."""
    certificates = [Certificate.generate(datetime.now(UTC)) for _ in range(2)]
    a = End(certificates[0], certificates[1], is_client=True)
    z = End(certificates[1], certificates[0], is_client=False)
    a.channel = a.registry.create("bench")
    for end in (a, z):
        end.stack.start(perf_counter())
    shuttle(a, z, lambda: a.channel.readyState == "open" and z.channel is not None)
    return a, z


def shuttle(a: End, z: End, done: Callable[[], bool], profiles: dict[str, cProfile.Profile] | None = None) -> None:
    """Carry datagrams in both directions, a hundred at a time, until the condition holds."""
    profiles = profiles or {}
    while not done():
        z.arriving += a.take(a.arriving, profiles.get("send"))
        part, z.arriving = z.arriving[:100], z.arriving[100:]
        a.arriving = z.take(part, profiles.get("receive"))
        if not (part or a.arriving):
            due = min(end.stack.next_timeout() or 0.0 for end in (a, z))
            sleep(max(due - perf_counter(), 0.0))


def transfer(size: int, count: int, profiles: dict[str, cProfile.Profile] | None = None) -> tuple[float, float]:
    """Measure the microseconds of CPU that a message takes at its sender and at its receiver."""
    a, z = connected()
    received = 0

    def count_it(message: bytes) -> None:
        nonlocal received
        received += 1

    z.on_message = count_it
    message = bytes(size)
    at_once = max(QUEUED // 4 // size, 1)
    for end in (a, z):
        end.used = 0.0
    sent = 0
    while sent < count:
        begun = thread_time()
        if profiles and "send" in profiles:
            profiles["send"].enable()
        for _ in range(at_once):
            a.channel.send(message)
        if profiles and "send" in profiles:
            profiles["send"].disable()
        a.used += thread_time() - begun
        sent += at_once
        shuttle(a, z, lambda: a.channel.bufferedAmount < QUEUED, profiles)
    shuttle(a, z, lambda: received >= sent, profiles)
    return a.used / sent * 1e6, z.used / sent * 1e6


def pings(count: int, size: int = 64) -> float:
    """Measure the microseconds of CPU of a round trip, both ends together."""
    a, z = connected()
    z.on_message = z.channel.send
    came = 0

    def again(message: bytes) -> None:
        nonlocal came
        came += 1
        a.channel.send(message)

    a.channel.on("message", again)
    a.channel.send(bytes(size))
    begun = thread_time()
    shuttle(a, z, lambda: came >= count)
    return (thread_time() - begun) / count * 1e6


async def main() -> None:
    """Print the table, or a profile."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", type=int, default=0, help="bytes per message; 65536, 1100 and 100 unless told")
    parser.add_argument("--megabytes", type=float, default=12.0, help="moved in each repetition")
    parser.add_argument("--repeat", type=int, default=5, help="repetitions, of which the best counts")
    parser.add_argument("--profile", choices=["send", "receive"], help="print where that side spends its time")
    arguments = parser.parse_args()
    for size in [arguments.size] if arguments.size else [65536, 1100, 100]:
        count = max(int(arguments.megabytes * 1e6) // size, 1)
        if arguments.profile:
            profile = cProfile.Profile()
            transfer(size, count, {arguments.profile: profile})
            pstats.Stats(profile).sort_stats("tottime").print_stats(35)
            continue
        runs = [transfer(size, count) for _ in range(arguments.repeat)]
        send, receive = min(run[0] for run in runs), min(run[1] for run in runs)
        print(
            f"{size:6} B: send {send:7.2f}, receive {receive:7.2f} us per message; "
            f"{size / send:6.1f} and {size / receive:6.1f} MB/s, {1e6 / max(send, receive):9.0f} messages/s at most"
        )
    if not arguments.profile:
        print(f"ping of 64 B: {min(pings(2000) for _ in range(arguments.repeat)):.1f} us of work per round trip")


if __name__ == "__main__":
    asyncio.run(main())
