"""RTCPeerConnection without a connection: offers, answers, candidates, states and errors."""

from __future__ import annotations

import asyncio
import logging
import re

import pytest

from datachan import (
    InvalidModificationError,
    InvalidStateError,
    OperationError,
    RTCConfiguration,
    RTCIceCandidate,
    RTCIceServer,
    RTCIceTransportPolicy,
    RTCPeerConnection,
    RTCSessionDescription,
    SdpError,
)
from tests.pairs import configuration, event, soon


@pytest.fixture
async def pc():
    async with RTCPeerConnection(configuration()) as connection:
        yield connection


@pytest.fixture
async def other():
    async with RTCPeerConnection(configuration()) as connection:
        yield connection


def emitted(emitter: RTCPeerConnection, *names: str) -> list[tuple[str, object]]:
    seen: list[tuple[str, object]] = []
    for name in names:
        emitter.on(name, lambda *args, name=name: seen.append((name, args[0] if args else None)))
    return seen


async def test_starts_without_descriptions_and_transport(pc: RTCPeerConnection) -> None:
    assert (pc.signalingState, pc.connectionState) == ("stable", "new")
    assert (pc.iceConnectionState, pc.iceGatheringState) == ("new", "new")
    assert (pc.localDescription, pc.remoteDescription, pc.sctp) == (None, None, None)
    assert (pc.canTrickleIceCandidates, pc.failureReason) == (None, None)


def test_can_be_created_before_an_event_loop_runs() -> None:
    pc = RTCPeerConnection(configuration())
    channel = pc.createDataChannel("chat")

    async def main() -> str:
        offer = await pc.createOffer()
        await pc.close()
        return offer.sdp

    assert "m=application" in asyncio.run(main())
    assert channel.readyState == "closed"


async def test_offer_has_a_data_section_once_a_channel_exists(pc: RTCPeerConnection) -> None:
    without = await pc.createOffer()
    pc.createDataChannel("chat")
    with_channel = await pc.createOffer()

    assert "m=" not in without.sdp
    assert with_channel.sdp.count("m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n") == 1
    assert "a=setup:actpass\r\n" in with_channel.sdp
    assert "a=candidate" not in with_channel.sdp


async def test_an_empty_offer_and_a_channel_without_negotiation_are_logged(
    pc: RTCPeerConnection, other: RTCPeerConnection, caplog: pytest.LogCaptureFixture
) -> None:
    await pc.setLocalDescription(await pc.createOffer())
    assert "the offer is empty, so no channel can open: create a channel before the offer" in caplog.text
    await other.setRemoteDescription(pc.localDescription)
    await other.setLocalDescription()
    await pc.setRemoteDescription(other.localDescription)
    caplog.clear()

    pc.createDataChannel("late")
    await asyncio.sleep(0)

    assert "its channels open after another offer and answer" in caplog.text


async def test_data_section_can_be_offered_before_a_channel_exists() -> None:
    async with RTCPeerConnection(configuration(alwaysNegotiateDataChannels=True)) as pc:
        assert "m=application" in (await pc.createOffer()).sdp


async def test_offer_announces_the_configured_max_message_size(pc: RTCPeerConnection) -> None:
    async with RTCPeerConnection(configuration(maxMessageSize=5_000_000)) as small:
        small.createDataChannel("chat")
        pc.createDataChannel("chat")

        assert "a=max-message-size:5000000\r\n" in (await small.createOffer()).sdp
        assert "a=max-message-size:67108864\r\n" in (await pc.createOffer()).sdp


async def test_each_offer_has_a_newer_version_of_the_same_session(pc: RTCPeerConnection) -> None:
    first, second = (await pc.createOffer()).sdp.split("\r\n")[1], (await pc.createOffer()).sdp.split("\r\n")[1]

    assert first.split()[1] == second.split()[1]
    assert int(first.split()[2]) < int(second.split()[2])


