"""What stands between a LAN and the rest of the network: NATs by the behaviors of RFC 4787, and firewalls."""

from __future__ import annotations

import random
import struct
from typing import Final, Protocol

from tests.nat.packets import ICMP, ICMP6, TCP, UDP, Packet

# The mappings and the filters of RFC 4787, 4.1 and 5, by their short names.
INDEPENDENT: Final = "endpoint"
BY_ADDRESS: Final = "address"
BY_PORT: Final = "port"


class Inside(Protocol):
    """The LAN of a gateway."""

    def send(self, packet: Packet) -> None:
        """Send a packet out, over the LAN's link."""

    def deliver(self, packet: Packet) -> None:
        """Deliver a packet to a host of the LAN."""


class Gateway(Protocol):
    """Passes packets on in both directions, or drops them."""

    def outbound(self, packet: Packet, lan: Inside) -> None:
        """Take a packet of a host of the LAN."""

    def inbound(self, packet: Packet, lan: Inside) -> None:
        """Take a packet for the LAN."""


class Open:
    """Pass everything: the hosts have public addresses."""

    def outbound(self, packet: Packet, lan: Inside) -> None:
        lan.send(packet)

    def inbound(self, packet: Packet, lan: Inside) -> None:
        lan.deliver(packet)


class Firewall:
    """Pass inbound packets that answer an outbound one; there is no translation."""

    def __init__(self) -> None:
        self._flows: set[tuple[int, bytes, int, bytes, int]] = set()

    def outbound(self, packet: Packet, lan: Inside) -> None:
        self._flows.add((packet.protocol, packet.source, packet.source_port, packet.target, packet.target_port))
        lan.send(packet)

    def inbound(self, packet: Packet, lan: Inside) -> None:
        flow = (packet.protocol, packet.target, packet.target_port, packet.source, packet.source_port)
        if flow in self._flows or packet.protocol in (ICMP, ICMP6):
            lan.deliver(packet)


class Nat:
    """Translate addresses and ports of IPv4; IPv6 passes a `Firewall`.

    Args:
        public: the public address.
        mapping: `INDEPENDENT` of the destination, `BY_ADDRESS`, or `BY_PORT` (a symmetric NAT).
        filtering: whether anyone may send to a mapping (`INDEPENDENT`, a full cone), or only an address (`BY_ADDRESS`)
            or an address and port (`BY_PORT`) that it has sent to.
        hairpin: whether hosts of the LAN reach each other by their public addresses.
        udp: whether UDP passes at all.
        seed: chooses the ports.
    """

    def __init__(
        self,
        public: bytes,
        *,
        mapping: str = INDEPENDENT,
        filtering: str = BY_PORT,
        hairpin: bool = False,
        udp: bool = True,
        seed: int = 1,
    ) -> None:
        self.public = public
        self.mapping = mapping
        self.filtering = filtering
        self.hairpin = hairpin
        self.udp = udp
        self._random = random.Random(seed)
        self._ports: dict[tuple[object, ...], int] = {}
        # For each public port: the host, its port, and the addresses and ports it has sent to from there.
        self._inside: dict[tuple[int, int], tuple[bytes, int, set[tuple[bytes, int]]]] = {}
        self._six = Firewall()

    def rebind(self) -> None:
        """Forget all mappings, as after a restart or a timeout; new ones have other ports."""
        self._ports.clear()
        self._inside.clear()

    def outbound(self, packet: Packet, lan: Inside) -> None:
        if packet.protocol == UDP and not self.udp:
            return
        if packet.six:
            self._six.outbound(packet, lan)
            return
        if packet.protocol not in (TCP, UDP) or packet.is_fragment:
            return
        port = self._public_port(packet)
        self._inside[packet.protocol, port][2].add((packet.target, packet.target_port))
        packet.set_source(self.public, port)
        if packet.target != self.public:
            lan.send(packet)
        elif self.hairpin:
            self.inbound(packet, lan)

    def _public_port(self, packet: Packet) -> int:
        key: tuple[object, ...] = (packet.protocol, packet.source, packet.source_port)
        if self.mapping != INDEPENDENT:
            key += (packet.target,)
        if self.mapping == BY_PORT:
            key += (packet.target_port,)
        if key not in self._ports:
            port = self._random.randrange(20_000, 60_000)
            self._ports[key] = port
            self._inside[packet.protocol, port] = (packet.source, packet.source_port, set())
        return self._ports[key]

    def inbound(self, packet: Packet, lan: Inside) -> None:
        if packet.protocol == UDP and not self.udp:
            return
        if packet.six:
            self._six.inbound(packet, lan)
        elif packet.protocol == ICMP:
            self._inbound_error(packet, lan)
        elif (packet.protocol, packet.target_port) in self._inside:
            host, port, sent_to = self._inside[packet.protocol, packet.target_port]
            filtering = self.filtering if packet.protocol == UDP else BY_PORT
            passes = {
                INDEPENDENT: True,
                BY_ADDRESS: any(packet.source == address for address, _ in sent_to),
                BY_PORT: (packet.source, packet.source_port) in sent_to,
            }
            if passes[filtering]:
                packet.set_target(host, port)
                lan.deliver(packet)

    def _inbound_error(self, packet: Packet, lan: Inside) -> None:
        quoted = packet.header + 8
        if len(packet.data) < quoted + 28:
            return
        (port,) = struct.unpack_from("!H", packet.data, quoted + 20)
        if (packet.data[quoted + 9], port) in self._inside:
            host, inner, _ = self._inside[packet.data[quoted + 9], port]
            packet.redirect_error(quoted, host, inner)
            lan.deliver(packet)
