"""Gathers local candidates (RFC 8445, 5.1.1): which sockets to open, which servers to query, how long to wait.

An ICE restart gathers again: it opens only what is missing, uses the allocations that it has, and asks the other
servers again.

All servers are queried at once, over IPv4 and IPv6, with one deadline for all. Nothing waits for them: each candidate
is reported as it is found.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import random
import socket
from collections.abc import Callable, Container, Coroutine, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

from datachan.callbacks import ignore
from datachan.ice.asyncio_link import AsyncioLink
from datachan.ice.interfaces import usable_addresses
from datachan.ice.link import DatagramLink, SharedLink, TransportAddress
from datachan.ice.network_options import NetworkOptions, resolve_announced
from datachan.ice.runner import AgentRunner
from datachan.ice.server_errors import Failure, IceServerError, NoAddressInFamily, ServerError, server_errors
from datachan.ice.servers import ServerAddress
from datachan.ice.tcp_links import ActiveTcpLink
from datachan.ice.turn_link import TurnLink, open_turn_link
from datachan.ice_agent import ACTIVE, HOST, PASSIVE, RELAY, SRFLX, Base, LocalCandidate, make_candidate
from datachan.ice_agent.candidates import DISCARD_PORT
from datachan.ice_agent.server_queries import Mapped, QueryFailed
from datachan.log_rate import get_limited_logger
from datachan.name_lookup import look_up
from datachan.udp import UdpSocket, has_reader_support

logger = get_limited_logger("datachan.ice")

LOOPBACK_ADDRESSES: Final = ("127.0.0.1", "::1")
_RECEIVE_BUFFER: Final = 4 << 20
_SEND_BUFFER: Final = 1 << 20

Questions = list[tuple[Coroutine[Any, Any, None], TransportAddress | None]]


class Gatherer:
    """Gathers the candidates of one agent, and later those of addresses that appear.

    Args:
        servers: the servers to query; all of them are queried.
        relay_only: whether to gather relayed candidates only.
        loopback: whether to offer loopback addresses; None offers them if there is no other address, or the peer does.
        peer_offers_loopback: returns whether the peer has offered a loopback address; called when gathering starts.
        host_addresses: the addresses to use instead of those of the interfaces.
        ports: the first and the last port to bind to; None leaves ports to the system.
        fast_path: whether to use `UdpSocket` rather than asyncio's own endpoints.
        timeout: the limit for all servers together, in seconds.
        network: shared ports, announced addresses and excluded interfaces.
        credentials: our username fragment and password, by which shared ports find the connection.

    Attributes:
        on_candidate: called with each candidate as it is found, and the server that it came from, if any.
        on_server_error: called with each failure of a server, once for each code.
        problems: one clause for each failure.
        hosts: the bases of the UDP host candidates, best first.
        shared: those of them that belong to a shared port, which does not end with an address.
    """

    def __init__(
        self,
        *,
        servers: Sequence[ServerAddress],
        relay_only: bool,
        loopback: bool | None,
        peer_offers_loopback: Callable[[], bool],
        host_addresses: Sequence[str] | None,
        ports: tuple[int, int] | None,
        fast_path: bool,
        timeout: float,
        network: NetworkOptions,
        credentials: tuple[str, str],
    ) -> None:
        self._servers = servers
        self._relay_only = relay_only
        self._loopback = loopback
        self._peer_offers_loopback = peer_offers_loopback
        self._host_addresses = host_addresses
        self._ports = ports
        self._fast_path = fast_path
        self._timeout = timeout
        self._network = network
        self._fragment, self._password = credentials
        self.on_candidate: Callable[[LocalCandidate, ServerAddress | None], None] = ignore
        self.on_server_error: Callable[[IceServerError], None] = ignore
        self._waiting: dict[tuple[Base, TransportAddress], asyncio.Future[TransportAddress]] = {}
        self._found: dict[tuple[str, str, int, Base], tuple[LocalCandidate, ServerAddress | None]] = {}
        self._rank = 0
        self._announced: list[str] = []
        self._active = False
        self._shared_links: list[SharedLink] = []
        self._trusted: set[ServerAddress | None] = set()
        self.hosts: list[Base] = []
        self.shared: set[Base] = set()
        self.problems: list[str] = []

    def close(self) -> None:
        """Report nothing any longer, and release the callbacks, which refer to the transport."""
        self.on_candidate = self.on_server_error = ignore
        self._peer_offers_loopback = _never

    def restart(
        self,
        runner: AgentRunner,
        servers: Sequence[ServerAddress],
        *,
        relay_only: bool,
        credentials: tuple[str, str],
        trusts_relays: bool,
    ) -> None:
        """Prepare to gather for an ICE restart.

        Args:
            runner: runs the links.
            servers: the servers from now on.
            relay_only: whether to gather relayed candidates only from now on.
            credentials: our new username fragment and password.
            trusts_relays: whether the allocations suffice. If not, others are requested as well: a server that has
                restarted does not know them any longer.
        """
        self._servers = servers
        self._relay_only = relay_only
        self._fragment, self._password = credentials
        self._active = False
        self.problems = []
        for link in self._shared_links:
            link.add_fragment(*credentials)
        alive = runner.links
        self._found = {key: found for key, found in self._found.items() if found[0].base in alive}
        relays = {server for candidate, server in self._found.values() if candidate.base.relayed}
        self._trusted = relays if trusts_relays else set()
        self._waiting = {key: future for key, future in self._waiting.items() if not future.done()}

    def usable_again(self) -> list[tuple[LocalCandidate, ServerAddress | None]]:
        """Return the candidates that an ICE restart has at once, each with the server that it came from."""
        # RFC 8445, 9: "When the ICE is restarted, the candidate set for the new ICE session might include some, none,
        # or all of the candidates used in the current ICE session."
        return [
            (candidate, server)
            for candidate, server in self._found.values()
            if (candidate.base.relayed or not self._relay_only) and (server is None or server in self._servers)
        ]

    async def open_hosts(self, runner: AgentRunner) -> None:
        """Open the sockets of the host candidates that are missing, and report the candidates; checks may begin."""
        if self._relay_only:
            return
        self._announced, problems = await resolve_announced(self._network.announced_addresses, self._timeout)
        self.problems += problems
        addresses = self._addresses()
        attached = any(not link.closed for link in self._shared_links)
        if self._network.udp_mux is not None:
            if not attached:
                self._use_shared(runner, self._attach(self._network.udp_mux.attach, "udpMux"), addresses, tcp=False)
        else:
            there = {base.address for base in self.hosts}
            for address in addresses:
                if address not in there:
                    await self._open_host(runner, address)
        if self._network.tcp_mux is not None and not attached:
            links = self._attach(self._network.tcp_mux.attach, "tcpMux")
            self._use_shared(runner, links, addresses, tcp=True)

    async def ask_servers(self, runner: AgentRunner) -> None:
        """Query all servers at once for more candidates, until the deadline."""
        await self._ask_all(self._questions(runner, self.hosts, relays=True))

    async def open_more(self, runner: AgentRunner, addresses: Sequence[str], *, relays: bool) -> None:
        """Open sockets on addresses that have appeared, and query the servers from there.

        Addresses that the application has not chosen stay unused.

        Args:
            runner: runs the links.
            addresses: the addresses.
            relays: whether to request allocations from the TURN servers again, because the others are lost.
        """
        if self._relay_only or self._host_addresses is not None or self._network.udp_mux is not None:
            return
        usable = [one.address for one in usable_addresses(self._network.exclude_interfaces).addresses]
        opened = [await self._open_host(runner, address) for address in usable if address in addresses]
        self._trusted.clear()
        await self._ask_all(self._questions(runner, [base for base in opened if base is not None], relays=relays))

    def handle_query_event(self, event: Mapped | QueryFailed) -> None:
        """Take the answer of a STUN server to a query, or its failure."""
        future = self._waiting.get((event.base, event.server))
        if future is None or future.done():
            return
        if isinstance(event, Mapped):
            future.set_result(event.address)
        else:
            future.set_exception(ServerError(event.code, event.reason))

    def keep_fragments(self, fragments: Container[str]) -> None:
        """Have shared ports find the connection by these username fragments only."""
        for link in self._shared_links:
            link.keep_fragments(fragments)

    def forget(self, base: Base) -> None:
        """Forget a link that is closed."""
        if base in self.hosts:
            self.hosts.remove(base)
        self._found = {key: found for key, found in self._found.items() if found[0].base is not base}

    def _addresses(self) -> list[str]:
        if self._host_addresses is not None:
            return list(self._host_addresses)
        found = usable_addresses(self._network.exclude_interfaces)
        chosen = [one.address for one in found.addresses]
        for clause in found.describe_left_out():
            self.problems.append(f"{clause} (left out)")
            logger.debug("addresses left out: %s", clause)
        offers_loopback = self._loopback
        if offers_loopback is None and "loopback" in self._network.exclude_interfaces:
            offers_loopback = False
        if offers_loopback is None:
            offers_loopback = not chosen or self._peer_offers_loopback()
        # RFC 8445, 5.1.1.1 excludes loopback addresses, which are useless between hosts. Within a host without an
        # interface there are no others.
        return chosen + list(LOOPBACK_ADDRESSES) if offers_loopback else chosen

    # host candidates

    async def _open_host(self, runner: AgentRunner, address: str) -> Base | None:
        try:
            link = await self._bind(address)
        except OSError as error:
            reason = error.strerror or str(error)
            if self._ports is not None and error.errno == errno.EADDRINUSE:
                reason = f"every port of portRange {self._ports[0]}-{self._ports[1]} is in use"
            self.problems.append(f"could not bind {address} ({reason})")
            logger.warning("%s", self.problems[-1])
            return None
        base = Base(address, link.local_address[1])
        runner.add_link(base, link)
        self.hosts.append(base)
        self._add_host(base, [base.address])
        return base

    def _add_host(self, base: Base, addresses: Sequence[str]) -> None:
        """Report the candidates of a base: announced addresses of its family, or else its own addresses."""
        announced = [one for one in self._announced if (":" in one) == (":" in base.address)]
        for address in announced or addresses:
            # The zone of a link-local address has a meaning on this host only (RFC 4007, 11.2).
            self._add(make_candidate(HOST, (address.partition("%")[0], base.port), base, rank=self._rank))
            self._rank += 1

    def _attach(self, attach: Callable[[str, str], Sequence[SharedLink]], name: str) -> Sequence[SharedLink]:
        try:
            return attach(self._fragment, self._password)
        except OSError as error:
            self.problems.append(f"{name}: {error}")
            logger.warning("%s", self.problems[-1])
            return []

    def _use_shared(
        self, runner: AgentRunner, links: Sequence[SharedLink], addresses: Sequence[str], *, tcp: bool
    ) -> None:
        """Add the links of a shared port, one for each local address that it is bound to."""
        for link in links:
            host, port = link.local_address[:2]
            bound_to_all = ipaddress.ip_address(host).is_unspecified
            own = [one for one in addresses if (":" in one) == (":" in host)] if bound_to_all else [host]
            if not own:
                link.close()
                continue
            base = Base(own[0], port, "tcp", PASSIVE) if tcp else Base(own[0], port)
            runner.add_link(base, link)
            self.shared.add(base)
            self._shared_links.append(link)
            if not tcp:
                self.hosts.append(base)
            self._add_host(base, own)

    def connect_by_tcp(self, runner: AgentRunner) -> list[LocalCandidate]:
        """Return a candidate for each family that connects to the peer by TCP; nothing the second time.

        They are not signaled: the peer learns our address when we connect.
        """
        if self._active or self._relay_only or not self._network.connects_by_tcp:
            return []
        self._active = True
        candidates: list[LocalCandidate] = []
        for six in (True, False):
            address = next((one for one in self._addresses() if (":" in one) == six), None)
            if address is not None:
                base = Base(address, DISCARD_PORT, "tcp", ACTIVE)
                runner.add_link(base, ActiveTcpLink(address))
                candidates.append(make_candidate(HOST, (address, DISCARD_PORT), base))
        return candidates

    async def _bind(self, address: str) -> DatagramLink:
        """Open a socket on one of the ports. Raises OSError when none of them is free."""
        ports = _in_random_turn(self._ports) if self._ports is not None else [0]
        for port in ports[:-1]:
            try:
                return await self._bind_port(address, port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        return await self._bind_port(address, ports[-1])

    async def _bind_port(self, address: str, port: int) -> DatagramLink:
        if self._fast_path and has_reader_support(asyncio.get_running_loop()):
            return UdpSocket.bind(address, port, receive_buffer=_RECEIVE_BUFFER, send_buffer=_SEND_BUFFER)
        return await AsyncioLink.bind(address, port)

    # servers

    def _questions(
        self, runner: AgentRunner, hosts: Sequence[Base], *, relays: bool
    ) -> Iterator[tuple[ServerAddress, Questions]]:
        """Yield each server and its queries, each with the local address of the candidate that sends it."""
        for rank, server in enumerate(self._servers):
            if server.is_turn:
                if relays and server not in self._trusted:
                    yield server, [(self._relay(runner, server, rank), None)]
            elif server.secure:
                self.problems.append(f"{server.url}: STUN over TLS yields no UDP candidate")
            elif not self._relay_only and hosts:
                yield server, [(self._reflexive(runner, base, server), (base.address, base.port)) for base in hosts]

    async def _ask_all(self, questions: Iterator[tuple[ServerAddress, Questions]]) -> None:
        tasks = [asyncio.create_task(self._ask(server, asked)) for server, asked in questions]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, server: ServerAddress, questions: Questions) -> None:
        """Query one server until the deadline, and report a failure."""
        tasks = {asyncio.create_task(question): address for question, address in questions}
        try:
            await asyncio.wait(tasks, timeout=self._timeout)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        failures = [
            (TimeoutError(f"no answer in {self._timeout:g} s") if task.cancelled() else result, address)
            for (task, address), result in zip(tasks.items(), results, strict=True)
            if isinstance(result, BaseException)
        ]
        self._report(server, failures, len(tasks))

    def _report(self, server: ServerAddress, failures: list[Failure], asked: int) -> None:
        for error in server_errors(server, failures, asked):
            self.on_server_error(error)
        texts = [
            str(error) or type(error).__name__
            for error, _ in failures
            if not isinstance(error, NoAddressInFamily) or len(failures) == asked
        ]
        for text in dict.fromkeys(texts):
            share = f" ({texts.count(text)} of {asked} requests)" if asked > 1 else ""
            self.problems.append(f"{server.url}: {text}{share}")
            logger.info("%s", self.problems[-1])

    async def _reflexive(self, runner: AgentRunner, base: Base, server: ServerAddress) -> None:
        """Query a STUN server for the public address of one of our sockets."""
        addresses = await _resolve(server.host, server.port, _family(base.address))
        if not addresses:
            raise NoAddressInFamily("the name has no address of our sockets' families")
        key = (base, addresses[0])
        if key in self._waiting:  # two URLs name one server
            await asyncio.wait([self._waiting[key]])
            self._waiting[key].result()
            return
        self._waiting[key] = asyncio.get_running_loop().create_future()
        runner.queries.ask(base, addresses[0], runner.now)
        runner.run()
        mapped = await self._waiting[key]
        # RFC 8445, 5.1.3: "A candidate is redundant if and only if its transport address and base equal those of
        # another candidate."
        ours = (base.address, base.port)
        if mapped != ours:
            self._add(make_candidate(SRFLX, mapped, base, rank=self.hosts.index(base), related=ours), server)

    async def _relay(self, runner: AgentRunner, server: ServerAddress, rank: int) -> None:
        """Request an allocation from a TURN server, and add its candidate."""
        through_proxy = self._network.proxy is not None and server.transport == "tcp"  # the proxy resolves the name
        addresses = [] if through_proxy else await _resolve(server.host, server.port, socket.AF_UNSPEC)
        if not addresses and not through_proxy:
            raise OSError("the name has no address")
        fast = self._fast_path and has_reader_support(asyncio.get_running_loop())
        self._use_relay(runner, server, rank, await self._open_turn_link(server, addresses, fast))

    def _open_turn_link(
        self, server: ServerAddress, addresses: Sequence[TransportAddress], fast: bool
    ) -> Coroutine[Any, Any, TurnLink]:
        return open_turn_link(server, addresses, fast_path=fast, proxy=self._network.proxy)

    def _use_relay(self, runner: AgentRunner, server: ServerAddress, rank: int, link: TurnLink) -> None:
        """Add the link and the candidate of an allocation."""
        other = link.other_family
        bases = [self._add_relay(runner, server, rank, link, link.relayed_address, link.mapped_address)]
        if other is not None:
            address: TransportAddress = (other.local_address[0], other.local_address[1])
            bases.append(self._add_relay(runner, server, rank, other, address, None))

        def replaced(_: TransportAddress) -> None:
            for base in bases:
                self.forget(base)
                runner.remove_link(base)
            self._use_relay(runner, server, rank, link)

        def ended(_: int, reason: str) -> None:
            logger.info("%s: the allocation is lost (%s)", server.url, reason)
            for base in bases:
                self.forget(base)
                runner.remove_link(base)

        link.on_relayed, link.on_ended = replaced, ended

    def _add_relay(
        self,
        runner: AgentRunner,
        server: ServerAddress,
        rank: int,
        link: DatagramLink,
        relayed: TransportAddress,
        mapped: TransportAddress | None,
    ) -> Base:
        base = Base(*relayed, relayed=True)
        # RFC 8839, 5.1: to hide its address, an agent uses the unspecified address and port 9. So does one that the
        # server has not told an address of the family.
        hidden = ("::" if ":" in relayed[0] else "0.0.0.0", DISCARD_PORT)
        related = hidden if self._relay_only or mapped is None else mapped
        runner.add_link(base, link)
        self._add(make_candidate(RELAY, relayed, base, rank=rank, related=related, server=server.url), server)
        return base

    # candidates

    def _add(self, candidate: LocalCandidate, server: ServerAddress | None = None) -> None:
        signaled = candidate.candidate
        key = (signaled.type, signaled.address, signaled.port, candidate.base)
        if key not in self._found:
            self._found[key] = candidate, server
            self.on_candidate(candidate, server)


def _in_random_turn(ports: tuple[int, int]) -> list[int]:
    """Return the ports of a range, from a random one on, so that processes that share the range seldom collide."""
    first, last = ports
    start = random.randint(first, last)
    return [*range(start, last + 1), *range(first, start)]


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


async def _resolve(host: str, port: int, family: int) -> list[TransportAddress]:
    """Return the addresses of a server in one family; an empty list if it has none there."""
    with suppress(ValueError):  # an address needs no resolver thread
        numeric = ipaddress.ip_address(host)
        own = socket.AF_INET6 if numeric.version == 6 else socket.AF_INET
        return [(host, port)] if family in (socket.AF_UNSPEC, own) else []
    try:
        found = await look_up(host, family)
    except socket.gaierror as error:
        if error.errno in (socket.EAI_ADDRFAMILY, socket.EAI_NODATA) and family != socket.AF_UNSPEC:
            return []
        raise
    return [(str(address[0]), port) for address in found]


def _never() -> bool:
    return False
