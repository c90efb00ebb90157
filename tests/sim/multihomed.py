"""Two multi-homed associations on a virtual clock, with a separate network between each pair of their addresses.

A has the addresses 192.0.2.1, 198.51.100.1, ...; Z has the same ending in 2. Packets to the n-th address of Z leave
from the n-th address of A, through the n-th network, as routing tables would arrange it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from datachan.sctp.addresses import TransportAddress
from datachan.sctp.association import Association
from datachan.sctp.events import PathStatus, PathStatusChanged
from datachan.sctp.options import AssociationOptions

from .network import Conditions, Link, Network, earliest
from .pair import SPINS_ALLOWED, Stuck, VirtualClock
from .seeds import entropy

PREFIXES = ("192.0.2", "198.51.100", "203.0.113", "10.9.8")
PORT = 9899


def address(path: int, host: int) -> TransportAddress:
    """Return the address of A (host 1) or Z (host 2) on a path, counted from 0."""
    return (f"{PREFIXES[path]}.{host}", PORT)


class MultiHomedPeer:
    """One association, the events it reported, and the networks its packets use.

    Attributes:
        machine: the association.
        events: all its events, in order.
        on_event: called with each event and the time; may call the machine.
        sent: (time, path) of each packet sent.
    """

    def __init__(self, name: str, machine: Association, host: int, out: list[Link], incoming: list[Link]) -> None:
        self.name = name
        self.machine = machine
        self.out = out
        self.incoming = incoming
        self.events: list[Any] = []
        self.on_event: Callable[[Any, float], None] = lambda event, now: None
        self.sent: list[tuple[float, int]] = []
        self._host = host
        self._theirs = {address(path, 3 - host): path for path in range(len(out))}

    def of(self, kind: type) -> list[Any]:
        """Return the events of this kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def statuses(self, path: int) -> list[PathStatus]:
        """Return the statuses reported for the peer's address on a path."""
        wanted = address(path, 3 - self._host)
        return [event.status for event in self.of(PathStatusChanged) if event.address == wanted]

    def drain(self, now: float) -> None:
        """Send the machine's packets and record its events until there are none left."""
        for _ in range(SPINS_ALLOWED):
            runs = self.machine.packets_to_send(now)
            events = self.machine.events()
            if not runs and not events:
                return
            for destination, packets in runs:
                path = self._theirs.get(destination, -1) if destination else 0
                if path < 0:
                    continue  # an address that is on no network
                self.sent += [(now, path)] * len(packets)
                self.out[path].send(packets, now)
            for event in events:
                self.events.append(event)
                self.on_event(event, now)
        raise Stuck(f"{self.name} always has something to send")

    def turn(self, now: float) -> None:
        """Pass the packets that have arrived to the machine, a batch per address, and handle its timers."""
        for path, link in enumerate(self.incoming):
            datagrams = link.arrived(now)
            if datagrams:
                self.machine.receive_datagrams(datagrams, now, address(path, 3 - self._host))
                self.drain(now)
        timeout = self.machine.next_timeout()
        if timeout is not None and timeout <= now:
            self.machine.handle_timeout(now)
            self.drain(now)


class MultiHomedPair(VirtualClock):
    """A and Z, several networks between them, and a clock.

    Args:
        conditions: the conditions of each path, both ways.
        seed: the seed of networks and entropy.
        a_options: options of A alone.
        z_options: options of Z alone.
        **options: options of both.
    """

    def __init__(
        self,
        conditions: Sequence[Conditions],
        seed: int = 0,
        *,
        a_options: dict[str, Any] | None = None,
        z_options: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.seed = seed
        chance = random.Random(seed)
        self.networks = [Network(chance.getrandbits(32), one) for one in conditions]
        to_z = [network.to_z for network in self.networks]
        to_a = [network.to_a for network in self.networks]
        self.a = MultiHomedPeer("A", self._machine(1, {**options, **(a_options or {})}), 1, to_z, to_a)
        self.z = MultiHomedPeer("Z", self._machine(2, {**options, **(z_options or {})}), 2, to_a, to_z)

    def _machine(self, host: int, options: dict[str, Any]) -> Association:
        local = tuple(address(path, host)[0] for path in range(len(self.networks)))
        chosen = AssociationOptions(**{"local_addresses": local, **options})
        return Association(chosen, entropy(2 * self.seed + host))

    def connect(self, *paths: int) -> None:
        """Connect A to the addresses of Z on these paths; to the first by default."""
        self.a.machine.connect(self.now, [address(path, 2) for path in paths or (0,)])

    def cut(self, path: int) -> None:
        """Drop everything on this path from now on."""
        self.networks[path].cut()

    def mend(self, path: int) -> None:
        """Stop dropping everything on this path."""
        self.networks[path].mend()

    def next_wakeup(self) -> float | None:
        moments = [network.next_arrival() for network in self.networks]
        moments += [self.a.machine.next_timeout(), self.z.machine.next_timeout()]
        return earliest(moments)

    def drain(self) -> None:
        self.a.drain(self.now)
        self.z.drain(self.now)

    def turn(self) -> None:
        self.a.turn(self.now)
        self.z.turn(self.now)

    def explain(self, what: str) -> str:
        traces = "\n".join(f"path {n}:\n{network.trace(20)}" for n, network in enumerate(self.networks))
        return (
            f"{what} (seed {self.seed}, time {self.now:.6f})\n{traces}\n"
            f"A reported: {self.a.events[-8:]}\nZ reported: {self.z.events[-8:]}"
        )
