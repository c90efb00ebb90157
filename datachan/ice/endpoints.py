"""asyncio datagram transports that also take batches: a UDP socket's, and one through a TURN allocation.

aioice's protocols are written to asyncio's transports, so these are such; what they carry they do not look at.
"""

from __future__ import annotations

import asyncio
import struct
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, cast

from aioice import stun, turn

from datachan.ice.transport import PathLimits
from datachan.udp import UdpSocket, header_length, route_mtu

TransportAddress = tuple[str, int]

_RECEIVE_BUFFER: Final = 4 << 20
_SEND_BUFFER: Final = 1 << 20
_PENDING_PER_PEER: Final = 64
_STREAM_HIGH_WATER: Final = 1 << 20
_CHANNEL_DATA_HEADER: Final = 4
_DATA_INDICATION: Final = (stun.Method.DATA | stun.Class.INDICATION).to_bytes(2, "big")
# IPv4's Total Length ends there; loopback's MTU does not.
_MAX_PACKET: Final = 65535
# RFC 8656, 9: "The Permission Lifetime MUST be 300 seconds (= 5 minutes)." A channel lasts ten, but binding it again is
# what renews the permission, too.
CHANNEL_REFRESH: Final = 240.0
# A TURN server that does not answer must not hold up `close`; it frees the allocation when that expires.
_DELETE_TIMEOUT: Final = 1.0


class BatchProtocol(Protocol):
    """An asyncio datagram protocol that also takes batches."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio's."""

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio's."""

    def error_received(self, exc: Exception) -> None:
        """As asyncio's."""

    def datagrams_received(self, datagrams: list[bytes], address: TransportAddress) -> None:
        """Take datagrams from one address, in order."""


class BatchTransport(asyncio.DatagramTransport):
    """A datagram transport that also sends batches and says when it is full."""

    @abstractmethod
    def send_many(self, datagrams: Sequence[bytes], address: TransportAddress | None) -> None:
        """Send datagrams in order. Raises BufferError when called on and on in spite of not being writable."""

    @property
    @abstractmethod
    def discarded(self) -> int:
        """How many datagrams could not be sent."""

    @property
    @abstractmethod
    def writable(self) -> bool:
        """Whether datagrams are taken now."""

    @abstractmethod
    def set_writable_callback(self, callback: Callable[[], None] | None) -> None:
        """Name who is told that `writable` has become True."""

    @abstractmethod
    def limits(self, address: TransportAddress) -> PathLimits | None:
        """How long datagrams to an address may be; None where they cannot be kept whole."""

    @abstractmethod
    def allow_fragmentation(self, allowed: bool) -> None:
        """As `DatagramTransport` has it."""

    @abstractmethod
    def set_too_long_callback(self, callback: Callable[[int], None] | None) -> None:
        """As `DatagramTransport` has it."""


class UdpEndpoint(BatchTransport):
    """A `UdpSocket` as an asyncio transport."""

    def __init__(self, sock: UdpSocket, protocol: BatchProtocol) -> None:
        super().__init__()
        self._socket = sock
        self._protocol = protocol
        sock.on_error = protocol.error_received
        protocol.connection_made(self)
        sock.set_receiver(self._received)

    @classmethod
    def bind(cls, host: str, port: int, protocol: BatchProtocol) -> UdpEndpoint:
        """Bind a port of a local address, any free one if it is 0; raises OSError."""
        return cls(UdpSocket.bind(host, port, receive_buffer=_RECEIVE_BUFFER, send_buffer=_SEND_BUFFER), protocol)

    @classmethod
    def connect(cls, address: TransportAddress, protocol: BatchProtocol) -> UdpEndpoint:
        """Connect to a numeric address; raises OSError."""
        return cls(UdpSocket.connect(address, receive_buffer=_RECEIVE_BUFFER), protocol)

    def _received(self, datagrams: list[bytes], source: tuple[Any, ...]) -> None:
        self._protocol.datagrams_received(datagrams, (source[0], source[1]))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Answer `sockname` and `peername`."""
        if name == "sockname":
            return self._socket.local_address
        if name == "peername":
            return self._socket.remote_address
        return default

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Send one datagram; one that finds no room is lost, as its sender (STUN) expects of a network."""
        if self._socket.closed:
            return
        try:
            self._socket.send([bytes(data)], addr)
        except BufferError as error:
            self._protocol.error_received(OSError(str(error)))

    def send_many(self, datagrams: Sequence[bytes], address: TransportAddress | None) -> None:
        """As `UdpSocket.send`."""
        self._socket.send(datagrams, address)

    @property
    def writable(self) -> bool:
        """As `UdpSocket.writable`."""
        return self._socket.writable

    @property
    def discarded(self) -> int:
        """As `UdpSocket.discarded`."""
        return self._socket.discarded

    def set_writable_callback(self, callback: Callable[[], None] | None) -> None:
        """As `UdpSocket.set_writable_callback`."""
        self._socket.set_writable_callback(callback)

    def limits(self, address: TransportAddress) -> PathLimits | None:
        """What the route takes, less the headers."""
        local = self._socket.local_address[0]
        mtu = route_mtu(local, address)
        headers = header_length(local)
        return None if mtu is None else PathLimits(min(mtu, _MAX_PACKET) - headers, headers)

    def allow_fragmentation(self, allowed: bool) -> None:
        """As `UdpSocket.allow_fragmentation`."""
        self._socket.allow_fragmentation(allowed)

    def set_too_long_callback(self, callback: Callable[[int], None] | None) -> None:
        """Name who is told how long a datagram was that `UdpSocket.on_too_long` is about."""
        self._socket.on_too_long = None if callback is None else lambda datagram, _: callback(len(datagram))

    def is_closing(self) -> bool:
        """Whether `close` was called."""
        return self._socket.closed

    def close(self) -> None:
        """Close the socket; the protocol hears of it at the next turn of the loop."""
        if not self._socket.closed:
            self._socket.close()
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        """As `close`."""
        self.close()


