"""Test with usrsctp: several addresses, authenticated chunks, and addresses that change.

Over UDP, usrsctp leaves the source address to the system, which uses 127.0.0.1 for all loopback addresses. Its
addresses must include that one, or responses do not reach it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datachan.sctp.events import LocalAddressChanged, PathStatus, PathStatusChanged
from datachan.sctp.wire.extensions import ASCONF, ASCONF_ACK
from tests.interop.namespaces import network
from tests.interop.usrsctp.process import build, crc, pattern
from tests.interop.usrsctp.test_usrsctp import ROLES, association

TWO = ["127.0.0.1", "127.0.0.2"]
DYNAMIC: dict[str, Any] = {
    "authentication": True,
    "authenticated_chunks": (ASCONF, ASCONF_ACK),
    "dynamic_addresses": True,
    "local_addresses": ("127.0.0.1", "127.0.0.5"),
}


@pytest.fixture(scope="module", autouse=True)
def addresses() -> Iterator[None]:
    """Enter a network namespace, because usrsctp accepts only the addresses of an interface."""
    commands = ["ip link set lo up", *[f"ip address add 127.0.0.{last}/8 dev lo" for last in range(2, 9)]]
    with network("\n".join(commands)):
        yield


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("usrsctp"))


async def test_data_continues_on_another_path_when_the_primary_fails(program: Path) -> None:
    ours = {"path_max_retrans": 1, "rto_max": 0.5, "heartbeat_interval": 0.5}
    async with association(program, "server", ours, local_hosts=TWO) as (engine, peer, _):
        peer.order("quiet")

        def verified(host: str) -> bool:
            return any(
                event.address is not None and event.address[0] == host and event.status is PathStatus.CONFIRMED
                for event in engine.of(PathStatusChanged)
            )

        await engine.until(lambda: verified("127.0.0.2"))
        count, size = 100, 20_000
        for index in range(count):
            engine.send(1, pattern(index, 1, size))
        engine.wake()
        primary = engine.association.primary_address
        assert primary is not None
        engine.cut_off.add(primary[0])
        for index in range(count, 2 * count):
            engine.send(1, pattern(index, 1, size))
        await engine.until(
            lambda: engine.association.stats().buffered == 0 and engine.association.stats().flight_size == 0
        )
        engine.cut_off.clear()  # responses go to the apparent address of usrsctp, which is always 127.0.0.1
        engine.association.shutdown(engine.now)
        engine.wake()
        await peer.tells("end eof")
        sent = [pattern(index, 1, size) for index in range(2 * count)]
        assert (await peer.ask("crc 1", "crc (.*)"))[1] == crc(*sent)


@pytest.mark.parametrize("role", ROLES)
async def test_negotiates_authentication(program: Path, role: str) -> None:
    async with association(program, role, DYNAMIC) as (engine, peer, _):
        await peer.tells("up 64 64.* auth asconf.*")
        engine.send(1, b"hello")
        engine.wake()
        await peer.tells(f"message 1 0 5 0 {crc(b'hello')}")


@pytest.mark.parametrize("role", ROLES)
async def test_authenticates_data_when_configured(program: Path, role: str) -> None:
    ours = {"authentication": True, "authenticated_chunks": (0,)}
    async with association(program, role, ours) as (engine, peer, _):
        peer.order("send 3 0 20000 5 0 0 0")
        assert [message.data for message in await engine.receive(5)] == [pattern(i, 3, 20000) for i in range(5)]


@pytest.mark.parametrize("role", ROLES)
async def test_we_add_an_address_and_delete_it(program: Path, role: str) -> None:
    async with association(program, role, DYNAMIC) as (engine, peer, _):
        engine.association.add_address("127.0.0.6")
        await engine.until(
            lambda: any(event.address == "127.0.0.6" and event.accepted for event in engine.of(LocalAddressChanged))
        )
        await peer.tells(r"address 127\.0\.0\.6 (added|confirmed)")
        engine.association.delete_address("127.0.0.6")
        engine.wake()
        await peer.tells(r"address 127\.0\.0\.6 removed")
        engine.send(1, b"after")
        engine.wake()
        await peer.tells(f"message 1 0 5 0 {crc(b'after')}")


@pytest.mark.parametrize("role", ROLES)
async def test_usrsctp_adds_an_address_and_deletes_it(program: Path, role: str) -> None:
    async with association(program, role, DYNAMIC, local_hosts=TWO) as (engine, peer, _):
        await peer.tells("up 64 64.* auth asconf.*")
        peer.order("add-address 127.0.0.7")
        await engine.until(lambda: "127.0.0.7" in [ip for ip, _ in engine.association.peer_addresses()])
        peer.order("remove-address 127.0.0.7")
        await engine.until(lambda: "127.0.0.7" not in [ip for ip, _ in engine.association.peer_addresses()])
        peer.order("send 3 0 20 1 0 0 0")
        await engine.receive(1)
