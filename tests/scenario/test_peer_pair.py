"""Two peer connections in one event loop, over real sockets on this machine; test_peer_closing has how they end."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from datetime import timedelta

import pytest

from datachan import (
    InvalidStateError,
    OperationError,
    RTCConfiguration,
    RTCDataChannel,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
)
from datachan.stack import Stack
from tests.defects import raise_in_one
from tests.pairs import channel_pair, configuration, connected, event, pair, signal, soon, state


def address_of_an_interface() -> str | None:
    """Return an address of this host other than loopback, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return None
        address: str = probe.getsockname()[0]
        return address


async def collect(channel: RTCDataChannel, count: int) -> list[str | bytes]:
    return [await soon(anext(channel)) for _ in range(count)]


# -- connecting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "interface"])
async def test_peers_connect_on_every_kind_of_address(address: str) -> None:
    chosen = address_of_an_interface() if address == "interface" else address
    if chosen is None:
        pytest.skip("this host has no address but the loopback's")
    settings = configuration(hostAddresses=[chosen])

    async with pair(a_configuration=settings, z_configuration=settings) as p:
        p.a_channel.send("hello")
        assert await soon(anext(p.z_channel)) == "hello"
        selected = p.a.sctp.transport.iceTransport.getSelectedCandidatePair()
        assert selected.local.ip == chosen
        assert selected.remote.ip == chosen


async def test_peers_connect_without_a_configuration() -> None:
    async with pair(a_configuration=RTCConfiguration(), z_configuration=RTCConfiguration()) as p:
        p.z_channel.send("hello")
        assert await soon(anext(p.a_channel)) == "hello"


async def test_states_advance_in_order() -> None:
    a, z = RTCPeerConnection(configuration()), RTCPeerConnection(configuration())
    async with a, z:
        seen: list[str] = []
        a.on("connectionstatechange", lambda: seen.append(a.connectionState))
        a.on("iceconnectionstatechange", lambda: seen.append(f"ice {a.iceConnectionState}"))
        channel = a.createDataChannel("chat")
        channel.on("open", lambda: seen.append("open"))

        await signal(a, z)
        await soon(channel.opened())

        assert seen.index("connecting") < seen.index("ice checking") < seen.index("connected") < seen.index("open")
        assert a.sctp is not None
        assert (a.sctp.state, a.sctp.transport.state) == ("connected", "connected")
        assert a.sctp.maxChannels == 65535
        assert a.sctp.maxMessageSize == 64 * 1024 * 1024
        assert len(a.sctp.transport.getRemoteCertificates()) == 1
        assert {a.sctp.transport.iceTransport.role, z.sctp.transport.iceTransport.role} == {"controlling", "controlled"}


async def test_transports_emit_each_state_while_it_holds() -> None:
    async with RTCPeerConnection(configuration()) as a, RTCPeerConnection(configuration()) as z:
        a.createDataChannel("x")
        offer = await a.createOffer()
        seen: list[str] = []
        gathering = asyncio.ensure_future(a.setLocalDescription(offer))
        while a.sctp is None:
            await asyncio.sleep(0)
        dtls, ice = a.sctp.transport, a.sctp.transport.iceTransport
        dtls.on("statechange", lambda: seen.append(f"dtls {dtls.state}"))
        ice.on("gatheringstatechange", lambda: seen.append(f"gathering {ice.gatheringState}"))
        ice.on("selectedcandidatepairchange", lambda: seen.append(f"pair {ice.getSelectedCandidatePair() is not None}"))
        await gathering
        await z.setRemoteDescription(a.localDescription)
        await z.setLocalDescription()
        await a.setRemoteDescription(z.localDescription)
        await connected(a, z)
        await a.close()
        states = [one for one in seen if one.startswith("dtls")]
        assert states == ["dtls connecting", "dtls connected", "dtls closed"]
        assert "gathering complete" in seen
        assert "pair True" in seen


