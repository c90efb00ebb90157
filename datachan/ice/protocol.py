"""The protocol on one local link: separates STUN from data, and knows which addresses have authenticated themselves."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import Final

from aioice import Connection, stun
from aioice.ice import StunProtocol

from datachan.ice.aioice_transport import LinkTransport
from datachan.ice.ice_stats import IncomingChecks
from datachan.ice.link import DatagramLink, TransportAddress
from datachan.ice.relay import RelayLink
from datachan.ice.transactions import fail_transaction
from datachan.udp import Address

_MAX_PROVEN_ADDRESSES: Final = 256
_MAX_REMEMBERED_REQUESTS: Final = 256

DataReceiver = Callable[[list[bytes], TransportAddress, "IceProtocol"], None]


class IceProtocol(StunProtocol):
    """One local socket or allocation: STUN goes to aioice, all else to the agent, in batches.

    Args:
        connection: aioice's side of the agent.
        on_data: called with datagrams that are not STUN, their source, and this protocol.

    Attributes:
        link: the socket or allocation.
        proven: the addresses from which the peer has authenticated itself; True where a check of its own came from.
        incoming_checks: the counts of authentic checks from each proven address, and of our responses.
        permit: for an allocation, asks the server to relay datagrams from an address.
    """

    link: DatagramLink
    permit: Callable[[str], None] | None = None

    def __init__(self, connection: Connection, on_data: DataReceiver) -> None:
        super().__init__(connection)
        self._on_data = on_data
        self.proven: dict[TransportAddress, bool] = {}
        self.incoming_checks: dict[TransportAddress, IncomingChecks] = {}
        self._requests: dict[TransportAddress, stun.Message] = {}
        self._refusals: deque[Exception] = deque(maxlen=1)

    def attach(self, link: DatagramLink) -> None:
        """Use a socket."""
        self.link = link
        LinkTransport(link, self)

    def attach_relay(self, link: RelayLink) -> None:
        """Use an allocation."""
        self.link = link
        self.permit = link.permit
        link.serve(self)

    # from the link

    def datagram_received(self, data: bytes | str, addr: Address) -> None:
        """Take one datagram from a TURN client."""
        if isinstance(data, bytes):
            self.datagrams_received([data], addr)

    def datagrams_received(self, datagrams: list[bytes], address: Address) -> None:
        """Receive datagrams from one address; STUN first, because a check may authenticate the address."""
        source = (address[0], address[1])
        # RFC 7983, 7: the first byte is 0 to 3 for STUN and 20 to 63 for DTLS.
        data = [datagram for datagram in datagrams if datagram and 20 <= datagram[0] <= 63]
        if len(data) < len(datagrams):
            for datagram in datagrams:
                if datagram and datagram[0] <= 3:
                    self._stun_untrusted(datagram, source)
        if data:
            self._on_data(data, source, self)

    def _stun_untrusted(self, datagram: bytes, address: TransportAddress) -> None:
        try:
            super().datagram_received(datagram, address)
        except (struct.error, KeyError, IndexError):
            return  # aioice unpacks attributes without checking how long they are

    def error_received(self, exc: Exception) -> None:
        """Record that the system refused the last datagram because there is no route."""
        self._refusals.append(exc)

    # towards the link

    def prove(self, address: TransportAddress, *, by_check: bool = False) -> None:
        """Record that the peer has authenticated itself from this address, by an answer or by a check of its own."""
        if address not in self.proven:
            if len(self.proven) >= _MAX_PROVEN_ADDRESSES:
                oldest = next(iter(self.proven))
                del self.proven[oldest]
                self.incoming_checks.pop(oldest, None)
            self.proven[address] = by_check
        elif by_check:
            self.proven[address] = True
        if by_check:
            self.incoming_checks.setdefault(address, IncomingChecks()).requests += 1

    def send_stun(self, message: stun.Message, addr: TransportAddress) -> None:
        """Send STUN, and remember requests, so that they can be repeated."""
        if message.message_class == stun.Class.REQUEST:
            if len(self._requests) >= _MAX_REMEMBERED_REQUESTS:
                self._requests.clear()
            self._requests[addr] = message
        elif addr in self.incoming_checks:
            self.incoming_checks[addr].responses += 1
        self._refusals.clear()
        super().send_stun(message, addr)
        if self._refusals:
            fail_transaction(self.transactions, message, addr, self._refusals.pop())

    def repeat_request(self, address: TransportAddress) -> None:
        """Retransmit the outstanding request to this address now."""
        message = self._requests.get(address)
        if message is not None and message.transaction_id in self.transactions:
            super().send_stun(message, address)
