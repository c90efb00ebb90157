"""RTCSctpTransport-constructor.html, -maxChannels.html and -maxMessageSize.html."""

from __future__ import annotations

import pytest

from datachan import RTCDtlsTransport, RTCPeerConnection, RTCSctpTransport, RTCSessionDescription
from tests.pairs import configuration, pair, signal, soon, state

ROLLBACK = RTCSessionDescription(sdp="", type="rollback")


async def test_a_channel_has_the_transport_of_its_connection(a: RTCPeerConnection) -> None:
    channel = a.createDataChannel("x")
    assert channel.transport is None
    await a.setLocalDescription()
    assert a.sctp is not None
    assert channel.transport is a.sctp


async def test_the_transport_appears_with_a_local_offer_and_goes_with_its_rollback(a: RTCPeerConnection) -> None:
    a.createDataChannel("test")
    assert a.sctp is None
    for _ in range(2):
        await a.setLocalDescription()
        assert isinstance(a.sctp, RTCSctpTransport)
        assert isinstance(a.sctp.transport, RTCDtlsTransport)
        assert (a.sctp.state, a.sctp.maxChannels, a.sctp.maxMessageSize) == ("connecting", None, None)
        await a.setLocalDescription(ROLLBACK)
        assert a.sctp is None


async def test_the_transport_appears_with_a_remote_offer_and_goes_with_its_rollback(
    a: RTCPeerConnection, z: RTCPeerConnection
) -> None:
    a.createDataChannel("test")
    offer = await a.createOffer()
    for _ in range(2):
        await z.setRemoteDescription(offer)
        assert isinstance(z.sctp, RTCSctpTransport)
        await z.setRemoteDescription(ROLLBACK)
        assert z.sctp is None


async def test_the_number_of_channels_is_known_once_connected(a: RTCPeerConnection, z: RTCPeerConnection) -> None:
    a.createDataChannel("")
    await signal(a, z)
    assert (a.sctp.maxChannels, z.sctp.maxChannels) == (None, None)

    for pc in (a, z):
        await state(pc.sctp, "state", "connected", "statechange")

    assert a.sctp.maxChannels == z.sctp.maxChannels
    assert a.sctp.maxChannels > 0


@pytest.mark.parametrize(
    ("announced", "limit"),
    [("", 65536), ("a=max-message-size:128\r\n", 128), ("a=max-message-size:0\r\n", 64 * 1024 * 1024)],
    ids=["missing", "128", "no limit"],
)
async def test_max_message_size_is_the_one_the_peer_announces(
    a: RTCPeerConnection, z: RTCPeerConnection, announced: str, limit: int
) -> None:
    a.createDataChannel("test")
    offer = (await a.createOffer()).sdp.replace("a=max-message-size:67108864\r\n", announced)

    await z.setRemoteDescription(RTCSessionDescription(offer, "offer"))
    await z.setLocalDescription()

    assert z.sctp.maxMessageSize == limit


async def test_max_message_size_is_infinite_without_a_limit() -> None:
    unlimited = configuration(maxMessageSize=0)
    async with pair(a_configuration=unlimited, z_configuration=unlimited) as p:
        assert p.a.sctp.maxMessageSize == float("inf")


async def test_a_new_negotiation_may_change_max_message_size(a: RTCPeerConnection, z: RTCPeerConnection) -> None:
    channel = a.createDataChannel("test")
    await signal(a, z)
    await soon(channel.opened())
    await a.setLocalDescription()
    offer = a.localDescription.sdp.replace("size:67108864", "size:256")

    await z.setRemoteDescription(RTCSessionDescription(offer, "offer"))
    await z.setLocalDescription()

    assert z.sctp.maxMessageSize == 256
