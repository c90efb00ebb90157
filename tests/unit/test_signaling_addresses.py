"""Check which address a request comes from, and which candidates of an offer the server checks for it."""

from __future__ import annotations

import ipaddress

import pytest

from datachan.signaling.client_address import belongs_to, client_address, parse_address, share_key
from datachan.signaling.offered_candidates import MAX_CANDIDATES, MAX_NAMES, without_unsafe_candidates

PROXIES = [ipaddress.ip_network("10.0.0.0/8")]


@pytest.mark.parametrize(
    ("remote", "forwarded_for", "expected"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.1", "192.0.2.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "not an address", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
    ],
)
def test_believes_only_what_a_trusted_proxy_wrote(remote: str, forwarded_for: str, expected: str) -> None:
    assert client_address(remote, forwarded_for, PROXIES) == expected


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix socket", "unix socket"),
    ],
)
def test_shares_are_counted_by_ipv4_address_or_ipv6_64(address: str, key: str) -> None:
    assert share_key(address) == key


def test_text_that_is_not_an_address_belongs_to_no_network() -> None:
    assert parse_address("localhost") is None
    assert not belongs_to("localhost", PROXIES)


def offer(*addresses: str) -> str:
    lines = [f"a=candidate:{i} 1 udp 1 {address} 9 typ host\r\n" for i, address in enumerate(addresses)]
    return "v=0\r\n" + "".join(lines) + "a=end-of-candidates\r\n"


def addresses_in(sdp: str) -> list[str]:
    return [line.split()[4] for line in sdp.splitlines() if line.startswith("a=candidate")]


def test_a_caller_on_this_machine_may_name_any_address() -> None:
    sdp = offer("127.0.0.1", "::1", "224.0.0.1")
    assert without_unsafe_candidates(sdp, "127.0.0.1") == sdp


def test_other_callers_may_not_name_addresses_of_this_machine_or_link() -> None:
    sdp = offer("127.0.0.1", "0.0.0.0", "169.254.1.1", "224.0.0.1", "::1", "fe80::1", "192.0.2.1", "2001:db8::1")
    assert without_unsafe_candidates(sdp, "198.51.100.1") == offer().replace(
        "a=end", "a=candidate:6 1 udp 1 192.0.2.1 9 typ host\r\na=candidate:7 1 udp 1 2001:db8::1 9 typ host\r\na=end"
    )


def test_only_private_callers_may_name_mdns_names_and_only_two() -> None:
    names = [f"{i}.local" for i in range(MAX_NAMES + 1)]
    assert addresses_in(without_unsafe_candidates(offer(*names), "8.8.8.8")) == []
    assert addresses_in(without_unsafe_candidates(offer(*names), "192.168.0.2")) == names[:MAX_NAMES]


def test_checks_at_most_ten_candidates_and_no_malformed_one() -> None:
    many = [f"192.0.2.{i}" for i in range(MAX_CANDIDATES + 5)]
    assert addresses_in(without_unsafe_candidates(offer(*many), "8.8.8.8")) == many[:MAX_CANDIDATES]
    malformed = "a=candidate:nonsense\r\n"
    assert without_unsafe_candidates(malformed, "8.8.8.8") == ""
