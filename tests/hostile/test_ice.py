"""Peers that answer checks with errors, name many addresses, or flood with checks: few checks, and few log records."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest
from aioice import stun

from datachan.ice_agent import AgentOptions, PairState
from datachan.log_rate import INTERVAL, MAX_RECORDS, RecordRate
from datachan.sdp import IceCandidate
from datachan.serve import serve
from datachan.udp import UdpSocket
from tests.unit.ice_pair import Watched
from tests.unit.test_ice_agent import PASSWORD, HandmadeAddress

pytestmark = pytest.mark.patient_loop


class Answering:
    """Addresses of a peer that answers each check with a role conflict, the first `conflicts` times."""

    def __init__(self, count: int, conflicts: int = 1 << 30) -> None:
        self.sockets = [UdpSocket.bind("127.0.0.1") for _ in range(count)]
        for socket in self.sockets:
            socket.set_receiver(lambda datagrams, source, socket=socket: self._received(socket, datagrams, source))
        self.conflicts = conflicts
        self.checks: list[stun.Message] = []
        self.pairs: set[tuple[object, object]] = set()
        self.answered: set[bytes] = set()

    def _received(self, socket: UdpSocket, datagrams: list[bytes], source: tuple[str, int]) -> None:
        for datagram in datagrams:
            request = stun.parse_message(datagram)
            if request.message_class != stun.Class.REQUEST or request.transaction_id in self.answered:
                continue
            self.answered.add(request.transaction_id)
            self.checks.append(request)
            self.pairs.add((socket.local_address, source))
            conflict = len(self.checks) <= self.conflicts
            kind = stun.Class.ERROR if conflict else stun.Class.RESPONSE
            response = stun.Message(stun.Method.BINDING, kind, request.transaction_id)
            if conflict:
                response.attributes["ERROR-CODE"] = (487, "Role Conflict")
            else:
                response.attributes["XOR-MAPPED-ADDRESS"] = source[:2]
            response.add_message_integrity(PASSWORD.encode())
            socket.send([bytes(response)], source)

    def close(self) -> None:
        for socket in self.sockets:
            socket.close()


def candidate(port: int, address: str = "127.0.0.1") -> IceCandidate:
    return IceCandidate(
        foundation=str(port), component=1, transport="udp", priority=port, address=address, port=port, type="host"
    )


@contextlib.asynccontextmanager
async def checking(answering: Answering, *, controlling: bool = True):
    watched = Watched(controlling=controlling, host_addresses=["127.0.0.1"])
    await watched.ice.gather()
    watched.ice.set_remote("peer", PASSWORD)
    watched.listen()
    for socket in answering.sockets:
        watched.ice.add_remote_candidate(candidate(socket.local_address[1]))
    watched.ice.add_remote_candidate(None)
    starting = asyncio.create_task(watched.ice.start())
    try:
        yield watched, starting
    finally:
        await watched.ice.close()
        await asyncio.gather(starting, return_exceptions=True)
        answering.close()


async def test_a_peer_that_answers_every_check_with_487_gets_a_few_checks() -> None:
    answering = Answering(5)
    async with checking(answering) as (watched, starting), asyncio.timeout(20):
        while not (pairs := watched.ice.stats().pairs) or any(pair.state != PairState.FAILED.value for pair in pairs):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert not starting.done()
        assert len(answering.checks) == 5 * AgentOptions().max_role_conflicts
        breakers = [
            next(check.attributes[name] for name in ("ICE-CONTROLLING", "ICE-CONTROLLED") if name in check.attributes)
            for check in answering.checks
        ]
        assert len(set(breakers)) >= len(breakers) - 5


async def test_one_role_conflict_switches_the_role_and_the_check_succeeds() -> None:
    answering = Answering(1, conflicts=1)
    async with checking(answering) as (watched, _), asyncio.timeout(20):
        while len(answering.checks) < 2:
            await asyncio.sleep(0.005)
        first, second = answering.checks[:2]
        assert "ICE-CONTROLLING" in first.attributes
        assert "ICE-CONTROLLED" in second.attributes
        assert first.attributes["ICE-CONTROLLING"] != second.attributes["ICE-CONTROLLED"]
        assert not watched.ice.is_controlling


async def test_at_most_a_hundred_pairs_are_checked() -> None:
    watched = Watched(controlling=True, host_addresses=["127.0.0.1", "127.0.0.2", "127.0.0.3"])
    await watched.ice.gather()
    watched.ice.set_remote("peer", PASSWORD)
    for number in range(150):
        watched.ice.add_remote_candidate(candidate(40_000 + number))
    starting = asyncio.create_task(watched.ice.start())
    await asyncio.sleep(0.1)
    pairs = watched.ice.stats().pairs
    assert len(pairs) == AgentOptions().max_pairs
    assert min(pair.remote.priority for pair in pairs) > 40_000
    await watched.ice.close()
    await asyncio.gather(starting, return_exceptions=True)


async def test_checks_before_our_own_make_a_bounded_number_of_pairs_and_are_all_answered() -> None:
    watched = Watched(controlling=False, host_addresses=["127.0.0.1"])
    await watched.ice.gather()
    addresses = [HandmadeAddress(watched) for _ in range(120)]
    for address in addresses:
        for priority in range(1, 4):
            address.check(priority=priority)
        async with asyncio.timeout(5):
            while len(address.responses) < 3:
                await asyncio.sleep(0.001)
    assert len(watched.ice.stats().pairs) <= AgentOptions().max_pairs
    for address in addresses:
        assert address.checks == 0
        address.close()
    await watched.ice.close()


def record(logger: logging.Logger, created: float, line: int = 1) -> logging.LogRecord:
    made = logger.makeRecord(logger.name, logging.INFO, "peer.py", line, "%s called", ("who",), None)
    made.created = created
    return made


def test_records_of_one_statement_are_limited_and_counted() -> None:
    rate = RecordRate()
    logger = logging.getLogger("tests.log-rate")
    passed = [rate.filter(record(logger, 1000.0 + n / 1000)) for n in range(1000)]
    assert passed == [True] * MAX_RECORDS + [False] * (1000 - MAX_RECORDS)
    assert rate.filter(record(logger, 1000.5, line=2))
    later = record(logger, 1000.0 + INTERVAL)
    assert rate.filter(later)
    assert later.getMessage() == f"who called ({1000 - MAX_RECORDS} more were not logged)"


@pytest.mark.parametrize("name", ["driver", "ice", "peer", "serve", "signaling", "trace"])
def test_every_logger_of_the_package_has_a_limit(name: str) -> None:
    assert serve
    assert [one for one in logging.getLogger(f"datachan.{name}").filters if isinstance(one, RecordRate)]
