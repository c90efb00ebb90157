"""A network in one process: hosts are network namespaces, and LANs, links and NATs between them are Python objects.

    async with Network() as network:
        site = Site(network, Nat(network.public()))
        host = network.host("a")
        host.attach("wlan0", site, "10.0.1.2/24")
        process = await host.run("python", "peer.py")
        site.set_links(up=False)

Each interface of a host is a TUN device that ends in this process, so no packet leaves it. A test changes the network
while packets are on their way. Needs Linux and root.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import ipaddress
import os
import random
import struct
import subprocess
from asyncio.subprocess import Process
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from tests.interop.namespaces import wait_for_ipv6
from tests.nat.gateways import Gateway, Nat, Open
from tests.nat.packets import TCP, UDP, Packet

_CLONE_NEWNET: Final = 0x40000000
_TUNSETIFF: Final = 0x400454CA
_IFF_TUN_NO_PI: Final = 0x1001
_READS_PER_WAKE_UP: Final = 64
_libc = ctypes.CDLL(None, use_errno=True)


def run(*words: str) -> None:
    """Run a command. Raises RuntimeError with what it says when it fails."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr.strip()}")


class Link:
    """One direction of a wire, whose attributes may change at any time.

    Attributes:
        up: whether anything passes.
        delay: seconds.
        mtu: bytes of the longest packet.
        loss: the share of packets that are lost.
        icmp: whether a packet that is too long and must stay whole is answered with an error.
        drops_fragments: whether longer packets are dropped, too, if they may be fragmented.
        swallowed: the number of packets that were too long.
    """

    def __init__(self, delay: float = 0.0, *, seed: int = 1) -> None:
        self.up = True
        self.delay = delay
        self.mtu = 1500
        self.loss = 0.0
        self.icmp = True
        self.drops_fragments = False
        self.swallowed = 0
        self._random = random.Random(seed)
        self._on_the_way: deque[tuple[Packet, Callable[[Packet], None]]] = deque()

    def cross(self, packet: Packet, deliver: Callable[[Packet], None], back: Callable[[Packet], None]) -> None:
        """Carry a packet to `deliver`; `back` gets an error about it."""
        if not self.up or self._random.random() < self.loss:
            return
        if len(packet.data) > self.mtu and (packet.must_stay_whole or self.drops_fragments):
            self.swallowed += 1
            if self.icmp and packet.must_stay_whole and packet.protocol in (TCP, UDP):
                back(packet.too_big(self.mtu))
            return
        self._on_the_way.append((packet, deliver))
        if self.delay:
            asyncio.get_running_loop().call_later(self.delay, self._arrive)
        else:
            self._arrive()

    def _arrive(self) -> None:
        packet, deliver = self._on_the_way.popleft()
        if self.up:
            deliver(packet)


class Site:
    """A LAN behind a gateway, with a link to the core of the network or, behind two NATs, to another site.

    Args:
        network: the network.
        gateway: the gateway; `Open` by default.
        parent: the site that the link leads to.
        isolated: whether the hosts of the LAN cannot reach each other, as in a guest Wi-Fi.
        delay: seconds, in each direction.
        six: the IPv6 prefix that leads here.
    """

    def __init__(
        self,
        network: Network,
        gateway: Gateway | None = None,
        *,
        parent: Site | None = None,
        isolated: bool = False,
        delay: float = 0.01,
        six: str | None = None,
    ) -> None:
        self.network = network
        self.gateway = gateway or Open()
        self.parent = parent
        self.isolated = isolated
        self.up, self.down = Link(delay), Link(delay, seed=2)
        self.interfaces: dict[bytes, Interface] = {}
        self.children: dict[bytes, Site] = {}
        if six is not None:
            network.prefixes.append((ipaddress.IPv6Network(six), self))
        if isinstance(self.gateway, Nat):
            (network.routes if parent is None else parent.children)[self.gateway.public] = self

    def set_links(self, **attributes: Any) -> None:
        """Change attributes of the link in both directions."""
        for link in (self.up, self.down):
            for name, value in attributes.items():
                setattr(link, name, value)

    def rebind(self) -> None:
        """Let the NAT forget its mappings."""
        assert isinstance(self.gateway, Nat)
        self.gateway.rebind()

    def from_host(self, packet: Packet) -> None:
        """Take a packet of a host, or of a site behind this one."""
        local = self.interfaces.get(packet.target)
        if local is not None:
            if not self.isolated:
                local.write(packet)
        elif packet.target in self.children:
            self._to_child(packet)
        else:
            self.gateway.outbound(packet, self)

    def send(self, packet: Packet) -> None:
        onward = self.network.route if self.parent is None else self.parent.from_host
        self.up.cross(packet, onward, self.from_outside)

    def arrive(self, packet: Packet) -> None:
        """Take a packet of the core, over the link."""
        self.down.cross(packet, self.from_outside, self.network.route)

    def from_outside(self, packet: Packet) -> None:
        self.gateway.inbound(packet, self)

    def deliver(self, packet: Packet) -> None:
        target = self.interfaces.get(packet.target)
        if target is not None:
            target.write(packet)
        elif packet.target in self.children:
            self._to_child(packet)

    def _to_child(self, packet: Packet) -> None:
        child = self.children[packet.target]
        child.down.cross(packet, child.from_outside, self.from_host)


