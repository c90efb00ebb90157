"""Connections to TURN servers: UDP, TCP or TLS, also through an HTTP proxy; it does not look into the messages.

A stream is cut into the server's messages, so that every connection is a `DatagramLink` that carries whole messages.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import unquote, urlsplit

from datachan.ice.asyncio_link import AsyncioLink
from datachan.ice.link import DatagramLink, TransportAddress
from datachan.ice_agent.errors import BadPacket
from datachan.ice_agent.turn_messages import MessageSplitter, padded
from datachan.udp import Address, PathLimits, Receiver, UdpSocket, has_reader_support

_RECEIVE_BUFFER: Final = 4 << 20
_HIGH_WATER: Final = 1 << 20
# The bytes of a proxy's answer before its headers end.
_MAX_PROXY_ANSWER: Final = 16_384


@dataclass(frozen=True, slots=True)
class HttpProxy:
    """An HTTP proxy that connections over TCP and TLS pass (CONNECT, RFC 9110, 9.3.6).

    Attributes:
        host: its host name or address.
        port: its port.
        authorization: the value of Proxy-Authorization; None sends none.
    """

    host: str
    port: int
    authorization: str | None = None


def parse_proxy(url: str) -> HttpProxy:
    """Return the proxy of a URL such as "http://user:password@proxy.example:3128". Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError(f"a proxy is written as http://host:port, not {url!r}")
    authorization = None
    if parts.username is not None:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(credentials.encode()).decode()
    return HttpProxy(parts.hostname, parts.port or 80, authorization)


class StreamLink(asyncio.Protocol):
    """The TCP or TLS connection to a TURN server as a `DatagramLink`: each datagram is a whole message.

    Attributes:
        on_closed: called once with the reason when the connection has ended without `close`.
    """

    on_writable: Callable[[], None] | None = None
    on_error: Callable[[OSError], None] | None = None
    on_too_long: Callable[[bytes, Address | None], None] | None = None
    on_closed: Callable[[str], None] | None = None

    def __init__(self) -> None:
        self.local_address: Address = ()
        self.discarded = 0
        self.discarded_bytes = 0
        self._transport: asyncio.Transport | None = None
        self._receiver: Receiver | None = None
        self._server: Address = ()
        self._splitter = MessageSplitter()
        self._full = False
        self._closed = False
        self._secure = False

    # callbacks of asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start using asyncio's transport."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER)
        self.local_address = transport.get_extra_info("sockname") or ()
        self._server = transport.get_extra_info("peername") or ()
        self._secure = transport.get_extra_info("sslcontext") is not None

    def data_received(self, data: bytes) -> None:
        """Deliver the messages that are complete."""
        try:
            messages = self._splitter.feed_untrusted(data)
        except BadPacket as error:
            self._end(str(error))
            return
        if messages and self._receiver is not None:
            self._receiver(messages, self._server)

    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end of the connection."""
        self._end(str(exc) if exc is not None and str(exc) else "the server has closed the connection")

    def pause_writing(self) -> None:
        """Stop being writable."""
        self._full = True

    def resume_writing(self) -> None:
        """Become writable again."""
        self._full = False
        if self.on_writable is not None:
            self.on_writable()

    def _end(self, reason: str) -> None:
        if not self._closed:
            self.close()
            if self.on_closed is not None:
                self.on_closed(reason)

    # DatagramLink

    @property
    def writable(self) -> bool:
        """Whether asyncio's write buffer accepts more."""
        return not self._full and not self._closed

    @property
    def closed(self) -> bool:
        """Whether the connection is closed."""
        return self._closed

    def set_receiver(self, receiver: Receiver | None) -> None:
        """Set the callback for each batch of messages; those that arrive without one are lost."""
        self._receiver = receiver

    def send(self, datagrams: Sequence[bytes], address: Address | None = None) -> None:
        """Send messages to the server."""
        if self._closed or self._transport is None:
            self.discarded += len(datagrams)
            self.discarded_bytes += sum(map(len, datagrams))
            return
        if self._transport.get_write_buffer_size() > 4 * _HIGH_WATER:
            raise BufferError("the connection to the TURN server takes no more")
        messages = [padded(datagram) for datagram in datagrams]
        if self._secure:
            # coturn 4.6 loses a message that continues in another TLS record. Each write makes records of its own.
            for message in messages:
                self._transport.write(message)
        else:
            self._transport.write(b"".join(messages))

    def limits(self, address: Address) -> PathLimits | None:
        """Return None: a stream has no longest datagram."""
        return None

    def allow_fragmentation(self, allowed: bool) -> None:
        """Do nothing: a stream has no datagrams."""

    def close(self) -> None:
        """Close the connection at once: a TLS connection would otherwise wait for the server's farewell."""
        self._closed = True
        self._receiver = None
        if self._transport is not None:
            self._transport.abort()


