"""Resolves the mDNS names of a peer's candidates; it never publishes names, and trusts no answer.

An answer only says where to send checks, and checks are authenticated. A name is queried until there is an answer or
the caller stops waiting: a browser may answer late (Firefox does so once it has applied our answer).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakKeyDictionary

from datachan.ice.interfaces import host_addresses
from datachan.ice.mdns import TYPE_A, TYPE_AAAA, MdnsError, encode_query, is_mdns_name, parse_response_untrusted
from datachan.log_rate import get_limited_logger
from datachan.udp import MulticastSocket, has_reader_support

logger = get_limited_logger("datachan.ice")

PORT: Final = 5353
GROUPS: Final = ("224.0.0.251", "ff02::fb")
# RFC 6762, 5.2: "the interval between the first two queries MUST be at least one second, the intervals between
# successive queries MUST increase by at least a factor of two"
_FIRST_INTERVAL: Final = 1.0
_LONGEST_INTERVAL: Final = 60.0
_MAX_NAMES: Final = 256


class MdnsResolver:
    """Resolves names on the local network.

    It listens on port 5353, because Chromium answers by multicast only. Where that port cannot be shared, it uses
    another port and asks for unicast answers.

    Args:
        interfaces: the local addresses of the IPv4 interfaces to use; None uses all.
        port: the port of the responders; 5353 except in tests.
        groups: the multicast groups.
    """

    def __init__(
        self, *, interfaces: Sequence[str] | None = None, port: int = PORT, groups: Sequence[str] = GROUPS
    ) -> None:
        self._interfaces = interfaces
        self._port = port
        self._groups = groups
        self._sockets: list[MulticastSocket] | None = None
        self._queries: dict[str, _Query] = {}

    async def resolve(self, name: str) -> str | None:
        """Resolve a name: query until there is an answer or the caller is canceled.

        Returns:
            An IPv4 or IPv6 address; None at once if this is not an mDNS name, no socket can be opened, or too many
            names are being queried.
        """
        key = name.lower()
        query = self._queries.get(key)
        if query is None:
            if not is_mdns_name(key) or len(self._queries) >= _MAX_NAMES or not self._open():
                return None
            query = self._queries[key] = _Query(self, key)
        query.waiters += 1
        try:
            return await asyncio.shield(query.answer)
        finally:
            query.waiters -= 1
            if query.waiters == 0:
                query.stop()
                if self._queries.get(key) is query:
                    del self._queries[key]

    def query_again(self) -> None:
        """Query all unresolved names again soon: the peer may be able to answer now."""
        for query in self._queries.values():
            query.restart()

    def close(self) -> None:
        """Close the sockets; callers that still wait get None."""
        for query in self._queries.values():
            query.stop()
            if not query.answer.done():
                query.answer.set_result(None)
        self._queries.clear()
        for sock in self._sockets or []:
            sock.close()
        self._sockets = None

    def _open(self) -> bool:
        if self._sockets is None and not has_reader_support(asyncio.get_running_loop()):
            self._sockets = []
        if self._sockets is None:
            interfaces = self._interfaces
            if interfaces is None:
                interfaces = [one.address for one in host_addresses() if ":" not in one.address]
            self._sockets = []
            for group in self._groups:
                try:
                    sock = MulticastSocket.join(group, self._port, interfaces)
                except OSError as error:
                    logger.info("no multicast DNS on %s: %s", group, error)
                    continue
                sock.set_receiver(self._received)
                self._sockets.append(sock)
        return bool(self._sockets)

    def send_queries(self, name: str) -> None:
        """Send the queries for one name."""
        for sock in self._sockets or []:
            for record_type in (TYPE_A, TYPE_AAAA):
                sock.send_to_group(encode_query(name, record_type, unicast=not sock.shares_port))

    def _received(self, datagrams: list[bytes], source: tuple[object, ...]) -> None:
        # RFC 6762, 6: "The source UDP port in all Multicast DNS responses MUST be 5353 (the well-known port assigned to
        # mDNS). Multicast DNS implementations MUST silently ignore any Multicast DNS responses they receive where the
        # source UDP port is not 5353."
        if source[1] != self._port:
            return
        for datagram in datagrams:
            try:
                answers = parse_response_untrusted(datagram)
            except MdnsError:
                continue
            for name, address in answers:
                query = self._queries.get(name)
                if query is not None and not query.answer.done():
                    query.stop()
                    query.answer.set_result(address)


class _Query:
    """One name that is being queried, at growing intervals."""

    def __init__(self, resolver: MdnsResolver, name: str) -> None:
        self._resolver = resolver
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._interval = _FIRST_INTERVAL
        self._timer: asyncio.TimerHandle | None = None
        self._sent_at = 0.0
        self.answer: asyncio.Future[str | None] = self._loop.create_future()
        self.waiters = 0
        self._send()

    def _send(self) -> None:
        self._sent_at = self._loop.time()
        self._timer = self._loop.call_later(self._interval, self._send)
        self._interval = min(2 * self._interval, _LONGEST_INTERVAL)
        self._resolver.send_queries(self._name)

    def restart(self) -> None:
        """Query soon, at least a second after the latest query, and start with the first interval again."""
        if self._timer is None:
            return
        self.stop()
        self._interval = _FIRST_INTERVAL
        wait = max(0.0, self._sent_at + _FIRST_INTERVAL - self._loop.time())
        self._timer = self._loop.call_later(wait, self._send)

    def stop(self) -> None:
        """Send no more queries."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[MdnsResolver, int]] = WeakKeyDictionary()


@asynccontextmanager
async def shared_resolver() -> AsyncIterator[MdnsResolver]:
    """Yield the event loop's resolver, which is open while it has users."""
    loop = asyncio.get_running_loop()
    resolver, users = _shared.get(loop, (None, 0))
    if resolver is None:
        resolver = MdnsResolver()
    _shared[loop] = (resolver, users + 1)
    try:
        yield resolver
    finally:
        resolver, users = _shared[loop]
        if users > 1:
            _shared[loop] = (resolver, users - 1)
        else:
            del _shared[loop]
            resolver.close()