async def test_candidates_may_follow_the_descriptions_one_by_one() -> None:
    a, z = RTCPeerConnection(configuration()), RTCPeerConnection(configuration())
    async with a, z:
        channel = a.createDataChannel("chat")
        trickled: list[asyncio.Task[None]] = []
        offer, held = await a.createOffer(), []
        a.on("icecandidate", held.append)
        await a.setLocalDescription(offer)
        await z.setRemoteDescription(offer)  # as created: without any candidate
        answer = await z.createAnswer()
        z.on("icecandidate", lambda c: trickled.append(asyncio.ensure_future(a.addIceCandidate(c and c.toJSON()))))
        await a.setRemoteDescription(answer)
        await z.setLocalDescription(answer)
        for candidate in held:
            await z.addIceCandidate(candidate)

        await soon(channel.opened())
        await asyncio.gather(*trickled)
        assert a.remoteDescription.sdp.count("a=candidate") == 1


async def test_a_silent_stun_server_does_not_delay_peers_that_trickle() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        settings = configuration(iceServers=[RTCIceServer(urls=f"stun:127.0.0.1:{silent.getsockname()[1]}")])
        a, z = RTCPeerConnection(settings), RTCPeerConnection(settings)
        async with a, z:
            channel = a.createDataChannel("chat")
            offer = await a.createOffer()
            await z.setRemoteDescription(offer)
            a.on("icecandidate", z.addIceCandidate)
            gathering = [asyncio.ensure_future(a.setLocalDescription(offer))]
            await state(a, "signalingState", "have-local-offer", "signalingstatechange")
            answer = await z.createAnswer()
            await a.setRemoteDescription(answer)
            z.on("icecandidate", a.addIceCandidate)
            gathering.append(asyncio.ensure_future(z.setLocalDescription(answer)))

            await soon(channel.opened())
            assert a.iceGatheringState == z.iceGatheringState == "gathering"  # both wait five seconds for the server
        await asyncio.gather(*gathering, return_exceptions=True)


async def test_the_answerer_may_make_the_offerer_the_dtls_client() -> None:
    a, z = RTCPeerConnection(configuration()), RTCPeerConnection(configuration())
    async with a, z:
        a_channel = a.createDataChannel("chat", negotiated=True, id=0)
        z_channel = z.createDataChannel("chat", negotiated=True, id=0)
        await a.setLocalDescription()
        offer = a.localDescription
        await z.setRemoteDescription(RTCSessionDescription(offer.sdp.replace("actpass", "active"), "offer"))
        await z.setLocalDescription()
        assert "a=setup:passive" in z.localDescription.sdp
        await a.setRemoteDescription(z.localDescription)

        await soon(asyncio.gather(a_channel.opened(), z_channel.opened()))
        report = await a.getStats()
        assert report["transport"].dtlsRole == "client"


async def test_a_wrong_fingerprint_fails_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    a, z = RTCPeerConnection(configuration()), RTCPeerConnection(configuration())
    async with a, z:
        channel = a.createDataChannel("chat")
        await a.setLocalDescription()
        offer = a.localDescription.sdp
        start = offer.index("a=fingerprint:sha-256 ") + 22
        forged = offer[:start] + ":".join(["00"] * 32) + offer[start + 95 :]
        await z.setRemoteDescription(RTCSessionDescription(forged, "offer"))
        await z.setLocalDescription()
        with caplog.at_level(logging.WARNING, "datachan.peer"):
            await a.setRemoteDescription(z.localDescription)
            await state(z, "connectionState", "failed", "connectionstatechange")
            await soon(channel.closed())

        assert "fingerprint" in z.failureReason
        assert z.failureReason in caplog.text
        assert a.connectionState == "failed"
        assert channel.closeReason


async def test_a_peer_that_never_answers_fails_with_the_reason() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        async with RTCPeerConnection(configuration(iceTimeout=0.2)) as a, RTCPeerConnection(configuration()) as z:
            channel = a.createDataChannel("chat")
            await a.setLocalDescription()
            await z.setRemoteDescription(a.localDescription)
            answer = (await z.createAnswer()).sdp + f"a=candidate:1 1 udp 5 127.0.0.1 {port} typ host\r\n"
            await a.setRemoteDescription(RTCSessionDescription(answer, "answer"))

            with pytest.raises(InvalidStateError, match="no check was answered"):
                await soon(channel.opened())

            assert (a.connectionState, a.iceConnectionState) == ("failed", "failed")
            assert "remote candidates: 1 host" in a.failureReason


