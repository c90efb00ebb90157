"""Learns from ICMP that a peer's UDP port is closed, so that connecting to it ends at once instead of after a minute.

Errors about one peer cannot be read from the UDP socket that all peers share. The probe is a socket of its own,
connected to the peer's address; the system then checks that an ICMP message answers a datagram of this socket. It sends
empty datagrams, which no SCTP implementation answers.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from datachan.callbacks import ignore
from datachan.sctp.addresses import TransportAddress
from datachan.udp import UdpSocket

from .host_addresses import to_system

INTERVAL: Final = 1.0
"""Seconds between two probes, for the first one or its answer may be lost."""


MAX_SOCKETS: Final = 64
"""Sockets of all probes of a program; further addresses are not probed, so that descriptors stay for other uses."""


class PortProbe:
    """Probes the addresses of a peer until `close`.

    Args:
        targets: the addresses.
        on_closed: called once, when the UDP ports of all addresses are known to be closed.
    """

    sockets_in_use: ClassVar[int] = 0

    def __init__(self, targets: Sequence[TransportAddress], on_closed: Callable[[], None]) -> None:
        self._on_closed = on_closed
        self._sockets: dict[TransportAddress, UdpSocket] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._open = set(targets)  # as far as is known
        for target in targets[: max(MAX_SOCKETS - PortProbe.sockets_in_use, 0)]:
            try:
                sock = UdpSocket.connect(to_system(target, six=False), offload=False)
            except OSError:  # there is no route: the handshake reports that
                continue
            self._sockets[target] = sock
            PortProbe.sockets_in_use += 1
            sock.set_receiver(ignore)  # a packet that the peer sends to the probe
            sock.on_error = lambda error, target=target: self._handle_error(error, target)
        self._send()

    def _send(self) -> None:
        for sock in self._sockets.values():
            sock.send([b""])
        self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._send)

    def _handle_error(self, error: OSError, target: TransportAddress) -> None:
        # RFC 6951, 5.5: "ICMP messages with type 'Destination Unreachable' and code 'Port Unreachable' SHOULD be
        # treated as ICMP messages with type 'Destination Unreachable' and code 'Protocol Unreachable'."
        if error.errno not in (errno.ECONNREFUSED, errno.ECONNRESET) or target not in self._open:
            return
        self._open.discard(target)
        if not self._open:
            # A callback closes the sockets, which must not happen while one of them is read.
            asyncio.get_running_loop().call_soon(self._report)

    def _report(self) -> None:
        if self._sockets:
            self.close()
            self._on_closed()

    def close(self) -> None:
        """Stop probing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for sock in self._sockets.values():
            sock.on_error = None
            sock.close()
        PortProbe.sockets_in_use -= len(self._sockets)
        self._sockets.clear()
