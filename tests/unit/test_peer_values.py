"""Arguments of the peer API: configuration, descriptions, candidates and the arguments of createDataChannel."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from datachan.dtls.certificate import Certificate
from datachan.peer import (
    ArgumentError,
    InvalidAccessError,
    InvalidModificationError,
    NotSupportedError,
    OperationError,
    RTCBundlePolicy,
    RTCCertificate,
    RTCConfiguration,
    RTCIceCandidate,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
    RTCSessionDescription,
    SdpError,
)
from datachan.peer.added_candidate import read_candidate
from datachan.peer.channel_options import channel_options
from datachan.peer.configuration import changed_configuration, check_configuration
from datachan.peer.rtc_session_description import MAX_ADDED_CANDIDATES, AppliedDescription
from datachan.sdp import parse_candidate_untrusted, parse_description_untrusted

TEXT = "candidate:1 1 udp 5 192.0.2.9 4000 typ host"
SDP = (
    "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE a d\r\n"
    "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:a\r\n"
    "m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:v\r\n"
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:d\r\na=ice-ufrag:abcd\r\n"
    "a=ice-pwd:abcdefghijklmnopqrstuv\r\na=setup:active\r\na=sctp-port:5000\r\n"
    "a=fingerprint:sha-256 " + ":".join(["AB"] * 32) + "\r\n"
    "m=text 9 X 1\r\n"
)
REMOTE = parse_description_untrusted(SDP)


# -- configuration -----------------------------------------------------------------------------------------------------


def test_without_a_configuration_there_are_no_servers() -> None:
    assert not check_configuration(None).iceServers


def test_a_server_has_one_url_or_several() -> None:
    one = RTCIceServer("stun:stun.example.org")
    several = RTCIceServer(["turn:a.example.org", "turns:b.example.org:443?transport=tcp"], "u", "p")

    assert one.to_ice().urls == ("stun:stun.example.org",)
    assert several.to_ice().urls == ("turn:a.example.org", "turns:b.example.org:443?transport=tcp")


def test_a_server_may_be_a_dictionary() -> None:
    given = {"urls": ["turn:turn.example.org"], "username": "u", "credential": "p"}

    checked = check_configuration(RTCConfiguration(iceServers=[given]))  # type: ignore[list-item]

    assert checked.iceServers == [RTCIceServer(["turn:turn.example.org"], "u", "p")]


@pytest.mark.parametrize(
    "server",
    [
        {},
        {"url": "stun:example.org"},
        RTCIceServer([]),
        RTCIceServer("http://example.org"),
        RTCIceServer("stun:"),
        RTCIceServer("stun:192.168.0.257"),
        RTCIceServer("stun:[example.net]"),
        RTCIceServer("stun:a<b"),
        RTCIceServer("stun:x#y"),
        RTCIceServer("stun:example.org:70000"),
        RTCIceServer(5),
        RTCIceServer([5]),
        RTCIceServer("stun:example.org", username=5),
        "stun:example.org",
        None,
    ],
)
def test_an_invalid_server_raises_at_once(server: RTCIceServer) -> None:
    with pytest.raises(ArgumentError):
        check_configuration(RTCConfiguration(iceServers=[server]))


@pytest.mark.parametrize("scheme", ["turn", "turns", "TURN"])
@pytest.mark.parametrize("credentials", [{}, {"username": "u"}, {"credential": "p"}])
def test_a_turn_server_without_credentials_raises_invalid_access(scheme: str, credentials: dict[str, str]) -> None:
    with pytest.raises(InvalidAccessError, match="needs a username and a credential"):
        check_configuration(RTCConfiguration(iceServers=[RTCIceServer(f"{scheme}:example.org", **credentials)]))


def test_further_members_of_a_server_are_ignored() -> None:
    given = {"urls": "stun:example.org", "url": "stun:example.org", "ttl": 86400}
    checked = check_configuration({"iceServers": [given]})
    assert checked.iceServers == [RTCIceServer("stun:example.org")]


def test_a_configuration_may_be_a_dictionary(caplog: pytest.LogCaptureFixture) -> None:
    checked = check_configuration({"iceTransportPolicy": "relay", "snap": False, "sdpSemantics": "unified-plan"})
    assert (checked.iceTransportPolicy, checked.snap) == (RTCIceTransportPolicy.RELAY, False)
    assert "unknown members of the configuration are ignored: sdpSemantics" in caplog.text


def test_policies_may_be_given_as_w3c_strings() -> None:
    checked = check_configuration(
        RTCConfiguration(iceTransportPolicy="relay", bundlePolicy="max-bundle")  # type: ignore[arg-type]
    )

    assert checked.iceTransportPolicy is RTCIceTransportPolicy.RELAY
    assert checked.bundlePolicy is RTCBundlePolicy.MAX_BUNDLE


@pytest.mark.parametrize(
    "configuration",
    [
        RTCConfiguration(iceTransportPolicy="none"),  # type: ignore[arg-type]
        RTCConfiguration(maxMessageSize=-1),
        RTCConfiguration(maxChannels=0),
        RTCConfiguration(maxChannels=65536),
        RTCConfiguration(closeTimeout=-1),
        RTCConfiguration(portRange=(0, 100)),
        RTCConfiguration(portRange=(2000, 1999)),
        RTCConfiguration(portRange=(60000, 65536)),
        RTCConfiguration(portRange=(60000,)),  # type: ignore[arg-type]
        RTCConfiguration(congestionControl="reno"),
        RTCConfiguration(congestionControl=5),  # type: ignore[arg-type]
        RTCConfiguration(iceServers="stun:example.org"),  # type: ignore[arg-type]
        RTCConfiguration(iceServers=RTCIceServer("stun:example.org")),  # type: ignore[arg-type]
        RTCConfiguration(certificates=["pem"]),  # type: ignore[list-item]
        RTCConfiguration(maxMessageSize="65536"),  # type: ignore[arg-type]
        RTCConfiguration(maxMessageSize=1.5),  # type: ignore[arg-type]
        RTCConfiguration(closeTimeout=None),  # type: ignore[arg-type]
        RTCConfiguration(iceTimeout=float("nan")),
        RTCConfiguration(iceCandidatePoolSize=256),
        RTCConfiguration(snap="yes"),  # type: ignore[arg-type]
        RTCConfiguration(hostAddresses="127.0.0.1"),
        RTCConfiguration(hostAddresses=["localhost"]),
        RTCConfiguration(portRange="6000"),  # type: ignore[arg-type]
        RTCConfiguration(trace=5),  # type: ignore[arg-type]
        {"maxMessageSize": -1},
        "configuration",
    ],
)
def test_values_out_of_range_raise(configuration: RTCConfiguration) -> None:
    with pytest.raises(ArgumentError):
        check_configuration(configuration)


def test_an_expired_certificate_is_refused() -> None:
    old = Certificate.generate(datetime.now(UTC) - timedelta(days=60), timedelta(days=30))

    with pytest.raises(InvalidAccessError, match="expired"):
        check_configuration(RTCConfiguration(certificates=[RTCCertificate(old)]))


def test_of_several_certificates_all_are_checked_and_the_first_is_used() -> None:
    old = RTCCertificate(Certificate.generate(datetime(2020, 1, 1, tzinfo=UTC), timedelta(days=1)))
    one, other = RTCCertificate.generateCertificate(), RTCCertificate.generateCertificate()

    with pytest.raises(InvalidAccessError, match="expired"):
        check_configuration(RTCConfiguration(certificates=[one, old]))

    async def main() -> str:
        async with RTCPeerConnection(RTCConfiguration(certificates=[one, other])) as pc:
            pc.createDataChannel("chat")
            return (await pc.createOffer()).sdp

    sdp = asyncio.run(main())
    assert sdp.count("a=fingerprint:") == 1
    assert one.getFingerprints()[0].value in sdp


def test_a_certificate_has_a_fingerprint_and_an_expiry() -> None:
    certificate = RTCCertificate.generateCertificate()

    (fingerprint,) = certificate.getFingerprints()

    assert fingerprint.algorithm == "sha-256"
    assert fingerprint.value.count(":") == 31
    assert certificate.expires > datetime.now(UTC)


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        (None, "ECDSA"),
        ({"name": "ECDSA", "namedCurve": "P-256"}, "ECDSA"),
        ({"name": "RSASSA-PKCS1-v1_5", "modulusLength": 2048, "hash": "SHA-256"}, "RSA"),
    ],
)
def test_certificates_of_both_algorithms_are_usable(algorithm: dict[str, object] | None, key: str) -> None:
    certificate = RTCCertificate.generateCertificate(algorithm)
    certificate.check()
    assert isinstance(certificate.certificate.private_key, rsa.RSAPrivateKey) is (key == "RSA")


@pytest.mark.parametrize(
    "algorithm",
    [
        "ECDSA",
        {"name": "ECDSA", "namedCurve": "P-521"},
        {"name": "RSASSA-PKCS1-v1_5", "modulusLength": 1024},
        {"name": "HMAC"},
    ],
)
def test_other_algorithms_are_not_supported(algorithm: str | dict[str, object]) -> None:
    with pytest.raises(NotSupportedError):
        RTCCertificate.generateCertificate(algorithm)


@pytest.mark.parametrize("algorithm", [5, {}, {"name": 5}, {"name": "ECDSA", "namedCurve": "P-256", "expires": "soon"}])
def test_a_malformed_algorithm_raises(algorithm: object) -> None:
    with pytest.raises(ArgumentError):
        RTCCertificate.generateCertificate(algorithm)  # type: ignore[arg-type]


def test_a_certificate_expires_as_requested_and_within_a_year() -> None:
    now = datetime.now(UTC)
    hour = RTCCertificate.generateCertificate({"name": "ECDSA", "namedCurve": "P-256", "expires": 3_600_000})
    longest = RTCCertificate.generateCertificate({"name": "ECDSA", "namedCurve": "P-256", "expires": 1e30})
    assert abs(hour.expires - now - timedelta(hours=1)) < timedelta(minutes=1)
    assert abs(longest.expires - now - timedelta(days=365)) < timedelta(minutes=1)


def test_a_certificate_that_openssl_refuses_raises_when_it_is_set() -> None:
    weak = RTCCertificate(Certificate.generate(datetime.now(UTC), rsa_bits=1024))
    with pytest.raises(InvalidAccessError, match="OpenSSL refuses the certificate"):
        check_configuration(RTCConfiguration(certificates=[RTCCertificate.generateCertificate(), weak]))


# -- setConfiguration --------------------------------------------------------------------------------------------------


def test_servers_and_policy_can_be_changed() -> None:
    current = check_configuration(RTCConfiguration(snap=False))
    changed = changed_configuration(
        current, {"iceServers": [{"urls": "stun:b.example"}], "iceTransportPolicy": "relay"}
    )
    assert changed.iceServers == [RTCIceServer("stun:b.example")]
    assert (changed.iceTransportPolicy, changed.snap) == (RTCIceTransportPolicy.RELAY, False)


@pytest.mark.parametrize(
    "change",
    [
        {"bundlePolicy": "max-bundle"},
        {"certificates": [RTCCertificate.generateCertificate()]},
        {"maxMessageSize": 1000},
        {"hostAddresses": ["127.0.0.1"]},
    ],
)
def test_other_members_cannot_be_changed(change: dict[str, object]) -> None:
    current = check_configuration(None)
    with pytest.raises(InvalidModificationError, match=f"{next(iter(change))} cannot be changed"):
        changed_configuration(current, change)


# -- descriptions ------------------------------------------------------------------------------------------------------


def test_a_description_has_one_of_four_types() -> None:
    assert RTCSessionDescription(sdp="x", type="offer").toJSON() == {"sdp": "x", "type": "offer"}
    with pytest.raises(ValueError, match="'type' must be in"):
        RTCSessionDescription(sdp="x", type="bogus")
    with pytest.raises(TypeError, match="'sdp' must be a string"):
        RTCSessionDescription(sdp=b"x", type="offer")  # type: ignore[arg-type]


def test_added_candidates_appear_at_the_end_of_the_data_section() -> None:
    applied = AppliedDescription(type="offer", sdp=SDP, parsed=REMOTE)
    assert applied.with_added_candidates() == SDP

    applied.add_candidate(parse_candidate_untrusted(TEXT))
    applied.add_candidate(parse_candidate_untrusted(TEXT))
    applied.add_candidate(None)

    assert applied.with_added_candidates() == SDP.replace(
        "\r\nm=text", f"\r\na={TEXT}\r\na=end-of-candidates\r\nm=text"
    )


def test_added_candidates_are_limited() -> None:
    applied = AppliedDescription(type="offer", sdp=SDP, parsed=REMOTE)

    for port in range(1, 1000):
        applied.add_candidate(parse_candidate_untrusted(TEXT.replace("4000", str(port))))

    assert len(applied.candidates) == MAX_ADDED_CANDIDATES


# -- candidates --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        TEXT,
        f"a={TEXT}",
        parse_candidate_untrusted(TEXT),
        {"candidate": TEXT, "sdpMid": "d"},
        {"candidate": TEXT, "sdpMLineIndex": 2},
        {"candidate": TEXT, "sdpMid": "d", "sdpMLineIndex": 0, "usernameFragment": "abcd"},
        RTCIceCandidate.from_ice(parse_candidate_untrusted(TEXT), sdpMid="d"),
        RTCIceCandidate.from_ice(parse_candidate_untrusted(TEXT), sdpMLineIndex=2),
    ],
)
def test_a_candidate_for_the_data_section_is_accepted_in_every_form(given: object) -> None:
    read = read_candidate(given)  # type: ignore[arg-type]

    assert read.candidate is not None
    assert (read.candidate.address, read.candidate.port) == ("192.0.2.9", 4000)
    assert read.belongs_to_data(REMOTE)


@pytest.mark.parametrize("given", [None, "", {"candidate": ""}, {"candidate": "", "sdpMid": "d"}, {}])
def test_an_empty_candidate_marks_the_end_of_candidates(given: object) -> None:
    read = read_candidate(given)  # type: ignore[arg-type]

    assert read.candidate is None
    assert read.belongs_to_data(REMOTE)


@pytest.mark.parametrize("section", [{"sdpMid": "a"}, {"sdpMid": "v"}, {"sdpMLineIndex": 1}])
def test_a_candidate_for_a_rejected_section_is_ignored(section: dict[str, object]) -> None:
    assert not read_candidate({"candidate": TEXT, **section}).belongs_to_data(REMOTE)


@pytest.mark.parametrize(("index", "ours"), [(0, False), (1, False), (2, True)])
def test_an_empty_mid_leaves_the_choice_of_the_section_to_the_index(index: int, ours: bool) -> None:
    read = read_candidate({"candidate": TEXT, "sdpMid": "", "sdpMLineIndex": index})
    assert read.belongs_to_data(REMOTE) is ours


def test_a_bundled_section_may_carry_the_candidates_of_the_data_section() -> None:
    assert read_candidate({"candidate": TEXT + " ufrag abcd", "sdpMid": "a"}).belongs_to_data(REMOTE)


@pytest.mark.parametrize(
    "section",
    [{"sdpMid": "x"}, {"sdpMLineIndex": 4}, {"sdpMLineIndex": -1}, {"sdpMid": "d", "usernameFragment": "else"}],
)
def test_a_candidate_for_an_unknown_section_or_generation_raises(section: dict[str, object]) -> None:
    with pytest.raises(OperationError):
        read_candidate({"candidate": TEXT, **section}).belongs_to_data(REMOTE)


@pytest.mark.parametrize(
    "given",
    [
        {"candidate": TEXT},
        {"candidate": 5, "sdpMid": "d"},
        {"candidate": TEXT, "sdpMid": 5},
        {"candidate": TEXT, "sdpMLineIndex": "2"},
        {"candidate": TEXT, "sdpMLineIndex": True},
        {"candidate": TEXT, "sdpMid": "d", "usernameFragment": 5},
        RTCIceCandidate.from_ice(parse_candidate_untrusted(TEXT)),
        5,
    ],
)
def test_a_candidate_without_a_section_raises(given: object) -> None:
    with pytest.raises(ArgumentError):
        read_candidate(given)  # type: ignore[arg-type]


def test_malformed_candidate_text_raises_with_the_reason() -> None:
    with pytest.raises(SdpError, match="port is a number"):
        read_candidate({"candidate": TEXT.replace("4000", "70000"), "sdpMid": "d"})


# -- createDataChannel -------------------------------------------------------------------------------------------------


def parameters(**changes: object) -> dict[str, object]:
    given = {
        "label": "chat",
        "max_packet_life_time": None,
        "max_retransmits": None,
        "ordered": True,
        "protocol": "",
        "negotiated": False,
        "id": None,
        "priority": "low",
    }
    return channel_options(**{**given, **changes})  # type: ignore[arg-type]


def test_the_id_is_ignored_unless_the_channel_is_negotiated() -> None:
    assert parameters(id=42)["id"] is None
    assert parameters(id=42, negotiated=True)["id"] == 42


@pytest.mark.parametrize(("name", "number"), [("very-low", 128), ("low", 256), ("medium", 512), ("high", 1024)])
def test_priorities_become_the_numbers_of_rfc_8831(name: str, number: int) -> None:
    assert parameters(priority=name)["priority"] == number


@pytest.mark.parametrize(
    "changes",
    [
        {"max_packet_life_time": -1},
        {"max_packet_life_time": 65536},
        {"max_retransmits": 1.5},
        {"max_retransmits": True},
        {"max_packet_life_time": 0, "max_retransmits": 0},
        {"id": 65536},
        {"id": 65535, "negotiated": True},
        {"negotiated": True},
        {"priority": "urgent"},
        {"label": None},
        {"label": "l" * 65536},
        {"label": "µ" * 32768},
        {"protocol": "p" * 65536},
    ],
)
def test_arguments_out_of_range_raise_both_typeerror_and_valueerror(changes: dict[str, object]) -> None:
    with pytest.raises(ArgumentError) as caught:
        parameters(**changes)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)


def test_a_lone_surrogate_becomes_the_replacement_character() -> None:
    assert parameters(label="a\ud800b", protocol="\udfff") == parameters(label="a\ufffdb", protocol="\ufffd")
