"""`datachan.sdp.description`: reading offers and answers, real and malformed."""

from __future__ import annotations

from pathlib import Path

import pytest

from datachan.sdp import SdpError, parse_description_untrusted

DATA = Path(__file__).parent.parent / "data" / "sdp"
FINGERPRINT = "sha-256 " + ":".join(["AB"] * 32)
OFFER = f"""v=0
o=- 77 3 IN IP4 0.0.0.0
s=-
t=0 0
a=group:BUNDLE 0
m=application 9 UDP/DTLS/SCTP webrtc-datachannel
c=IN IP4 0.0.0.0
a=mid:0
a=ice-ufrag:abcd
a=ice-pwd:abcdefghijklmnopqrstuv
a=ice-options:trickle ice2
a=fingerprint:{FINGERPRINT}
a=setup:actpass
a=sctp-port:5000
a=max-message-size:262144
"""
AUDIO = f"""m=audio 9 UDP/TLS/RTP/SAVPF 111 63
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=mid:a
a=ice-ufrag:audi
a=ice-pwd:audioaudioaudioaudioaudio
a=fingerprint:{FINGERPRINT}
a=setup:actpass
a=candidate:1 1 udp 5 192.0.2.9 4000 typ host
a=sendrecv
a=rtpmap:111 opus/48000/2
"""


@pytest.mark.parametrize(
    "lines", ["a=ice-options:ice2,trickle", "a=ice-options:ice2\na=ice-options:trickle", "a=ice-options:trickle"]
)
def test_reads_ice_options_in_each_form_that_peers_write(lines: str) -> None:
    data = parse_description_untrusted(OFFER.replace("a=ice-options:trickle ice2", lines)).data
    assert data is not None
    assert data.transport is not None
    assert data.transport.trickle


def without(name: str) -> str:
    return "".join(line + "\n" for line in OFFER.splitlines() if not line.startswith(f"a={name}"))


def test_reads_the_attributes_of_the_data_section() -> None:
    description = parse_description_untrusted(OFFER)
    data = description.data

    assert (description.session_id, description.session_version, description.bundle_groups) == (77, 3, (("0",),))
    assert data is not None
    assert data.transport is not None
    assert (data.mid, data.sctp_port, data.max_message_size) == ("0", 5000, 262144)
    assert (data.transport.ice_ufrag, data.transport.ice_pwd) == ("abcd", "abcdefghijklmnopqrstuv")
    assert (data.transport.setup, data.transport.trickle, data.transport.ice_lite) == ("actpass", True, False)
    assert [str(fingerprint) for fingerprint in data.transport.fingerprints] == [FINGERPRINT]
    assert (data.candidates, data.end_of_candidates) == ((), False)


@pytest.mark.parametrize("path", sorted(DATA.glob("*.sdp")), ids=lambda path: path.stem)
def test_reads_the_offers_of_real_browsers(path: Path) -> None:
    description = parse_description_untrusted(path.read_bytes().decode())
    data = description.data

    assert description.data_index == 0
    assert data is not None
    assert data.transport is not None
    assert data.transport.setup == "actpass"
    assert data.transport.trickle
    assert data.end_of_candidates == path.stem.startswith("firefox")
    assert data.max_message_size == (1073741823 if path.stem.startswith("firefox") else 262144)
    assert any(candidate.usable for candidate in data.candidates)
    assert any(candidate.is_mdns for candidate in data.candidates) == path.stem.endswith("as_a_user")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_both_line_endings_and_blank_lines_are_accepted(end: str) -> None:
    assert parse_description_untrusted(("\n" + OFFER + "\n").replace("\n", end)) == parse_description_untrusted(OFFER)


def test_a_candidate_line_that_cannot_be_read_is_skipped() -> None:
    bad = "a=candidate:1 1 udp\n"
    good = "a=candidate:1 1 udp 5 192.0.2.9 4000 typ host\n"

    data = parse_description_untrusted(OFFER + bad + good + bad * 1000).data

    assert data is not None
    assert [candidate.address for candidate in data.candidates] == ["192.0.2.9"]
    assert len(data.skipped_candidates) == 128
    assert data.skipped_candidates[0].startswith("line 16: a candidate needs")


