"""The processes that share one UDP port, and messages between them; it knows no connections and no UDP sockets.

The system gives each datagram for a shared port (SO_REUSEPORT) to one of the processes, which may be the wrong one.
Username fragments begin with a character that names the process of the connection, and a datagram of another process is
passed on to it. The way is a local socket in a folder that only this user may enter, so that no other program can put
datagrams into a connection. Its kind is SOCK_SEQPACKET: it keeps messages whole, and its queue is bounded in bytes; the
queue of a local SOCK_DGRAM socket has ten messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from datachan.udp import Address

# RFC 8839, 5.4: the characters of username fragments.
_MARKS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
MAX_NEIGHBORS: Final = len(_MARKS)
_BACKLOG: Final = 2 * MAX_NEIGHBORS
_SOCKET_BUFFER: Final = 4 << 20
_MAX_MESSAGE: Final = 1 << 18
_READS_PER_WAKE_UP: Final = 64

# The process that sends the message, number of the bound address, port of the peer, lengths of two hosts.
_HEADER: Final = struct.Struct("!BBHBB")


@dataclass(frozen=True, slots=True)
class Passed:
    """Datagrams that another process has received, or its news that it owns an address.

    Attributes:
        sender: The number of the process that sends the message.
        bound: Which of the port's local addresses this is about.
        peer: The address of the peer.
        local: The address that the peer has sent to; "" if it is unknown.
        datagrams: The datagrams; empty if the sender tells that the address belongs to one of its connections.
    """

    sender: int
    bound: int
    peer: Address
    local: str
    datagrams: tuple[bytes, ...]


class MuxNeighbors:
    """One process among those that share a UDP port.

    Args:
        index: The number of this process, from 0.
        count: The number of processes, at most 64.
        folder: A folder that only this user may enter. All processes name the same one.

    Attributes:
        passed_on: The number of calls of `pass_on`.
        lost: The number of messages that could not be sent.
    """

    def __init__(self, index: int, count: int, folder: Path) -> None:
        if not 0 <= index < count <= MAX_NEIGHBORS:
            raise ValueError(f"process {index} of {count}: there are at most {MAX_NEIGHBORS}, numbered from 0")
        self.index = index
        self.count = count
        self.passed_on = 0
        self.lost = 0
        self._folder = folder
        self._receiver: Callable[[Passed], None] | None = None
        self._listener: socket.socket | None = None
        self._incoming: set[socket.socket] = set()
        self._outgoing: dict[int, socket.socket] = {}

    @property
    def mark(self) -> str:
        """The first character of the username fragments of this process."""
        return _MARKS[self.index]

    def owner_of(self, name: str) -> int | None:
        """Return the process whose mark a name begins with; None if it is this one or none."""
        owner = _MARKS.find(name[:1]) if name else -1
        return owner if 0 <= owner < self.count and owner != self.index else None

    def open(self, receiver: Callable[[Passed], None]) -> None:
        """Receive what the others pass on. A process that replaces another takes over its place.

        Raises:
            OSError: The folder cannot be used.
        """
        path = self._path(self.index)
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            listener.setblocking(False)
            listener.bind(str(path))
            listener.listen(_BACKLOG)
        except BaseException:
            listener.close()
            raise
        self._receiver, self._listener = receiver, listener
        asyncio.get_running_loop().add_reader(listener.fileno(), self._accept)

    def pass_on(self, owner: int, bound: int, peer: Address, local: str, datagrams: Sequence[bytes]) -> None:
        """Pass datagrams on to another process. They are lost if it is away or does not keep up."""
        self.passed_on += 1
        self._send(owner, _pack(self.index, bound, peer, local, datagrams))

    def tell_owned(self, other: int, bound: int, peer: Address) -> None:
        """Tell another process that what comes from an address belongs to this one."""
        self._send(other, _pack(self.index, bound, peer, "", ()))

    def close(self) -> None:
        """Receive and send nothing more."""
        loop = asyncio.get_running_loop()
        if self._listener is not None:
            loop.remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None
            self._path(self.index).unlink(missing_ok=True)
        for sock in self._incoming:
            loop.remove_reader(sock.fileno())
            sock.close()
        for sock in self._outgoing.values():
            sock.close()
        self._incoming.clear()
        self._outgoing.clear()

    # private

    def _path(self, index: int) -> Path:
        return self._folder / f"udp-{index}"

    def _send(self, other: int, message: bytes) -> None:
        for _ in range(2):  # a process that was replaced is connected to again
            sock = self._outgoing.get(other) or self._connect(other)
            if sock is None:
                break
            try:
                sock.send(message)
            except BlockingIOError:
                break
            except OSError:
                del self._outgoing[other]
                sock.close()
            else:
                return
        self.lost += 1

    def _connect(self, other: int) -> socket.socket | None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
        try:
            sock.connect(str(self._path(other)))
        except OSError:
            sock.close()
            return None
        self._outgoing[other] = sock
        return sock

    def _accept(self) -> None:
        if self._listener is None:
            return
        with contextlib.suppress(BlockingIOError, InterruptedError):
            sock, _ = self._listener.accept()
            sock.setblocking(False)
            self._incoming.add(sock)
            asyncio.get_running_loop().add_reader(sock.fileno(), self._readable, sock)

    def _readable(self, sock: socket.socket) -> None:
        for _ in range(_READS_PER_WAKE_UP):
            try:
                message = sock.recv(_MAX_MESSAGE)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                message = b""
            if not message:
                asyncio.get_running_loop().remove_reader(sock.fileno())
                self._incoming.discard(sock)
                sock.close()
                return
            if self._receiver is not None:
                self._receiver(_unpack(message))


def _pack(sender: int, bound: int, peer: Address, local: str, datagrams: Sequence[bytes]) -> bytes:
    host, near = str(peer[0]).encode(), local.encode()
    parts = [_HEADER.pack(sender, bound, peer[1], len(host), len(near)), host, near]
    for datagram in datagrams:
        parts += (len(datagram).to_bytes(2, "big"), datagram)
    return b"".join(parts)


def _unpack(message: bytes) -> Passed:
    """Read a message of a process of the same program: it is trusted."""
    sender, bound, port, host_length, near_length = _HEADER.unpack_from(message)
    at = _HEADER.size + host_length
    host = message[_HEADER.size : at].decode()
    local = message[at : at + near_length].decode()
    at += near_length
    datagrams = []
    while at < len(message):
        end = at + 2 + int.from_bytes(message[at : at + 2], "big")
        datagrams.append(message[at + 2 : end])
        at = end
    return Passed(sender, bound, (host, port), local, tuple(datagrams))