async def test_setting_the_offer_gathers_and_emits_each_candidate(pc: RTCPeerConnection) -> None:
    pc.createDataChannel("chat")
    seen = emitted(pc, "signalingstatechange", "icegatheringstatechange", "icecandidate")

    await pc.setLocalDescription(await pc.createOffer())

    names = [name for name, _ in seen]
    candidates = [value for name, value in seen if name == "icecandidate"]
    assert names[:2] == ["signalingstatechange", "icegatheringstatechange"]
    assert pc.signalingState == "have-local-offer"
    assert pc.iceGatheringState == "complete"
    assert candidates[-1] is None
    assert [(c.ip, c.sdpMid, c.sdpMLineIndex) for c in candidates[:-1]] == [("127.0.0.1", "0", 0)]
    text, _, ufrag = candidates[0].candidate.partition(" ufrag ")
    assert f"a={text}\r\n" in pc.localDescription.sdp
    assert f"a=ice-ufrag:{ufrag}\r\n" in pc.localDescription.sdp
    assert "a=end-of-candidates\r\n" in pc.localDescription.sdp


async def test_setting_without_an_argument_creates_the_description(
    pc: RTCPeerConnection, other: RTCPeerConnection
) -> None:
    pc.createDataChannel("chat")

    await pc.setLocalDescription()
    await other.setRemoteDescription(pc.localDescription)
    await other.setLocalDescription()

    assert (pc.localDescription.type, other.localDescription.type) == ("offer", "answer")
    assert "a=setup:active\r\n" in other.localDescription.sdp


async def test_no_offer_can_be_created_while_an_offer_of_the_peer_is_pending(
    pc: RTCPeerConnection, other: RTCPeerConnection
) -> None:
    other.createDataChannel("chat")
    await pc.setRemoteDescription(await other.createOffer())
    with pytest.raises(InvalidStateError, match="no offer can be created in signaling state 'have-remote-offer'"):
        await pc.createOffer()


async def test_the_state_is_checked_before_the_text(pc: RTCPeerConnection) -> None:
    with pytest.raises(InvalidStateError, match="a remote answer cannot be set in signaling state 'stable'"):
        await pc.setRemoteDescription({"type": "answer", "sdp": "not a description"})


@pytest.mark.parametrize("given", [{"type": "offer"}, {"type": "offer", "sdp": ""}, {}, {"sdp": ""}])
async def test_a_local_description_may_be_a_dictionary(pc: RTCPeerConnection, given: dict[str, str]) -> None:
    pc.createDataChannel("chat")
    await pc.setLocalDescription(given)
    assert pc.signalingState == "have-local-offer"
    assert pc.localDescription is not None
    assert pc.localDescription.type == "offer"


async def test_an_answer_can_be_created_after_a_provisional_one(
    pc: RTCPeerConnection, other: RTCPeerConnection
) -> None:
    other.createDataChannel("chat")
    await pc.setRemoteDescription(await other.createOffer())
    provisional = await pc.createAnswer()
    await pc.setLocalDescription({"type": "pranswer", "sdp": provisional.sdp})
    assert pc.signalingState == "have-local-pranswer"
    assert pc.sctp is not None
    await pc.setLocalDescription(await pc.createAnswer())
    assert pc.signalingState == "stable"


async def test_candidates_name_their_section_and_generation(pc: RTCPeerConnection) -> None:
    pc.createDataChannel("chat")
    seen = emitted(pc, "icecandidate")
    await pc.setLocalDescription(await pc.createOffer())
    assert pc.localDescription is not None
    (ufrag,) = re.findall("a=ice-ufrag:(.*)\r\n", pc.localDescription.sdp)
    candidates = [candidate for _, candidate in seen if isinstance(candidate, RTCIceCandidate)]
    assert candidates
    for candidate in candidates:
        assert (candidate.sdpMid, candidate.sdpMLineIndex, candidate.usernameFragment) == ("0", 0, ufrag)


async def test_statistics_count_only_channels_that_were_open_as_closed(pc: RTCPeerConnection) -> None:
    channel = pc.createDataChannel("never open")
    channel.close()
    await channel.closed()
    stats = (await pc.getStats())["peer-connection"]
    assert (stats.dataChannelsOpened, stats.dataChannelsClosed) == (0, 0)


async def test_no_media_methods_exist(pc: RTCPeerConnection) -> None:
    assert (pc.getTransceivers(), pc.getSenders(), pc.getReceivers()) == ([], [], [])


async def test_an_empty_sdp_means_the_created_description(pc: RTCPeerConnection) -> None:
    pc.createDataChannel("chat")

    await pc.setLocalDescription(RTCSessionDescription(sdp="", type="offer"))

    assert "m=application" in pc.localDescription.sdp


