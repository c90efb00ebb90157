"""A peer that takes arbitrary actions: nothing raises, no limit is exceeded, no end is reported twice."""

from __future__ import annotations

import random

from datachan.dcep import ChannelClosed, ChannelLimits, ChannelState, DcepError
from datachan.dcep.control_messages import OpenMessage
from datachan.sctp.errors import SctpError
from datachan.sctp.events import IncomingStreamsReset
from tests.scenario.channel_pair import ChannelPair, connected
from tests.sim.network import Conditions, Network
from tests.sim.seeds import seeds

LIMITS = ChannelLimits(max_announced_channels=4, max_announced_bytes=200, max_held_bytes=2000, max_held_messages=10)
PPIDS = (50, 50, 50, 51, 52, 53, 54, 56, 57, 0, 99)
STREAMS = 8


def some_bytes(chance: random.Random) -> bytes:
    opening = OpenMessage(label="l" * chance.choice((0, 5, 150)), ordered=chance.random() < 0.5).serialize()
    return chance.choice(
        (
            opening,
            opening,
            opening,
            opening[: chance.randrange(1, len(opening))],
            b"\x02",
            chance.randbytes(3),
            bytes(900),
        )
    )


def do_something(pair: ChannelPair, chance: random.Random) -> None:
    """Perform an arbitrary action of Z, or an ordinary action of A's application."""
    try:
        match chance.randrange(12):
            case 0:
                pair.z.machine.association.reset_streams([chance.randrange(STREAMS)], pair.now)
            case 1:
                pair.a.machine.channels.create("mine", ordered=chance.random() < 0.5)
            case 2:
                pair.a.machine.channels.create("agreed", negotiated=True, id=chance.randrange(STREAMS))
            case 3 if pair.a.machine.channels.channels:
                pair.close(pair.a, chance.choice(pair.a.machine.channels.channels))
            case 4 if pair.a.machine.channels.channels:
                pair.send(pair.a, chance.choice(pair.a.machine.channels.channels), "hello")
            case _:
                pair.z.machine.association.send(
                    chance.randrange(STREAMS),
                    some_bytes(chance),
                    ppid=chance.choice(PPIDS),
                    now=pair.now,
                    unordered=chance.random() < 0.3,
                )
    except (DcepError, SctpError):
        return  # misuse by this test


class Answers:
    """A peer Z that answers most resets with its own, so that streams become free again."""

    def __init__(self, pair: ChannelPair, chance: random.Random) -> None:
        self.pair = pair
        self.chance = chance
        self.seen = 0

    def give(self) -> None:
        machine = self.pair.z.machine
        for event in machine.sctp_events[self.seen :]:
            if isinstance(event, IncomingStreamsReset) and self.chance.random() < 0.9:
                machine.association.reset_streams(event.stream_ids, self.pair.now)
        self.seen = len(machine.sctp_events)


@seeds(40)
def test_arbitrary_actions_of_a_peer_neither_raise_nor_exceed_limits(seed: int) -> None:
    chance = random.Random(seed)
    conditions = Conditions(latency=0.02, loss=0.05, reordering=0.1)
    options = {"outbound_streams": STREAMS}
    pair = connected(Network(seed, to_z=conditions), seed=seed, a_limits=LIMITS, a_options=options, z_options=options)
    answers = Answers(pair, chance)
    for _ in range(150):
        do_something(pair, chance)
        if chance.random() < 0.5:
            pair.drain()
            pair.run(chance.uniform(0, 0.1))
            answers.give()
        channels = pair.a.machine.channels
        assert channels.bytes_held <= LIMITS.max_held_bytes
        announced = [channel for channel in channels.channels if channel.announced]
        assert len(announced) <= LIMITS.max_announced_channels
        assert sum(len(channel.label) for channel in announced) <= LIMITS.max_announced_bytes
    pair.settle(120)
    # Each message was held, delivered to the application, or released.
    assert pair.a.machine.association.stats().receive_buffered == 0
    everybody = {event.channel for event in pair.a.events}
    pair.a.machine.association.abort(pair.now, "enough")
    pair.settle()
    assert pair.a.machine.channels.channels == ()
    closed = [event.channel for event in pair.a.of(ChannelClosed)]
    assert len(closed) == len(set(closed))
    assert set(closed) >= everybody
    for channel in closed:
        assert channel.state is ChannelState.CLOSED
        told = [event for event in pair.a.events if event.channel is channel]
        assert isinstance(told[-1], ChannelClosed)
