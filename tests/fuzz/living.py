"""Run a live association with channels; the input bytes say what the peer does, what the application does, and when.

The bytes are read as a program, and every byte string is a valid one. The peer's packets carry the right tag and
checksum, so that the bytes reach the code behind these checks. Numbers that a fuzzer would hardly guess (TSNs, request
numbers) are relative to the state of the association.
"""

from __future__ import annotations

import struct
from typing import Any

from datachan.dcep import Channel
from datachan.sctp.association import Association, AssociationState
from datachan.sctp.checksum import crc32c
from datachan.sctp.errors import BadPacket
from datachan.sctp.wire import chunks as wire
from datachan.sctp.wire import extensions
from datachan.sctp.wire.packet import parse_packet_untrusted
from tests.scenario.channel_pair import ChannelPair
from tests.sim.network import Conditions, Network

WINDOW = 20_000
LONGEST = 40_000
MOST_STEPS = 200
LONGEST_PACKET = 65_000
LONG_FROM = 248
LONG_STEP = 140

BY_TSN = {wire.DATA, extensions.I_DATA, extensions.FORWARD_TSN, extensions.I_FORWARD_TSN}
BY_ACK = {wire.SACK, wire.SHUTDOWN}
TYPES = [*range(15), extensions.I_DATA, 0x80, extensions.RE_CONFIG, extensions.PAD, extensions.FORWARD_TSN, 0xC1]
TYPES += [extensions.I_FORWARD_TSN, 0x41, *BY_TSN, *BY_TSN, wire.SACK, wire.SACK, extensions.RE_CONFIG]


