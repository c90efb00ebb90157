"""The driver of two machines over a simulated network, which jumps from one wakeup to the next.

The clock is a number: an idle hour passes at once. The driver calls a machine as the asyncio shell does: it passes a
batch of datagrams or the time, then drains the machine's datagrams and events.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from .host import Host
from .network import Link, Network, earliest


class Machine(Protocol):
    """The interface of every machine of the package."""

    def receive_datagrams(self, datagrams: Sequence[bytes], now: float) -> None: ...
    def handle_timeout(self, now: float) -> None: ...
    def next_timeout(self) -> float | None: ...
    def datagrams_to_send(self, now: float) -> list[bytes]: ...
    def events(self) -> Sequence[Any]: ...


class Stuck(AssertionError):
    """The machines did not reach the state the test waits for; the text has the seed and the last packets."""


# A machine that asks this many times to be woken at once, or to send, while the clock does not move, has an error.
SPINS_ALLOWED = 1000


class Peer:
    """One machine and all its events.

    Attributes:
        machine: the machine.
        events: all its events, in order.
        on_event: called with each event and the time; may call the machine.
        host: the computer it runs on; None for one without delays.
    """

    def __init__(self, name: str, machine: Any, out: Link, incoming: Link, host: Host | None) -> None:
        self.name = name
        self.machine = machine
        self.out = out
        self.incoming = incoming
        self.events: list[Any] = []
        self.on_event: Callable[[Any, float], None] = lambda event, now: None
        self.host = host

    def of(self, kind: type) -> list[Any]:
        """Return the events of this kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def next_wakeup(self) -> float | None:
        """Return when the machine next handles its datagrams and its timer."""
        arrival, timeout = self.incoming.next_arrival(), self.machine.next_timeout()
        return earliest([arrival, timeout]) if self.host is None else self.host.next_turn_at(arrival, timeout)

    def turn(self, now: float) -> None:
        """Pass the datagrams that have arrived to the machine and handle its timer, if its host runs it by now."""
        host = self.host
        if host is not None:
            wakeup = self.next_wakeup()
            if wakeup is None or wakeup > now:
                return
        datagrams = self.incoming.arrived(now)
        count = len(datagrams)
        if datagrams:
            self.machine.receive_datagrams(datagrams, now)
            count += self.drain(now)
        timeout = self.machine.next_timeout()
        if timeout is not None and timeout <= now:
            self.machine.handle_timeout(now)
            count += self.drain(now)
        if host is not None:
            host.record_turn(now, count)

    def drain(self, now: float) -> int:
        """Send the machine's datagrams and record its events until there are none left; return the number sent."""
        sent = 0
        for _ in range(SPINS_ALLOWED):
            datagrams = self.machine.datagrams_to_send(now)
            events = self.machine.events()
            if not datagrams and not events:
                return sent
            sent += len(datagrams)
            self.out.send(datagrams, now, dont_fragment=getattr(self.machine, "dont_fragment", False))
            for event in events:
                self.events.append(event)
                self.on_event(event, now)
        raise Stuck(f"{self.name} always has something to send")


class VirtualClock(ABC):
    """A clock that jumps from one wakeup to the next.

    Attributes:
        now: seconds.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self._spins = 0

    @abstractmethod
    def drain(self) -> None:
        """Send and record everything the machines have; call this after calling a machine directly."""

    @abstractmethod
    def next_wakeup(self) -> float | None:
        """Return when the next event happens, or None when none ever will."""

    @abstractmethod
    def turn(self) -> None:
        """Handle everything that is due now."""

    @abstractmethod
    def explain(self, what: str) -> str:
        """Return a description of a failure with the seed, the time and the last packets and events."""

    def step(self, until: float | None = None) -> bool:
        """Advance to the next wakeup and handle it.

        Args:
            until: the latest time to advance to.

        Returns:
            False when no event is left, or none before `until`, to which the clock then advances.
        """
        self.drain()
        wakeup = self.next_wakeup()
        if wakeup is None or (until is not None and wakeup > until):
            if until is not None:
                self.now = max(self.now, until)
            return False
        self._spins = 0 if wakeup > self.now else self._spins + 1
        if self._spins > SPINS_ALLOWED:
            raise Stuck(self.explain("the clock does not move on"))
        self.now = max(self.now, wakeup)
        self.turn()
        return True

    def run(self, seconds: float) -> None:
        """Advance the clock by `seconds`."""
        end = self.now + seconds
        while self.step(end):
            pass

    def run_until(self, condition: Callable[[], bool], limit: float = 3600.0) -> None:
        """Advance the clock until the condition holds.

        Args:
            condition: evaluated after each step.
            limit: seconds of virtual time after which to give up.

        Raises:
            Stuck: it did not hold in time, or no event is left.
        """
        end = self.now + limit
        self.drain()
        while not condition():
            if not self.step(end):
                self.drain()
                if condition():
                    return
                raise Stuck(self.explain(f"the condition did not hold within {limit} seconds"))


class Pair(VirtualClock):
    """A and Z, a network between them, and a clock.

    Args:
        a: the machine of A.
        z: the machine of Z.
        network: the network between them; a perfect one by default.
        now: the time at which the clock starts.
        hosts: the computers of A and Z; without delays by default.
    """

    def __init__(
        self,
        a: Machine,
        z: Machine,
        network: Network | None = None,
        now: float = 0.0,
        hosts: tuple[Host | None, Host | None] = (None, None),
    ) -> None:
        self.network = network or Network()
        self.a = Peer("A", a, self.network.to_z, self.network.to_a, hosts[0])
        self.z = Peer("Z", z, self.network.to_a, self.network.to_z, hosts[1])
        super().__init__(now)

    def drain(self) -> None:
        self.a.drain(self.now)
        self.z.drain(self.now)

    def next_wakeup(self) -> float | None:
        return earliest([self.a.next_wakeup(), self.z.next_wakeup()])

    def turn(self) -> None:
        self.a.turn(self.now)
        self.z.turn(self.now)

    def run_until_idle(self, limit: float = 3600.0) -> None:
        """Advance the clock until no datagram is in transit and no timer is armed."""
        self.run_until(lambda: self.next_wakeup() is None, limit)

    def explain(self, what: str) -> str:
        return (
            f"{what} (network seed {self.network.seed}, time {self.now:.6f})\n"
            f"{self.network.trace()}\n"
            f"A reported: {self.a.events[-5:]}\nZ reported: {self.z.events[-5:]}"
        )