# -- messages ----------------------------------------------------------------------------------------------------------


async def test_messages_of_every_kind_and_size_arrive_in_order() -> None:
    messages = ["", b"", "hello", b"hello", "世界你好", "x" * 1200, b"y" * 65536, b"z" * 300_000, "é" * 100_000, "end"]
    async with pair() as p:
        for message in messages:
            p.a_channel.send(message)

        assert await collect(p.z_channel, len(messages)) == messages


async def test_sending_from_another_thread_raises_and_names_call_soon_threadsafe() -> None:
    async with pair() as p:
        loop = asyncio.get_running_loop()

        async def in_another_loop() -> None:
            p.a_channel.send("lost")

        for call in (lambda: p.a_channel.send("lost"), p.a_channel.close, lambda: asyncio.run(in_another_loop())):
            with pytest.raises(RuntimeError, match=r"loop\.call_soon_threadsafe\(channel\.send, data\)"):
                await asyncio.to_thread(call)
        await asyncio.to_thread(loop.call_soon_threadsafe, p.a_channel.send, "safe")

        assert p.a_channel.readyState == "open"
        assert await soon(anext(p.z_channel)) == "safe"


@pytest.mark.parametrize(
    "options", [{}, {"ordered": False}, {"maxRetransmits": 3}, {"maxPacketLifeTime": 5000, "ordered": False}]
)
async def test_messages_flow_in_both_directions_at_once(options: dict[str, object]) -> None:
    async with pair(**options) as p:
        for number in range(100):
            p.a_channel.send(f"a{number}")
            p.z_channel.send(f"z{number}")

        from_a, from_z = await collect(p.z_channel, 100), await collect(p.a_channel, 100)

        assert sorted(from_a) == sorted(f"a{number}" for number in range(100))
        assert sorted(from_z) == sorted(f"z{number}" for number in range(100))


async def test_a_message_at_the_limit_arrives_and_one_byte_more_raises() -> None:
    async with pair(z_configuration=configuration(maxMessageSize=5_000_000)) as p:
        assert p.a.sctp.maxMessageSize == 5_000_000
        with pytest.raises(TypeError):
            p.a_channel.send(bytes(5_000_001))
        p.a_channel.send(bytes(5_000_000))

        assert len(await soon(anext(p.z_channel))) == 5_000_000
        assert p.a_channel.readyState == "open"


async def test_fifty_channels_do_not_mix_their_messages() -> None:
    async with pair() as p:
        pairs = [await channel_pair(p.a, p.z, f"channel {number}") for number in range(50)]
        for number, (a_channel, z_channel) in enumerate(pairs):
            assert a_channel.id == z_channel.id
            assert z_channel.label == f"channel {number}"
            a_channel.send(f"to z {number}")
            z_channel.send(f"to a {number}")

        for number, (a_channel, z_channel) in enumerate(pairs):
            assert await soon(anext(z_channel)) == f"to z {number}"
            assert await soon(anext(a_channel)) == f"to a {number}"


async def test_channels_can_be_opened_by_both_sides_at_once() -> None:
    async with pair() as p:
        from_a, from_z = p.a.createDataChannel("from a"), p.z.createDataChannel("from z")
        seen_by_z, seen_by_a = await asyncio.gather(event(p.z, "datachannel"), event(p.a, "datachannel"))

        await soon(asyncio.gather(from_a.opened(), from_z.opened()))

        assert (seen_by_z.label, seen_by_a.label) == ("from a", "from z")
        assert from_a.id % 2 != from_z.id % 2


