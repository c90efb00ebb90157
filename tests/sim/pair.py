"""Drives two machines over a simulated network, jumping from one wakeup to the next.

The clock is a number: an hour passes as soon as nothing happens in it. What a driver owes a machine is done here as in
the asyncio shell: hand over a batch, or the time; then drain what it wants to send and what it has to tell.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from .host import Host
from .network import Link, Network, earliest


class Machine(Protocol):
    """The shape of every machine of the package."""

    def receive_datagrams(self, datagrams: Sequence[bytes], now: float) -> None: ...
    def handle_timeout(self, now: float) -> None: ...
    def next_timeout(self) -> float | None: ...
    def datagrams_to_send(self, now: float) -> list[bytes]: ...
    def events(self) -> Sequence[Any]: ...


class Stuck(AssertionError):
    """The machines did not get where the test wanted them; the text has the seed and the last packets."""


# Asking to be woken at once, or having something to send, this often without the clock moving on is an error.
SPINS_ALLOWED = 1000


class Peer:
    """One machine, and everything it told.

    Attributes:
        machine: the machine.
        events: all its events, in order.
        on_event: called with each event and the time; may call the machine.
        host: what it runs on; None is always on time.
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
        """The events of this kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    def next_wakeup(self) -> float | None:
        """When it will look at what came and at its timer."""
        arrival, timeout = self.incoming.next_arrival(), self.machine.next_timeout()
        return earliest([arrival, timeout]) if self.host is None else self.host.looks_at(arrival, timeout)

    def turn(self, now: float) -> None:
        """Takes in what has arrived and does what is due, if it looks by now."""
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
            host.worked(now, count)

    def drain(self, now: float) -> int:
        """Sends what the machine wants to send and notes its events, until there is no more; how many were sent."""
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
        raise Stuck(f"{self.name} never runs dry")


class VirtualClock(ABC):
    """Jumps from one wakeup to the next.

    Attributes:
        now: seconds.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self._spins = 0

    @abstractmethod
    def drain(self) -> None:
        """Sends and notes everything the machines have for us; call it after having called a machine directly."""

    @abstractmethod
    def next_wakeup(self) -> float | None:
        """When something will happen, or None when nothing ever will."""

    @abstractmethod
    def turn(self) -> None:
        """Does what is due now."""

    @abstractmethod
    def explain(self, what: str) -> str:
        """What is wrong, with all that one needs to find out why."""

    def step(self, until: float | None = None) -> bool:
        """Jumps to the next wakeup and does what is due.

        Args:
            until: go no further than this.

        Returns:
            False when nothing will ever happen, or nothing before `until`, where the clock then is.
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
        """Lets this much time pass."""
        end = self.now + seconds
        while self.step(end):
            pass

    def run_until(self, condition: Callable[[], bool], limit: float = 3600.0) -> None:
        """Lets time pass until the condition holds.

        Args:
            condition: asked after each step.
            limit: seconds of virtual time after which to give up.

        Raises:
            Stuck: it did not hold in time, or nothing will ever happen any more.
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
        network: what is between them; a perfect one when left out.
        now: where the clock begins.
        hosts: what A and Z run on; both are always on time when left out.
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
        """Lets time pass until nothing is under way and no timer is armed."""
        self.run_until(lambda: self.next_wakeup() is None, limit)

    def explain(self, what: str) -> str:
        return (
            f"{what} (network seed {self.network.seed}, time {self.now:.6f})\n"
            f"{self.network.trace()}\n"
            f"A told: {self.a.events[-5:]}\nZ told: {self.z.events[-5:]}"
        )
