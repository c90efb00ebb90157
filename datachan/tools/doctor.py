"""Says which parts of the network work for ICE here: interfaces, the NAT's mapping, STUN and TURN servers.

It asks each server from each kind of address, as a connection does, and contacts nothing that it was not given.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from ipaddress import ip_address
from typing import Any, Final

from datachan.ice.interfaces import InterfaceAddress, usable_addresses
from datachan.ice.link import TransportAddress
from datachan.ice.servers import IceServer, ServerAddress, server_addresses
from datachan.ice.turn_connection import HttpProxy
from datachan.ice.turn_link import TurnError, open_turn_link
from datachan.ice_agent import Base
from datachan.ice_agent.server_queries import Mapped, QueryFailed, ServerQueries
from datachan.ice_agent.turn_messages import UNREACHABLE
from datachan.name_lookup import look_up
from datachan.udp import Address, UdpSocket

# Seconds for all servers together. A path that needs longer is of no use for a conversation.
PATIENCE: Final = 5.0
_MILLISECONDS: Final = 1000.0

OPEN: Final = "no NAT"
INDEPENDENT: Final = "the same for all destinations"
DEPENDENT: Final = "another one for each destination (symmetric)"
UNKNOWN: Final = "unknown"


@dataclass(frozen=True)
class ServerFinding:
    """What one server answered.

    Attributes:
        url: its URL.
        transport: "udp", "tcp" or "tls".
        milliseconds: until the answer, or the allocation; None if it does not work.
        address: our public address as a STUN server sees it, or the relayed address.
        code: the code of its error: 401 for wrong credentials, 701 if it cannot be reached; None if it works.
        text: the description of the error.
    """

    url: str
    transport: str
    milliseconds: float | None = None
    address: str | None = None
    code: int | None = None
    text: str | None = None

    @property
    def works(self) -> bool:
        """Whether the server can be used."""
        return self.code is None

    def __str__(self) -> str:
        if self.code is None:
            return f"works  {self.url} ({self.transport}): {self.address} after {self.milliseconds:.0f} ms"
        reason = self.text if self.code == UNREACHABLE else f"{self.code} {self.text}"
        return f"FAILS  {self.url} ({self.transport}): {reason}"


@dataclass
class Diagnosis:
    """What was found.

    Attributes:
        addresses: the addresses that give candidates, best first, each with its interface.
        left_out: those that do not, with reasons.
        mapping: how the NAT maps UDP ports: `OPEN`, `INDEPENDENT`, `DEPENDENT` or `UNKNOWN`.
        servers: a finding for each server and transport.
        advice: sentences about what would help.
    """

    addresses: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    mapping: str = UNKNOWN
    servers: list[ServerFinding] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        """Whether there is an address, and all servers work."""
        return bool(self.addresses) and all(finding.works for finding in self.servers)

    def as_dict(self) -> dict[str, Any]:
        """Return the diagnosis for JSON."""
        return {**asdict(self), "healthy": self.healthy}

    def __str__(self) -> str:
        lines = ["Addresses for candidates, best first:", *(f"  {one}" for one in self.addresses or ["none"])]
        if self.left_out:
            lines += ["Left out:", *(f"  {one}" for one in self.left_out)]
        lines.append(f"Public UDP port behind the NAT: {self.mapping}")
        if self.servers:
            lines += ["Servers:", *(f"  {one}" for one in self.servers)]
        if self.advice:
            lines += ["What would help:", *(f"  - {one}" for one in self.advice)]
        return "\n".join(lines)


async def diagnose(
    servers: Sequence[IceServer], *, exclude: Sequence[str] = (), proxy: HttpProxy | None = None
) -> Diagnosis:
    """Look at the interfaces and ask all servers, within `PATIENCE` seconds.

    Args:
        servers: the STUN and TURN servers.
        exclude: interfaces to leave out, as in `RTCConfiguration.excludeInterfaces`.
        proxy: the HTTP proxy for TURN over TCP and TLS.
    """
    found = usable_addresses(exclude)
    diagnosis = Diagnosis([_described(one) for one in found.addresses], found.describe_left_out())
    targets = [server for given in server_addresses(servers) for server in _transports(given)]
    stun = [server for server in targets if not server.is_turn and not server.secure]
    turn = [server for server in targets if server.is_turn]
    asking = asyncio.gather(*(_ask_turn(server, proxy) for server in turn))
    mappings = await _ask_stun(stun, [one.address for one in found.addresses])
    relays = await asking
    diagnosis.servers = [*mappings.findings, *relays]
    diagnosis.servers += [
        ServerFinding(server.url, "tls", code=UNREACHABLE, text="STUN over TLS yields no UDP candidate")
        for server in targets
        if not server.is_turn and server.secure
    ]
    diagnosis.mapping = mappings.mapping
    diagnosis.advice = _advice(diagnosis, has_stun=bool(stun), has_turn=bool(turn))
    return diagnosis


def _described(one: InterfaceAddress) -> str:
    kinds = f", {', '.join(sorted(one.kinds))}" if one.kinds else ""
    return f"{one.address} ({one.interface}{kinds})"


def _transports(server: ServerAddress) -> list[ServerAddress]:
    """Return a TURN server over UDP, and over TCP, too, unless its URL names one transport."""
    if not server.is_turn or server.secure or "?" in server.url:
        return [server]
    url = f"{server.url}?transport=tcp"
    tcp = ServerAddress(url, True, False, server.host, server.port, "tcp", server.username, server.credential)
    return [server, tcp]


async def _resolve(server: ServerAddress, family: int = socket.AF_UNSPEC) -> list[TransportAddress]:
    try:
        version = ip_address(server.host).version
    except ValueError:
        return [(str(found[0]), server.port) for found in await look_up(server.host, family)]
    own = socket.AF_INET6 if version == 6 else socket.AF_INET
    return [(server.host, server.port)] if family in (socket.AF_UNSPEC, own) else []


# TURN


async def _ask_turn(server: ServerAddress, proxy: HttpProxy | None) -> ServerFinding:
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        async with asyncio.timeout(PATIENCE):
            addresses = [] if proxy is not None and server.transport == "tcp" else await _resolve(server)
            link = await open_turn_link(server, addresses, proxy=proxy)
    except TurnError as error:
        return ServerFinding(server.url, server.protocol, code=error.code, text=error.text)
    except TimeoutError:
        text = f"no answer in {PATIENCE:g} s"
        return ServerFinding(server.url, server.protocol, code=UNREACHABLE, text=text)
    except (OSError, UnicodeError) as error:
        return ServerFinding(server.url, server.protocol, code=UNREACHABLE, text=str(error))
    elapsed = (loop.time() - started) * _MILLISECONDS
    relayed = _written(link.relayed_address)
    link.close()
    await link.wait_closed()
    return ServerFinding(server.url, server.protocol, elapsed, relayed)


# STUN


@dataclass
class _Mappings:
    findings: list[ServerFinding]
    mapping: str


class _Questions:
    """The queries of one socket for each family, which all servers of the family are asked from."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._loop = asyncio.get_running_loop()
        self._queries = ServerQueries(os.urandom)
        self._sockets: dict[Base, UdpSocket] = {}
        self._started: dict[tuple[Base, TransportAddress], float] = {}
        self.answers: dict[tuple[Base, TransportAddress], tuple[Mapped | QueryFailed, float]] = {}
        self.done = asyncio.Event()
        self.bases: dict[int, Base] = {}
        for address in addresses:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            if family not in self.bases:
                self._open(family, address)

    def _open(self, family: int, address: str) -> None:
        try:
            sock = UdpSocket.bind(address)
        except OSError:  # the address has gone
            return
        base = self.bases[family] = Base(address, sock.local_address[1])
        self._sockets[base] = sock
        sock.set_receiver(self._received)

    def ask(self, base: Base, server: TransportAddress) -> None:
        """Ask one server."""
        if (base, server) not in self._started:
            self._started[base, server] = self._loop.time()
            self._queries.ask(base, server, self._loop.time())
            self._run()

    def _received(self, datagrams: list[bytes], _: Address) -> None:
        for one in datagrams:
            if self._queries.owns(one):
                self._queries.receive_datagram(one, self._loop.time())
        self._run()

    def _run(self) -> None:
        now = self._loop.time()
        for base, server, datagram in self._queries.datagrams_to_send(now):
            self._sockets[base].send([datagram], server)
        for event in self._queries.events():
            key = (event.base, event.server)
            self.answers[key] = (event, (now - self._started[key]) * _MILLISECONDS)
        if not self._queries.waiting:
            self.done.set()

    async def wait(self) -> None:
        """Repeat the queries until all are answered."""
        while not self.done.is_set():
            now = self._loop.time()
            self._queries.handle_timeout(now)
            self._run()
            due = self._queries.next_timeout()
            try:
                await asyncio.wait_for(self.done.wait(), max(0.01, (due or now + 1) - now))
            except TimeoutError:
                continue

    def close(self) -> None:
        """Close the sockets."""
        for sock in self._sockets.values():
            sock.close()


