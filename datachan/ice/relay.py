"""A TURN allocation as a link (RFC 8656): channels, permissions, and the connection to the server under them.

aioice's client requests the allocation and refreshes it. Datagrams bypass it, because it creates a task for each.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from aioice import stun, turn

from datachan.ice.aioice_transport import LinkTransport, LinkUser
from datachan.ice.asyncio_link import AsyncioLink
from datachan.ice.link import DatagramLink, TransportAddress
from datachan.ice.transactions import fail_transaction
from datachan.udp import Address, PathLimits, Receiver, UdpSocket

_RECEIVE_BUFFER: Final = 4 << 20
_PENDING_PER_PEER: Final = 64
_STREAM_HIGH_WATER: Final = 1 << 20
_CHANNEL_DATA_HEADER: Final = 4
_DATA_INDICATION: Final = (stun.Method.DATA | stun.Class.INDICATION).to_bytes(2, "big")
# RFC 8656, 9: "The Permission Lifetime MUST be 300 seconds (= 5 minutes)." A channel lasts ten, but binding it again is
# what renews the permission, too.
CHANNEL_REFRESH: Final = 240.0
# A TURN server that does not answer must not hold up `close`; it frees the allocation when that expires.
_DELETE_TIMEOUT: Final = 1.0


class _TurnClient(turn.TurnClientMixin):
    """The additions to aioice's TURN client for both transports: permissions, and data before a channel is bound."""

    permitted: set[str]

    async def create_permission(self, host: str) -> None:
        """Request that the server relays datagrams from any port of an address."""
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
        """Hand up data of a peer that has a permission but no channel; aioice requires a channel to its address."""
        message = stun.parse_message(data)
        peer: TransportAddress = message.attributes["XOR-PEER-ADDRESS"]
        # RFC 8656, 11.4: "The client SHOULD also check that the XOR-PEER-ADDRESS attribute value contains an IP address
        # with which the client believes there is an active permission and discard the Data indication otherwise."
        known = peer[0] in self.permitted or any(peer[0] == bound[0] for bound in self.peer_to_channel)
        if known and self.receiver is not None:
            self.receiver.datagram_received(message.attributes["DATA"], peer)


class TurnUdpClient(_TurnClient, turn.TurnClientUdpProtocol):
    """aioice's TURN client over UDP, in batches: channel data of one peer is delivered together."""

    _latest: stun.Message | None = None

    def datagrams_received(self, datagrams: list[bytes], address: Address) -> None:
        """Unwrap channel data and give everything else to aioice."""
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
                self.datagram_received(datagram, (address[0], address[1]))
        self._deliver(payloads, peer)

    def _unwrap(self, datagram: bytes) -> tuple[TransportAddress | None, bytes]:
        # RFC 8656, 12.5: "Over UDP, the padding is not required but MAY be included."
        length = int.from_bytes(datagram[2:4], "big")
        if length > len(datagram) - 4:
            return None, b""
        return self.channel_to_peer.get(int.from_bytes(datagram[:2], "big")), datagram[4 : 4 + length]

    def _deliver(self, payloads: list[bytes], peer: TransportAddress | None) -> None:
        if payloads and peer is not None and self.receiver is not None:
            cast(LinkUser, self.receiver).datagrams_received(payloads, peer)

    def send_stun(self, message: stun.Message, addr: TransportAddress) -> None:
        """Send a request to the server, and remember it until the next."""
        self._latest = message
        super().send_stun(message, addr)

    def error_received(self, exc: Exception) -> None:
        """End the request for an allocation when the system reports that the server cannot be reached.

        Once there is an allocation, such an error may pass, and each transaction has its own timeout.
        """
        if self.relayed_address is None and self._latest is not None:
            # After the call that sends has returned: asyncio reports errors out of `sendto`, too.
            asyncio.get_running_loop().call_soon(
                fail_transaction, self.transactions, self._latest, self.server, exc, self.integrity_key
            )


class TurnStreamClient(_TurnClient, turn.TurnClientTcpProtocol):
    """aioice's TURN client over TCP or TLS.

    Attributes:
        on_flow_change: called with whether asyncio's write buffer is full.
    """

    on_flow_change: Callable[[bool], None] | None = None

    def pause_writing(self) -> None:
        """Report that asyncio's write buffer is full."""
        if self.on_flow_change is not None:
            self.on_flow_change(True)

    def resume_writing(self) -> None:
        """Report that asyncio's write buffer has room again."""
        if self.on_flow_change is not None:
            self.on_flow_change(False)


