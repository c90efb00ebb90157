"""Queries to STUN servers (RFC 8489), sans-IO: what address a NAT gives to each of our sockets, and whether it lasts.

Each base asks each server once. An answer keeps the NAT's mapping alive: the query is repeated until `stop`, and a new
mapping is reported (the NAT was restarted, or has forgotten the old one). It does not know candidates or pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .candidates import Base, TransportAddress
from .errors import BadPacket
from .requests import Requests
from .stun import (
    BINDING,
    ERROR,
    MAPPED_ADDRESS,
    REQUEST,
    SUCCESS,
    TRANSACTION_ID_LENGTH,
    XOR_MAPPED_ADDRESS,
    Message,
    parse_untrusted,
    serialize,
)
from .turn_messages import UNREACHABLE, read_plain_address

# RFC 8445, 11: "Agents SHOULD use a Tr value of 15 seconds."
KEEPALIVE: Final = 15.0
# Each base asks each server: more queries than this are not begun, and fail at once.
MAX_QUERIES: Final = 256


@dataclass(frozen=True, slots=True)
class Mapped:
    """A server sees a base under this address; reported again when it changes."""

    base: Base
    server: TransportAddress
    address: TransportAddress


@dataclass(frozen=True, slots=True)
class QueryFailed:
    """A server gives no address.

    Attributes:
        code: the code of its answer; `UNREACHABLE` if there was none.
        reason: its text, or a description.
    """

    base: Base
    server: TransportAddress
    code: int
    reason: str


@dataclass(slots=True, eq=False)
class _Query:
    base: Base
    server: TransportAddress
    mapped: TransportAddress | None = None
    ask_at: float | None = None


class ServerQueries:
    """The queries of one agent to its STUN servers.

    Args:
        entropy: returns the requested number of random bytes.
        keepalive: seconds between two queries of a base to a server that answers.
    """

    def __init__(self, entropy: Callable[[int], bytes], *, keepalive: float = KEEPALIVE) -> None:
        self._entropy = entropy
        self._keepalive = keepalive
        self._queries: list[_Query] = []
        self._requests: Requests[_Query] = Requests(reliable=False)
        self._to_send: list[tuple[Base, TransportAddress, bytes]] = []
        self._events: list[Mapped | QueryFailed] = []

    def ask(self, base: Base, server: TransportAddress, now: float) -> None:
        """Ask a server for the address of a base."""
        query = _Query(base, server)
        if len(self._queries) >= MAX_QUERIES:
            self._fail(query, UNREACHABLE, f"more than {MAX_QUERIES} queries")
            return
        self._queries.append(query)
        self._send(query, now)

    def owns(self, datagram: bytes) -> bool:
        """Return whether a datagram answers a query; a shell then gives it here rather than to the agent."""
        return self._requests.find(datagram[8:20]) is not None

    def remove_base(self, base: Base) -> None:
        """Forget the queries of a link that is closed."""
        self._requests.discard(lambda query: query.base is base)
        self._queries = [query for query in self._queries if query.base is not base]
        self._to_send = [one for one in self._to_send if one[0] is not base]

    def send_failed(self, base: Base, server: TransportAddress, reason: str) -> None:
        """End the first query of a base to a server, because the system or an ICMP error says it cannot arrive."""
        for query in self._queries[:]:
            if query.base is base and query.server == server and query.mapped is None:
                self._end_requests(query)
                self._forget(query)
                self._fail(query, UNREACHABLE, reason)

    def stop(self, reason: str | None = None) -> None:
        """End all queries; those without an answer fail if there is a `reason`."""
        self._requests.clear()
        for query in self._queries:
            query.ask_at = None
            if query.mapped is None and reason is not None:
                self._fail(query, UNREACHABLE, reason)
        self._queries.clear()

    @property
    def waiting(self) -> bool:
        """Whether a query has neither an answer nor failed."""
        return any(query.mapped is None for query in self._queries)

    # the machine contract

    def receive_datagram(self, datagram: bytes, now: float) -> None:
        """Process an answer, which `owns` has recognized. The transaction id authenticates it (RFC 8489, 6.3)."""
        try:
            answer = parse_untrusted(datagram)
        except BadPacket:
            return
        request = self._requests.find(answer.transaction_id)
        if request is None or answer.type not in (BINDING + SUCCESS, BINDING + ERROR):
            return
        query = request.purpose
        self._requests.finish(answer.transaction_id, now)
        address = answer.address(XOR_MAPPED_ADDRESS) or read_plain_address(answer.attributes.get(MAPPED_ADDRESS, b""))
        if answer.message_class == ERROR or address is None:
            code = answer.error_code or UNREACHABLE
            self._forget(query)
            self._fail(query, code, answer.reason or "the answer has no XOR-MAPPED-ADDRESS")
            return
        query.ask_at = now + self._keepalive
        if address != query.mapped:
            query.mapped = address
            self._events.append(Mapped(query.base, query.server, address))

    def handle_timeout(self, now: float) -> None:
        """Repeat queries that are due."""
        again, given_up = self._requests.handle_timeout(now)
        self._to_send += [(one.purpose.base, one.purpose.server, one.data) for one in again]
        for request in given_up:
            query = request.purpose
            if query.mapped is None:
                self._forget(query)
                self._fail(query, UNREACHABLE, "the server does not answer")
            else:  # the network may be away for a while
                query.ask_at = now + self._keepalive
        for query in self._queries:
            if query.ask_at is not None and query.ask_at <= now:
                self._send(query, now)

    def next_timeout(self) -> float | None:
        """Return when to call `handle_timeout`; None for never."""
        due = [self._requests.next_timeout(), *(query.ask_at for query in self._queries)]
        return min((one for one in due if one is not None), default=None)

    def datagrams_to_send(self, now: float) -> list[tuple[Base, TransportAddress, bytes]]:
        """Drain the datagrams, each with its base and the server."""
        datagrams, self._to_send = self._to_send, []
        return datagrams

    def events(self) -> list[Mapped | QueryFailed]:
        """Drain the events."""
        events, self._events = self._events, []
        return events

    def _send(self, query: _Query, now: float) -> None:
        query.ask_at = None
        transaction_id = self._entropy(TRANSACTION_ID_LENGTH)
        data = serialize(Message(BINDING + REQUEST, transaction_id))
        if self._requests.start(transaction_id, data, query, now):
            self._to_send.append((query.base, query.server, data))
        else:
            query.ask_at = now + self._keepalive

    def _end_requests(self, query: _Query) -> None:
        self._requests.discard(lambda other: other is query)

    def _forget(self, query: _Query) -> None:
        if query in self._queries:
            self._queries.remove(query)

    def _fail(self, query: _Query, code: int, reason: str) -> None:
        self._events.append(QueryFailed(query.base, query.server, code, reason))