def fail_transaction(
    transactions: dict[bytes, stun.Transaction],
    request: stun.Message,
    address: TransportAddress,
    error: Exception,
    key: bytes | None = None,
) -> None:
    """End a request with an error answer of our own, instead of repeating it until its timeout.

    RFC 8489, 6.2.1: "A STUN transaction over UDP or DTLS-over-UDP is also considered failed if there has been a hard
    ICMP error". A check that is authenticated by another key than `key` goes on.
    """
    transaction = transactions.get(request.transaction_id)
    if transaction is not None:
        answer = stun.Message(request.message_method, stun.Class.ERROR, request.transaction_id)
        answer.attributes["ERROR-CODE"] = (500, str(error))
        if key is not None:
            answer.add_message_integrity(key)
        transaction.response_received(answer, address)


class _TurnLink(turn.TurnClientMixin):
    """What both kinds of TURN client need on top of aioice's: batches, permissions, and whether the link is full."""

    link_full = False
    permitted: set[str]
    on_link_writable: Callable[[], None] | None = None

    def pause_writing(self) -> None:
        """As asyncio's."""
        self.link_full = True

    def resume_writing(self) -> None:
        """As asyncio's."""
        self.link_full = False
        if self.on_link_writable is not None:
            self.on_link_writable()

    async def create_permission(self, host: str) -> None:
        """Have the server relay what comes from any port of this address."""
        request = stun.Message(stun.Method.CREATE_PERMISSION, stun.Class.REQUEST)
        request.attributes["XOR-PEER-ADDRESS"] = (host, 0)
        await self.request_with_retry(request)

    def datagram_received(self, data: bytes | str, addr: TransportAddress) -> None:
        """Take a message of the server; aioice reads its attributes without checking how long they are."""
        data = cast(bytes, data)
        try:
            if data[:2] == _DATA_INDICATION:
                self._data_untrusted(data)
            else:
                super().datagram_received(data, addr)
        except (struct.error, KeyError, ValueError):
            return

    def _data_untrusted(self, data: bytes) -> None:
        """Hand up data of a peer that has a permission and no channel yet.

        aioice takes such data only from addresses that have a channel.
        """
        message = stun.parse_message(data)
        peer: TransportAddress = message.attributes["XOR-PEER-ADDRESS"]
        # RFC 8656, 11.4: "The client SHOULD also check that the XOR-PEER-ADDRESS attribute value contains an IP address
        # with which the client believes there is an active permission and discard the Data indication otherwise."
        known = peer[0] in self.permitted or any(peer[0] == bound[0] for bound in self.peer_to_channel)
        if known and self.receiver is not None:
            self.receiver.datagram_received(message.attributes["DATA"], peer)


