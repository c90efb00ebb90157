"""The resolution of mDNS names in the peer's candidates."""

from __future__ import annotations

import asyncio
from typing import cast

from datachan.ice.peer_names import PeerNames
from datachan.ice.resolver import MdnsResolver
from datachan.sdp import IceCandidate


class ScriptedResolver:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.answers: dict[str, asyncio.Future[str | None]] = {}
        self.queried_again = 0

    async def resolve(self, name: str) -> str | None:
        self.answers[name] = asyncio.get_running_loop().create_future()
        return await self.answers[name]

    def query_again(self) -> None:
        self.queried_again += 1


def named(name: str) -> IceCandidate:
    return IceCandidate(foundation="1", transport="udp", priority=1, address=name, port=9, type="host")


async def turns() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


async def test_a_resolved_name_is_handed_up_and_another_one_stays_unresolved() -> None:
    resolver, found = ScriptedResolver(), list[tuple[str, str]]()
    names = PeerNames(
        cast(MdnsResolver, resolver), lambda candidate, address: found.append((candidate.address, address))
    )
    names.query_again()
    assert resolver.queried_again == 0
    for name in ("b.local", "a.local", "c.local"):
        names.resolve(named(name))
    await turns()
    resolver.answers["b.local"].set_result("192.0.2.1")
    resolver.answers["c.local"].set_result(None)
    await turns()
    assert found == [("b.local", "192.0.2.1")]
    assert names.unresolved == ["a.local"]
    names.query_again()
    assert resolver.queried_again == 1
    await names.close()
    assert resolver.answers["a.local"].cancelled()
    assert names.unresolved == []


async def test_a_candidate_that_comes_again_is_resolved_once() -> None:
    resolver, found = ScriptedResolver(), list[str]()
    names = PeerNames(cast(MdnsResolver, resolver), lambda _, address: found.append(address))
    names.resolve(named("a.local"))
    names.resolve(named("a.local"))
    await turns()
    resolver.answers["a.local"].set_result("192.0.2.1")
    await turns()
    assert found == ["192.0.2.1"]
    await names.close()