async def test_messages_without_a_listener_are_kept() -> None:
    async with pair() as p:
        for number in range(10):
            p.a_channel.send(str(number))
        p.a_channel.close()
        await soon(p.z_channel.closed())
        received: list[object] = []

        p.z_channel.on("message", received.append)
        await asyncio.sleep(0)

        assert received == [str(number) for number in range(10)]


async def test_an_asynchronous_datachannel_callback_misses_no_message() -> None:
    a, z = RTCPeerConnection(configuration()), RTCPeerConnection(configuration())
    async with a, z:
        received: asyncio.Queue[object] = asyncio.Queue()

        @z.on("datachannel")
        async def on_datachannel(channel: RTCDataChannel) -> None:
            for _ in range(5):
                await asyncio.sleep(0)
            channel.on("message", received.put_nowait)

        channel = a.createDataChannel("chat")
        channel.on("open", lambda: channel.send("first"))
        await signal(a, z)

        assert await soon(received.get()) == "first"


async def test_unread_messages_stop_the_sender_and_reading_resumes_it() -> None:
    block = bytes(64 * 1024)
    async with pair() as p:
        for _ in range(200):
            p.a_channel.send(block)
        # A sends as much as fits into Z's window, and then nothing.
        left = None
        while left != p.a_channel.bufferedAmount:
            left = p.a_channel.bufferedAmount
            await asyncio.sleep(0.2)
        assert 200 * len(block) - left <= 5 * 1024 * 1024

        assert sum(len(message) for message in await collect(p.z_channel, 200)) == 200 * len(block)
        await soon(p.a_channel.drain())


async def test_drain_limits_the_buffered_amount() -> None:
    block = bytes(64 * 1024)
    async with pair() as p:
        p.a_channel.set_write_buffer_limits(high=256 * 1024)
        p.z_channel.on("message", lambda message: None)

        for _ in range(100):
            p.a_channel.send(block)
            assert p.a_channel.bufferedAmount <= 256 * 1024 + len(block)
            await soon(p.a_channel.drain())


async def test_a_callback_that_raises_does_not_end_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    async with pair() as p:

        def broken(message: object) -> None:
            raise ZeroDivisionError(f"on {message}")

        p.z_channel.on("message", broken)
        echoed = asyncio.ensure_future(event(p.z_channel, "message"))
        await asyncio.sleep(0)
        p.a_channel.send("one")

        assert await echoed == "one"
        assert "ZeroDivisionError: on one" in caplog.text
        p.z_channel.send("still here")
        assert await soon(anext(p.a_channel)) == "still here"


# -- renegotiation -----------------------------------------------------------------------------------------------------


async def test_a_second_negotiation_keeps_the_connection() -> None:
    async with pair() as p:
        first = p.a.localDescription.sdp
        await signal(p.z, p.a)
        await signal(p.a, p.z)
        p.a_channel.send("still here")

        assert await soon(anext(p.z_channel)) == "still here"
        assert (p.a.connectionState, p.a.signalingState) == ("connected", "stable")
        assert p.a.localDescription.sdp.split("a=ice-ufrag:")[1][:8] == first.split("a=ice-ufrag:")[1][:8]


async def test_a_second_negotiation_may_lower_the_limit() -> None:
    async with pair() as p:
        await p.z.setLocalDescription()
        offer = p.z.localDescription.sdp.replace("a=max-message-size:67108864", "a=max-message-size:256")
        await p.a.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await p.a.setLocalDescription()
        await p.z.setRemoteDescription(p.a.localDescription)

        assert p.a.sctp.maxMessageSize == 256
        with pytest.raises(TypeError):
            p.a_channel.send(bytes(257))


async def test_audio_added_by_the_peer_later_is_refused_and_the_channel_stays() -> None:
    async with pair() as p:
        await p.z.setLocalDescription()
        audio = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:1\r\n"
        offer = p.z.localDescription.sdp.replace("BUNDLE 0", "BUNDLE 0 1") + audio
        await p.a.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await p.a.setLocalDescription()
        assert "m=audio 0 " in p.a.localDescription.sdp
        assert "a=group:BUNDLE 0\r\n" in p.a.localDescription.sdp

        p.a_channel.send("still here")
        assert await soon(anext(p.z_channel)) == "still here"
        again = await p.a.createOffer()
        assert again.sdp.index("m=application 9") < again.sdp.index("m=audio 0")


