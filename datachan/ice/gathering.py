"""Gathers local candidates (RFC 8445, 5.1.1): which sockets to open, which servers to query, how long to wait.

aioice asks one STUN and one TURN server, over IPv4. Here all configured servers are asked at once, over IPv4 and IPv6,
with one deadline for all.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import random
import socket
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final

from aioice import Candidate, stun, turn
from aioice.candidate import candidate_foundation, candidate_priority

from datachan.ice.agent import Agent
from datachan.ice.asyncio_link import AsyncioLink
from datachan.ice.interfaces import usable_addresses
from datachan.ice.link import DatagramLink, TransportAddress
from datachan.ice.protocol import IceProtocol
from datachan.ice.relay import RelayLink, TurnStreamClient, TurnUdpClient, connect_turn_stream, connect_turn_udp
from datachan.ice.server_errors import Failure, IceServerError, NoAddressInFamily, server_errors
from datachan.ice.servers import ServerAddress
from datachan.log_rate import get_limited_logger
from datachan.name_lookup import look_up
from datachan.udp import UdpSocket, has_reader_support

logger = get_limited_logger("datachan.ice")

LOOPBACK_ADDRESSES: Final = ("127.0.0.1", "::1")
_COMPONENT: Final = 1
_RECEIVE_BUFFER: Final = 4 << 20
_SEND_BUFFER: Final = 1 << 20
_LARGEST_LOCAL_PREFERENCE: Final = 65535

Questions = list[tuple[Coroutine[Any, Any, None], TransportAddress | None]]


class Gatherer:
    """Gathers the candidates of one agent, once.

    Args:
        servers: the servers to query; all of them are queried.
        relay_only: whether to gather relayed candidates only.
        loopback: whether to offer loopback addresses; None offers them if there is no other address, or the peer does.
        peer_offers_loopback: returns whether the peer has offered a loopback address; called when gathering starts.
        host_addresses: the addresses to use instead of those of the interfaces.
        ports: the first and the last port to bind to; None leaves ports to the system.
        fast_path: whether to use `UdpSocket` rather than asyncio's own endpoints.
        timeout: the limit for all servers together, in seconds.
        on_candidate: called with each candidate as it is found, and the server that it came from, if any.
        on_server_error: called with each failure of a server, once for each code.

    Attributes:
        problems: one clause for each failure.
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
        on_candidate: Callable[[Candidate, ServerAddress | None], None],
        on_server_error: Callable[[IceServerError], None],
    ) -> None:
        self._servers = servers
        self._relay_only = relay_only
        self._loopback = loopback
        self._peer_offers_loopback = peer_offers_loopback
        self._host_addresses = host_addresses
        self._ports = ports
        self._fast_path = fast_path
        self._timeout = timeout
        self._on_candidate = on_candidate
        self._on_server_error = on_server_error
        self._hosts: list[IceProtocol] = []
        self._found: list[Candidate] = []
        self.problems: list[str] = []

    async def open_hosts(self, agent: Agent, _: list[str]) -> list[Candidate]:
        """Open the sockets of the host candidates and return the candidates; checks may begin with them."""
        if not self._relay_only:
            addresses = self._addresses()
            for index, address in enumerate(addresses):
                protocol = await self._open_host(agent, address, _LARGEST_LOCAL_PREFERENCE - index)
                if protocol is not None:
                    self._hosts.append(protocol)
        return self._found[:]

    async def ask_servers(self, agent: Agent) -> None:
        """Query all servers at once for more candidates, until the deadline."""
        tasks = [asyncio.create_task(self._ask(server, asked)) for server, asked in self._questions(agent)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _addresses(self) -> list[str]:
        if self._host_addresses is not None:
            return list(self._host_addresses)
        found = usable_addresses()
        chosen = [one.address for one in found.addresses]
        for clause in found.describe_left_out():
            self.problems.append(f"{clause} (left out)")
            logger.debug("addresses left out: %s", clause)
        offers_loopback = self._loopback
        if offers_loopback is None:
            offers_loopback = not chosen or self._peer_offers_loopback()
        # RFC 8445, 5.1.1.1 excludes loopback addresses, which are useless between hosts. Within a host without an
        # interface there are no others.
        return chosen + list(LOOPBACK_ADDRESSES) if offers_loopback else chosen

    # host candidates

    async def _open_host(self, agent: Agent, address: str, preference: int) -> IceProtocol | None:
        try:
            link = await self._bind(address)
        except OSError as error:
            reason = error.strerror or str(error)
            if self._ports is not None and error.errno == errno.EADDRINUSE:
                reason = f"every port of portRange {self._ports[0]}-{self._ports[1]} is in use"
            self.problems.append(f"could not bind {address} ({reason})")
            logger.warning("%s", self.problems[-1])
            return None
        protocol = agent.make_protocol()
        protocol.attach(link)
        bound = link.local_address
        protocol.local_candidate = self._candidate("host", (bound[0], bound[1]), bound[0], preference)
        agent.add_protocol(protocol)
        self._add(protocol.local_candidate)
        return protocol

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

    def _questions(self, agent: Agent) -> Iterator[tuple[ServerAddress, Questions]]:
        """Yield each server and its queries, each with the local address of the candidate that sends it."""
        preference = _LARGEST_LOCAL_PREFERENCE
        for server in self._servers:
            if server.is_turn:
                yield server, [(self._relay(agent, server, preference), None)]
                preference -= 1
            elif server.secure:
                self.problems.append(f"{server.url}: STUN over TLS yields no UDP candidate")
            elif not self._relay_only and self._hosts:
                yield (
                    server,
                    [
                        (self._reflexive(host, server, preference - index), _base(host))
                        for index, host in enumerate(self._hosts)
                    ],
                )

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
            self._on_server_error(error)
        texts = [
            str(error) or type(error).__name__
            for error, _ in failures
            if not isinstance(error, NoAddressInFamily) or len(failures) == asked
        ]
        for text in dict.fromkeys(texts):
            share = f" ({texts.count(text)} of {asked} requests)" if asked > 1 else ""
            self.problems.append(f"{server.url}: {text}{share}")
            logger.info("%s", self.problems[-1])

    async def _reflexive(self, host: IceProtocol, server: ServerAddress, preference: int) -> None:
        """Query a STUN server for the public address of one of our sockets."""
        base = host.local_candidate
        addresses = await _resolve(server.host, server.port, _family(base.host))
        if not addresses:
            raise NoAddressInFamily("the name has no address of our sockets' families")
        request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
        response, _ = await host.request(request, addresses[0])
        mapped: TransportAddress = response.attributes["XOR-MAPPED-ADDRESS"]
        # RFC 8445, 5.1.3: "A candidate is redundant if and only if its transport address and base equal those of
        # another candidate."
        if mapped != (base.host, base.port):
            self._add(self._candidate("srflx", mapped, base.host, preference, related=(base.host, base.port)), server)

    async def _relay(self, agent: Agent, server: ServerAddress, preference: int) -> None:
        """Request an allocation from a TURN server, and add its candidate."""
        link = await self._connect_relay(server)
        await link.allocate()
        relayed = (link.local_address[0], link.local_address[1])
        related = link.mapped_address
        if self._relay_only:
            # RFC 8839, 5.1: to hide its address, an agent uses the unspecified address and port 9.
            related = ("::" if ":" in relayed[0] else "0.0.0.0", 9)
        protocol = agent.make_protocol()
        protocol.attach_relay(link)
        protocol.local_candidate = self._candidate("relay", relayed, relayed[0], preference, related=related)
        agent.add_protocol(protocol)
        self._add(protocol.local_candidate, server)

    async def _connect_relay(self, server: ServerAddress) -> RelayLink:
        """Connect to a TURN server. Raises OSError."""
        name = (server.host, server.port)
        addresses = await _resolve(server.host, server.port, socket.AF_UNSPEC)
        if not addresses:
            raise OSError("the name has no address")
        if server.transport == "tcp":
            stream = TurnStreamClient(name, server.username, server.credential, turn.DEFAULT_ALLOCATION_LIFETIME, 0)
            tls_name = server.host if server.secure else None
            return RelayLink(stream, await connect_turn_stream(addresses, stream, tls_name=tls_name))
        client = TurnUdpClient(addresses[0], server.username, server.credential, turn.DEFAULT_ALLOCATION_LIFETIME, 0)
        fast = self._fast_path and has_reader_support(asyncio.get_running_loop())
        return RelayLink(client, await connect_turn_udp(addresses[0], client, fast_path=fast))

    # candidates

    @staticmethod
    def _candidate(
        kind: str, address: TransportAddress, base: str, preference: int, related: TransportAddress | None = None
    ) -> Candidate:
        return Candidate(
            foundation=candidate_foundation(kind, "udp", base),
            component=_COMPONENT,
            transport="udp",
            priority=candidate_priority(_COMPONENT, kind, preference),
            host=address[0],
            port=address[1],
            type=kind,
            related_address=related[0] if related else None,
            related_port=related[1] if related else None,
        )

    def _add(self, candidate: Candidate, server: ServerAddress | None = None) -> None:
        known = {(other.type, other.host, other.port, other.related_address) for other in self._found}
        if (candidate.type, candidate.host, candidate.port, candidate.related_address) not in known:
            self._found.append(candidate)
            self._on_candidate(candidate, server)


def _in_random_turn(ports: tuple[int, int]) -> list[int]:
    """Return the ports of a range, from a random one on, so that processes that share the range seldom collide."""
    first, last = ports
    start = random.randint(first, last)
    return [*range(start, last + 1), *range(first, start)]


def _base(host: IceProtocol) -> TransportAddress:
    return host.local_candidate.host, host.local_candidate.port


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
