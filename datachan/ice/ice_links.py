"""What an ICE transport and those of its ICE restarts share: links, the agent that uses them, and what they carry.

An ICE restart is a transport of its own for signaling: it has credentials, candidates and a state. It opens no second
socket and requests no second allocation. This module does not know W3C's states.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from datachan.ice.address_watch import AddressWatch, watch_addresses
from datachan.ice.gathering import Gatherer
from datachan.ice.link import DatagramLink
from datachan.ice.runner import AgentRunner
from datachan.ice.server_errors import IceServerError
from datachan.ice.servers import ServerAddress
from datachan.ice.tcp_links import ActiveTcpLink
from datachan.ice.traffic import Traffic
from datachan.ice.turn_link import OtherFamily, TurnLink
from datachan.ice_agent import (
    AgentEvent,
    AgentOptions,
    Base,
    Credentials,
    IceAgent,
    LocalCandidate,
    OldSessionEnded,
    Restarted,
)

# Datagrams kept until there is a receiver: enough for a DTLS flight and its retransmissions.
_MAX_EARLY_DATAGRAMS: Final = 256


class Generation(Protocol):
    """A transport that uses the links."""

    @property
    def username_fragment(self) -> str:
        """Our username fragment."""

    def handle_agent_event(self, event: AgentEvent) -> None:
        """Follow an event of the session in use."""

    def candidate_found(self, candidate: LocalCandidate, server: ServerAddress | None) -> None:
        """Signal a candidate of ours."""

    def server_failed(self, error: IceServerError) -> None:
        """Report the failure of a server."""

    def addresses_appeared(self) -> None:
        """Ask for an ICE restart if the new addresses lead nowhere."""


class IceLinks:
    """The links of one ICE transport and its restarts.

    Args:
        first: the transport.
        gatherer: opens the links.
        credentials: our first username fragment and password.
        controlling: our role at first.
        options: the times and bounds of the agent.

    Attributes:
        agent: the agent.
        runner: runs the agent over the links.
        gatherer: opens the links.
        traffic: counts what the links carry.
    """

    def __init__(
        self,
        first: Generation,
        gatherer: Gatherer,
        credentials: Credentials,
        *,
        controlling: bool,
        options: AgentOptions,
    ) -> None:
        self.gatherer = gatherer
        self.agent = IceAgent(
            credentials=credentials, controlling=controlling, entropy=os.urandom, now=0.0, options=options
        )
        self.runner = AgentRunner(
            self.agent,
            on_event=self._agent_event,
            on_query_event=gatherer.handle_query_event,
            on_data=self._receive,
            on_refused=self._count_refused,
        )
        self.traffic = Traffic()
        self._users: list[Generation] = [first]
        self._in_use: Generation | None = first
        self._watch: AddressWatch | None = None
        self._receiver: Callable[[list[bytes]], None] | None = None
        self._early: deque[bytes] = deque(maxlen=_MAX_EARLY_DATAGRAMS)
        self._adding: set[asyncio.Task[None]] = set()
        self._ending: set[asyncio.Task[None]] = set()
        gatherer.on_candidate = self._candidate_found
        gatherer.on_server_error = self._server_failed

    # -- the transports ------------------------------------------------------------------------------------------------

    def add(self, restart: Generation) -> None:
        """Add the transport of an ICE restart; candidates that are found from now on are its."""
        self._users.append(restart)

    def remove(self, user: Generation) -> bool:
        """Remove a transport that is closed; return whether it was the last one, so that the links are to be closed."""
        if user in self._users:
            self._users.remove(user)
        self.gatherer.keep_fragments(self.agent.username_fragments)
        return not self._users

    def _candidate_found(self, candidate: LocalCandidate, server: ServerAddress | None) -> None:
        if self._users:
            self._users[-1].candidate_found(candidate, server)
        self.agent.add_local_candidate(candidate, self.runner.now)
        self.runner.run()

    def _server_failed(self, error: IceServerError) -> None:
        if self._users:
            self._users[-1].server_failed(error)

    def _agent_event(self, event: AgentEvent) -> None:
        if isinstance(event, Restarted):
            named = (one for one in self._users if one.username_fragment == event.username_fragment)
            self._in_use = next(named, self._in_use)
        elif isinstance(event, OldSessionEnded):
            self._close_unused_links()
        elif self._in_use is not None and self._in_use in self._users:
            self._in_use.handle_agent_event(event)

    # -- addresses of this host ----------------------------------------------------------------------------------------

    def watch_addresses(self) -> None:
        """Leave addresses that vanish from now on, and try those that appear."""
        if self._watch is None:
            self._watch = watch_addresses(self._addresses_changed)

    def _addresses_changed(self, appeared: frozenset[str], vanished: frozenset[str]) -> None:
        gone = [base for base in self.gatherer.hosts if base.address in vanished and base not in self.gatherer.shared]
        relays = [
            base
            for base, link in self.runner.links.items()
            if isinstance(link, TurnLink | OtherFamily) and link.source_address in vanished
        ]
        for base in relays + gone:
            self._close_link(base)
        if appeared and self._users and self._in_use is not None:
            self._in_use.addresses_appeared()
            adding = self.gatherer.open_more(self.runner, sorted(appeared), relays=bool(relays))
            task = asyncio.create_task(adding)
            self._adding.add(task)
            task.add_done_callback(self._adding.discard)

    def _close_unused_links(self) -> None:
        """Close the links that only the session before a restart has used, such as those of former servers."""
        self.gatherer.keep_fragments(self.agent.username_fragments)
        for base in [base for base in self.runner.links if not self.agent.uses(base)]:
            self._close_link(base)

    def _close_link(self, base: Base) -> None:
        self.gatherer.forget(base)
        link = self.runner.links.get(base)
        self.runner.remove_link(base)
        if link is None:
            return
        link.close()
        self.traffic.discarded_on_send += link.discarded
        self.traffic.bytes_discarded_on_send += link.discarded_bytes
        if isinstance(link, TurnLink | ActiveTcpLink):
            task = asyncio.create_task(link.wait_closed())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    # -- datagrams -----------------------------------------------------------------------------------------------------

    def set_receiver(self, receiver: Callable[[list[bytes]], None] | None) -> None:
        """Set the callback for each batch of datagrams of the peer, and hand up those that were kept for it."""
        self._receiver = receiver
        if receiver is not None and self._early:
            early = list(self._early)
            self._early.clear()
            self._receive(early)

    def receive_embedded(self, datagram: bytes) -> None:
        """Hand up a DTLS datagram that a check has carried."""
        self._receive([datagram])

    def _receive(self, datagrams: list[bytes]) -> None:
        """Hand up datagrams of the peer, or keep them until there is a receiver."""
        if self._receiver is None:
            room = _MAX_EARLY_DATAGRAMS - len(self._early)
            self._early.extend(datagrams[:room])
            self.traffic.discarded_on_receive += max(0, len(datagrams) - room)
            return
        self.traffic.received(datagrams)
        self._receiver(datagrams)

    def _count_refused(self, count: int) -> None:
        """Count datagrams from an address that has not proved to be the peer's."""
        self.traffic.discarded_on_receive += count

    def discarded_on_send(self) -> tuple[int, int]:
        """Return the number of datagrams that could not be sent, over closed links, too, and their bytes."""
        links = self.runner.links.values()
        return (
            self.traffic.discarded_on_send + sum(link.discarded for link in links),
            self.traffic.bytes_discarded_on_send + sum(link.discarded_bytes for link in links),
        )

    # -- the end -------------------------------------------------------------------------------------------------------

    def close(self) -> list[asyncio.Task[None]]:
        """Close all links; return the tasks that were opening more, which are canceled."""
        self._receiver = None
        self._early.clear()
        if self._watch is not None:
            self._watch.close()
        for task in self._adding:
            task.cancel()
        self.runner.close()
        self._close_links()
        return list(self._adding)

    async def wait_closed(self) -> None:
        """Wait until no link is left, also of those that were closed before or that the tasks have opened meanwhile."""
        links = [link for link in self._close_links() if isinstance(link, TurnLink | ActiveTcpLink)]
        await asyncio.gather(*self._ending, *(link.wait_closed() for link in links))
        self.gatherer.close()
        self._in_use = None

    def _close_links(self) -> list[DatagramLink]:
        links = list(self.runner.links.values())
        for link in links:
            link.close()
        return links