async def test_a_description_that_was_not_created_here_is_refused(
    pc: RTCPeerConnection, other: RTCPeerConnection
) -> None:
    pc.createDataChannel("chat")
    other.createDataChannel("chat")
    theirs = await other.createOffer()

    with pytest.raises(InvalidModificationError):
        await pc.setLocalDescription(theirs)
    ours = await pc.createOffer()
    with pytest.raises(InvalidModificationError):
        await pc.setLocalDescription(RTCSessionDescription(sdp=ours.sdp.replace("actpass", "active"), type="offer"))

    assert pc.signalingState == "stable"


async def test_an_answer_without_an_offer_is_refused(pc: RTCPeerConnection) -> None:
    with pytest.raises(InvalidStateError, match="there is no offer to answer"):
        await pc.createAnswer()
    with pytest.raises(InvalidStateError):
        await pc.setLocalDescription(RTCSessionDescription(sdp="", type="answer"))


async def test_a_malformed_description_is_refused_and_changes_nothing(pc: RTCPeerConnection) -> None:
    for text in ("", "hello", "v=0\r\nm=application"):
        with pytest.raises(SdpError):
            await pc.setRemoteDescription(RTCSessionDescription(sdp=text, type="offer"))
        with pytest.raises(ValueError, match=r"."):
            await pc.setRemoteDescription(RTCSessionDescription(sdp=text, type="offer"))

    assert (pc.signalingState, pc.remoteDescription) == ("stable", None)


async def test_an_answer_that_does_not_fit_is_refused_and_changes_nothing(
    pc: RTCPeerConnection, other: RTCPeerConnection
) -> None:
    pc.createDataChannel("chat")
    await pc.setLocalDescription()
    await other.setRemoteDescription(pc.localDescription)
    await other.setLocalDescription()
    good = other.localDescription

    with pytest.raises(SdpError, match="must choose active or passive"):
        await pc.setRemoteDescription(
            RTCSessionDescription(good.sdp.replace("setup:active", "setup:actpass"), "answer")
        )
    with pytest.raises(SdpError, match="a=mid:7"):
        await pc.setRemoteDescription(RTCSessionDescription(good.sdp.replace("a=mid:0", "a=mid:7"), "answer"))

    assert pc.signalingState == "have-local-offer"


async def test_candidate_lines_that_cannot_be_read_are_ignored_with_a_warning(
    pc: RTCPeerConnection, other: RTCPeerConnection, caplog: pytest.LogCaptureFixture
) -> None:
    other.createDataChannel("chat")
    await other.setLocalDescription()
    assert other.localDescription is not None
    with caplog.at_level(logging.WARNING, "datachan.peer"):
        await pc.setRemoteDescription(
            {"type": "offer", "sdp": other.localDescription.sdp + "a=candidate:1 1 udp\r\n" * 9}
        )
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 4
    assert "a candidate of the peer is ignored: line " in warnings[0]
    assert pc.signalingState == "have-remote-offer"


async def test_audio_and_video_are_refused_one_by_one(pc: RTCPeerConnection, other: RTCPeerConnection) -> None:
    other.createDataChannel("chat")
    await other.setLocalDescription()
    head, data = other.localDescription.sdp.split("m=application", 1)
    audio = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:a\r\na=sendrecv\r\n"
    offer = head.replace("BUNDLE 0", "BUNDLE a 0") + audio + "m=application" + data

    await pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
    answer = (await pc.createAnswer()).sdp

    assert [line for line in answer.split("\r\n") if line.startswith("m=")] == [
        "m=audio 0 UDP/TLS/RTP/SAVPF 111",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    ]
    assert "a=group:BUNDLE 0\r\n" in answer


async def test_an_offer_of_audio_alone_can_be_answered(pc: RTCPeerConnection) -> None:
    offer = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:a\r\n"

    await pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
    await pc.setLocalDescription()

    assert "m=audio 0 " in pc.localDescription.sdp
    assert (pc.signalingState, pc.connectionState, pc.sctp) == ("stable", "new", None)


