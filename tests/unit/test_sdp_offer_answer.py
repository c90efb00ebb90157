"""`datachan.sdp.offer_answer`: offers, and the answers that fit them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from datachan.dtls.certificate import Fingerprint
from datachan.sdp import (
    IceCandidate,
    LocalData,
    SdpError,
    SessionDescription,
    TransportParameters,
    answer_setup,
    check_answer,
    create_answer,
    create_offer,
    format_description,
    parse_description_untrusted,
    with_candidates,
)

DATA = Path(__file__).parent.parent / "data" / "sdp"
LOCAL = LocalData(
    transport=TransportParameters(
        ice_ufrag="usrA",
        ice_pwd="passwordpasswordpassword",
        fingerprints=(Fingerprint("sha-256", ":".join(["0A"] * 32)),),
        setup="actpass",
        tls_id="0123456789abcdef0123",
    ),
    max_message_size=1000,
)
AUDIO = (
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\na=mid:a\na=ice-ufrag:audi\na=ice-pwd:audioaudioaudioaudioaudio\na=setup:actpass\n"
)
BUNDLE = "m=application 0 UDP/DTLS/SCTP webrtc-datachannel\na=mid:d\na=bundle-only\na=sctp-port:5000\n"
HEAD = "v=0\no=- 1 1 IN IP4 0.0.0.0\ns=-\nt=0 0\n"


def offer(local: LocalData | None = LOCAL, previous: SessionDescription | None = None) -> SessionDescription:
    return create_offer(local, previous, session_id=7, session_version=1)


def answer(to: SessionDescription, local: LocalData | None = LOCAL, setup: str = "active") -> SessionDescription:
    return create_answer(to, local, setup=setup, session_id=8, session_version=1)


def host(address: str, port: int = 4000, kind: str = "host", priority: int = 100) -> IceCandidate:
    return IceCandidate(foundation="1", priority=priority, address=address, port=port, type=kind)


def lines(description: SessionDescription) -> list[str]:
    return format_description(description).split("\r\n")


def test_an_offer_has_the_lines_of_rfc_8829() -> None:
    assert lines(offer()) == [
        "v=0",
        "o=- 7 1 IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "a=ice-options:trickle ice2 renomination",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 0.0.0.0",
        "a=mid:0",
        "a=ice-ufrag:usrA",
        "a=ice-pwd:passwordpasswordpassword",
        "a=fingerprint:sha-256 " + ":".join(["0A"] * 32),
        "a=setup:actpass",
        "a=tls-id:0123456789abcdef0123",
        "a=sctp-port:5000",
        "a=max-message-size:1000",
        "",
    ]


def test_a_written_description_reads_back_the_same() -> None:
    written = with_candidates(offer(), [host("192.0.2.1"), host("fd00::1")], complete=True)

    assert parse_description_untrusted(format_description(written)) == written


def test_an_offer_without_channels_has_no_section() -> None:
    assert lines(offer(None)) == ["v=0", "o=- 7 1 IN IP4 0.0.0.0", "s=-", "t=0 0", ""]


def test_the_default_address_is_the_candidate_most_peers_can_reach() -> None:
    candidates = [host("192.0.2.1"), host("203.0.113.5", 5000, "srflx"), host("198.51.100.1", 6000, "relay")]

    described = with_candidates(offer(), candidates, complete=False)

    assert "m=application 6000 UDP/DTLS/SCTP webrtc-datachannel" in lines(described)
    assert "c=IN IP4 198.51.100.1" in lines(described)
    assert "a=end-of-candidates" not in lines(described)


def test_ipv4_is_the_default_before_ipv6_and_names_are_never_the_default() -> None:
    both = with_candidates(offer(), [host("fd00::1", priority=200), host("192.0.2.1")], complete=True)
    only_6 = with_candidates(offer(), [host("fd00::1")], complete=True)
    name = with_candidates(offer(), [host("abc.local")], complete=True)

    assert "c=IN IP4 192.0.2.1" in lines(both)
    assert "c=IN IP6 fd00::1" in lines(only_6)
    assert "m=application 9 UDP/DTLS/SCTP webrtc-datachannel" in lines(name)
    assert "a=end-of-candidates" in lines(name)


@pytest.mark.parametrize("path", sorted(DATA.glob("*.sdp")), ids=lambda path: path.stem)
def test_answers_the_offers_of_real_browsers(path: Path) -> None:
    theirs = parse_description_untrusted(path.read_bytes().decode())
    ours = answer(theirs)

    assert "a=group:BUNDLE 0" in lines(ours)
    assert "a=setup:active" in lines(ours)
    assert not any(line.startswith("a=tls-id") for line in lines(ours)), "the browsers do not offer tls-id"
    check_answer(theirs, parse_description_untrusted(format_description(ours)))


def test_the_answer_has_a_tls_id_only_if_the_offer_has_one() -> None:
    assert any(line.startswith("a=tls-id") for line in lines(answer(offer())))


def test_other_sections_are_rejected_in_their_places() -> None:
    text = HEAD + "a=group:BUNDLE a d v\n" + AUDIO
    data = format_description(offer()).split("t=0 0\r\n")[1].replace("\r\n", "\n").replace("a=mid:0", "a=mid:d")
    data = data.split("\n", 2)[2]
    video = "m=video 9 UDP/TLS/RTP/SAVPF 96 97\na=mid:v\n"
    theirs = parse_description_untrusted(text + data + video)

    ours = answer(theirs)

    assert "a=group:BUNDLE d" in lines(ours)
    assert [line for line in lines(ours) if line.startswith("m=")] == [
        "m=audio 0 UDP/TLS/RTP/SAVPF 111",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "m=video 0 UDP/TLS/RTP/SAVPF 96 97",
    ]
    assert [line for line in lines(ours) if line.startswith("a=mid")] == ["a=mid:a", "a=mid:d", "a=mid:v"]
    check_answer(theirs, parse_description_untrusted(format_description(ours)))


def test_a_bundle_only_data_section_is_accepted_with_a_port() -> None:
    fingerprint = "a=fingerprint:sha-256 " + ":".join(["0B"] * 32) + "\n"
    theirs = parse_description_untrusted(HEAD + "a=group:BUNDLE a d\n" + AUDIO + fingerprint + "a=rtcp-mux\n" + BUNDLE)

    ours = answer(theirs)

    assert "m=application 9 UDP/DTLS/SCTP webrtc-datachannel" in lines(ours)
    assert "a=bundle-only" not in lines(ours)
    assert "a=rtcp-mux" in lines(ours), "the transport was offered for audio, too"


def test_every_section_of_an_offer_without_data_is_rejected() -> None:
    ours = answer(parse_description_untrusted(HEAD + "a=group:BUNDLE a\n" + AUDIO))

    assert ours.data is None
    assert [section.rejected for section in ours.sections] == [True]
    assert not any("BUNDLE" in line for line in lines(ours))


def test_there_is_no_bundle_group_in_an_answer_when_none_was_offered() -> None:
    theirs = replace(offer(), bundle_groups=())

    assert answer(theirs).bundle_groups == ()


def test_the_older_form_is_answered_in_the_older_form() -> None:
    text = format_description(offer()).replace("UDP/DTLS/SCTP webrtc-datachannel", "DTLS/SCTP 5001")
    ours = answer(parse_description_untrusted(text))

    assert "m=application 9 DTLS/SCTP 5000" in lines(ours)
    assert "a=sctpmap:5000 webrtc-datachannel 65535" in lines(ours)
    assert "a=sctp-port:5000" not in lines(ours)


@pytest.mark.parametrize("protocol", ["UDP/DTLS/SCTP", "DTLS/SCTP"])
@pytest.mark.parametrize(
    ("form", "attribute", "ours"),
    [
        ("webrtc-datachannel", "a=sctp-port:5001", "a=sctp-port:5000"),
        ("webrtc-datachannel", "a=sctpmap:5001 webrtc-datachannel 1024", "a=sctpmap:5000 webrtc-datachannel 65535"),
        ("5001", "a=sctpmap:5001 webrtc-datachannel 1024", "a=sctpmap:5000 webrtc-datachannel 65535"),
        ("5001", "a=x", "a=sctpmap:5000 webrtc-datachannel 65535"),
    ],
)
def test_each_form_of_the_data_section_is_answered_in_the_same_form(
    protocol: str, form: str, attribute: str, ours: str
) -> None:
    text = format_description(offer()).replace("UDP/DTLS/SCTP webrtc-datachannel", f"{protocol} {form}")
    theirs = parse_description_untrusted(text.replace("a=sctp-port:5000", attribute))

    answered = answer(theirs)

    assert theirs.data is not None
    assert theirs.data.sctp_port == 5001
    expected = form if form == "webrtc-datachannel" else "5000"
    assert f"m=application 9 {protocol} {expected}" in lines(answered)
    assert ours in lines(answered)
    check_answer(theirs, answered)
    again = create_offer(LOCAL, answered, session_id=8, session_version=3)
    assert ours in lines(again)


@pytest.mark.parametrize("options", ["trickle ice2 renomination", "trickle ice2", "trickle", "ice2", ""])
def test_an_answer_has_the_ice_options_of_the_offer(options: str) -> None:
    text = format_description(offer())
    line = "a=ice-options:trickle ice2 renomination\r\n"
    answered = answer(
        parse_description_untrusted(text.replace(line, f"a=ice-options:{options}\r\n" if options else ""))
    )

    written = [one for one in lines(answered) if one.startswith("a=ice-options")]
    assert written == ([f"a=ice-options:{options}"] if options else [])


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("theirs", [True, False])
def test_sped_is_answered_only_if_both_sides_have_it(ours: bool, theirs: bool) -> None:
    text = format_description(offer()).replace(
        "renomination\r\n", "renomination sped\r\n" if theirs else "renomination\r\n"
    )
    local = replace(LOCAL, transport=replace(LOCAL.transport, sped=ours))
    answered = answer(parse_description_untrusted(text), local)
    assert answered.data is not None
    assert answered.data.transport is not None
    assert answered.data.transport.sped is (ours and theirs)


def test_a_second_offer_keeps_every_section_in_its_place() -> None:
    data = replace(parse_description_untrusted(format_description(offer())).sections[0], mid="d")
    audio = parse_description_untrusted(HEAD + AUDIO).sections[0]
    agreed = SessionDescription(sections=(audio, data), data_index=1)

    again = offer(previous=agreed)

    assert [(section.kind, section.mid, section.port) for section in again.sections] == [
        ("audio", "a", 0),
        ("application", "d", 9),
    ]
    assert again.bundle_groups == (("d",),)


def test_a_data_section_added_later_gets_an_unused_mid() -> None:
    audio = parse_description_untrusted(HEAD + AUDIO.replace("a=mid:a", "a=mid:0")).sections[0]

    again = offer(previous=SessionDescription(sections=(audio,)))

    assert [section.mid for section in again.sections] == ["0", "1"]


@pytest.mark.parametrize(
    ("offered", "current", "chosen"),
    [
        ("actpass", None, "active"),
        ("actpass", "passive", "passive"),
        ("actpass", "active", "active"),
        ("active", None, "passive"),
        ("passive", None, "active"),
    ],
)
def test_the_answer_takes_the_other_dtls_role(offered: str, current: str | None, chosen: str) -> None:
    assert answer_setup(offered, current) == chosen


def test_an_answer_that_leaves_the_role_open_is_refused() -> None:
    with pytest.raises(SdpError, match="must choose active or passive"):
        check_answer(offer(), answer(offer(), setup="actpass"))


def test_an_answer_with_the_same_dtls_role_is_refused() -> None:
    theirs = offer(replace(LOCAL, transport=LOCAL.transport))
    active = replace(
        theirs, sections=(replace(theirs.sections[0], transport=replace(LOCAL.transport, setup="active")),)
    )

    with pytest.raises(SdpError, match="both sides have a=setup:active"):
        check_answer(active, answer(active, setup="active"))


def test_an_answer_with_different_sections_is_refused() -> None:
    audio = parse_description_untrusted(HEAD + AUDIO)

    with pytest.raises(SdpError, match="the answer has 2 sections, the offer 1"):
        check_answer(offer(), replace(audio, sections=audio.sections * 2))
    with pytest.raises(SdpError, match="section 0 of the answer is audio, of the offer application"):
        check_answer(offer(), audio)
    with pytest.raises(SdpError, match="a=mid:9, the offer a=mid:0"):
        check_answer(offer(), replace(offer(), sections=(replace(offer().sections[0], mid="9"),)))


def test_an_answer_may_reject_the_data_section() -> None:
    check_answer(offer(), answer(offer(), None))