class TurnUdpClient(_TurnLink, turn.TurnClientUdpProtocol):
    """aioice's TURN client over UDP, taking batches: channel data of one peer goes up together."""

    _latest: stun.Message | None = None

    def datagrams_received(self, datagrams: list[bytes], address: TransportAddress) -> None:
        """Unwrap channel data; everything else is aioice's."""
        payloads: list[bytes] = []
        peer: TransportAddress | None = None
        for datagram in datagrams:
            if len(datagram) >= 4 and turn.is_channel_data(datagram):
                source, payload = self._unwrap(datagram)
                if source is None:
                    continue
                if source != peer:
                    self._deliver(payloads, peer)
                    payloads, peer = [], source
                payloads.append(payload)
            elif datagram:
                self.datagram_received(datagram, address)
        self._deliver(payloads, peer)

    def _unwrap(self, datagram: bytes) -> tuple[TransportAddress | None, bytes]:
        # RFC 8656, 12.5: "Over UDP, the padding is not required but MAY be included."
        length = int.from_bytes(datagram[2:4], "big")
        if length > len(datagram) - 4:
            return None, b""
        return self.channel_to_peer.get(int.from_bytes(datagram[:2], "big")), datagram[4 : 4 + length]

    def _deliver(self, payloads: list[bytes], peer: TransportAddress | None) -> None:
        if payloads and peer is not None and self.receiver is not None:
            cast(BatchProtocol, self.receiver).datagrams_received(payloads, peer)

    def send_stun(self, message: stun.Message, addr: TransportAddress) -> None:
        """Send a request to the server, and remember it until the next."""
        self._latest = message
        super().send_stun(message, addr)

    def error_received(self, exc: Exception) -> None:
        """End the request for an allocation when the system reports that the server cannot be reached.

        Later such an error may pass, and the allocation still be there: then each transaction has its timeout.
        """
        if self.relayed_address is None and self._latest is not None:
            # After the call that sends has returned: asyncio reports errors out of `sendto`, too.
            asyncio.get_running_loop().call_soon(
                fail_transaction, self.transactions, self._latest, self.server, exc, self.integrity_key
            )


class TurnStreamClient(_TurnLink, turn.TurnClientTcpProtocol):
    """aioice's TURN client over TCP or TLS."""


TurnClient = TurnUdpClient | TurnStreamClient