async def connect_udp(address: TransportAddress, *, fast_path: bool = True) -> DatagramLink:
    """Connect to a server over UDP. Raises OSError."""
    if fast_path and has_reader_support(asyncio.get_running_loop()):
        return UdpSocket.connect(address, receive_buffer=_RECEIVE_BUFFER)
    return await AsyncioLink.connect(address)


async def connect_stream(
    addresses: Sequence[TransportAddress], *, tls_name: str | None = None, proxy: HttpProxy | None = None
) -> StreamLink:
    """Connect to a server over TCP, or over TLS with the system's certificates.

    Args:
        addresses: the addresses of the server, which are tried in turn; a host name if there is a proxy.
        tls_name: the name in the server's certificate; None uses TCP without TLS.
        proxy: the proxy to connect through.

    Raises:
        OSError: no address accepts a connection, the proxy refuses, or the certificate is not trusted; the error is
            that of the last address.
    """
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context() if tls_name is not None else None
    last: OSError = OSError("the name has no address")
    for address in addresses:
        try:
            if proxy is not None:
                return await _through_proxy(address, context, tls_name, proxy)
            _, link = await loop.create_connection(StreamLink, *address, ssl=context, server_hostname=tls_name)
        except OSError as error:
            last = error
        else:
            return link
    raise last


async def _through_proxy(
    address: TransportAddress, context: ssl.SSLContext | None, tls_name: str | None, proxy: HttpProxy
) -> StreamLink:
    loop = asyncio.get_running_loop()
    transport, handshake = await loop.create_connection(lambda: _ProxyHandshake(address, proxy), proxy.host, proxy.port)
    try:
        await handshake.done
        link = StreamLink()
        if context is None:
            transport.set_protocol(link)
            link.connection_made(transport)
        else:
            secured = await loop.start_tls(transport, handshake, context, server_hostname=tls_name)
            if secured is None:
                raise ConnectionError("the proxy has closed the connection")
            secured.set_protocol(link)
            link.connection_made(secured)
    except BaseException:  # also when the caller is canceled
        transport.abort()
        raise
    return link


class _ProxyHandshake(asyncio.Protocol):
    """Asks an HTTP proxy for a connection to the server, and waits for its answer."""

    def __init__(self, address: TransportAddress, proxy: HttpProxy) -> None:
        host, port = address
        self._authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._proxy = proxy
        self._answer = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        lines = [f"CONNECT {self._authority} HTTP/1.1", f"Host: {self._authority}"]
        if self._proxy.authorization is not None:
            lines.append(f"Proxy-Authorization: {self._proxy.authorization}")
        cast(asyncio.Transport, transport).write("\r\n".join([*lines, "", ""]).encode())

    def data_received(self, data: bytes) -> None:
        """Read the answer. The server says nothing before we do, so nothing follows it."""
        self._answer += data
        status = self._answer.partition(b"\r\n")[0].split(b" ", 2)
        if self.done.done():
            return
        if b"\r\n\r\n" in self._answer:
            if len(status) >= 2 and status[0].startswith(b"HTTP/1.") and status[1][:1] == b"2":
                self.done.set_result(None)
            else:
                text = b" ".join(status[1:]).decode("ascii", "replace")
                self.done.set_exception(ConnectionError(f"the proxy refuses the connection: {text}"))
        elif len(self._answer) > _MAX_PROXY_ANSWER:
            self.done.set_exception(ConnectionError("the proxy does not answer as HTTP"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail, if the answer has not come."""
        if not self.done.done():
            self.done.set_exception(ConnectionError("the proxy has closed the connection"))
