"""Capture connections with other stacks; Wireshark dissects every packet and accepts every checksum."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.interop.browsers import Browser
from tests.interop.conftest import browser, situations
from tests.interop.link import linked, serve_page
from tests.interop.test_aiortc import meet
from tests.pairs import configuration, pair, soon
from tests.tshark import assert_flawless, fields

__all__ = ["browser"]  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="module")

INIT, INIT_ACK, SACK, COOKIE_ECHO, COOKIE_ACK, DATA, RE_CONFIG = "1", "2", "3", "10", "11", "0", "130"
DIRECTIONS = {"0x00000001", "0x00000002"}


@pytest.mark.parametrize("we_offer", [True, False], ids=["we offer", "they offer"])
async def test_with_aiortc(we_offer: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.pcapng"
    monkeypatch.setenv("DATACHAN_TRACE", str(path))
    met = await meet(we_offer)
    met.their_channel.on("message", met.their_channel.send)
    met.our_channel.send("x" * 50_000)
    assert len(await soon(anext(met.our_channel))) == 50_000
    met.our_channel.close()
    await soon(met.ours.close())
    await soon(met.theirs.close())
    types = await asyncio.to_thread(assert_flawless, path)
    assert {INIT, COOKIE_ECHO, COOKIE_ACK, SACK, DATA, RE_CONFIG} <= set(types)
    assert types[DATA] > 80
    seen = await asyncio.to_thread(fields, path, ["frame.packet_flags_direction", "sctp.verification_tag"])
    assert {direction for direction, _ in seen} == DIRECTIONS
    assert len({tag for _, tag in seen} - {"0x00000000"}) == 2


async def test_between_two_peers_whose_descriptions_carried_the_inits(tmp_path: Path) -> None:
    path = tmp_path / "run.pcapng"
    async with pair(a_configuration=configuration(trace=path)) as connected:
        connected.a_channel.send("hello")
        assert await soon(anext(connected.z_channel)) == "hello"
    types = await asyncio.to_thread(assert_flawless, path)
    assert types[INIT] == 2
    assert COOKIE_ECHO not in types
    wanted = ["frame.packet_flags_direction", "sctp.verification_tag", "sctp.init_initiate_tag"]
    [(_, zero, ours), (_, _, theirs), *others] = await asyncio.to_thread(fields, path, wanted)
    assert zero == "0x00000000"
    tags = {"0x00000001": ours, "0x00000002": theirs}  # a packet that we receive has the tag of our INIT
    assert {(direction, tag) for direction, tag, _ in others} == set(tags.items())


@pytest.mark.parametrize("browser", situations("as-a-user"), indirect=True, scope="module")
@pytest.mark.parametrize("offerer", ["browser", "python"])
async def test_with_a_browser(browser: Browser, offerer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.pcapng"
    monkeypatch.setenv("DATACHAN_TRACE", str(path))
    async with serve_page() as url, linked(browser, url, offerer) as link:
        ends = await link.connect()
        await ends.exchange("hello ☃" * 3000)
    types = await asyncio.to_thread(assert_flawless, path)
    assert {INIT, INIT_ACK, SACK} <= set(types)
    addresses = await asyncio.to_thread(fields, path, ["ip.src", "udp.srcport", "udp.dstport"])
    assert all("9899" in ports for _, *ports in addresses)