class Interface:
    """A TUN device in the namespace of a host."""

    def __init__(self, host: Host, name: str, site: Site, addresses: tuple[str, ...]) -> None:
        self.host = host
        self.name = name
        self.site = site
        self.fd = open_tun(host.namespace, name)
        self.addresses = [ipaddress.ip_interface(address) for address in addresses]
        asyncio.get_running_loop().add_reader(self.fd, self._readable)
        for address in self.addresses:
            site.interfaces[address.ip.packed] = self

    def _readable(self) -> None:
        for _ in range(_READS_PER_WAKE_UP):
            try:
                packet = Packet(os.read(self.fd, 65535))
            except OSError:
                return
            if not packet.stays_on_the_link:
                self.site.from_host(packet)

    def write(self, packet: Packet) -> None:
        try:
            os.write(self.fd, packet.data)
        except OSError:  # the interface is down
            return

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.fd)
        os.close(self.fd)


class Host:
    """A network namespace."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.namespace = f"nat{os.getpid()}-{name}"
        self.interfaces: dict[str, Interface] = {}
        run("ip", "netns", "add", self.namespace)
        self.ip("link", "set", "lo", "up")

    def ip(self, *words: str) -> None:
        """Run `ip` in the namespace."""
        run("ip", "-n", self.namespace, *words)

    def attach(self, name: str, site: Site, *addresses: str, metric: int = 100, up: bool = True) -> None:
        """Add an interface with addresses, and the default route unless another has a lower metric."""
        self.interfaces[name] = Interface(self, name, site, addresses)
        if up:
            self.up(name, metric)

    def up(self, name: str, metric: int = 100) -> None:
        """Bring an interface up, with its addresses."""
        interface = self.interfaces[name]
        self.ip("link", "set", name, "up")
        for address in interface.addresses:
            self.ip("addr", "replace", str(address), "dev", name, *(["nodad"] if address.version == 6 else []))
        for version in {address.version for address in interface.addresses}:
            family = ["-6"] if version == 6 else ["-4"]
            self.ip(*family, "route", "replace", "default", "dev", name, "metric", str(metric))

    def down(self, name: str) -> None:
        """Take an interface down, with its addresses, as when a phone leaves a Wi-Fi."""
        self.ip("link", "set", name, "down")
        for address in self.interfaces[name].addresses:
            words = ["ip", "-n", self.namespace, "addr", "del", str(address), "dev", name]
            subprocess.run(words, capture_output=True, check=False)  # IPv6 addresses are gone already

    async def run(self, *command: str, **options: Any) -> Process:
        """Start a program in the namespace."""
        process = await asyncio.create_subprocess_exec("ip", "netns", "exec", self.namespace, *command, **options)
        with contextlib.suppress(FileNotFoundError):  # it has ended already
            await asyncio.to_thread(wait_for_ipv6, process.pid)
        return process

    def close(self) -> None:
        for interface in self.interfaces.values():
            interface.close()
        subprocess.run(["ip", "netns", "del", self.namespace], capture_output=True, check=False)


class Network:
    """The core: a router that knows the way to every site."""

    def __init__(self) -> None:
        self.routes: dict[bytes, Site] = {}
        self.prefixes: list[tuple[ipaddress.IPv6Network, Site]] = []
        self.hosts: dict[str, Host] = {}
        self._publics = 0

    async def __aenter__(self) -> Network:
        return self

    async def __aexit__(self, *_: object) -> None:
        for host in self.hosts.values():
            host.close()

    def public(self) -> bytes:
        """Return another public address."""
        self._publics += 1
        return ipaddress.ip_address(f"198.51.100.{self._publics}").packed

    def host(self, name: str) -> Host:
        """Make a host."""
        self.hosts[name] = Host(name)
        return self.hosts[name]

    def open_site(self, host: Host, name: str, *addresses: str, delay: float = 0.0) -> Site:
        """Give a host public addresses, on a site of its own."""
        site = Site(self, Open(), delay=delay)
        host.attach(name, site, *addresses)
        for address in host.interfaces[name].addresses:
            self.routes[address.ip.packed] = site
        return site

    def route(self, packet: Packet) -> None:
        """Send a packet to its site; without one it is lost."""
        site = self.routes.get(packet.target)
        if site is None and packet.six:
            address = ipaddress.IPv6Address(packet.target)
            site = next((site for prefix, site in self.prefixes if address in prefix), None)
        if site is not None:
            site.arrive(packet)


def open_tun(namespace: str, name: str) -> int:
    """Open a TUN device in a namespace, from this thread, which returns to its own namespace."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if _libc.setns(there, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter the namespace {namespace}")
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TUN_NO_PI))
        return device
    finally:
        _libc.setns(home, _CLONE_NEWNET)
        os.close(home)
        os.close(there)