async def test_the_peers_certificate_cannot_change() -> None:
    async with pair() as p:
        await p.z.setLocalDescription()
        offer = p.z.localDescription.sdp
        start = offer.index("a=fingerprint:sha-256 ") + 22
        forged = offer[:start] + ":".join(["00"] * 32) + offer[start + 95 :]

        with pytest.raises(OperationError, match="certificate cannot change"):
            await p.a.setRemoteDescription(RTCSessionDescription(forged, "offer"))

        assert p.a.signalingState == "stable"


async def test_rejecting_the_data_section_later_ends_the_channels_and_new_ones_may_follow() -> None:
    async with pair() as p:
        for number in range(3):
            p.z_channel.send(f"unread {number}")
        await soon(anext(p.a_channel))
        await p.z.setLocalDescription()
        offer = p.z.localDescription.sdp.replace("m=application ", "m=application 0 ", 1)
        head, rest = offer.split("m=application 0 ", 1)
        refused = head + "m=application 0 " + rest.split(" ", 1)[1]
        await p.a.setRemoteDescription(RTCSessionDescription(refused, "offer"))
        await p.a.setLocalDescription()
        await p.z.setRemoteDescription(p.a.localDescription)

        await soon(asyncio.gather(p.a_channel.closed(), p.z_channel.closed()))
        assert (p.a.connectionState, p.z.connectionState, p.a.sctp, p.z.sctp) == ("new", "new", None, None)
        assert await soon(anext(p.a_channel)) == "unread 1"
        a_channel, z_channel = await channel_pair(p.a, p.z, "again")
        a_channel.send("hello")
        assert await soon(anext(z_channel)) == "hello"
        assert (p.a.connectionState, p.z.connectionState) == ("connected", "connected")


# -- statistics --------------------------------------------------------------------------------------------------------


async def test_statistics_count_messages_and_bytes() -> None:
    async with pair("stat") as p:
        p.a_channel.send("12345")
        p.z_channel.send(b"123")
        await soon(anext(p.z_channel))
        await soon(anext(p.a_channel))
        await connected(p.a, p.z)

        report = await p.a.getStats()
        by_type: dict[str, list[object]] = {}
        for stats in report.values():
            by_type.setdefault(stats.type, []).append(stats)
        (channel,) = by_type["data-channel"]
        (connection,) = by_type["peer-connection"]
        (transport,) = by_type["transport"]
        selected = report[transport.selectedCandidatePairId]

        assert (channel.label, channel.state, channel.dataChannelIdentifier) == ("stat", "open", p.a_channel.id)
        assert (channel.messagesSent, channel.bytesSent) == (1, 5)
        assert (channel.messagesReceived, channel.bytesReceived) == (1, 3)
        assert (connection.dataChannelsOpened, connection.dataChannelsClosed) == (1, 0)
        assert transport.bytesSent > 0
        assert (transport.dtlsState, transport.iceRole) == ("connected", "controlling")
        assert transport.tlsVersion in {"FEFD", "FEFC"}  # DTLS 1.2 and 1.3
        assert transport.selectedCandidatePairChanges == 1
        assert (selected.packetsDiscardedOnSend, selected.bytesDiscardedOnSend) == (0, 0)
        assert selected.availableOutgoingBitrate > 0
        for candidate in (*by_type["local-candidate"], *by_type["remote-candidate"]):
            own = p.a if candidate.type == "local-candidate" else p.z
            assert f"a=ice-ufrag:{candidate.usernameFragment}\r\n" in own.localDescription.sdp
        assert selected.state == "succeeded"
        assert report[selected.localCandidateId].type == "local-candidate"
        assert report[selected.remoteCandidateId].address == "127.0.0.1"
        assert report[transport.localCertificateId].fingerprint in p.a.localDescription.sdp
        assert report[transport.remoteCertificateId].fingerprint in p.z.localDescription.sdp


