"""Reading arbitrary text returns a description or raises SdpError."""

from __future__ import annotations

import contextlib
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from datachan.sdp import (
    IceCandidate,
    SdpError,
    format_candidate,
    format_description,
    parse_candidate_untrusted,
    parse_description_untrusted,
)

DATA = Path(__file__).parent.parent / "data" / "sdp"
OFFERS = [path.read_bytes().decode() for path in sorted(DATA.glob("*.sdp"))]
WORDS = st.sampled_from(
    """v=0|o=- 1 1 IN IP4 0.0.0.0|s=-|t=0 0|c=|a=|a=:|a=group:BUNDLE 0 1|a=mid:0|a=mid:1|a=bundle-only|m=audio 9 X 0
m=application 9 UDP/DTLS/SCTP webrtc-datachannel|m=application 0 DTLS/SCTP 5000|a=candidate:|a=end-of-candidates
a=ice-ufrag:abcd|a=ice-pwd:abcdefghijklmnopqrstuv|a=setup:actpass|a=sctp-port:5000|a=max-message-size:0""".replace(
        "\n", "|"
    ).split("|")
) | st.just("a=fingerprint:sha-256 " + ":".join(["AB"] * 32))


def read(text: str) -> None:
    with contextlib.suppress(SdpError):
        format_description(parse_description_untrusted(text))


@given(st.text(max_size=500))
def test_arbitrary_text(text: str) -> None:
    read(text)


@given(st.lists(WORDS | st.text(max_size=30), max_size=40))
def test_lines_in_any_order(lines: list[str]) -> None:
    read("\r\n".join(["v=0", "o=- 1 1 IN IP4 0.0.0.0", *lines]))


@given(st.sampled_from(OFFERS), st.data())
def test_a_real_offer_with_a_piece_replaced(offer: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(offer)))
    end = data.draw(st.integers(start, min(len(offer), start + 40)))
    read(offer[:start] + data.draw(st.text(max_size=40)) + offer[end:])


def test_a_real_offer_cut_at_every_place() -> None:
    for offer in OFFERS:
        for end in range(len(offer)):
            read(offer[:end])


def test_a_real_offer_with_each_line_left_out() -> None:
    for offer in OFFERS:
        lines = offer.splitlines(keepends=True)
        for left_out in range(len(lines)):
            read("".join(lines[:left_out] + lines[left_out + 1 :]))


@given(st.text(max_size=200))
def test_arbitrary_candidates(text: str) -> None:
    for candidate in (text, "candidate:" + text, "candidate:1 1 udp 1 192.0.2.1 9 typ host " + text):
        with contextlib.suppress(SdpError):
            format_candidate(parse_candidate_untrusted(candidate))


@given(
    st.builds(
        IceCandidate,
        foundation=st.from_regex(r"\A[A-Za-z0-9+/]{1,32}\Z"),
        component=st.integers(1, 256),
        transport=st.sampled_from(["udp", "tcp"]),
        priority=st.integers(0, 2**32 - 1),
        address=st.ip_addresses().map(str) | st.just("5371dc03-6c27.local"),
        port=st.integers(0, 65535),
        type=st.sampled_from(["host", "srflx", "prflx", "relay"]),
        related_address=st.none(),
        tcp_type=st.none() | st.sampled_from(["active", "passive", "so"]),
        extensions=st.dictionaries(st.sampled_from(["generation", "network-id", "ufrag"]), st.just("7")),
    )
)
def test_candidates_are_read_as_they_were_written(candidate: IceCandidate) -> None:
    assert parse_candidate_untrusted(format_candidate(candidate)) == candidate
