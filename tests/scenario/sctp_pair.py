"""Two associations, A and Z, on a virtual clock: each packet can be seen, dropped or held before it is delivered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

from datachan.sctp.association import Association, AssociationState
from datachan.sctp.events import Event, MessageReceived
from datachan.sctp.options import AssociationOptions
from datachan.sctp.wire.chunks import Chunk
from datachan.sctp.wire.packet import Packet, parse_packet_untrusted, serialize_packet

S = AssociationState
PORT = 5000
A_SEED, Z_SEED = 65, 90


def entropy(seed: int) -> Callable[[int], bytes]:
    """Return a source of random bytes that are the same in every run."""
    return Random(seed).randbytes


def read(datagram: bytes) -> Packet:
    """Parse a packet; a zero checksum is accepted."""
    return parse_packet_untrusted(datagram, zero_checksum_acceptable=True)


def names(datagram: bytes) -> list[str]:
    """Return the names of a packet's chunks, such as 'Data' or 'Sack'."""
    return [type(chunk).__name__.removesuffix("Chunk") for chunk in read(datagram).chunks]


def chunks(datagrams: list[bytes], kind: type) -> list:
    """Return all chunks of one class in these packets."""
    return [chunk for datagram in datagrams for chunk in read(datagram).chunks if isinstance(chunk, kind)]


def packet(verification_tag: int, *carried: Chunk, source_port: int = PORT, destination_port: int = PORT) -> bytes:
    """Return a packet with these chunks and a correct checksum."""
    return serialize_packet(source_port, destination_port, verification_tag, [chunk.serialize() for chunk in carried])


class Pair:
    """A and Z; `now` changes only when a test advances it."""

    def __init__(self, options: AssociationOptions | None = None, z_options: AssociationOptions | None = None) -> None:
        options = options or changed()
        self.options = options
        self.a = Association(options, entropy(A_SEED))
        self.z = Association(z_options or options, entropy(Z_SEED))
        self.now = 1000.0
        self.a_events: list[Event] = []
        self.z_events: list[Event] = []
        self.consume = True

    # -- one step ------------------------------------------------------------------------------------------------------

    def from_a(self) -> list[bytes]:
        """Return the packets that A sends now."""
        return self.a.datagrams_to_send(self.now)

    def from_z(self) -> list[bytes]:
        """Return the packets that Z sends now."""
        return self.z.datagrams_to_send(self.now)

    def to_a(self, *datagrams: bytes) -> None:
        """Deliver packets to A in one batch."""
        self.a.receive_datagrams(datagrams, self.now)

    def to_z(self, *datagrams: bytes) -> None:
        """Deliver packets to Z in one batch."""
        self.z.receive_datagrams(datagrams, self.now)

    def collect(self) -> None:
        """Drain the events of both sides and consume the messages."""
        for machine, seen in ((self.a, self.a_events), (self.z, self.z_events)):
            for event in machine.events():
                seen.append(event)
                if self.consume and isinstance(event, MessageReceived):
                    machine.message_consumed(len(event.data), self.now)

    # -- many steps ----------------------------------------------------------------------------------------------------

    def exchange(self, rounds: int = 200) -> None:
        """Deliver packets in both directions, without loss or delay, until there are none to send."""
        for _ in range(rounds):
            from_a, from_z = self.from_a(), self.from_z()
            self.collect()
            if not from_a and not from_z:
                return
            if from_a:
                self.to_z(*from_a)
            if from_z:
                self.to_a(*from_z)
        raise RuntimeError("A and Z do not stop sending")

    def pass_time(self, seconds: float) -> None:
        """Advance the clock; handle each timer that expires and exchange the packets that it causes."""
        end = self.now + seconds
        while True:
            moments = [moment for moment in (self.a.next_timeout(), self.z.next_timeout()) if moment is not None]
            if not moments or min(moments) > end:
                self.now = end
                return
            self.now = max(self.now, min(moments))
            self.a.handle_timeout(self.now)
            self.z.handle_timeout(self.now)
            self.exchange()

    def expire_a(self) -> list[bytes]:
        """Advance to A's next timeout and return the packets that A sends; Z does not receive them."""
        moment = self.a.next_timeout()
        if moment is None:
            raise RuntimeError("no timer of A is running")
        self.now = max(self.now, moment)
        self.a.handle_timeout(self.now)
        return self.from_a()

    def establish(self) -> Pair:
        """Establish the association; A sends the INIT."""
        self.a.connect(self.now)
        self.exchange()
        if (self.a.state, self.z.state) != (S.ESTABLISHED, S.ESTABLISHED):
            raise RuntimeError(f"not established: {self.a.state}, {self.z.state}")
        return self

    # -- shorthands ----------------------------------------------------------------------------------------------------

    def send_a(self, data: bytes, stream_id: int = 1, **keywords: object) -> None:
        """Send a message from A."""
        self.a.send(stream_id, data, ppid=51, now=self.now, **keywords)  # type: ignore[arg-type]

    def send_z(self, data: bytes, stream_id: int = 1, **keywords: object) -> None:
        """Send a message from Z."""
        self.z.send(stream_id, data, ppid=51, now=self.now, **keywords)  # type: ignore[arg-type]

    def received_by_z(self) -> list[bytes]:
        """Return the messages that Z has received."""
        self.collect()
        return [event.data for event in self.z_events if isinstance(event, MessageReceived)]

    def received_by_a(self) -> list[bytes]:
        """Return the messages that A has received."""
        self.collect()
        return [event.data for event in self.a_events if isinstance(event, MessageReceived)]

    def a_saw(self, kind: type) -> list:
        """Return A's events of one class."""
        self.collect()
        return [event for event in self.a_events if isinstance(event, kind)]

    def z_saw(self, kind: type) -> list:
        """Return Z's events of one class."""
        self.collect()
        return [event for event in self.z_events if isinstance(event, kind)]


def changed(**keywords: object) -> AssociationOptions:
    """Return the default options with changes. Interleaving is off, because it has its own tests."""
    return replace(AssociationOptions(interleaving=False), **keywords)  # type: ignore[arg-type]