async def test_statistics_include_peer_reflexive_candidates() -> None:
    async with RTCPeerConnection(configuration()) as a, RTCPeerConnection(configuration()) as z:
        a.createDataChannel("x")
        await a.setLocalDescription()
        await z.setRemoteDescription(a.localDescription)
        await z.setLocalDescription()
        without = re.sub("a=(candidate|end-of-candidates).*\r\n", "", z.localDescription.sdp)
        await a.setRemoteDescription(RTCSessionDescription(without, "answer"))
        await connected(a, z)
        report = await a.getStats()
        selected = report[report["transport"].selectedCandidatePairId]
        assert report[selected.remoteCandidateId].candidateType == "prflx"


async def test_statistics_count_the_checks_of_both_sides_and_time_the_latest_packets() -> None:
    async with pair() as p:
        p.a_channel.send("hello")
        assert await soon(anext(p.z_channel)) == "hello"
        for pc in (p.a, p.z):
            report = await pc.getStats()
            selected = report[report["transport"].selectedCandidatePairId]
            assert selected.requestsReceived == selected.responsesSent >= 1
            for latest in (selected.lastPacketSentTimestamp, selected.lastPacketReceivedTimestamp):
                assert selected.timestamp - timedelta(seconds=60) < latest <= selected.timestamp


# -- path MTU discovery ------------------------------------------------------------------------------------------------


async def fill(p: object, size: int = 3_000_000) -> None:
    message = bytes(60_000)
    for _ in range(size // len(message)):
        p.a_channel.send(message)  # type: ignore[attr-defined]
        assert await soon(anext(p.z_channel)) == message  # type: ignore[attr-defined]


@pytest.mark.skipif("sys.platform != 'linux'", reason="packets can be kept whole on Linux only")
async def test_on_loopback_packets_grow_to_a_full_dtls_record_with_an_mtuchange_event() -> None:
    async with pair() as p:
        changes: list[int | None] = []
        p.a.sctp.on("mtuchange", lambda: changes.append(p.a.sctp.mtu))
        assert p.a.sctp.mtu < 1200
        await fill(p)
        assert changes[-1] == p.a.sctp.mtu == 16384
        assert changes == sorted(changes)
        (stats,) = [entry for entry in (await p.a.getStats()).values() if entry.type == "sctp-transport"]
        assert stats.mtu == 16384


async def test_without_discovery_packets_stay_short() -> None:
    settings = configuration(pathMtuDiscovery=False)
    async with pair(a_configuration=settings, z_configuration=settings) as p:
        await fill(p, 600_000)
        assert p.a.sctp.mtu < 1200
        assert p.z.sctp.mtu < 1200


async def test_a_short_conversation_sends_no_probes() -> None:
    async with pair() as p:
        for _ in range(50):
            p.a_channel.send("short")
            assert await soon(anext(p.z_channel)) == "short"
        assert p.a.sctp.mtu < 1200
        assert p.a._transport.stack.bytes_sent < 30_000


# -- defects of our own ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["receive_datagrams", "handle_timeout", "next_timeout", "datagrams_to_send", "events"])
async def test_an_internal_error_fails_its_connection_with_the_reason_and_no_other(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair() as first, pair() as second:
        connections = [first.a, first.z, second.a, second.z]
        raise_in_one(monkeypatch, Stack, call)
        first.a_channel.send("message")
        async with asyncio.timeout(20):
            while not (failed := [pc for pc in connections if pc.connectionState == "failed"]):
                await asyncio.sleep(0.01)

        assert len(failed) == 1
        assert failed[0].failureReason == f"internal error: ZeroDivisionError({call!r})"
        whole, hit = (second, first) if failed[0] in (first.a, first.z) else (first, second)
        if call != "datagrams_to_send":  # then not even an ABORT can be sent
            other_end = hit.z if failed[0] is hit.a else hit.a
            await state(other_end, "connectionState", "closed", "connectionstatechange")
        whole.a_channel.send("still here")
        while await soon(anext(whole.z_channel)) != "still here":
            pass
