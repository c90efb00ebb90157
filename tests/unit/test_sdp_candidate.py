"""`datachan.sdp.candidate` and RTCIceCandidate."""

from __future__ import annotations

import pytest

from datachan.sdp import (
    IceCandidate,
    RTCIceCandidate,
    SdpError,
    candidate_from_sdp,
    candidate_to_sdp,
    format_candidate,
    parse_candidate_untrusted,
)

HOST = "candidate:1034067803 1 udp 2113937151 192.0.2.7 60216 typ host generation 0 network-cost 999"
RELAYED = "candidate:r1 1 udp 41819902 198.51.100.4 3478 typ relay raddr 203.0.113.9 rport 53246 ufrag k/eI"


def test_reads_every_field_of_a_host_candidate() -> None:
    candidate = parse_candidate_untrusted(HOST)

    assert candidate == IceCandidate(
        foundation="1034067803",
        component=1,
        transport="udp",
        priority=2113937151,
        address="192.0.2.7",
        port=60216,
        type="host",
        extensions={"generation": "0", "network-cost": "999"},
    )


def test_reads_the_related_address_of_a_relayed_candidate() -> None:
    candidate = parse_candidate_untrusted(RELAYED)

    assert (candidate.related_address, candidate.related_port) == ("203.0.113.9", 53246)
    assert candidate.username_fragment == "k/eI"


@pytest.mark.parametrize("text", [HOST, RELAYED])
def test_writes_what_it_read(text: str) -> None:
    assert format_candidate(parse_candidate_untrusted(text)) == text


@pytest.mark.parametrize("prefix", ["", "a="])
def test_reads_the_text_with_and_without_attribute_prefix(prefix: str) -> None:
    assert parse_candidate_untrusted(f"{prefix}{HOST}\r\n") == parse_candidate_untrusted(HOST)


def test_transport_and_type_are_read_in_any_case() -> None:
    candidate = parse_candidate_untrusted("candidate:0 1 UDP 2122187007 fd00::2 41185 TYP host".replace("TYP", "typ"))

    assert candidate.transport == "udp"
    assert candidate.usable


def test_an_mdns_name_is_kept() -> None:
    candidate = parse_candidate_untrusted("candidate:0 1 UDP 1 5371dc03-6c27.local 59723 typ host")

    assert candidate.address == "5371dc03-6c27.local"
    assert candidate.is_mdns
    assert candidate.usable


@pytest.mark.parametrize(
    "text",
    [
        "candidate:2 1 TCP 2105458943 192.0.2.2 9 typ host tcptype active",
        "candidate:2 2 udp 2105458943 192.0.2.2 9 typ host",
        "candidate:2 1 udp 2105458943 192.0.2.2 9 typ quic",
    ],
    ids=["tcp", "second component", "unknown type"],
)
def test_an_unsupported_candidate_is_read_but_not_usable(text: str) -> None:
    assert not parse_candidate_untrusted(text).usable


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "must start with 'candidate:'"),
        ("candidate:", "needs foundation"),
        ("candidate:1 1 udp 1 192.0.2.1 9 host", "needs foundation"),
        ("candidate:1 1 udp 1 192.0.2.1 9 xyz host", "needs foundation"),
        ("candidate:1 one udp 1 192.0.2.1 9 typ host", "component is a number"),
        ("candidate:1 1 udp -1 192.0.2.1 9 typ host", "priority is a number"),
        ("candidate:1 1 udp 4294967296 192.0.2.1 9 typ host", "priority is a number"),
        ("candidate:1 1 udp 1 192.0.2.1 65536 typ host", "port is a number"),
        ("candidate:1 1 udp 1 192.0.2.1 ٣ typ host", "port is a number"),
        ("candidate:1 1 udp 1 192.0.2.1 9 typ srflx raddr 0.0.0.0 rport x", "rport is a number"),
        (f"candidate:{'1' * 33} 1 udp 1 192.0.2.1 9 typ host", "foundation is 1 to 32"),
        (f"candidate:1 1 udp 1 {'a' * 256} 9 typ host", "address is an IP address"),
        ("candidate:1 1 udp 1 ümlaut.local 9 typ host", "address is an IP address"),
        ("candidate:" + "1" * 5000, "characters, more than"),
    ],
)
def test_a_malformed_candidate_raises_with_the_reason(text: str, complaint: str) -> None:
    with pytest.raises(SdpError, match=complaint):
        parse_candidate_untrusted(text)