class StreamLink:
    """The TCP or TLS connection to a TURN server as a `DatagramLink`: each datagram is a whole TURN message."""

    on_writable: Callable[[], None] | None = None
    on_error: Callable[[OSError], None] | None = None
    on_too_long: Callable[[bytes, Address | None], None] | None = None
    discarded: Final = 0
    discarded_bytes: Final = 0

    def __init__(self, client: TurnStreamClient) -> None:
        self._transport = client.transport
        self._full = False
        self.local_address: Address = client.transport.get_extra_info("sockname")
        client.on_flow_change = self._flow_changed

    def _flow_changed(self, full: bool) -> None:
        self._full = full
        if not full and self.on_writable is not None:
            self.on_writable()

    @property
    def writable(self) -> bool:
        """Whether asyncio's write buffer accepts more."""
        return not self._full and not self.closed

    @property
    def closed(self) -> bool:
        """Whether the connection is closed."""
        return self._transport.is_closing()

    def set_receiver(self, receiver: Receiver | None) -> None:
        """Do nothing: the client receives the server's messages from asyncio."""

    def send(self, datagrams: Sequence[bytes], address: Address | None = None) -> None:
        """Send TURN messages to the server."""
        if self._transport.get_write_buffer_size() > 4 * _STREAM_HIGH_WATER:
            raise BufferError("the connection to the TURN server takes no more")
        # RFC 8656, 12.5: "Over TCP and TLS-over-TCP, the ChannelData message MUST be padded to a multiple of four
        # bytes in order to ensure the alignment of subsequent messages."
        self._transport.write(b"".join(message + bytes(stun.padding_length(len(message))) for message in datagrams))

    def limits(self, address: Address) -> PathLimits | None:
        """Return None: a stream has no longest datagram."""
        return None

    def allow_fragmentation(self, allowed: bool) -> None:
        """Do nothing: a stream has no datagrams."""

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()


