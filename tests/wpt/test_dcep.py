"""RTCDataChannel-dcep.html."""

from __future__ import annotations

import pytest

from tests.pairs import pair


@pytest.mark.parametrize("ordered", [True, False])
async def test_reliable_channels(ordered: bool) -> None:
    async with pair(ordered=ordered) as p:
        for channel in (p.a_channel, p.z_channel):
            assert (channel.ordered, channel.maxRetransmits, channel.maxPacketLifeTime) == (ordered, None, None)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("name", ["maxRetransmits", "maxPacketLifeTime"])
@pytest.mark.parametrize("value", [None, 0, 65535])
async def test_unreliable_channels(ordered: bool, name: str, value: int | None) -> None:
    async with pair(ordered=ordered, **{name: value}) as p:
        for channel in (p.a_channel, p.z_channel):
            assert channel.ordered == ordered
            assert getattr(channel, name) == value


@pytest.mark.parametrize("priority", ["very-low", "low", "medium", "high"])
async def test_priorities(priority: str) -> None:
    async with pair(priority=priority) as p:
        assert p.a_channel.priority == p.z_channel.priority == priority


async def test_ids_are_the_same_on_both_sides() -> None:
    async with pair() as p:
        assert 0 <= p.a_channel.id < 65535
        assert p.a_channel.id == p.z_channel.id


@pytest.mark.parametrize(
    ("label", "protocol"),
    [("", ""), ("l" * 65535, "p" * 65535), ("\u2022" * 21845, "\u20ac" * 21845)],
    ids=["empty", "longest", "longest of three bytes each"],
)
async def test_labels_and_protocols_of_every_length(label: str, protocol: str) -> None:
    async with pair(label, protocol=protocol) as p:
        for channel in (p.a_channel, p.z_channel):
            assert channel.label == label
            assert channel.protocol == protocol
