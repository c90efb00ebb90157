"""Networks by name. Each function builds one; A offers and B answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.nat.gateways import BY_ADDRESS, BY_PORT, INDEPENDENT, Firewall, Gateway, Nat, Open
from tests.nat.network import Host, Network, Site, run

SERVER4: Final = "203.0.113.10"
SERVER6: Final = "2001:db8:ffff::10"
USER: Final = "lab"
PASSWORD: Final = "lab-password"
Server = dict[str, str]
STUN: Final[Server] = {"urls": f"stun:{SERVER4}:3478"}


def turn(scheme: str = "turn", port: int = 3478, transport: str = "udp", host: str = SERVER4) -> Server:
    """Return a TURN server in the form of RTCIceServer."""
    return {"urls": f"{scheme}:{host}:{port}?transport={transport}", "username": USER, "credential": PASSWORD}


@dataclass
class Topology:
    """Two hosts and what they are told.

    Attributes:
        servers: the servers of A, and of B unless `servers_b` differs.
        sites: the sites, by name.
        policy: W3C's iceTransportPolicy.
        options: more members of RTCConfiguration for our own peer at A.
        options_b: the same at B.
    """

    a: Host
    b: Host
    servers: Sequence[Server] = (STUN,)
    servers_b: Sequence[Server] | None = None
    sites: dict[str, Site] = field(default_factory=dict)
    policy: str = "all"
    options: dict[str, Any] = field(default_factory=dict)
    options_b: dict[str, Any] = field(default_factory=dict)


Build = Callable[[Network], Topology]
Behavior = tuple[str, str]
CONE: Final[Behavior] = (INDEPENDENT, INDEPENDENT)
ADDRESS: Final[Behavior] = (INDEPENDENT, BY_ADDRESS)
PORT: Final[Behavior] = (INDEPENDENT, BY_PORT)
SYMMETRIC: Final[Behavior] = (BY_PORT, BY_PORT)


def _two_sites(network: Network, a: Gateway, b: Gateway, servers: Sequence[Server]) -> Topology:
    topology = Topology(network.host("a"), network.host("b"), servers)
    topology.sites = {"a": Site(network, a), "b": Site(network, b)}
    topology.a.attach("wlan0", topology.sites["a"], "10.0.1.2/24")
    topology.b.attach("wlan0", topology.sites["b"], "10.0.2.2/24")
    return topology


def nats(a: Behavior, b: Behavior, *, relay: bool = False) -> Build:
    """Put each behind a NAT."""

    def build(network: Network) -> Topology:
        first = Nat(network.public(), mapping=a[0], filtering=a[1], seed=1)
        second = Nat(network.public(), mapping=b[0], filtering=b[1], seed=2)
        return _two_sites(network, first, second, [STUN, turn()] if relay else [STUN])

    return build


def turn_at(side: str) -> Build:
    """Put both behind symmetric NATs; only one has a TURN server."""

    def build(network: Network) -> Topology:
        topology = nats(SYMMETRIC, SYMMETRIC, relay=True)(network)
        both, less = topology.servers, [STUN]
        topology.servers, topology.servers_b = (both, less) if side == "a" else (less, both)
        return topology

    return build


def relay_only(network: Network) -> Topology:
    """Allow both only relayed candidates."""
    topology = nats(PORT, PORT, relay=True)(network)
    topology.policy = "relay"
    return topology


def lan(network: Network) -> Topology:
    """Put both on one LAN."""
    topology = Topology(network.host("a"), network.host("b"))
    topology.sites["a"] = site = Site(network, Nat(network.public()))
    topology.a.attach("wlan0", site, "10.0.1.2/24")
    topology.b.attach("wlan0", site, "10.0.1.3/24")
    return topology


def public(network: Network) -> Topology:
    """Give both public addresses."""
    topology = Topology(network.host("a"), network.host("b"))
    topology.sites["a"] = network.open_site(topology.a, "eth0", "192.0.2.11/25", delay=0.01)
    topology.sites["b"] = network.open_site(topology.b, "eth0", "192.0.2.130/25", delay=0.01)
    return topology


def isolated_lan(*, hairpin: bool = False, relay: bool = False) -> Build:
    """Put both in a guest Wi-Fi, whose hosts reach each other at most through the NAT, if it can hairpin."""

    def build(network: Network) -> Topology:
        topology = lan(network)
        topology.sites["a"].isolated = True
        topology.sites["a"].gateway.hairpin = hairpin  # type: ignore[attr-defined]
        topology.servers = [STUN, turn()] if relay else [STUN]
        return topology

    return build


def two_nats_each(*, same: bool, hairpin: bool = False, relay: bool = False) -> Build:
    """Put each behind a home NAT behind a carrier's NAT; with `same`, the carrier's NAT is one."""

    def build(network: Network) -> Topology:
        carriers = [Site(network, Nat(network.public(), hairpin=hairpin, seed=3), isolated=True, delay=0.005)]
        if not same:
            carriers.append(Site(network, Nat(network.public(), hairpin=hairpin, seed=4), isolated=True, delay=0.005))
        home_a = Site(network, Nat(bytes((100, 64, 0, 2)), seed=5), parent=carriers[0], delay=0.005)
        home_b = Site(network, Nat(bytes((100, 64, 0, 3)), seed=6), parent=carriers[-1], delay=0.005)
        topology = Topology(network.host("a"), network.host("b"), [STUN, turn()] if relay else [STUN])
        topology.a.attach("wlan0", home_a, "192.168.1.2/24")
        topology.b.attach("wlan0", home_b, f"192.168.1.{3 if same else 2}/24")
        topology.sites = {"a": home_a, "b": home_b}
        return topology

    return build


def six(*, firewall: bool, stun: bool = True) -> Build:
    """Give both IPv6 alone, without NAT."""

    def build(network: Network) -> Topology:
        gateways: list[Gateway] = [Firewall(), Firewall()] if firewall else [Open(), Open()]
        site_a = Site(network, gateways[0], six="2001:db8:1::/64")
        site_b = Site(network, gateways[1], six="2001:db8:2::/64")
        servers = [{"urls": f"stun:[{SERVER6}]:3478"}] if stun else []
        topology = Topology(network.host("a"), network.host("b"), servers, sites={"a": site_a, "b": site_b})
        topology.a.attach("wlan0", site_a, "2001:db8:1::2/64")
        topology.b.attach("wlan0", site_b, "2001:db8:2::2/64")
        return topology

    return build


def dual(*, six_b: bool = True, broken: bool = False) -> Build:
    """Give both IPv4 behind port-restricted NATs, and IPv6; with `broken`, packets of IPv6 vanish."""

    def build(network: Network) -> Topology:
        site_a = Site(network, Nat(network.public(), seed=1), six="2001:db8:1::/64")
        site_b = Site(network, Nat(network.public(), seed=2), six="2001:db8:2::/64")
        topology = Topology(network.host("a"), network.host("b"), sites={"a": site_a, "b": site_b})
        topology.a.attach("wlan0", site_a, "10.0.1.2/24", "2001:db8:1::2/64")
        topology.b.attach("wlan0", site_b, "10.0.2.2/24", *(["2001:db8:2::2/64"] if six_b else []))
        if broken:
            network.prefixes.clear()
        return topology

    return build


def six_meets_four(network: Network) -> Topology:
    """Give A only IPv6 and B only IPv4; the TURN server is the bridge."""
    site_a = Site(network, Firewall(), six="2001:db8:1::/64")
    site_b = Site(network, Nat(network.public()))
    servers = [turn(host=f"[{SERVER6}]")]
    topology = Topology(network.host("a"), network.host("b"), servers, [STUN, turn()])
    topology.sites = {"a": site_a, "b": site_b}
    topology.a.attach("wlan0", site_a, "2001:db8:1::2/64")
    topology.b.attach("wlan0", site_b, "10.0.2.2/24")
    return topology


def udp_blocked(server: Server, *, both: bool = False) -> Build:
    """Block UDP at the NAT of A, and at that of B if `both`."""

    def build(network: Network) -> Topology:
        first, second = Nat(network.public(), udp=False), Nat(network.public(), udp=not both)
        return _two_sites(network, first, second, [STUN, turn(), server])

    return build


def bridges(count: int, *, docker: bool = False, running: bool = False, relay: bool = False) -> Build:
    """Add host-only bridges to both hosts, with the same addresses.

    Args:
        count: their number.
        docker: whether the bridge is masqueraded, as Docker does.
        running: whether a virtual machine runs on each; without one, a bridge has no carrier.
        relay: whether there is a TURN server.
    """

    def build(network: Network) -> Topology:
        topology = nats(PORT, PORT, relay=relay)(network)
        for host in (topology.a, topology.b):
            for number in range(count):
                _add_bridge(host, "docker0" if docker else f"br{number}", number, running)
            if docker:
                _masquerade(host)
        return topology

    return build


def _add_bridge(host: Host, name: str, number: int, running: bool) -> None:
    host.ip("link", "add", name, "type", "bridge")
    host.ip("addr", "add", f"172.{17 + number}.0.1/16", "dev", name)
    host.ip("link", "set", name, "up")
    if running:
        host.ip("link", "add", f"vm{number}", "type", "veth", "peer", "name", f"in{number}")
        host.ip("link", "set", f"vm{number}", "master", name, "up")
        host.ip("link", "set", f"in{number}", "up")


def _masquerade(host: Host) -> None:
    rules = (
        "add table ip nat\n"
        "add chain ip nat post { type nat hook postrouting priority 100; }\n"
        'add rule ip nat post ip saddr 172.17.0.0/16 oif != "docker0" masquerade\n'
    )
    run("ip", "netns", "exec", host.namespace, "nft", rules)


def dead_vpn(network: Network) -> Topology:
    """Add a VPN with eight addresses that swallows everything to an ordinary Wi-Fi."""
    topology = nats(PORT, PORT, relay=True)(network)
    for third, host in enumerate((topology.a, topology.b), start=1):
        nowhere = Site(network, Nat(network.public()))
        nowhere.set_links(up=False)
        host.attach("tun7", nowhere, *(f"10.8.{third}.{number}/24" for number in range(2, 10)), metric=500)
    return topology


def link_local(network: Network) -> Topology:
    """Connect two hosts by a cable, without any configured address: IPv6 link-local only."""
    topology = Topology(network.host("a"), network.host("b"), [])
    topology.sites["a"] = site = Site(network)
    topology.a.attach("eth0", site, "fe80::a/64")
    topology.b.attach("eth0", site, "fe80::b/64")
    return topology


DEAD: Final = "203.0.113.77"


def with_servers(*servers: Server) -> Build:
    """Give both public addresses, so that no server is needed, and servers that do not all answer."""

    def build(network: Network) -> Topology:
        topology = public(network)
        topology.servers = servers
        return topology

    return build


TOPOLOGIES: Final[dict[str, Build]] = {
    "one LAN": lan,
    "both public": public,
    "full cone, both": nats(CONE, CONE),
    "address-restricted, both": nats(ADDRESS, ADDRESS),
    "port-restricted, both": nats(PORT, PORT),
    "symmetric to full cone": nats(SYMMETRIC, CONE),
    "symmetric to address-restricted": nats(SYMMETRIC, ADDRESS),
    "full cone to symmetric": nats(CONE, SYMMETRIC),
    "symmetric to port-restricted, TURN": nats(SYMMETRIC, PORT, relay=True),
    "symmetric, both, TURN": nats(SYMMETRIC, SYMMETRIC, relay=True),
    "symmetric, both, TURN at the offerer": turn_at("a"),
    "symmetric, both, TURN at the answerer": turn_at("b"),
    "relay only": relay_only,
    "guest Wi-Fi with hairpin": isolated_lan(hairpin=True),
    "guest Wi-Fi, TURN": isolated_lan(relay=True),
    "carrier NATs": two_nats_each(same=False),
    "one carrier NAT with hairpin": two_nats_each(same=True, hairpin=True),
    "one carrier NAT, TURN": two_nats_each(same=True, relay=True),
    "IPv6": six(firewall=False),
    "IPv6 with firewalls": six(firewall=True),
    "IPv6 with firewalls, no server": six(firewall=True, stun=False),
    "dual stack": dual(),
    "dual stack, IPv6 broken": dual(broken=True),
    "dual stack to IPv4": dual(six_b=False),
    "IPv6 only to IPv4 only, TURN": six_meets_four,
    "UDP blocked at one, TURN over TCP 443": udp_blocked(turn(port=443, transport="tcp")),
    "UDP blocked at both, TURN over TCP 443": udp_blocked(turn(port=443, transport="tcp"), both=True),
    "UDP blocked at one, TURN over TLS 443": udp_blocked(turn("turns", 443, "tcp")),
    "Docker": bridges(1, docker=True),
    "one host-only bridge": bridges(1, running=True),
    "20 host-only bridges": bridges(20, running=True, relay=True),
    "20 bridges without carrier": bridges(20, relay=True),
    "dead VPN": dead_vpn,
    "link-local": link_local,
    "dead STUN server": with_servers({"urls": f"stun:{DEAD}:3478"}),
    "dead STUN beside a live one": with_servers(STUN, {"urls": f"stun:{DEAD}:3478"}),
    "closed STUN port": with_servers({"urls": f"stun:{SERVER4}:9"}),
    "dead TURN server, UDP": with_servers(turn(host=DEAD)),
    "dead TURN server, TCP": with_servers(turn(host=DEAD, transport="tcp")),
    "unknown server name": with_servers({"urls": "stun:nobody.invalid:3478"}),
}