class RelayLink:
    """A TURN allocation as a `DatagramLink`.

    Once a channel is bound, datagrams go out at once, in batches where the connection to the server is UDP.

    Args:
        client: asks for the allocation.
        server: the connection to the TURN server.
    """

    on_writable: Callable[[], None] | None = None
    on_error: Callable[[OSError], None] | None = None
    on_too_long: Callable[[bytes, Address | None], None] | None = None

    def __init__(self, client: TurnUdpClient | TurnStreamClient, server: DatagramLink) -> None:
        self._client = client
        client.permitted = set()
        self._server = server
        server.on_writable = self._server_writable
        server.on_too_long = self._too_long
        self._loop = asyncio.get_running_loop()
        self.local_address: Address = ()
        self._pending: dict[Address, list[bytes]] = {}
        self._refresh_at: dict[Address, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None
        self._discarded = 0
        self._discarded_bytes = 0

    async def allocate(self) -> None:
        """Request the allocation. If aioice's client raises, close the connection to the server first."""
        try:
            self.local_address = await self._client.connect()
        except BaseException:  # also when the caller is canceled
            self._client.transport.close()
            raise

    @property
    def mapped_address(self) -> TransportAddress | None:
        """Our address as the server sees it."""
        return self._client.mapped_address

    def serve(self, protocol: LinkUser) -> None:
        """Serve a protocol of aioice with the allocation."""
        self._client.receiver = cast(asyncio.DatagramProtocol, protocol)
        _RelayTransport(self, protocol)

    def _server_writable(self) -> None:
        if self.on_writable is not None:
            self.on_writable()

    def _too_long(self, message: bytes, _: Address | None) -> None:
        if self.on_too_long is not None:
            self.on_too_long(message[_CHANNEL_DATA_HEADER:], None)

    @property
    def writable(self) -> bool:
        """Whether the connection to the server accepts more."""
        return self._server.writable

    @property
    def closed(self) -> bool:
        """Whether `close` was called, or the connection to the server has failed."""
        return self._closing is not None or self._server.closed

    @property
    def discarded(self) -> int:
        """The number of datagrams without room, without a channel, or without an allocation."""
        return self._discarded + self._server.discarded

    @property
    def discarded_bytes(self) -> int:
        """The number of bytes in them."""
        return self._discarded_bytes + self._server.discarded_bytes

    def _count_discarded(self, datagrams: Sequence[bytes]) -> None:
        self._discarded += len(datagrams)
        self._discarded_bytes += sum(map(len, datagrams))

    def set_receiver(self, receiver: Receiver | None) -> None:
        """Do nothing: the client hands up data to the protocol it serves."""

    def limits(self, address: Address) -> PathLimits | None:
        """Return the limits of the route to the server; only probes can find those of the path behind it."""
        limits = self._server.limits(self._client.server)
        if limits is None:
            return None
        return PathLimits(limits.max_datagram - _CHANNEL_DATA_HEADER, limits.overhead + _CHANNEL_DATA_HEADER)

    def allow_fragmentation(self, allowed: bool) -> None:
        """Choose whether datagrams may be fragmented on the way to the server."""
        self._server.allow_fragmentation(allowed)

    def send(self, datagrams: Sequence[bytes], address: Address | None = None) -> None:
        """Send datagrams to a peer of the allocation; queue a limited number while its channel is being bound."""
        if self.closed or address is None:
            self._count_discarded(datagrams)
            return
        channel = self._client.peer_to_channel.get(cast(TransportAddress, address))
        if channel is None:
            self._wait_for_channel(datagrams, address)
            return
        if self._loop.time() > self._refresh_at.get(address, 0.0):
            self._refresh_at[address] = self._loop.time() + CHANNEL_REFRESH
            self._run(self._refresh(channel, address))
        head = channel.to_bytes(2, "big")
        self._server.send([head + len(datagram).to_bytes(2, "big") + datagram for datagram in datagrams])

    def permit(self, host: str) -> None:
        """Request that the server relays datagrams from an address, if it is of the allocation's family."""
        if self.closed or (":" in self.local_address[0]) != (":" in host):
            return
        if host not in self._client.permitted:
            self._client.permitted.add(host)
            self._run(self._client.create_permission(host))

    def _wait_for_channel(self, datagrams: Sequence[bytes], address: Address) -> None:
        waiting = self._pending.get(address)
        if waiting is None:
            waiting = self._pending[address] = []
            self._run(self._bind(address))
        room = _PENDING_PER_PEER - len(waiting)
        waiting += datagrams[:room]
        self._count_discarded(datagrams[room:])

    async def _bind(self, address: Address) -> None:
        waiting = self._pending[address]
        try:
            first = waiting.pop(0) if waiting else b""
            await self._client.send_data(first, cast(TransportAddress, address))  # binds the channel, then sends
            self._refresh_at[address] = self._loop.time() + CHANNEL_REFRESH
        except (stun.TransactionError, ConnectionError):
            self._count_discarded([first, *waiting])
            waiting.clear()
            raise
        finally:
            del self._pending[address]
        if waiting:
            self.send(waiting, address)

    async def _refresh(self, channel: int, address: Address) -> None:
        await self._client.channel_bind(channel, cast(TransportAddress, address))

    def _run(self, work: Any) -> None:
        task: asyncio.Task[None] = self._loop.create_task(self._report_errors(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _report_errors(self, work: Any) -> None:
        try:
            await work
        except (stun.TransactionError, ConnectionError) as error:
            if self.on_error is not None:
                self.on_error(OSError(str(error)))

    def close(self) -> None:
        """Give the allocation back, which takes a second at most; the client then reports the connection as lost."""
        if self._closing is None:
            self._closing = self._loop.create_task(self._close())

    async def _close(self) -> None:
        for task in self._tasks:
            task.cancel()
        try:
            async with asyncio.timeout(_DELETE_TIMEOUT):
                await self._client.delete()
        except TimeoutError:
            pass
        finally:
            # A TLS connection would otherwise wait for the server to say goodbye.
            cast(Any, self._client.transport).abort()


class _RelayTransport(LinkTransport):
    """The transport of an allocation. The TURN client reports its end when the allocation was released."""

    def close(self) -> None:
        """Give the allocation back."""
        self._link.close()


async def connect_turn_udp(address: TransportAddress, client: TurnUdpClient, *, fast_path: bool) -> DatagramLink:
    """Connect a TURN client to its server over UDP. Raises OSError."""
    link: DatagramLink
    if fast_path:
        link = UdpSocket.connect(address, receive_buffer=_RECEIVE_BUFFER)
    else:
        link = await AsyncioLink.connect(address)
    LinkTransport(link, client)
    return link


async def connect_turn_stream(
    addresses: Sequence[TransportAddress], client: TurnStreamClient, *, tls_name: str | None
) -> DatagramLink:
    """Connect a TURN client to its server over TCP, or TLS with the system's certificates.

    Args:
        addresses: the addresses of the server, which are tried in turn.
        client: the client.
        tls_name: the name in the server's certificate; None uses TCP without TLS.

    Raises:
        OSError: no address accepts a connection; the error is that of the last one.
    """
    loop = asyncio.get_running_loop()
    for address in addresses:
        try:
            transport, _ = await loop.create_connection(
                lambda: client, *address, ssl=tls_name is not None or None, server_hostname=tls_name
            )
        except OSError:
            if address == addresses[-1]:
                raise
        else:
            transport.set_write_buffer_limits(high=_STREAM_HIGH_WATER)
            break
    return StreamLink(client)
