"""Which addresses give host candidates, in which order, and how changes are noticed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import pytest

from datachan.ice import address_watch
from datachan.ice.address_watch import watch_addresses
from datachan.ice.interfaces import (
    MAX_ADDRESSES,
    InterfaceAddress,
    check_exclusions,
    choose_addresses,
    host_addresses,
    usable_addresses,
)
from tests.interop.namespaces import network

WIFI = InterfaceAddress("192.168.1.7", "wlan0", prefix_length=24)
DOCKER = InterfaceAddress("172.17.0.1", "docker0", frozenset({"bridge"}), prefix_length=16)
VPN = InterfaceAddress("10.8.0.2", "tun7", frozenset({"vpn"}), prefix_length=24)
LOOPBACK = InterfaceAddress("127.0.0.1", "lo", frozenset({"loopback"}), prefix_length=8)
LINKED = InterfaceAddress("fe80::1%wlan0", "wlan0", frozenset({"link-local"}))


def chosen(*given: InterfaceAddress, exclude: tuple[str, ...] = (), sources: tuple[str, ...] = ()) -> list[str]:
    return [one.address for one in choose_addresses(given, exclude=exclude, default_sources=sources).addresses]


def test_the_interface_of_the_default_route_comes_first() -> None:
    second = InterfaceAddress("192.168.1.8", "wlan0", prefix_length=24)
    found = chosen(DOCKER, VPN, WIFI, second, sources=("192.168.1.7",))
    assert found == ["192.168.1.7", "192.168.1.8", "172.17.0.1", "10.8.0.2"]


def test_an_ordinary_interface_comes_before_bridges_and_tunnels() -> None:
    assert chosen(DOCKER, VPN, WIFI)[0] == "192.168.1.7"


def test_families_take_turns() -> None:
    six = [InterfaceAddress(f"2001:db8:{number}::1", "wlan0") for number in (1, 2)]
    four = [InterfaceAddress(f"192.0.2.{number}", "wlan0") for number in (1, 2)]
    assert chosen(*four, *six) == ["2001:db8:1::1", "192.0.2.1", "2001:db8:2::1", "192.0.2.2"]


@pytest.mark.parametrize("pattern", ["docker*", "docker0", "bridge"])
def test_excludes_by_name_and_by_kind_and_says_so(pattern: str) -> None:
    found = choose_addresses([DOCKER, WIFI, LOOPBACK], exclude=[pattern])
    assert [one.address for one in found.addresses] == ["192.168.1.7"]
    assert found.describe_left_out() == [f"172.17.0.1 (docker0): excludeInterfaces has {pattern}"]


def test_an_interface_without_a_carrier_is_left_out_and_named() -> None:
    unplugged = InterfaceAddress("192.0.2.9", "eth1", running=False)
    found = choose_addresses([unplugged, WIFI])
    assert found.describe_left_out() == ["192.0.2.9 (eth1): the interface has no carrier"]


def test_a_link_local_address_is_used_only_where_there_is_no_other() -> None:
    assert chosen(WIFI, LINKED) == ["192.168.1.7"]
    assert chosen(LINKED) == ["fe80::1%wlan0"]


def test_the_link_local_address_of_a_port_of_a_bridge_is_not_used() -> None:
    assert chosen(InterfaceAddress("fe80::2%veth3", "veth3", frozenset({"link-local", "bridge"}))) == []


def test_a_temporary_address_hides_the_permanent_one_of_its_network() -> None:
    permanent = InterfaceAddress("2001:db8:1::1", "wlan0")
    elsewhere = InterfaceAddress("2001:db8:2::1", "wlan0")
    temporary = InterfaceAddress("2001:db8:1::abcd", "wlan0", temporary=True)
    assert chosen(permanent, elsewhere, temporary) == ["2001:db8:2::1", "2001:db8:1::abcd"]


def test_uses_a_limited_number_of_addresses_and_names_the_others() -> None:
    crowd = [InterfaceAddress(f"10.0.{number}.1", f"eth{number}", prefix_length=24) for number in range(40)]
    found = choose_addresses(crowd)
    assert len(found.addresses) == MAX_ADDRESSES
    [clause] = found.describe_left_out()
    assert clause.startswith("10.0.32.1 (eth32), 10.0.33.1 (eth33), 10.0.34.1 (eth34), 10.0.35.1 (eth35) and 4 more")


@pytest.mark.parametrize("wrong", ["docker0", [""], [1]])
def test_refuses_exclusions_that_are_no_list_of_names(wrong: object) -> None:
    with pytest.raises(ValueError, match="kinds"):
        check_exclusions(wrong)  # type: ignore[arg-type]


# Without IPv6 link-local addresses (addrgenmode none), which would appear some time later.
SEVERAL_KINDS = """
    ip link set lo up
    ip link add eth0 type veth peer name peer0
    ip link add br0 type bridge
    ip link add vm0 type veth peer name inside
    ip link set vm0 master br0
    ip tuntap add mode tun name tun0
    ip address add 192.0.2.2/24 dev eth0
    ip address add 172.17.0.1/16 dev br0
    ip address add 10.8.0.2/24 dev tun0
    ip link set eth0 addrgenmode none up
    ip link set peer0 addrgenmode none up
    ip link set inside addrgenmode none up
    ip link set vm0 addrgenmode none up
    ip link set br0 addrgenmode none up
    ip link set tun0 addrgenmode none up
    ip route add default via 192.0.2.1
