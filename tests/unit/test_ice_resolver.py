"""The mDNS resolver with responders on loopback multicast that behave like browsers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from datachan.ice.mdns import TYPE_A
from datachan.ice.resolver import MdnsResolver, shared_resolver
from datachan.udp import UdpSocket
from tests.ports import free_port
from tests.unit.mdns_responder import GROUP, Link, chromium_answer

NAME = "75f3215a-340d-4e6a-8055-033427683a91.local"


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    link = Link({NAME: "192.0.2.7", "six.local": "fd00::7"})
    yield link
    link.close()


async def within(awaitable: Any, seconds: float = 10.0) -> Any:
    return await asyncio.wait_for(awaitable, seconds)


async def test_resolves_a_name_to_its_ipv4_address(link: Link) -> None:
    assert await within(link.resolver.resolve(NAME)) == "192.0.2.7"


async def test_resolves_a_name_to_its_ipv6_address(link: Link) -> None:
    assert await within(link.resolver.resolve("six.local")) == "fd00::7"


async def test_names_match_in_any_case(link: Link) -> None:
    assert await within(link.resolver.resolve(NAME.upper())) == "192.0.2.7"


async def test_several_waiters_share_one_query(link: Link) -> None:
    found = await within(asyncio.gather(*(link.resolver.resolve(NAME) for _ in range(5))))
    assert found == ["192.0.2.7"] * 5
    assert len([query for query in link.responder.queries if query[:2] == (NAME, TYPE_A)]) == 1


async def test_queries_again_until_there_is_an_answer(link: Link) -> None:
    link.responder.silent = True
    waiting = asyncio.create_task(link.resolver.resolve(NAME))
    await within(link.responder.asked.wait())
    link.responder.silent = False
    assert await within(waiting) == "192.0.2.7"
    assert len([query for query in link.responder.queries if query[1] == TYPE_A]) == 2


async def test_an_unsolicited_announcement_resolves_a_name(link: Link) -> None:
    link.responder.silent = True
    waiting = asyncio.create_task(link.resolver.resolve(NAME))
    await within(link.responder.asked.wait())
    link.responder.announce(chromium_answer(NAME, "192.0.2.8"))
    assert await within(waiting, 0.9) == "192.0.2.8"


async def test_ignores_malformed_answers_and_answers_for_other_names(link: Link) -> None:
    link.responder.silent = True
    waiting = asyncio.create_task(link.resolver.resolve(NAME))
    await within(link.responder.asked.wait())
    for junk in (
        b"",
        b"\xff" * 12,
        b"\0\0\x84\0\0\0\xff\xff\0\0\0\0\xc0\x0c",
        chromium_answer("other.local", "192.0.2.1"),
    ):
        link.responder.announce(junk)
    link.responder.announce(chromium_answer(NAME, "224.0.0.1"))
    link.responder.announce(chromium_answer(NAME, "192.0.2.9"))
    assert await within(waiting) == "192.0.2.9"


async def test_ignores_an_answer_from_another_port(link: Link) -> None:
    link.responder.silent = True
    waiting = asyncio.create_task(link.resolver.resolve(NAME))
    await within(link.responder.asked.wait())
    stranger = UdpSocket.bind("127.0.0.1")
    stranger.send([chromium_answer(NAME, "192.0.2.66")], (GROUP, link.port))
    stranger.send([chromium_answer(NAME, "192.0.2.66")], ("127.0.0.1", link.port))
    stranger.close()
    link.responder.announce(chromium_answer(NAME, "192.0.2.9"))
    assert await within(waiting) == "192.0.2.9"


async def test_without_the_shared_port_it_asks_for_unicast_answers() -> None:
    port = free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as selfish:
        selfish.setsockopt(
            socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + socket.inet_aton("127.0.0.1")
        )
        selfish.bind(("", port))
        selfish.setblocking(False)
        resolver = MdnsResolver(interfaces=["127.0.0.1"], port=port, groups=[GROUP])
        waiting = asyncio.create_task(resolver.resolve(NAME))
        loop = asyncio.get_running_loop()
        query, source = await within(loop.sock_recvfrom(selfish, 2000))
        assert query[-2:] == b"\x80\x01"
        await loop.sock_sendto(selfish, chromium_answer(NAME, "192.0.2.10"), source)
        assert await within(waiting) == "192.0.2.10"
        resolver.close()


async def test_sends_no_query_for_other_names(link: Link) -> None:
    assert await within(link.resolver.resolve("example.com")) is None
    assert await within(link.resolver.resolve("a.b.local")) is None
    assert link.responder.queries == []


async def test_without_an_interface_there_is_no_answer() -> None:
    resolver = MdnsResolver(interfaces=[], groups=[GROUP])
    assert await within(resolver.resolve(NAME)) is None
    resolver.close()


async def test_the_number_of_names_is_bounded(link: Link) -> None:
    link.responder.silent = True
    waiting = [asyncio.create_task(link.resolver.resolve(f"n{number}.local")) for number in range(300)]
    done, pending = await asyncio.wait(waiting, timeout=0.3)
    assert len(pending) == 256
    assert {task.result() for task in done} == {None}
    link.resolver.close()
    assert set(await within(asyncio.gather(*pending))) == {None}


async def test_stops_querying_when_no_caller_waits(link: Link) -> None:
    link.responder.silent = True
    waiting = asyncio.create_task(link.resolver.resolve(NAME))
    await within(link.responder.asked.wait())
    waiting.cancel()
    await asyncio.wait([waiting])
    link.responder.silent = False
    link.responder.queries.clear()
    assert await within(link.resolver.resolve("six.local")) == "fd00::7"
    assert {name for name, *_ in link.responder.queries} == {"six.local"}


async def test_querying_again_waits_a_second_after_the_latest_query(link: Link) -> None:
    link.responder.silent = True
    loop = asyncio.get_running_loop()
    started = loop.time()
    waiting = asyncio.create_task(link.resolver.resolve(NAME))
    await within(link.responder.asked.wait())
    link.resolver.query_again()
    link.resolver.query_again()
    link.responder.silent = False
    assert await within(waiting) == "192.0.2.7"
    assert loop.time() - started >= 0.99
    assert len([query for query in link.responder.queries if query[1] == TYPE_A]) == 2


async def test_the_shared_resolver_is_the_same_for_all_users_and_closed_after_the_last() -> None:
    async with shared_resolver() as first, shared_resolver() as second:
        assert first is second
    async with shared_resolver() as third:
        assert third is not first