async def _ask_stun(servers: Sequence[ServerAddress], addresses: Sequence[str]) -> _Mappings:
    questions = _Questions(addresses)
    asked: dict[ServerAddress, list[tuple[Base, TransportAddress]]] = {server: [] for server in servers}
    errors: dict[ServerAddress, str] = {}
    try:
        async with asyncio.timeout(PATIENCE):
            for server in servers:
                try:
                    for family, base in questions.bases.items():
                        for target in (await _resolve(server, family))[:2]:
                            asked[server].append((base, target))
                            questions.ask(base, target)
                except (OSError, UnicodeError) as error:
                    errors[server] = str(error)
            if any(asked.values()):
                await questions.wait()
    except TimeoutError:
        pass
    finally:
        questions.close()
    findings = [_stun_finding(server, asked[server], errors.get(server), questions) for server in servers]
    return _Mappings(findings, _mapping(questions))


def _stun_finding(
    server: ServerAddress, keys: Sequence[tuple[Base, TransportAddress]], error: str | None, questions: _Questions
) -> ServerFinding:
    outcomes = [questions.answers[key] for key in keys if key in questions.answers]
    for event, milliseconds in outcomes:
        if isinstance(event, Mapped):
            return ServerFinding(server.url, "udp", milliseconds, _written(event.address))
    for event, _ in outcomes:
        if isinstance(event, QueryFailed):
            return ServerFinding(server.url, "udp", code=event.code, text=event.reason)
    nothing = "it has no address of our families" if not keys else f"no answer in {PATIENCE:g} s"
    return ServerFinding(server.url, "udp", code=UNREACHABLE, text=error or nothing)