def test_an_absent_max_message_size_means_64_kib_and_zero_means_no_limit() -> None:
    absent = parse_description_untrusted(without("max-message-size"))
    zero = parse_description_untrusted(OFFER.replace("size:262144", "size:0"))

    assert absent.data is not None
    assert absent.data.max_message_size == 65536
    assert zero.data is not None
    assert zero.data.max_message_size == 0


@pytest.mark.parametrize("name", ["ice-ufrag", "ice-pwd", "fingerprint", "setup", "ice-options"])
def test_transport_attributes_may_be_at_session_level(name: str) -> None:
    line = next(line for line in OFFER.splitlines() if line.startswith(f"a={name}"))
    moved = without(name).replace("t=0 0\n", f"t=0 0\n{line}\n")

    assert parse_description_untrusted(moved) == parse_description_untrusted(OFFER)


def test_attributes_of_the_section_override_those_of_the_session() -> None:
    text = OFFER.replace("t=0 0\n", "t=0 0\na=setup:passive\n")

    data = parse_description_untrusted(text).data

    assert data is not None
    assert data.transport is not None
    assert data.transport.setup == "actpass"


def test_unknown_attributes_and_lines_are_ignored() -> None:
    text = OFFER.replace("a=mid:0\n", "a=mid:0\na=sctp-novelty:AQAA\na=x-new\nb=AS:30\nz=0 0\n")

    assert parse_description_untrusted(text) == parse_description_untrusted(OFFER)


@pytest.mark.parametrize("name", ["ice-ufrag", "ice-pwd", "fingerprint", "setup", "sctp-port"])
def test_a_missing_attribute_is_named_in_the_error(name: str) -> None:
    with pytest.raises(SdpError, match=f"line 6: the data channel section has no a={name}"):
        parse_description_untrusted(without(name))


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("v=0", "v=1", "line 1: a description must start with v=0"),
        ("o=- 77 3 IN IP4 0.0.0.0", "o=-", "o= line"),
        ("a=mid:0", "junk", "line 8: a line must look like x=value"),
        ("a=mid:0", "a=mid:0\0", "line 8: a line contains a NUL character"),
        ("a=mid:0", "a=mid:", "a=mid must be one word"),
        ("m=application 9", "m=application nine", "line 6: the port of an m= line"),
        ("m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "m=application 9", "line 6: an m= line needs"),
        ("a=ice-ufrag:abcd", "a=ice-ufrag:abc", "line 9: a=ice-ufrag is 4 to 256"),
        ("a=ice-ufrag:abcd", "a=ice-ufrag:ab:d", "line 9: a=ice-ufrag is 4 to 256"),
        ("a=ice-pwd:abcdefghijklmnopqrstuv", "a=ice-pwd:short", "line 10: a=ice-pwd is 22 to 256"),
        (FINGERPRINT, "sha-256 AB:CD", "line 12: a sha-256 fingerprint has 32 bytes"),
        (FINGERPRINT, "sha-256", "line 12: not a fingerprint"),
        ("a=setup:actpass", "a=setup:holdconn", "line 13: a=setup:holdconn requests no connection"),
        ("a=setup:actpass", "a=setup:both", "line 13: a=setup is actpass, active or passive"),
        ("a=sctp-port:5000", "a=sctp-port:65536", "line 14: a=sctp-port is a number"),
        ("a=max-message-size:262144", "a=max-message-size:-1", "line 15: a=max-message-size is a number"),
        ("a=ice-ufrag:abcd", "a=ice-ufrag:ab-d", "line 9: a=ice-ufrag is 4 to 256"),
        ("a=ice-pwd:abcdefghijklmnopqrstuv", "a=ice-pwd:abcdefghijklmnopqrst_v", "line 10: a=ice-pwd is 22 to 256"),
        ("a=sctp-port:5000", "a=sctpmap:0 webrtc-datachannel 1", "line 14: the port in a=sctpmap is a number"),
        ("v=0", "\nv=1", "line 2: a description must start with v=0"),
    ],
)
def test_errors_name_the_line_and_the_reason(old: str, new: str, complaint: str) -> None:
    with pytest.raises(SdpError, match=complaint) as raised:
        parse_description_untrusted(OFFER.replace(old, new, 1))
    assert (raised.value.errorDetail, raised.value.sdpLineNumber) == ("sdp-syntax-error", raised.value.line)