class RelayEndpoint(BatchTransport):
    """A TURN allocation as an asyncio transport.

    It does what `aioice.turn.TurnTransport` does, without a task for each datagram: once a channel is bound, datagrams
    go out at once, in batches where the link to the server is UDP.
    """

    def __init__(self, client: TurnClient) -> None:
        super().__init__()
        self._client = client
        client.permitted = set()
        self._loop = asyncio.get_running_loop()
        self._relayed_address: TransportAddress | None = None
        self._pending: dict[TransportAddress, list[bytes]] = {}
        self._refresh_at: dict[TransportAddress, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None
        self._discarded = 0

    async def allocate(self, protocol: BatchProtocol) -> None:
        """Ask for the allocation, then serve a protocol with it. Raises what aioice's client raises."""
        self._relayed_address = await self._client.connect()
        self._client.receiver = cast(asyncio.DatagramProtocol, protocol)
        protocol.connection_made(self)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Answer `sockname` (the relayed address) and `related_address` (ours as the server sees it)."""
        if name == "sockname":
            return self._relayed_address
        if name == "related_address":
            return self._client.mapped_address
        return default

    @property
    def _link(self) -> Any:
        return self._client.transport

    @property
    def writable(self) -> bool:
        """Whether the link to the server takes more."""
        link = self._link
        if isinstance(link, BatchTransport):
            return link.writable
        return not self._client.link_full and not link.is_closing()

    @property
    def discarded(self) -> int:
        """Datagrams that found no room, no channel, or no allocation."""
        link = self._link
        return self._discarded + (link.discarded if isinstance(link, BatchTransport) else 0)

    def set_writable_callback(self, callback: Callable[[], None] | None) -> None:
        """Name who is told that the link takes more."""
        if isinstance(self._link, BatchTransport):
            self._link.set_writable_callback(callback)
        self._client.on_link_writable = callback

    def limits(self, address: TransportAddress) -> PathLimits | None:
        """What the route to the server takes, if that is UDP. How long packets are behind it only probes can tell."""
        link = self._link
        server = link.get_extra_info("peername") if isinstance(link, BatchTransport) else None
        limits = None if server is None else link.limits(server)
        if limits is None:
            return None
        return PathLimits(limits.max_datagram - _CHANNEL_DATA_HEADER, limits.overhead + _CHANNEL_DATA_HEADER)

    def allow_fragmentation(self, allowed: bool) -> None:
        """As `DatagramTransport` has it, as far as the server."""
        if isinstance(self._link, BatchTransport):
            self._link.allow_fragmentation(allowed)

    def set_too_long_callback(self, callback: Callable[[int], None] | None) -> None:
        """As `DatagramTransport` has it."""
        if isinstance(self._link, BatchTransport):
            wrapped = None if callback is None else lambda length: callback(length - _CHANNEL_DATA_HEADER)
            self._link.set_too_long_callback(wrapped)

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Send one datagram to a peer of the allocation."""
        try:
            self.send_many([bytes(data)], addr)
        except BufferError:
            self._discarded += 1

    def send_many(self, datagrams: Sequence[bytes], address: TransportAddress | None) -> None:
        """Send datagrams to a peer of the allocation; while its channel is being bound they wait, bounded."""
        if self.is_closing() or address is None:
            self._discarded += len(datagrams)
            return
        channel = self._client.peer_to_channel.get(address)
        if channel is None:
            self._wait_for_channel(datagrams, address)
            return
        if self._loop.time() > self._refresh_at.get(address, 0.0):
            self._refresh_at[address] = self._loop.time() + CHANNEL_REFRESH
            self._run(self._refresh(channel, address))
        head = channel.to_bytes(2, "big")
        self._send_on_link([head + len(datagram).to_bytes(2, "big") + datagram for datagram in datagrams])

    def permit(self, host: str) -> None:
        """Ask the server to relay what comes from an address."""
        ours = self._relayed_address
        if ours is None or self.is_closing() or (":" in ours[0]) != (":" in host):
            return
        if host not in self._client.permitted:
            self._client.permitted.add(host)
            self._run(self._permit(host))

    async def _permit(self, host: str) -> None:
        try:
            await self._client.create_permission(host)
        except (stun.TransactionError, ConnectionError) as error:
            self._report(error)

    def _send_on_link(self, messages: list[bytes]) -> None:
        link = self._link
        if isinstance(link, BatchTransport):
            link.send_many(messages, None)
        elif isinstance(self._client, TurnStreamClient):
            if link.get_write_buffer_size() > 4 * _STREAM_HIGH_WATER:
                raise BufferError("the connection to the TURN server takes no more")
            # RFC 8656, 12.5: "Over TCP and TLS-over-TCP, the ChannelData message MUST be padded to a multiple of four
            # bytes in order to ensure the alignment of subsequent messages."
            link.write(b"".join(message + bytes(stun.padding_length(len(message))) for message in messages))
        else:
            for message in messages:
                link.sendto(message)

    def _wait_for_channel(self, datagrams: Sequence[bytes], address: TransportAddress) -> None:
        waiting = self._pending.get(address)
        if waiting is None:
            waiting = self._pending[address] = []
            self._run(self._bind(address))
        room = _PENDING_PER_PEER - len(waiting)
        waiting += datagrams[:room]
        self._discarded += max(0, len(datagrams) - room)

    async def _bind(self, address: TransportAddress) -> None:
        waiting = self._pending[address]
        try:
            first = waiting.pop(0) if waiting else b""
            await self._client.send_data(first, address)  # binds the channel, then sends
            self._refresh_at[address] = self._loop.time() + CHANNEL_REFRESH
        except (stun.TransactionError, ConnectionError) as error:
            self._discarded += len(waiting) + 1
            waiting.clear()
            self._report(error)
        finally:
            del self._pending[address]
        if waiting:
            self.send_many(waiting, address)

    async def _refresh(self, channel: int, address: TransportAddress) -> None:
        try:
            await self._client.channel_bind(channel, address)
        except (stun.TransactionError, ConnectionError) as error:
            self._report(error)

    def _report(self, error: Exception) -> None:
        if self._client.receiver is not None:
            self._client.receiver.error_received(error)

    def _run(self, work: Any) -> None:
        task: asyncio.Task[None] = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def is_closing(self) -> bool:
        """Whether `close` was called, or the allocation is gone."""
        return self._closing is not None or bool(self._link.is_closing())

    def close(self) -> None:
        """Give the allocation back; the protocol's `connection_lost` tells that it is done, after a second at most."""
        if self._closing is None:
            self._closing = self._loop.create_task(self._close())

    def abort(self) -> None:
        """As `close`."""
        self.close()

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        try:
            async with asyncio.timeout(_DELETE_TIMEOUT):
                await self._client.delete()
        except TimeoutError:
            pass
        finally:
            # A TLS link would otherwise wait for the server to say goodbye.
            self._link.abort()


async def connect_turn_udp(address: TransportAddress, client: TurnUdpClient, *, batches: bool) -> None:
    """Link a TURN client to its server over UDP; `batches` uses `UdpSocket`. Raises OSError."""
    if batches:
        UdpEndpoint.connect(address, client)
    else:
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: client, remote_addr=address)


async def connect_turn_stream(address: TransportAddress, client: TurnStreamClient, *, secure: bool) -> None:
    """Link a TURN client to its server over TCP, or TLS with the system's certificates. Raises OSError."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(lambda: client, address[0], address[1], ssl=secure or None)
    transport.set_write_buffer_limits(high=_STREAM_HIGH_WATER)
