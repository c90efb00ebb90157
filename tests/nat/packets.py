"""IP packets with TCP, UDP or ICMP in them: read and rewritten as a NAT does; it knows no network."""

from __future__ import annotations

import struct
from typing import Final

ICMP: Final = 1
TCP: Final = 6
UDP: Final = 17
ICMP6: Final = 58
_MORE_FRAGMENTS_OR_OFFSET: Final = 0x3FFF
_DONT_FRAGMENT: Final = 0x40
# Router and neighbor discovery (RFC 4861) and multicast listener reports, which end at the interface.
_NEIGHBOR_DISCOVERY: Final = frozenset({133, 134, 135, 136, 143})


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(word for (word,) in struct.iter_unpack("!H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Packet:
    """An IPv4 or IPv6 packet. Addresses are packed bytes; ports are 0 where there are none."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        self.six = self.data[0] >> 4 == 6
        self.header = 40 if self.six else (self.data[0] & 15) * 4
        self.protocol = self.data[6 if self.six else 9]
        self._source_at, self._target_at, self._length = (8, 24, 16) if self.six else (12, 16, 4)

    @property
    def source(self) -> bytes:
        return bytes(self.data[self._source_at : self._source_at + self._length])

    @property
    def target(self) -> bytes:
        return bytes(self.data[self._target_at : self._target_at + self._length])

    def _port(self, offset: int) -> int:
        if self.protocol not in (TCP, UDP) or len(self.data) < self.header + 4:
            return 0
        port: int = struct.unpack_from("!H", self.data, self.header + offset)[0]
        return port

    @property
    def source_port(self) -> int:
        return self._port(0)

    @property
    def target_port(self) -> int:
        return self._port(2)

    @property
    def is_fragment(self) -> bool:
        return not self.six and bool(struct.unpack_from("!H", self.data, 6)[0] & _MORE_FRAGMENTS_OR_OFFSET)

    @property
    def must_stay_whole(self) -> bool:
        """Whether a router may not fragment it."""
        return self.six or bool(self.data[6] & _DONT_FRAGMENT)

    @property
    def stays_on_the_link(self) -> bool:
        """Whether it is multicast, or speaks to the neighbors only."""
        if self.target[0] in (0xE0, 0xFF):
            return True
        return self.protocol == ICMP6 and self.data[40] in _NEIGHBOR_DISCOVERY

    def set_source(self, address: bytes, port: int) -> None:
        self._rewrite(self._source_at, 0, address, port)

    def set_target(self, address: bytes, port: int) -> None:
        self._rewrite(self._target_at, 2, address, port)

    def _rewrite(self, at: int, port_offset: int, address: bytes, port: int) -> None:
        port_at = self.header + port_offset
        old = bytes(self.data[at : at + 4]) + bytes(self.data[port_at : port_at + 2])
        new = address + struct.pack("!H", port)
        self.data[at : at + 4] = address
        struct.pack_into("!H", self.data, port_at, port)
        self._adjust(10, old[:4], new[:4])
        if self.protocol == TCP:
            self._adjust(self.header + 16, old, new)
        elif self.data[self.header + 6 : self.header + 8] != b"\0\0":
            self._adjust(self.header + 6, old, new)

    def _adjust(self, at: int, old: bytes, new: bytes) -> None:
        """Change a checksum for words that have changed (RFC 1624)."""
        total = ~struct.unpack_from("!H", self.data, at)[0] & 0xFFFF
        total += sum(~word & 0xFFFF for (word,) in struct.iter_unpack("!H", old))
        total += sum(word for (word,) in struct.iter_unpack("!H", new))
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        struct.pack_into("!H", self.data, at, ~total & 0xFFFF or 0xFFFF)

    def redirect_error(self, quoted: int, address: bytes, port: int) -> None:
        """Address an ICMP error to a host behind a NAT; the packet quoted at an offset becomes that host's."""
        self.data[quoted + 12 : quoted + 16] = address
        struct.pack_into("!H", self.data, quoted + 20, port)
        self.data[16:20] = address
        for at, start, end in ((self.header + 2, self.header, len(self.data)), (10, 0, self.header)):
            self.data[at : at + 2] = b"\0\0"
            struct.pack_into("!H", self.data, at, checksum(bytes(self.data[start:end])))

    def too_big(self, mtu: int) -> Packet:
        """Return the ICMP error of a router with a narrow link; its source is the target, for want of a router."""
        if self.six:
            body = struct.pack("!BBHI", 2, 0, 0, mtu) + bytes(self.data[:1200])
            pseudo = self.target + self.source + struct.pack("!IHBB", len(body), 0, 0, ICMP6)
            body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
            return Packet(struct.pack("!IHBB", 6 << 28, len(body), ICMP6, 64) + self.target + self.source + body)
        body = struct.pack("!BBHHH", 3, 4, 0, 0, mtu) + bytes(self.data[: self.header + 8])
        body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, ICMP, 0) + self.target + self.source
        return Packet(head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body)
