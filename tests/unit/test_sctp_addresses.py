"""Addresses of INIT and INIT ACK: which of the peer's are used, and which of ours are listed."""

from __future__ import annotations

import pytest

from datachan.sctp.addresses import (
    MAX_ADDRESSES,
    address_parameter,
    address_parameters,
    ip_of,
    listed_addresses,
    normalize,
    usable_addresses,
)
from datachan.sctp.options import AssociationOptions
from datachan.sctp.records.cookie import CookieSealer, StateCookieContent
from datachan.sctp.wire.parameters import IPv6Address, Parameter, SupportedAddressTypes


def listing(*ips: str) -> list[Parameter]:
    return [address_parameter(ip) for ip in ips]


@pytest.mark.parametrize("ip", ["192.0.2.7", "2001:db8::7", "127.0.0.3"])
def test_an_address_round_trips_through_its_parameter(ip: str) -> None:
    assert ip_of(address_parameter(ip)) == ip


def test_an_ipv4_address_mapped_into_ipv6_is_that_ipv4_address() -> None:
    assert normalize("::ffff:192.0.2.7") == "192.0.2.7"
    assert address_parameter("::ffff:192.0.2.7") == address_parameter("192.0.2.7")
    assert listed_addresses([IPv6Address(bytes(10) + b"\xff\xff\xc0\x00\x02\x07")]) == ["192.0.2.7"]


def test_lists_the_source_first_and_every_address_once() -> None:
    found = usable_addresses(listing("192.0.2.2", "192.0.2.1", "192.0.2.2"), ("192.0.2.1", 9899))
    assert found == [("192.0.2.1", 9899), ("192.0.2.2", 9899)]


def test_without_a_source_there_are_no_addresses() -> None:
    assert usable_addresses(listing("192.0.2.2"), None) == []


@pytest.mark.parametrize("ip", ["224.0.0.1", "0.0.0.0", "255.255.255.255", "127.0.0.1", "169.254.1.1"])
def test_an_address_that_cannot_be_the_peers_is_left_out(ip: str) -> None:
    assert usable_addresses(listing(ip), ("192.0.2.1", 9899)) == [("192.0.2.1", 9899)]


def test_on_this_machine_loopback_addresses_lead_to_the_peer() -> None:
    found = usable_addresses(listing("127.0.0.3"), ("127.0.0.2", 9899))
    assert found == [("127.0.0.2", 9899), ("127.0.0.3", 9899)]


def test_uses_another_address_family_only_with_an_address_of_it() -> None:
    parameters, source = listing("2001:db8::1"), ("192.0.2.1", 9899)
    assert usable_addresses(parameters, source, ["192.0.2.9"]) == [source]
    assert usable_addresses(parameters, source, ["2001:db8::9"]) == [source, ("2001:db8::1", 9899)]


def test_limits_the_addresses_of_a_peer() -> None:
    found = usable_addresses(listing(*[f"192.0.2.{i}" for i in range(1, 200)]), ("192.0.2.1", 9899))
    assert len(found) == MAX_ADDRESSES


def test_init_lists_our_addresses_and_their_types() -> None:
    assert address_parameters([], None) == []
    types, *addresses = address_parameters(["192.0.2.1", "2001:db8::1"], None)
    assert types == SupportedAddressTypes((5, 6))
    assert addresses == listing("192.0.2.1", "2001:db8::1")


def test_init_ack_lists_only_what_the_peer_can_use() -> None:
    ours = ["192.0.2.1", "2001:db8::1"]
    assert address_parameters(ours, []) == listing(*ours)
    assert address_parameters(ours, [SupportedAddressTypes((5,))]) == listing("192.0.2.1")
    # The peer lists IPv4 only, although it has an IPv6 address.
    assert address_parameters(ours, [SupportedAddressTypes((5,)), *listing("2001:db8::2")]) == listing(*ours)


def test_a_cookie_keeps_the_addresses_of_the_peer() -> None:
    content = StateCookieContent(
        created_at=1.0,
        lifespan=60.0,
        local_tag=1,
        peer_tag=2,
        local_tie_tag=0,
        peer_tie_tag=0,
        local_initial_tsn=3,
        peer_initial_tsn=4,
        peer_a_rwnd=5000,
        outbound_streams=1,
        inbound_streams=1,
        source_port=5000,
        destination_port=5000,
        capabilities=0,
        peer_addresses=(("192.0.2.1", 9899), ("2001:db8::1", 50000)),
    )
    sealer = CookieSealer(bytes(32))
    assert sealer.open(sealer.seal(content)) == content
    assert sealer.open(sealer.seal(content)[:-1]) is None


def test_our_own_addresses_must_be_addresses_of_a_host() -> None:
    with pytest.raises(ValueError, match=r"224\.0\.0\.1"):
        AssociationOptions(local_addresses=("224.0.0.1",))


def test_listed_link_local_addresses_belong_to_the_interface_of_the_packet() -> None:
    listed = [address_parameter(ip) for ip in ("fe80::2", "2001:db8::1")]
    assert usable_addresses(listed, ("fe80::1%eth0", 9899)) == [
        ("fe80::1%eth0", 9899),
        ("fe80::2%eth0", 9899),
        ("2001:db8::1", 9899),
    ]