async def test_a_channel_waits_for_the_next_offer_if_the_peers_offer_has_no_data_section(
    pc: RTCPeerConnection, other: RTCPeerConnection
) -> None:
    channel = pc.createDataChannel("chat")
    offer = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:a\r\n"
    await asyncio.sleep(0)
    seen = emitted(pc, "negotiationneeded")

    await pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
    await pc.setLocalDescription(await pc.createAnswer())
    for _ in range(10):
        await asyncio.sleep(0)

    assert (channel.readyState, pc.connectionState, len(seen)) == ("connecting", "new", 1)
    second = await pc.createOffer()
    assert [line for line in second.sdp.split("\r\n") if line.startswith("m=")] == [
        "m=audio 0 UDP/TLS/RTP/SAVPF 111",
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    ]
    await pc.setLocalDescription(second)
    await other.setRemoteDescription(pc.localDescription)
    await other.setLocalDescription()
    await pc.setRemoteDescription(other.localDescription)
    await soon(channel.opened())


async def test_channels_close_when_the_peer_refuses_the_data_section_and_it_can_be_offered_again(
    pc: RTCPeerConnection, other: RTCPeerConnection
) -> None:
    channel = pc.createDataChannel("chat")
    await pc.setLocalDescription()
    refusal = (
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
        "m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\n"
    )

    await pc.setRemoteDescription(RTCSessionDescription(refusal, "answer"))

    assert (pc.signalingState, pc.connectionState) == ("stable", "new")
    assert (pc.iceConnectionState, pc.iceGatheringState, pc.sctp, pc.failureReason) == ("new", "new", None, None)
    assert (channel.readyState, channel.closeReason) == ("closed", "the data channel section was refused")
    seen = emitted(pc, "negotiationneeded")
    for _ in range(10):
        await asyncio.sleep(0)
    assert seen == [], "nobody waits for a data section"

    again = pc.createDataChannel("again")
    await event(pc, "negotiationneeded")
    await pc.setLocalDescription()
    assert pc.localDescription.sdp.count("m=") == 1
    assert "a=mid:1\r\n" in pc.localDescription.sdp
    await other.setRemoteDescription(pc.localDescription)
    await other.setLocalDescription()
    await pc.setRemoteDescription(other.localDescription)
    await soon(again.opened())


async def test_rollback_withdraws_an_offer(pc: RTCPeerConnection, other: RTCPeerConnection) -> None:
    pc.createDataChannel("chat")
    await pc.setLocalDescription()

    seen = emitted(pc, "icegatheringstatechange")
    assert pc.iceGatheringState == "complete"
    await pc.setLocalDescription(RTCSessionDescription(sdp="", type="rollback"))
    assert (pc.signalingState, pc.localDescription) == ("stable", None)
    assert (pc.iceGatheringState, len(seen)) == ("new", 1)

    await pc.setLocalDescription()
    await other.setRemoteDescription(pc.localDescription)
    await other.setRemoteDescription(RTCSessionDescription(sdp="", type="rollback"))
    assert (other.signalingState, other.remoteDescription) == ("stable", None)


async def test_an_offer_of_the_peer_replaces_our_pending_offer(pc: RTCPeerConnection, other: RTCPeerConnection) -> None:
    for connection in (pc, other):
        connection.createDataChannel("chat")
        await connection.setLocalDescription()
    seen = emitted(pc, "signalingstatechange")

    await pc.setRemoteDescription(other.localDescription)

    assert pc.signalingState == "have-remote-offer"
    assert pc.pendingLocalDescription is None
    assert len(seen) == 2


async def test_negotiation_is_needed_once_for_the_first_channel(pc: RTCPeerConnection) -> None:
    seen = emitted(pc, "negotiationneeded")

    pc.createDataChannel("one")
    assert seen == [], "not inside of the call"
    pc.createDataChannel("two")
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert len(seen) == 1


async def test_no_negotiation_is_needed_when_one_has_started_meanwhile(pc: RTCPeerConnection) -> None:
    seen = emitted(pc, "negotiationneeded")

    pc.createDataChannel("one")
    await pc.setLocalDescription()
    await asyncio.sleep(0)

    assert seen == []


async def test_candidates_need_a_remote_description(pc: RTCPeerConnection) -> None:
    with pytest.raises(InvalidStateError, match="only after setRemoteDescription"):
        await pc.addIceCandidate({"candidate": "candidate:1 1 udp 5 192.0.2.9 4000 typ host", "sdpMid": "0"})


