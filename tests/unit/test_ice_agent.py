"""The controlled agent against a simulated controlling peer: which pair it selects, and what it answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aioice import stun

from datachan.ice import IceState
from datachan.ice_agent import AgentOptions
from datachan.udp import UdpSocket
from tests.unit.ice_pair import DTLS, Watched

PASSWORD = "p" * 24
TIE_BREAKER = 1 << 63

pytestmark = pytest.mark.patient_loop


class HandmadeAddress:
    """One address of a controlling peer: sends the checks of a test, answers checks, and keeps data."""

    def __init__(self, watched: Watched) -> None:
        self._ice = watched.ice
        [local] = watched.ice.local_candidates
        self._there = (local.address, local.port)
        self._socket = UdpSocket.bind("127.0.0.1")
        self._socket.set_receiver(self._received)
        self.answers_checks = True
        self.forbids = False
        self.data: list[bytes] = []
        self.checks = 0
        self.responses: list[stun.Message] = []
        self._changed = asyncio.Event()

    @property
    def port(self) -> int:
        port: int = self._socket.local_address[1]
        return port

    def check(self, *, priority: int, nominate: bool = True, **attributes: Any) -> None:
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        request.attributes["USERNAME"] = f"{self._ice.username_fragment}:peer"
        request.attributes["PRIORITY"] = priority
        request.attributes["ICE-CONTROLLING"] = TIE_BREAKER
        if nominate:
            request.attributes["USE-CANDIDATE"] = None
        request.attributes.update(attributes)
        request.add_message_integrity(self._ice.password.encode())
        self._socket.send([bytes(request)], self._there)

    def send(self, *datagrams: bytes) -> None:
        self._socket.send(datagrams, self._there)

    def _received(self, datagrams: list[bytes], _: Any) -> None:
        for datagram in datagrams:
            if datagram[0] >= 20:
                self.data.append(datagram)
                continue
            message = stun.parse_message(datagram)
            if message.message_class == stun.Class.REQUEST:
                self.checks += 1
                if self.answers_checks:
                    self._answer(message)
            else:
                self.responses.append(message)
        self._changed.set()

    def _answer(self, request: stun.Message) -> None:
        kind = stun.Class.ERROR if self.forbids else stun.Class.RESPONSE
        response = stun.Message(stun.Method.BINDING, kind, request.transaction_id)
        if self.forbids:
            response.attributes["ERROR-CODE"] = (403, "Forbidden")
        else:
            response.attributes["XOR-MAPPED-ADDRESS"] = self._there
        response.add_message_integrity(PASSWORD.encode())
        self._socket.send([bytes(response)], self._there)

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def close(self) -> None:
        self._socket.close()


class Scene:
    def __init__(self, options: AgentOptions | None = None) -> None:
        self.z = Watched(controlling=False, host_addresses=["127.0.0.1"], agent_options=options)
        self.addresses: list[HandmadeAddress] = []
        self.starting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.z.ice.gather()
        self.z.ice.set_remote("peer", PASSWORD)
        self.z.listen()
        self.starting = asyncio.create_task(self.z.ice.start())
        await self.z.until(lambda: self.z.ice.state is IceState.CHECKING)

    def address(self) -> HandmadeAddress:
        self.addresses.append(HandmadeAddress(self.z))
        return self.addresses[-1]

    def selected_port(self) -> int | None:
        pair = self.z.ice.selected_pair
        return None if pair is None else pair.remote.port

    async def until_selected(self, address: HandmadeAddress) -> None:
        async with asyncio.timeout(10):
            while self.selected_port() != address.port:
                await asyncio.sleep(0.005)

    async def close(self) -> None:
        await self.z.ice.close()
        if self.starting is not None:
            await asyncio.gather(self.starting, return_exceptions=True)
        for address in self.addresses:
            address.close()


@pytest.fixture
def options() -> AgentOptions | None:
    return None


@pytest.fixture
async def scene(options: AgentOptions | None) -> AsyncIterator[Scene]:
    scene = Scene(options)
    await scene.start()
    yield scene
    await scene.close()


async def test_follows_a_nomination_of_higher_priority(scene: Scene) -> None:
    first, second = scene.address(), scene.address()
    selected: list[int] = []
    scene.z.ice.on_selected_pair_change = lambda pair: selected.append(pair.remote.port)
    first.check(priority=1000)
    await scene.until_selected(first)
    second.check(priority=2000)
    await scene.until_selected(second)
    assert selected == [first.port, second.port]
    scene.z.send(DTLS + b"to the second")
    await second.until(lambda: second.data == [DTLS + b"to the second"])
    assert first.data == []


async def test_a_pair_of_lower_priority_does_not_replace_one_that_is_alive(scene: Scene) -> None:
    first, second = scene.address(), scene.address()
    first.check(priority=2000)
    await scene.until_selected(first)
    second.check(priority=1000)
    await second.until(lambda: second.checks and second.responses)
    second.send(DTLS + b"marker")
    await scene.z.until(lambda: scene.z.received == [DTLS + b"marker"])
    assert scene.selected_port() == first.port


@pytest.mark.parametrize("options", [AgentOptions(insistence=0.2)])
async def test_a_pair_of_lower_priority_is_used_if_the_peer_insists_on_it(scene: Scene) -> None:
    first, second = scene.address(), scene.address()
    first.check(priority=2000)
    await scene.until_selected(first)
    loop = asyncio.get_running_loop()
    started = loop.time()
    while scene.selected_port() != second.port:
        second.check(priority=1000)  # a browser repeats it until the other end has selected the pair
        await asyncio.sleep(0.02)
        assert loop.time() < started + 10
    assert loop.time() >= started + 0.2


async def test_sends_on_the_first_valid_pair_until_the_peer_nominates_another(scene: Scene) -> None:
    first, second = scene.address(), scene.address()
    first.check(priority=2000, nominate=False)
    await scene.until_selected(first)
    assert scene.z.ice.state is IceState.CONNECTED
    scene.z.send(DTLS + b"before nomination")
    await first.until(lambda: first.data == [DTLS + b"before nomination"])
    second.check(priority=1000)
    await scene.until_selected(second)
    scene.z.send(DTLS + b"after nomination")
    await second.until(lambda: second.data == [DTLS + b"after nomination"])
    assert first.data == [DTLS + b"before nomination"]


@pytest.mark.parametrize("options", [AgentOptions(consent_interval=0.05, consent_expiry=0.5)])
async def test_keeps_consent_fresh_on_a_pair_that_is_not_nominated(scene: Scene) -> None:
    first = scene.address()
    first.check(priority=1000, nominate=False)
    await scene.until_selected(first)
    await first.until(lambda: first.checks > 5)
    first.answers_checks = False
    await scene.z.until(lambda: scene.z.ice.state is IceState.FAILED)


async def test_a_selected_pair_that_is_dead_gives_way_to_a_worse_one(scene: Scene) -> None:
    first, second = scene.address(), scene.address()
    first.check(priority=2000)
    await scene.until_selected(first)
    first.answers_checks = False
    second.check(priority=1000)
    await scene.until_selected(second)


async def test_takes_data_from_the_source_of_a_valid_check_before_nomination(scene: Scene) -> None:
    first = scene.address()
    first.send(DTLS + b"too early")
    async with asyncio.timeout(10):
        while scene.z.ice.stats().packets_discarded_on_receive == 0:
            await asyncio.sleep(0.005)
    first.answers_checks = False
    first.check(priority=1000, nominate=False)
    first.send(DTLS + b"in time")
    await scene.z.until(lambda: bool(scene.z.received))
    assert scene.z.received == [DTLS + b"in time"]
    assert scene.z.ice.state is IceState.CHECKING
    assert scene.z.ice.stats().packets_discarded_on_receive == 1


async def test_repeats_its_own_check_at_once_when_a_check_of_the_peer_arrives(scene: Scene) -> None:
    first = scene.address()
    first.answers_checks = False
    first.check(priority=1000)
    await first.until(lambda: first.checks == 1)
    first.answers_checks = True
    loop = asyncio.get_running_loop()
    started = loop.time()
    first.check(priority=1000)
    await scene.until_selected(first)
    assert loop.time() - started < 0.4


async def test_rejects_a_check_for_another_user_and_does_not_trust_its_address(scene: Scene) -> None:
    first = scene.address()
    first.check(priority=1000, USERNAME="another:user")
    await first.until(lambda: bool(first.responses))
    assert first.responses[0].error_code == 401
    first.send(DTLS + b"untrusted")
    second = scene.address()
    second.check(priority=1000)
    second.send(DTLS + b"trusted")
    await scene.z.until(lambda: bool(scene.z.received))
    assert scene.z.received == [DTLS + b"trusted"]


async def test_a_peer_with_many_addresses_costs_bounded_memory(scene: Scene) -> None:
    first = scene.address()
    first.check(priority=1 << 30)
    await scene.until_selected(first)
    for _ in range(130):
        scene.address().check(priority=1000, nominate=False)
    last = scene.addresses[-1]
    await last.until(lambda: bool(last.responses))
    assert len(scene.z.ice.stats().pairs) <= 100
    assert scene.selected_port() == first.port


@pytest.mark.parametrize("options", [AgentOptions(consent_interval=0.05)])
async def test_revoked_consent_ends_the_path(scene: Scene) -> None:
    first = scene.address()
    first.check(priority=1000)
    await scene.until_selected(first)
    link = scene.z.ice.link
    assert link is not None
    first.forbids = True
    await scene.z.until(lambda: scene.z.ice.state is IceState.FAILED)
    assert "revoked" in str(scene.z.ice.failure)
    assert scene.z.ice.link is None
    assert not link.writable
