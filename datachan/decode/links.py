"""Finds the SCTP packet in a captured frame: link layers, IPv4, IPv6 and its extension headers, UDP."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from datachan.decode.capture import Frame

SCTP_OVER_UDP_PORT: Final = 9899
"""RFC 6951, section 5.1."""

_UDP: Final = 17
_SCTP: Final = 132
_IPV4: Final = 0x0800
_IPV6: Final = 0x86DD
_VLANS: Final = (0x8100, 0x88A8, 0x9100)
_FRAGMENT: Final = 44
_AUTHENTICATION: Final = 51
_EXTENSIONS: Final = (0, 43, _FRAGMENT, _AUTHENTICATION, 60, 135)
_LOOPBACK_IPV4: Final = 2
_LOOPBACK_IPV6: Final = (10, 24, 28, 30)  # Linux, NetBSD, FreeBSD, macOS


@dataclass(frozen=True, slots=True)
class Encapsulated:
    """An SCTP packet and the headers it was found in.

    Attributes:
        data: The packet, from its common header on.
        original_length: Its length in bytes before the capture cut it.
        source: The source IP address; "" if the link has none.
        destination: The destination IP address; "" if the link has none.
        udp_ports: The source and destination port of UDP, or None.
        fragment: Whether it was fragmented by IP; the packet is then the first fragment.
    """

    data: bytes
    original_length: int
    source: str = ""
    destination: str = ""
    udp_ports: tuple[int, int] | None = None
    fragment: bool = False


def find_sctp(frame: Frame, udp_ports: Collection[int] = (SCTP_OVER_UDP_PORT,)) -> Encapsulated | None:
    """Return the SCTP packet in a frame; None if there is none, or the link type is unknown.

    Args:
        frame: A frame of a capture.
        udp_ports: UDP from or to one of these ports carries SCTP.
    """
    if frame.link_type == _LINKTYPE_SCTP:
        return Encapsulated(frame.data, frame.original_length)
    network = _LINKS.get(frame.link_type)
    if network is None:
        return None
    try:
        ethertype, packet = network(frame.data)
        if ethertype == _IPV4:
            return _in_ipv4(packet, udp_ports)
        if ethertype == _IPV6:
            return _in_ipv6(packet, udp_ports)
    except (struct.error, IndexError, ipaddress.AddressValueError):  # the frame ends within a header
        pass
    return None


def knows_link(link_type: int) -> bool:
    """Return whether frames of this link type can be decoded."""
    return link_type in _LINKS or link_type == _LINKTYPE_SCTP


def _in_ipv4(packet: bytes, udp_ports: Collection[int]) -> Encapsulated | None:
    length, fragment = struct.unpack_from("!H2xH", packet, 2)
    header = (packet[0] & 15) * 4
    if fragment & 0x1FFF or header < 20:
        return None
    source, destination = str(ipaddress.IPv4Address(packet[12:16])), str(ipaddress.IPv4Address(packet[16:20]))
    # Segmentation offload leaves a length of zero.
    length = (length or len(packet)) - header
    in_pieces = bool(fragment & 0x2000)
    return _in_ip(packet[9], packet[header : header + length], length, (source, destination), in_pieces, udp_ports)


def _in_ipv6(packet: bytes, udp_ports: Collection[int]) -> Encapsulated | None:
    length, protocol = struct.unpack_from("!HB", packet, 4)
    source, destination = str(ipaddress.IPv6Address(packet[8:24])), str(ipaddress.IPv6Address(packet[24:40]))
    length = length or len(packet) - 40
    start, end, in_pieces = 40, 40 + length, False
    while protocol in _EXTENSIONS:
        size = (packet[start + 1] + 1) * 8
        if protocol == _FRAGMENT:
            size = 8
            offset = struct.unpack_from("!H", packet, start + 2)[0]
            if offset & 0xFFF8:
                return None
            in_pieces = bool(offset & 1)
        elif protocol == _AUTHENTICATION:
            size = (packet[start + 1] + 2) * 4
        protocol, start = packet[start], start + size
    return _in_ip(protocol, packet[start:end], end - start, (source, destination), in_pieces, udp_ports)


def _in_ip(
    protocol: int,
    payload: bytes,
    length: int,
    addresses: tuple[str, str],
    in_pieces: bool,
    udp_ports: Collection[int],
) -> Encapsulated | None:
    if protocol == _SCTP:
        return Encapsulated(payload, length, *addresses, None, in_pieces)
    if protocol != _UDP:
        return None
    source_port, destination_port, udp_length = struct.unpack_from("!HHH", payload)
    if source_port not in udp_ports and destination_port not in udp_ports:
        return None
    length = (udp_length or length) - 8
    return Encapsulated(payload[8 : 8 + length], length, *addresses, (source_port, destination_port), in_pieces)


def _ethernet(frame: bytes) -> tuple[int, bytes]:
    return _tagged(struct.unpack_from("!H", frame, 12)[0], frame[14:])


def _tagged(ethertype: int, packet: bytes) -> tuple[int, bytes]:
    while ethertype in _VLANS:
        ethertype, packet = struct.unpack_from("!H", packet, 2)[0], packet[4:]
    return ethertype, packet


def _raw(frame: bytes) -> tuple[int, bytes]:
    return {4: _IPV4, 6: _IPV6}.get(frame[0] >> 4, 0), frame


def _linux_cooked(frame: bytes) -> tuple[int, bytes]:
    return _tagged(struct.unpack_from("!H", frame, 14)[0], frame[16:])


def _linux_cooked_2(frame: bytes) -> tuple[int, bytes]:
    return _tagged(struct.unpack_from("!H", frame)[0], frame[20:])


def _loopback(frame: bytes) -> tuple[int, bytes]:
    # The address family is in the byte order of the capturing machine.
    for order in "<>":
        family = struct.unpack_from(order + "I", frame)[0]
        if family == _LOOPBACK_IPV4:
            return _IPV4, frame[4:]
        if family in _LOOPBACK_IPV6:
            return _IPV6, frame[4:]
    return 0, b""


_LINKTYPE_SCTP: Final = 248
# By LINKTYPE_… of pcap and pcapng.
_LINKS: Final[dict[int, Callable[[bytes], tuple[int, bytes]]]] = {
    0: _loopback,
    1: _ethernet,
    12: _raw,
    14: _raw,
    101: _raw,
    108: _loopback,
    113: _linux_cooked,
    228: _raw,
    229: _raw,
    276: _linux_cooked_2,
}