class Program:
    """Bytes that are read from the front, followed by zeros."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def byte(self) -> int:
        """Return the next byte."""
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def some(self) -> bytes:
        """Return the number of bytes that the next byte says, mostly less than 64; the largest numbers repeat them."""
        number = self.byte()
        length = number if number >= 224 else number & 63
        self._at += length
        found = self._data[self._at - length : self._at]
        return found * ((number - LONG_FROM) * LONG_STEP // 4) if number >= LONG_FROM else found


class Life:
    """One association that is being fuzzed.

    Args:
        program: the input, which says what happens.
        interleaving: both sides support I-DATA.
    """

    def __init__(self, program: Program, interleaving: bool) -> None:
        self.program = program
        options: dict[str, Any] = {
            "receive_window": WINDOW,
            "max_message_size": LONGEST,
            "interleaving": interleaving,
            "heartbeat_interval": 3.0,
            "association_max_retrans": 3,
            "outbound_streams": 50,
            "inbound_streams": 50,
        }
        self.pair = ChannelPair(Network(0, Conditions(latency=0.01)), a_options=options, z_options=options)
        choice = program.byte()
        self.victim, self.other = (self.pair.z, self.pair.a) if choice & 1 else (self.pair.a, self.pair.z)
        self.packet: list[bytes] = []
        self.mine: list[Channel] = []
        if choice & 2:
            # This is in the middle of the handshake.
            self.association.connect(self.pair.now)
            self.pair.run(0.01 * (choice >> 2 & 3))
        else:
            self.pair.a.machine.association.connect(self.pair.now)
            self.pair.run(0.1)

    @property
    def association(self) -> Association:
        """The fuzzed association."""
        association: Association = self.victim.machine.association
        return association

    def play(self) -> None:
        """Run until the bytes are used up."""
        acts = [self.chunk, self.chunk, self.chunk, self.send_packet, self.wait, self.user, self.raw]
        for _ in range(MOST_STEPS):
            if not self.program:
                break
            acts[self.program.byte() % len(acts)]()
        self.send_packet()
        self.pair.run(0.5)

    def chunk(self) -> None:
        """Add a chunk of any type and content to the peer's packet."""
        kind = TYPES[self.program.byte() % len(TYPES)]
        flags = self.program.byte()
        body = self.program.some()
        if flags & 0x80:
            body = self.aimed(kind, body)
        # Sometimes the chunk is not as long as its length field.
        body = body[: 65_535 - 4]
        length = 4 + len(body) if flags & 0x70 else self.program.byte()
        self.packet.append(struct.pack("!BBH", kind, flags & 0x0F, length) + body + bytes(-len(body) & 3))

    def aimed(self, kind: int, body: bytes) -> bytes:
        """Return the body with its first number relative to the expected one."""
        if self.association.extensions is None or len(body) < 4:
            return body
        if kind in BY_TSN:
            return self.near(self.association.cumulative_tsn, body)
        if kind in BY_ACK:
            return self.near(self.association.stats().cumulative_tsn_ack, body)
        if kind == extensions.RE_CONFIG and len(body) >= 8:
            return self.near_request(body)
        return body

    @staticmethod
    def near(expected: int, body: bytes) -> bytes:
        distance = struct.unpack("!b", body[3:4])[0] << (body[0] & 7)
        return struct.pack("!I", expected + distance & 0xFFFFFFFF) + body[4:]

    def near_request(self, body: bytes) -> bytes:
        """Return a parameter of RE-CONFIG: its type, its length, and the number of a request of either side."""
        peer: Association = self.other.machine.association
        base = peer.local_initial_tsn if body[0] & 1 else self.association.local_initial_tsn
        return struct.pack("!HH", 13 + body[1] % 6, len(body)) + self.near(base, body[4:])

    def send_packet(self) -> None:
        """Deliver the peer's packet with the expected tag."""
        if not self.packet:
            return
        header = struct.pack("!HHI", 5000, 5000, self.association.local_tag)
        body = b"".join(self.packet)[:LONGEST_PACKET]
        self.packet = []
        checksum = crc32c(header + bytes(4) + body)
        self.deliver(header + struct.pack("<I", checksum) + body)

    def raw(self) -> None:
        """Deliver arbitrary bytes."""
        self.deliver(self.program.some())

    def deliver(self, datagram: bytes) -> None:
        self.victim.machine.receive_datagrams([datagram], self.pair.now)
        self.pair.drain()

    def wait(self) -> None:
        """Let up to two and a half seconds pass."""
        self.pair.run(self.program.byte() / 100)

    def user(self) -> None:
        """Make a call of the application, allowed or not."""
        what, number = divmod(self.program.byte(), 32)
        machine = self.victim.machine
        now = self.pair.now
        try:
            if what == 0:
                self.mine.append(machine.channels.create(str(number), ordered=bool(number & 1)))
            elif what == 1 and self.mine:
                machine.channels.send(self.mine[number % len(self.mine)], bytes(number * 300 + 1), now)
            elif what == 2 and self.mine:
                machine.channels.close(self.mine[number % len(self.mine)], now)
            elif what == 3:
                machine.reads = not machine.reads
            elif what == 4:
                self.association.send(number, bytes(number * 100 + 1), ppid=51, now=now, max_retransmissions=number & 1)
            elif what == 5:
                self.association.reset_tsns(now)
            elif what == 6:
                self.association.request_stream_resets([number], now)
            else:
                self.association.shutdown(now)
        except Exception as error:
            if not type(error).__module__.startswith("datachan."):
                raise

    def judge(self) -> None:
        """Check the promises that hold for any peer. Raises AssertionError."""
        association = self.association
        association.check_invariants()
        assert association.stats().receive_buffered < 4 * WINDOW + 2 * LONGEST
        for passage in self.victim.out.passages:
            assert len(passage.datagram) <= association.options.max_packet_size
            try:
                parse_packet_untrusted(passage.datagram)
            except BadPacket as error:
                raise AssertionError(f"a packet nobody can read was sent: {passage.datagram.hex()}") from error
        association.abort(self.pair.now)
        assert association.state is AssociationState.CLOSED
        association.datagrams_to_send(self.pair.now)
        assert association.next_timeout() is None


def play(data: bytes, *, interleaving: bool) -> None:
    """Play the program, and check the promises."""
    life = Life(Program(data), interleaving)
    life.play()
    life.judge()


def interleaved(data: bytes) -> None:
    """Fuzz an association that negotiated I-DATA."""
    play(data, interleaving=True)


def plain(data: bytes) -> None:
    """Fuzz an association without I-DATA."""
    play(data, interleaving=False)