def _mapping(questions: _Questions) -> str:
    """Return how the NAT maps ports of IPv4; one server tells only whether there is a NAT."""
    base = questions.bases.get(socket.AF_INET)
    seen = [
        event.address
        for event, _ in questions.answers.values()
        if isinstance(event, Mapped) and base is not None and event.base is base
    ]
    if base is None or not seen:
        return UNKNOWN
    if (base.address, base.port) in seen:
        return OPEN
    if len(seen) < 2:
        return f"{UNKNOWN}: a second STUN server would tell"
    return INDEPENDENT if len(set(seen)) == 1 else DEPENDENT


def _written(address: TransportAddress) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _advice(diagnosis: Diagnosis, *, has_stun: bool, has_turn: bool) -> list[str]:
    working = [finding for finding in diagnosis.servers if finding.works]
    failing = [finding for finding in diagnosis.servers if not finding.works]
    udp_works = any(finding.transport == "udp" for finding in working)
    advice: list[str] = []
    if not diagnosis.addresses:
        advice.append("This host has no usable address: peers reach it over loopback only.")
    if not has_stun and not has_turn:
        advice.append(
            "Name a STUN server (--ice-server stun:host) to see how peers outside this network can reach you."
        )
    if any(finding.code == 401 for finding in failing):
        advice.append("A TURN server refuses the credentials (401): check user name and password.")
    if failing and not udp_works and any(finding.transport == "udp" for finding in failing):
        advice.append(
            "No server answers over UDP: a firewall may block it. Use TURN over TLS on port 443 (turns:host:443)."
        )
    if diagnosis.mapping == DEPENDENT and not any(finding.transport == "udp" and has_turn for finding in working):
        advice.append("The NAT gives each destination another port: many peers will need a TURN server.")
    if has_stun and not has_turn and diagnosis.mapping not in (OPEN, INDEPENDENT):
        advice.append("Without a TURN server, peers behind strict NATs and firewalls cannot connect.")
    return advice
