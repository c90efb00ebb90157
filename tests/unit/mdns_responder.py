"""An mDNS responder for tests, on loopback multicast, that behaves like those of browsers."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any

from datachan.ice.mdns import TYPE_A, TYPE_AAAA
from datachan.ice.resolver import MdnsResolver
from datachan.udp import MulticastSocket
from tests.ports import free_port

GROUP = "224.0.0.251"


def encode_name(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def address_record(name: str, address: str) -> bytes:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address)
    kind = TYPE_AAAA if ":" in address else TYPE_A
    return encode_name(name) + struct.pack("!HHIH", kind, 0x8001, 120, len(packed)) + packed


def chromium_answer(name: str, address: str) -> bytes:
    nsec = b"\xc0\x0c" + struct.pack("!HHIH", 47, 0x8001, 120, 8) + b"\xc0\x0c\0\4\x40\0\0\0"
    return struct.pack("!6H", 0, 0x8400, 0, 1, 0, 1) + address_record(name, address) + nsec


class Responder:
    """Publishes names as a browser does: multicast answers to queries with one question, from the group's port."""

    def __init__(self, port: int, names: dict[str, str]) -> None:
        self.names = names
        self.queries: list[tuple[str, int, int]] = []
        self.silent = False
        self.answer: Callable[[str, str], bytes] = chromium_answer
        self.asked = asyncio.Event()
        self._socket = MulticastSocket.join(GROUP, port, ["127.0.0.1"])
        self._socket.set_receiver(self._received)

    def _received(self, datagrams: list[bytes], source: Any) -> None:
        for datagram in datagrams:
            _, flags, questions, *_ = struct.unpack_from("!6H", datagram)
            if flags & 0x8000:
                continue
            assert questions == 1, "Chromium reads queries with one question only"
            name, kind, record_class = self._question(datagram)
            self.queries.append((name, kind, record_class))
            self.asked.set()
            address = self.names.get(name)
            if address is not None and not self.silent and kind == (TYPE_AAAA if ":" in address else TYPE_A):
                if record_class & 0x8000:
                    self._socket.send([self.answer(name, address)], source)
                else:
                    self._socket.send_to_group(self.answer(name, address))

    @staticmethod
    def _question(datagram: bytes) -> tuple[str, int, int]:
        labels, position = [], 12
        while size := datagram[position]:
            labels.append(datagram[position + 1 : position + 1 + size].decode())
            position += 1 + size
        return (".".join(labels), *struct.unpack_from("!HH", datagram, position + 1))

    def announce(self, message: bytes) -> None:
        self._socket.send_to_group(message)

    def close(self) -> None:
        self._socket.close()


class Link:
    """A resolver and a responder on the same loopback link."""

    def __init__(self, names: dict[str, str]) -> None:
        self.port = free_port()  # of its own: other tests of multicast run on this host
        self.responder = Responder(self.port, names)
        self.resolver = MdnsResolver(interfaces=["127.0.0.1"], port=self.port, groups=[GROUP])

    def close(self) -> None:
        self.resolver.close()
        self.responder.close()