async def test_added_candidates_appear_in_the_remote_description(
    pc: RTCPeerConnection, other: RTCPeerConnection
) -> None:
    other.createDataChannel("chat")
    offer = await other.createOffer()
    await pc.setRemoteDescription(offer)
    assert pc.canTrickleIceCandidates is True
    text = "candidate:1 1 udp 5 192.0.2.9 4000 typ host"

    await pc.addIceCandidate({"candidate": text, "sdpMid": "0", "sdpMLineIndex": 0})
    with pytest.raises(OperationError):
        await pc.addIceCandidate({"candidate": text, "sdpMid": "7"})
    await pc.addIceCandidate(None)

    assert pc.remoteDescription.sdp == offer.sdp + f"a={text}\r\na=end-of-candidates\r\n"


async def test_after_close_calls_raise_and_closing_again_does_nothing(other: RTCPeerConnection) -> None:
    pc = RTCPeerConnection(configuration())
    channel = pc.createDataChannel("chat")
    await pc.setLocalDescription()
    seen = emitted(pc, "signalingstatechange", "connectionstatechange", "iceconnectionstatechange")

    await soon(pc.close())
    await soon(pc.close())

    assert (pc.signalingState, pc.connectionState, pc.iceConnectionState) == ("closed", "closed", "closed")
    assert channel.readyState == "closed"
    assert {name for name, _ in seen} == {"signalingstatechange", "connectionstatechange", "iceconnectionstatechange"}
    with pytest.raises(InvalidStateError):
        pc.createDataChannel("late")
    for call in (pc.createOffer, pc.createAnswer, pc.setLocalDescription, pc.addIceCandidate):
        with pytest.raises(InvalidStateError):
            await call()
    with pytest.raises(InvalidStateError):
        await pc.setRemoteDescription(RTCSessionDescription(sdp="", type="rollback"))


async def test_gathering_continues_after_the_caller_is_canceled(pc: RTCPeerConnection) -> None:
    pc.createDataChannel("chat")
    complete = asyncio.ensure_future(event(pc, "icecandidate"))
    setting = asyncio.ensure_future(pc.setLocalDescription())
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    setting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await setting

    assert pc.signalingState == "have-local-offer"
    await complete


async def test_a_negotiated_id_cannot_be_used_twice(pc: RTCPeerConnection) -> None:
    pc.createDataChannel("one", negotiated=True, id=42)

    with pytest.raises(OperationError):
        pc.createDataChannel("two", negotiated=True, id=42)


async def test_a_given_certificate_is_used() -> None:
    certificate = await RTCPeerConnection.generateCertificate()
    (fingerprint,) = certificate.getFingerprints()

    async with RTCPeerConnection(configuration(certificates=[certificate])) as pc:
        pc.createDataChannel("chat")
        assert f"a=fingerprint:sha-256 {fingerprint.value}\r\n" in (await pc.createOffer()).sdp


async def test_a_changed_copy_of_the_configuration_changes_nothing() -> None:
    async with RTCPeerConnection({"iceServers": [{"urls": "stun:a.example"}]}) as pc:
        copy = pc.getConfiguration()
        assert copy.iceServers is not None
        copy.iceServers[0].urls = "stun:b.example"
        copy.iceServers.clear()
        assert pc.getConfiguration().iceServers == [RTCIceServer("stun:a.example")]
    async with RTCPeerConnection() as pc:
        assert pc.getConfiguration().iceServers == []


async def test_a_changed_configuration_is_used_by_the_next_restart() -> None:
    async with RTCPeerConnection(configuration()) as pc:
        changed = pc.getConfiguration()
        changed.iceTransportPolicy = RTCIceTransportPolicy.RELAY
        pc.setConfiguration(changed)
        assert pc.getConfiguration().iceTransportPolicy is RTCIceTransportPolicy.RELAY
        pc.createDataChannel("x")
        await pc.setLocalDescription()
        assert "a=candidate" not in pc.localDescription.sdp
    with pytest.raises(InvalidStateError):
        pc.setConfiguration(changed)


async def test_the_configuration_can_be_read_back() -> None:
    async with RTCPeerConnection(RTCConfiguration(maxMessageSize=7)) as pc:
        assert pc.getConfiguration().maxMessageSize == 7


async def test_relay_policy_without_a_server_reveals_no_address() -> None:
    async with RTCPeerConnection(configuration(iceTransportPolicy=RTCIceTransportPolicy.RELAY)) as pc:
        pc.createDataChannel("chat")
        await pc.setLocalDescription()

        assert "a=candidate" not in pc.localDescription.sdp
        assert "c=IN IP4 0.0.0.0" in pc.localDescription.sdp
        assert "a=end-of-candidates" in pc.localDescription.sdp