def test_an_extension_name_without_a_value_is_ignored() -> None:
    assert parse_candidate_untrusted("candidate:1 1 udp 1 192.0.2.1 9 typ host generation").extensions == {}


def test_aiortcs_helpers_read_and_write_the_text_without_its_prefix() -> None:
    text = RELAYED.removeprefix("candidate:")

    candidate = candidate_from_sdp(text)

    assert (candidate.ip, candidate.port, candidate.protocol, candidate.type) == ("198.51.100.4", 3478, "udp", "relay")
    assert (candidate.relatedAddress, candidate.relatedPort) == ("203.0.113.9", 53246)
    assert candidate_to_sdp(candidate) == text
    assert candidate_from_sdp(RELAYED) == candidate


TEXTS = [
    "candidate:842163049 1 udp 1677729535 203.0.113.9 53246 typ srflx raddr 0.0.0.0 rport 0 generation 0 ufrag abcd",
    "candidate:1 1 UDP 2122252543 192.0.2.7 50000 typ host",
    "candidate:1 1 TCP 2105524479 192.0.2.7 9 typ host tcptype active",
]


@pytest.mark.parametrize("text", TEXTS)
def test_the_text_of_a_candidate_round_trips(text: str) -> None:
    candidate = RTCIceCandidate(candidate=text, sdpMid="0")
    assert candidate.candidate == text
    assert RTCIceCandidate.from_dict(candidate.toJSON()) == candidate
    assert RTCIceCandidate.from_dict({**candidate.toJSON(), "usernameFragment": "abcd"}).candidate == text


def test_a_candidate_from_its_text_has_its_parts() -> None:
    candidate = RTCIceCandidate(candidate=TEXTS[0], sdpMLineIndex=0)
    assert (candidate.ip, candidate.address, candidate.port) == ("203.0.113.9", "203.0.113.9", 53246)
    assert (candidate.type, candidate.protocol, candidate.component) == ("srflx", "udp", 1)
    assert (candidate.foundation, candidate.priority) == ("842163049", 1677729535)
    assert (candidate.relatedAddress, candidate.relatedPort, candidate.tcpType) == ("0.0.0.0", 0, None)
    assert (candidate.usernameFragment, candidate.sdpMid, candidate.sdpMLineIndex) == ("abcd", None, 0)


def test_a_changed_part_changes_the_text() -> None:
    candidate = RTCIceCandidate(candidate=TEXTS[1], sdpMid="0")
    candidate.port = 4000
    assert candidate.candidate == "candidate:1 1 udp 2122252543 192.0.2.7 4000 typ host"


def test_an_empty_dictionary_is_the_end_of_candidates() -> None:
    assert RTCIceCandidate.from_dict({"candidate": "", "sdpMid": "0"}) is None


def test_a_candidate_from_its_text_needs_a_section() -> None:
    with pytest.raises(TypeError, match="either sdpMid or sdpMLineIndex"):
        RTCIceCandidate(candidate=TEXTS[1])
    with pytest.raises(TypeError, match="either sdpMid or sdpMLineIndex"):
        RTCIceCandidate.from_dict({"candidate": TEXTS[1]})


def test_a_candidate_without_all_its_parts_raises() -> None:
    with pytest.raises(TypeError, match="needs its text, or component"):
        RTCIceCandidate(foundation="1", ip="192.0.2.7", port=1, priority=1, protocol="udp", type="host")


def test_a_candidate_becomes_the_dictionary_that_browsers_accept() -> None:
    candidate = RTCIceCandidate(
        component=1, foundation="f", ip="192.0.2.1", port=9, priority=5, protocol="udp", type="host", sdpMid="0",
        sdpMLineIndex=0, usernameFragment="abcd",
    )  # fmt: skip

    assert candidate.toJSON() == {
        "candidate": "candidate:f 1 udp 5 192.0.2.1 9 typ host ufrag abcd",
        "sdpMid": "0",
        "sdpMLineIndex": 0,
        "usernameFragment": "abcd",
    }
