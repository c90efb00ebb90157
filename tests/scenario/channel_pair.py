"""Channels of A and Z over real associations and a simulated network, for the channel scenarios."""

from __future__ import annotations

from typing import Any

from datachan.dcep import (
    BufferedAmountChanged,
    Channel,
    ChannelAnnounced,
    ChannelClosed,
    ChannelEvent,
    ChannelFailed,
    ChannelLimits,
    ChannelMessage,
    ChannelOpened,
    ChannelState,
    DataChannels,
)
from datachan.sctp.association import Association
from datachan.sctp.events import AssociationEstablished, Event
from datachan.sctp.options import AssociationOptions
from tests.sim.network import Network
from tests.sim.pair import Pair, Peer
from tests.sim.seeds import entropy


class ChannelMachine:
    """An association and its channels as one machine, without the DTLS of `Stack`.

    Attributes:
        association: the association.
        channels: its channels.
        sctp_events: the events of the association.
        reads: whether messages are read on arrival.
    """

    def __init__(self, *, is_client: bool, seed: int, limits: ChannelLimits | None = None, **options: Any) -> None:
        self.association = Association(AssociationOptions(**options), entropy(seed))
        self.channels = DataChannels(limits=limits)
        self.channels.attach(self.association, is_client, 0.0)
        self.sctp_events: list[Event] = []
        self.reads = True
        self.now = 0.0

    def receive_datagrams(self, datagrams: list[bytes], now: float) -> None:
        self.association.receive_datagrams(datagrams, now)
        self._after(now)

    def handle_timeout(self, now: float) -> None:
        self.association.handle_timeout(now)
        self._after(now)

    def next_timeout(self) -> float | None:
        return self.association.next_timeout()

    def datagrams_to_send(self, now: float) -> list[bytes]:
        self.channels.flush(now)
        packets = self.association.datagrams_to_send(now)
        self._after(now)
        return packets

    def events(self) -> list[ChannelEvent]:
        events = self.channels.events()
        if self.reads:
            for event in events:
                if isinstance(event, ChannelMessage):
                    self.channels.release_window(event.size)
        return events

    def _after(self, now: float) -> None:
        self.now = now
        for event in self.association.events():
            self.sctp_events.append(event)
            self.channels.handle_event(event, now)


class ChannelPair(Pair):
    """Two machines: A is the DTLS client (even ids), Z the server (odd ids)."""

    def __init__(
        self,
        network: Network | None = None,
        *,
        a_options: dict[str, Any] | None = None,
        z_options: dict[str, Any] | None = None,
        a_limits: ChannelLimits | None = None,
        z_limits: ChannelLimits | None = None,
        seed: int = 0,
    ) -> None:
        a = ChannelMachine(is_client=True, seed=2 * seed, limits=a_limits, **(a_options or {}))
        z = ChannelMachine(is_client=False, seed=2 * seed + 1, limits=z_limits, **(z_options or {}))
        super().__init__(a, z, network)

    def connect(self) -> None:
        """Establish the association; both sides send INIT, as browsers do."""
        self.a.machine.association.connect(self.now)
        self.z.machine.association.connect(self.now)
        self.run_until(lambda: all(self.established(peer) for peer in (self.a, self.z)))
        self.settle()

    def established(self, peer: Peer) -> bool:
        return any(isinstance(event, AssociationEstablished) for event in peer.machine.sctp_events)

    def settle(self, seconds: float = 5.0) -> None:
        """Run until all packets in flight have arrived and are answered."""
        self.drain()
        self.run(seconds)

    def open(self, peer: Peer | None = None, label: str = "x", **options: Any) -> tuple[Channel, Channel]:
        """Open a channel from the peer (A by default); return its own end and the other end."""
        peer = peer or self.a
        other = self.z if peer is self.a else self.a
        channel = peer.machine.channels.create(label, **options)
        self.run_until(lambda: channel.state is ChannelState.OPEN, limit=120)
        self.settle()
        return channel, other.of(ChannelAnnounced)[-1].channel

    def send(self, peer: Peer, channel: Channel, *messages: str | bytes) -> None:
        for message in messages:
            peer.machine.channels.send(channel, message, self.now)

    def close(self, peer: Peer, channel: Channel) -> None:
        peer.machine.channels.close(channel, self.now)


def connected(network: Network | None = None, **options: Any) -> ChannelPair:
    pair = ChannelPair(network, **options)
    pair.connect()
    return pair


def messages(peer: Peer, channel: Channel | None = None) -> list[str | bytes]:
    """Return the messages that arrived, on one channel or on all."""
    return [event.data for event in peer.of(ChannelMessage) if channel is None or event.channel is channel]


def kinds(peer: Peer, channel: Channel) -> list[str]:
    """Return the types of a channel's events, without messages and progress."""
    return [
        type(event).__name__
        for event in peer.events
        if event.channel is channel and not isinstance(event, (ChannelMessage, BufferedAmountChanged))
    ]


def failures(peer: Peer, channel: Channel) -> list[str]:
    return [event.reason for event in peer.of(ChannelFailed) if event.channel is channel]


def was_opened(peer: Peer, channel: Channel) -> bool:
    return any(event.channel is channel for event in peer.of(ChannelOpened))


def was_closed(peer: Peer, channel: Channel) -> int:
    """Return how often the channel's end was reported."""
    return sum(event.channel is channel for event in peer.of(ChannelClosed))
