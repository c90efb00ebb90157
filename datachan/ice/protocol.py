"""The protocol on one local socket or allocation: tells STUN from data, and knows which addresses are proven."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from aioice import stun
from aioice.ice import StunProtocol

from datachan.ice.endpoints import BatchTransport, TransportAddress, fail_transaction
from datachan.ice.transport import PathLimits

if TYPE_CHECKING:
    from datachan.ice.agent import Agent

_MAX_PROVEN_ADDRESSES: Final = 256
_MAX_REMEMBERED_REQUESTS: Final = 256


class IceProtocol(StunProtocol):
    """One local socket or allocation: STUN goes to aioice, all else to the agent, in batches."""

    receiver: Agent

    def __init__(self, agent: Agent) -> None:
        super().__init__(agent)
        self.full = False
        self.on_writable: Callable[[], None] | None = None
        self.proven: dict[TransportAddress, bool] = {}  # True where a check of the peer came from
        self._requests: dict[TransportAddress, stun.Message] = {}
        self._refusals: deque[Exception] = deque(maxlen=1)

    # from the transport below

    def datagram_received(self, data: bytes | str, addr: tuple[Any, ...]) -> None:
        """Take one datagram from an asyncio transport."""
        self.datagrams_received([cast(bytes, data)], (addr[0], addr[1]))

    def datagrams_received(self, datagrams: list[bytes], address: TransportAddress) -> None:
        """Take datagrams from one address; STUN first, for a check may be what proves the address."""
        # RFC 7983, 7: the first byte is 0 to 3 for STUN and 20 to 63 for DTLS.
        data = [datagram for datagram in datagrams if datagram and 20 <= datagram[0] <= 63]
        if len(data) < len(datagrams):
            for datagram in datagrams:
                if datagram and datagram[0] <= 3:
                    self._stun_untrusted(datagram, address)
        if data:
            self.receiver.datagrams_received(data, address, self)

    def _stun_untrusted(self, datagram: bytes, address: TransportAddress) -> None:
        try:
            super().datagram_received(datagram, address)
        except (struct.error, KeyError, IndexError):
            return  # aioice unpacks attributes without asking how long they are

    def pause_writing(self) -> None:
        """As asyncio's."""
        self.full = True

    def resume_writing(self) -> None:
        """As asyncio's."""
        self.full = False
        if self.on_writable is not None:
            self.on_writable()

    # towards the transport below

    def prove(self, address: TransportAddress, *, by_check: bool = False) -> None:
        """Record that the peer has authenticated itself from this address, by an answer or by a check of its own."""
        if address not in self.proven:
            if len(self.proven) >= _MAX_PROVEN_ADDRESSES:
                del self.proven[next(iter(self.proven))]
            self.proven[address] = by_check
        elif by_check:
            self.proven[address] = True

    def send_stun(self, message: stun.Message, addr: TransportAddress) -> None:
        """Send STUN, and remember requests, so that they can be repeated."""
        if message.message_class == stun.Class.REQUEST:
            if len(self._requests) >= _MAX_REMEMBERED_REQUESTS:
                self._requests.clear()
            self._requests[addr] = message
        self._refusals.clear()
        super().send_stun(message, addr)
        if self._refusals:
            fail_transaction(self.transactions, message, addr, self._refusals.pop())

    def error_received(self, exc: Exception) -> None:
        """Take note that the system refused what was just sent: there is no route."""
        self._refusals.append(exc)

    def repeat_request(self, address: TransportAddress) -> None:
        """Send the request to this address that waits for an answer once more."""
        message = self._requests.get(address)
        if message is not None and message.transaction_id in self.transactions:
            super().send_stun(message, address)

    def send_many(self, datagrams: Sequence[bytes], address: TransportAddress) -> None:
        """Send a batch."""
        transport = self.transport
        if isinstance(transport, BatchTransport):
            transport.send_many(datagrams, address)
        else:
            for datagram in datagrams:
                transport.sendto(datagram, address)

    @property
    def discarded(self) -> int:
        """How many datagrams the transport could not send."""
        transport = self.transport
        return transport.discarded if isinstance(transport, BatchTransport) else 0

    @property
    def writable(self) -> bool:
        """Whether the transport takes datagrams now."""
        transport = self.transport
        return transport.writable if isinstance(transport, BatchTransport) else not self.full

    def limits(self, address: TransportAddress) -> PathLimits | None:
        """How long datagrams to an address may be; None where they cannot be kept whole."""
        transport = self.transport
        return transport.limits(address) if isinstance(transport, BatchTransport) else None

    def allow_fragmentation(self, allowed: bool) -> None:
        """Say whether datagrams may be fragmented."""
        if isinstance(self.transport, BatchTransport):
            self.transport.allow_fragmentation(allowed)

    def set_too_long_callback(self, callback: Callable[[int], None] | None) -> None:
        """Name who is told of datagrams longer than the first link takes."""
        if isinstance(self.transport, BatchTransport):
            self.transport.set_too_long_callback(callback)

    def set_writable_callback(self, callback: Callable[[], None] | None) -> None:
        """Name who is told that `writable` has become True."""
        self.on_writable = callback
        if isinstance(self.transport, BatchTransport):
            self.transport.set_writable_callback(callback)
