"""RTCPeerConnection-createDataChannel.html."""

from __future__ import annotations

from typing import Any

import pytest

from datachan import InvalidStateError, OperationError, RTCDataChannel, RTCPeerConnection
from tests.pairs import channel_pair, configuration, signal, soon

KINDS = [{}, {"negotiated": True, "id": 0}]


@pytest.fixture
async def pc():
    async with RTCPeerConnection(configuration()) as connection:
        yield connection


def test_no_argument_raises_type_error() -> None:
    with pytest.raises(TypeError):
        RTCPeerConnection(configuration()).createDataChannel()  # type: ignore[call-arg]


async def test_a_closed_connection_raises_invalid_state(pc: RTCPeerConnection) -> None:
    await pc.close()

    assert pc.signalingState == "closed"
    with pytest.raises(InvalidStateError):
        pc.createDataChannel("")


async def test_default_values(pc: RTCPeerConnection) -> None:
    channel = pc.createDataChannel("")

    assert isinstance(channel, RTCDataChannel)
    assert (channel.label, channel.protocol, channel.ordered, channel.negotiated) == ("", "", True, False)
    assert (channel.maxPacketLifeTime, channel.maxRetransmits, channel.id) == (None, None, None)
    assert (channel.readyState, channel.bufferedAmount, channel.bufferedAmountLowThreshold) == ("connecting", 0, 0)
    assert channel.priority == "low"


async def test_given_values(pc: RTCPeerConnection) -> None:
    channel = pc.createDataChannel(
        "test", ordered=False, maxRetransmits=1, protocol="custom", negotiated=True, id=3, priority="high"
    )
    timed = pc.createDataChannel("test2", ordered=False, maxPacketLifeTime=42)

    assert (channel.label, channel.ordered, channel.maxRetransmits, channel.maxPacketLifeTime) == (
        "test",
        False,
        1,
        None,
    )
    assert (channel.protocol, channel.negotiated, channel.id, channel.priority) == ("custom", True, 3, "high")
    assert (timed.label, timed.maxPacketLifeTime, timed.maxRetransmits) == ("test2", 42, None)


async def test_a_lone_surrogate_in_a_label_is_replaced(pc: RTCPeerConnection) -> None:
    assert pc.createDataChannel("\ud800").label == "\ufffd"
    assert pc.createDataChannel("", protocol="\ud800").protocol == "\ufffd"


@pytest.mark.parametrize("name", ["maxPacketLifeTime", "maxRetransmits"])
async def test_zero_is_accepted_as_a_value(pc: RTCPeerConnection, name: str) -> None:
    assert getattr(pc.createDataChannel("", **{name: 0}), name) == 0


@pytest.mark.parametrize("value", [0, 42])
async def test_both_reliability_limits_raise_type_error(pc: RTCPeerConnection, value: int) -> None:
    pc.createDataChannel("", maxPacketLifeTime=None, maxRetransmits=None)
    with pytest.raises(TypeError):
        pc.createDataChannel("", maxPacketLifeTime=value, maxRetransmits=value)


@pytest.mark.parametrize("number", [0, 1, 65534, 65535])
async def test_an_id_without_negotiated_is_ignored(pc: RTCPeerConnection, number: int) -> None:
    channel = pc.createDataChannel("", id=number)

    assert (channel.negotiated, channel.id) == (False, None)


@pytest.mark.parametrize("number", [0, 1, 65534])
async def test_a_negotiated_channel_has_its_id_at_once(pc: RTCPeerConnection, number: int) -> None:
    assert pc.createDataChannel("", negotiated=True, id=number).id == number


@pytest.mark.parametrize("number", [-1, 65536])
async def test_an_invalid_id_raises_type_error_even_when_ignored(pc: RTCPeerConnection, number: int) -> None:
    with pytest.raises(TypeError):
        pc.createDataChannel("", id=number)


@pytest.mark.parametrize("number", [-1, 65535, 65536, None])
async def test_a_negotiated_channel_needs_a_valid_id(pc: RTCPeerConnection, number: int | None) -> None:
    with pytest.raises(TypeError):
        pc.createDataChannel("", negotiated=True, id=number)


@pytest.mark.parametrize("kind", [{}, {"negotiated": True, "id": 42}])
@pytest.mark.parametrize("text", ["l" * 65536, "\u00b5" * 32768], ids=["ASCII", "two bytes each"])
async def test_a_label_or_protocol_that_is_too_long_raises_type_error(
    pc: RTCPeerConnection, text: str, kind: dict[str, Any]
) -> None:
    with pytest.raises(TypeError):
        pc.createDataChannel(text, **kind)
    with pytest.raises(TypeError):
        pc.createDataChannel("", protocol=text, **kind)


async def test_the_longest_label_and_protocol(pc: RTCPeerConnection) -> None:
    channel = pc.createDataChannel("l" * 65535, protocol="p" * 65535)

    assert (channel.label, channel.protocol) == ("l" * 65535, "p" * 65535)


async def test_two_channels_may_have_the_same_label(pc: RTCPeerConnection) -> None:
    assert pc.createDataChannel("test") is not pc.createDataChannel("test")


async def test_channels_have_ids_once_connected() -> None:
    async with RTCPeerConnection(configuration()) as a, RTCPeerConnection(configuration()) as z:
        negotiated = a.createDataChannel("negotiated-channel", negotiated=True, id=42)
        first = a.createDataChannel("channel")
        assert (negotiated.id, first.id) == (42, None)

        await signal(a, z)
        await soon(first.opened())
        second = a.createDataChannel("channel")

        assert negotiated.id == 42
        assert first.id is not None
        assert second.id is not None
        assert 0 <= first.id < 65535
        assert 0 <= second.id < 65535
        assert first.id != second.id


async def test_an_id_in_use_raises_operation_error() -> None:
    async with RTCPeerConnection(configuration()) as a, RTCPeerConnection(configuration()) as z:
        assert a.createDataChannel("channel-1", negotiated=True, id=42).id == 42
        assert a.createDataChannel("channel-2", negotiated=True, id=43).id == 43
        with pytest.raises(OperationError):
            a.createDataChannel("channel-3", negotiated=True, id=42)

        in_band = a.createDataChannel("channel-4")
        await signal(a, z)
        await soon(in_band.opened())

        with pytest.raises(OperationError):
            a.createDataChannel("channel-5", negotiated=True, id=42)
        with pytest.raises(OperationError):
            a.createDataChannel("channel-6", negotiated=True, id=in_band.id)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_new_channel_is_connecting_even_when_connected(kind: dict[str, Any]) -> None:
    async with RTCPeerConnection(configuration()) as a, RTCPeerConnection(configuration()) as z:
        await channel_pair(a, z, **kind)

        assert a.createDataChannel("").readyState == "connecting"
