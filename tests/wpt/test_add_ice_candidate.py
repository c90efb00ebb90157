"""RTCPeerConnection-addIceCandidate.html, with a data section for audio and a rejected section for video."""

from __future__ import annotations

from typing import Any

import pytest

from datachan import (
    InvalidStateError,
    OperationError,
    RTCIceCandidate,
    RTCPeerConnection,
    RTCSessionDescription,
    SdpError,
)
from datachan.sdp import candidate_from_sdp
from tests.pairs import configuration

CANDIDATE = "candidate:1 1 udp 2113929471 203.0.113.100 10100 typ host"
SDP = (
    "v=0\r\no=- 4962303333179871722 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-options:trickle\r\n"
    "a=group:BUNDLE a1 v1\r\n"
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 203.0.113.100\r\na=mid:a1\r\na=ice-ufrag:ETEn\r\n"
    "a=ice-pwd:OtSK0WpNtpUjkY4+86js7ZQl\r\na=setup:actpass\r\na=sctp-port:5000\r\n"
    "a=fingerprint:sha-256 " + ":".join(["19"] * 32) + "\r\n"
    "m=video 10102 UDP/TLS/RTP/SAVPF 100 101\r\nc=IN IP4 203.0.113.100\r\na=mid:v1\r\na=ice-ufrag:BGKk\r\n"
)


@pytest.fixture
async def pc():
    async with RTCPeerConnection(configuration()) as connection:
        await connection.setRemoteDescription(RTCSessionDescription(SDP, "offer"))
        yield connection


def data_section(pc: RTCPeerConnection) -> str:
    return pc.remoteDescription.sdp.split("m=application")[1].split("m=video")[0]


async def test_raises_invalid_state_before_the_remote_description() -> None:
    async with RTCPeerConnection(configuration()) as pc:
        with pytest.raises(InvalidStateError):
            await pc.addIceCandidate({"candidate": CANDIDATE, "sdpMid": "a1"})


@pytest.mark.parametrize(
    "where",
    [
        {"sdpMid": "a1"},
        {"sdpMLineIndex": 0},
        {"sdpMid": "a1", "sdpMLineIndex": 0, "usernameFragment": "ETEn"},
        {"sdpMid": "a1", "sdpMLineIndex": 0, "usernameFragment": None},
        {"sdpMid": "a1", "sdpMLineIndex": 2},
    ],
    ids=["mid", "index", "all", "no fragment", "a wrong index beside a right mid"],
)
async def test_a_candidate_is_added_to_its_section(pc: RTCPeerConnection, where: dict[str, Any]) -> None:
    await pc.addIceCandidate({"candidate": CANDIDATE, **where})

    assert f"a={CANDIDATE}\r\n" in data_section(pc)


async def test_an_object_is_accepted_like_a_dictionary(pc: RTCPeerConnection) -> None:
    candidate = candidate_from_sdp(CANDIDATE)
    assert isinstance(candidate, RTCIceCandidate)
    candidate.sdpMid = "a1"

    await pc.addIceCandidate(candidate)

    assert f"a={CANDIDATE}\r\n" in data_section(pc)


async def test_a_candidate_for_a_rejected_section_is_ignored(pc: RTCPeerConnection) -> None:
    await pc.addIceCandidate({"candidate": CANDIDATE, "sdpMid": "v1", "sdpMLineIndex": 1, "usernameFragment": "BGKk"})

    assert CANDIDATE not in pc.remoteDescription.sdp


async def test_an_empty_candidate_ends_the_candidates(pc: RTCPeerConnection) -> None:
    await pc.addIceCandidate({"candidate": CANDIDATE, "sdpMid": "a1"})
    await pc.addIceCandidate({"candidate": "", "sdpMid": "a1", "usernameFragment": "ETEn"})

    assert data_section(pc).endswith(f"a={CANDIDATE}\r\na=end-of-candidates\r\n")


async def test_a_candidate_without_a_section_raises_type_error(pc: RTCPeerConnection) -> None:
    with pytest.raises(TypeError):
        await pc.addIceCandidate({"candidate": CANDIDATE})
    with pytest.raises(TypeError):
        await pc.addIceCandidate({"candidate": CANDIDATE, "sdpMid": None, "sdpMLineIndex": None})


@pytest.mark.parametrize(
    "where",
    [{"sdpMid": "invalid", "sdpMLineIndex": 0}, {"sdpMLineIndex": 2}, {"sdpMid": "a1", "usernameFragment": "invalid"}],
)
async def test_an_unknown_section_or_generation_raises_operation_error(
    pc: RTCPeerConnection, where: dict[str, Any]
) -> None:
    with pytest.raises(OperationError):
        await pc.addIceCandidate({"candidate": CANDIDATE, **where})


async def test_an_invalid_text_is_refused(pc: RTCPeerConnection) -> None:
    with pytest.raises(SdpError):
        await pc.addIceCandidate({"candidate": "(Invalid) candidate \r\n string", "sdpMid": "a1"})