@pytest.mark.parametrize(
    "text", ["", "\n\n", "hello", "\0", "v=0", "m=application 9 UDP/DTLS/SCTP x", "v=0\n" * 300_000]
)
def test_text_that_is_not_a_description_raises(text: str) -> None:
    with pytest.raises(SdpError):
        parse_description_untrusted(text)


def test_sections_and_attributes_are_bounded() -> None:
    with pytest.raises(SdpError, match="too many"):
        parse_description_untrusted(OFFER + "m=audio 0 X 0\n" * 300)
    with pytest.raises(SdpError, match="too many"):
        parse_description_untrusted(OFFER + "a=x\n" * 10_000)


def test_candidates_are_limited() -> None:
    lines = "".join(f"a=candidate:1 1 udp 5 192.0.2.9 {port} typ host\n" for port in range(1, 1000))

    data = parse_description_untrusted(OFFER + lines).data

    assert data is not None
    assert len(data.candidates) == 128
    assert data.candidates[0].port == 1


def test_a_repeated_mid_raises() -> None:
    with pytest.raises(SdpError, match="a=mid must be one word"):
        parse_description_untrusted(OFFER + AUDIO.replace("a=mid:a", "a=mid:0"))


def test_only_the_m_line_of_audio_and_video_is_kept() -> None:
    head, data = OFFER.split("m=application", 1)
    broken = AUDIO.replace(FINGERPRINT, "nonsense").replace("a=setup:actpass", "a=setup:holdconn")

    description = parse_description_untrusted(head + broken + "m=application" + data)

    assert description.data_index == 1
    assert [(section.kind, section.mid, section.rejected) for section in description.sections] == [
        ("audio", "a", False),
        ("application", "0", False),
    ]
    assert description.sections[0].formats == ("111", "63")


def test_a_bundle_only_section_uses_the_transport_of_the_tagged_section() -> None:
    head = OFFER.split("m=application", 1)[0].replace("BUNDLE 0", "BUNDLE a 0")
    bundled = "m=application 0 UDP/DTLS/SCTP webrtc-datachannel\na=mid:0\na=bundle-only\na=sctp-port:5000\n"

    data = parse_description_untrusted(head + AUDIO + bundled).data

    assert data is not None
    assert data.transport is not None
    assert data.bundle_only
    assert not data.rejected
    assert data.transport.ice_ufrag == "audi"
    assert [candidate.port for candidate in data.candidates] == [4000]


def test_a_rejected_data_section_is_ignored() -> None:
    description = parse_description_untrusted(
        "v=0\no=- 1 1 IN IP4 0.0.0.0\ns=-\nt=0 0\nm=application 0 UDP/DTLS/SCTP webrtc-datachannel\n"
    )

    assert description.data is None
    assert description.sections[0].rejected


def test_the_first_of_several_data_sections_counts() -> None:
    second = OFFER.split("t=0 0\n", 1)[1].split("\n", 1)[1].replace("a=mid:0", "a=mid:1")

    description = parse_description_untrusted(OFFER + second)

    assert description.data_index == 0
    assert description.sections[1].transport is None


def test_other_application_sections_are_not_data_sections() -> None:
    assert parse_description_untrusted(OFFER.replace("webrtc-datachannel", "bfcp")).data_index is None
    assert parse_description_untrusted(OFFER.replace("UDP/DTLS/SCTP", "UDP/BFCP")).data_index is None


def test_reads_the_older_form_with_the_port_as_format() -> None:
    text = without("sctp-port").replace("UDP/DTLS/SCTP webrtc-datachannel", "DTLS/SCTP 5001")

    data = parse_description_untrusted(text + "a=sctpmap:5001 webrtc-datachannel 1024\n").data

    assert data is not None
    assert data.sctp_port == 5001


def test_an_sctp_port_of_zero_means_no_association() -> None:
    assert parse_description_untrusted(OFFER.replace("sctp-port:5000", "sctp-port:0")).data is None
