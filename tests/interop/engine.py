"""Run the engine's endpoint over plain UDP sockets, one for each local address, for tests with other SCTP stacks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from datachan.sctp.association import Association
from datachan.sctp.endpoint import Endpoint
from datachan.sctp.events import AssociationEstablished, AssociationLost, Event, MessageReceived
from datachan.sctp.options import AssociationOptions
from datachan.trace import open_tap
from datachan.udp import UdpSocket

E = TypeVar("E", bound=Event)
PATIENCE = 30.0


class Engine:
    """An endpoint with its latest association; it keeps messages and other events."""

    def __init__(self, options: AssociationOptions, hosts: Sequence[str] = ("127.0.0.1",), port: int = 0) -> None:
        self._loop = asyncio.get_running_loop()
        self.endpoint = Endpoint(options, os.urandom)
        self.endpoint.backlog = 5
        self._sockets: dict[str, UdpSocket] = {}
        for host in hosts:
            self._sockets[host] = UdpSocket.bind(host, port, receive_buffer=1 << 22, send_buffer=1 << 22)
            port = self._sockets[host].local_address[1]
            self._sockets[host].set_receiver(partial(self._received, host))
        self.port = port
        self.tap = open_tap(None, f"udp {port}")
        self.id = 0
        self.messages: list[MessageReceived] = []
        self.events: list[Event] = []
        self.on_message: Callable[[MessageReceived], None] | None = None
        self.lose: Callable[[bytes], bool] | None = None  # decides whether a datagram, in either direction, is lost
        self.cut_off: set[str] = set()  # addresses of the peer that are no longer reachable
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()

    @property
    def association(self) -> Association:
        association = self.endpoint.association(self.id)
        assert association is not None, self.events
        return association

    @property
    def all_decided(self) -> bool:
        """Whether every sent message has been acknowledged or abandoned, and the peer knows."""
        return self.association.extensions is not None and self.association.all_acknowledged

    @property
    def now(self) -> float:
        return self._loop.time()

    def connect(self, remotes: Sequence[tuple[str, int]], remote_port: int) -> None:
        self.id = self.endpoint.connect(remotes, self.now, remote_port=remote_port)
        self.wake()

    def send(self, stream: int, data: bytes, ppid: int = 0, **options: object) -> None:
        self.association.send(stream, data, ppid=ppid, now=self.now, **options)  # type: ignore[arg-type]

    async def until(self, condition: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Wait for a condition, which changes only when this endpoint receives or its timer expires."""
        self.wake()
        async with asyncio.timeout(patience):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def event(self, kind: type[E]) -> E:
        """Return the first event of a kind."""
        await self.until(lambda: bool(self.of(kind)))
        return self.of(kind)[0]

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def established(self) -> AssociationEstablished:
        await self.until(lambda: bool(self.of(AssociationEstablished) or self.of(AssociationLost)))
        assert not self.of(AssociationLost), self.events
        return self.of(AssociationEstablished)[0]

    async def receive(self, count: int, patience: float = PATIENCE) -> list[MessageReceived]:
        """Wait for the next messages."""
        await self.until(lambda: len(self.messages) >= count or bool(self.of(AssociationLost)), patience)
        taken, self.messages = self.messages[:count], self.messages[count:]
        assert len(taken) == count, self.events
        return taken

    def wake(self) -> None:
        """Send and re-arm the timer after a direct call of the endpoint."""
        for _ in range(1000):
            if not self._round():
                break
        deadline = self.endpoint.next_timeout()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._expired)
        self._changed.set()

    def close(self) -> None:
        for assoc_id in self.endpoint.ids():
            association = self.endpoint.association(assoc_id)
            if association is not None:
                association.abort(self.now)
        self.wake()
        if self._timer is not None:
            self._timer.cancel()
        for sock in self._sockets.values():
            sock.close()
        if self.tap is not None:
            self.tap.close()

    def _round(self) -> bool:
        busy = False
        for (host, port), packets in self.endpoint.packets_to_send(self.now):
            busy = True
            sock = next(iter(self._sockets.values()))
            if self.tap is not None:
                self.tap.sent(packets, sock.local_address[:2], (host, port))
            if host in self.cut_off:
                continue
            sock.send([one for one in packets if self.lose is None or not self.lose(one)], (host, port))
        for assoc_id, event in self.endpoint.events():
            busy = True
            self._handle(assoc_id, event)
        return busy

    def _handle(self, assoc_id: int, event: Event) -> None:
        if isinstance(event, AssociationEstablished):
            self.id = assoc_id
            self.endpoint.accept(assoc_id)
        if isinstance(event, MessageReceived):
            association = self.endpoint.association(assoc_id)
            if association is not None:
                association.message_consumed(len(event.data), self.now)
            (self.on_message or self.messages.append)(event)
        else:
            self.events.append(event)

    def _received(self, host: str, datagrams: list[bytes], source: tuple[str, int]) -> None:
        if self.tap is not None:
            self.tap.received(datagrams, self._sockets[host].local_address[:2], source[:2])
        if self.lose is not None:
            datagrams = [one for one in datagrams if not self.lose(one)]
        self.endpoint.receive_datagrams(datagrams, self.now, source[:2])
        self.wake()

    def _expired(self) -> None:
        self._timer = None
        self.endpoint.handle_timeout(self.now)
        self.wake()