"""


@pytest.fixture
def several_kinds() -> Iterator[None]:
    with network(SEVERAL_KINDS):
        yield


@pytest.mark.skipif("sys.platform != 'linux'", reason="network namespaces are Linux's")
def test_linux_tells_the_kinds_of_its_interfaces(several_kinds: None) -> None:
    kinds = {one.address: one.kinds for one in host_addresses() if "%" not in one.address}
    assert kinds["127.0.0.1"] == {"loopback"}
    assert kinds["192.0.2.2"] == set()
    assert kinds["172.17.0.1"] == {"bridge"}
    assert kinds["10.8.0.2"] == {"vpn"}
    assert usable_addresses().addresses[0].address == "192.0.2.2"
    assert [one.address for one in usable_addresses(["bridge", "tun*", "link-local"]).addresses] == ["192.0.2.2"]


@pytest.mark.parametrize("reports_changes", [True, False])
@pytest.mark.skipif("sys.platform != 'linux'", reason="network namespaces are Linux's")
async def test_addresses_that_appear_and_vanish_are_noticed(
    reports_changes: bool, several_kinds: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not reports_changes:

        def refuse() -> None:
            raise PermissionError("netlink")

        monkeypatch.setattr(address_watch, "change_notices", refuse)
        monkeypatch.setattr(address_watch, "POLL_INTERVAL", 0.05)
    changes: asyncio.Queue[tuple[frozenset[str], frozenset[str]]] = asyncio.Queue()
    others: list[object] = []
    watch = watch_addresses(lambda appeared, vanished: changes.put_nowait((appeared, vanished)))
    other = watch_addresses(lambda *change: others.append(change))
    try:
        other.close()
        subprocess.run(["ip", "address", "add", "192.0.2.77/24", "dev", "eth0"], check=True)
        assert await asyncio.wait_for(changes.get(), 5) == ({"192.0.2.77"}, frozenset())
        subprocess.run(["ip", "link", "set", "eth0", "down"], check=True)
        async with asyncio.timeout(5):
            gone: frozenset[str] = frozenset()
            while not gone >= {"192.0.2.77", "192.0.2.2"}:
                gone |= (await changes.get())[1]
    finally:
        watch.close()
        watch.close()
    assert others == []


def test_a_sandbox_without_netlink_still_lists_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError("netlink")

    monkeypatch.setattr("datachan.ice.interfaces.read_addresses", refuse)
    assert "127.0.0.1" in {one.address for one in host_addresses()}
    assert sys.platform != "linux" or "loopback" in {kind for one in host_addresses() for kind in one.kinds}
