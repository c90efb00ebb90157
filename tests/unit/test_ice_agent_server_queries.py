"""Queries to STUN servers: one for each base and server, kept alive, and ended by whatever ends them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from datachan.ice_agent import Base, stun
from datachan.ice_agent.server_queries import KEEPALIVE, MAX_QUERIES, Mapped, QueryFailed, ServerQueries
from datachan.ice_agent.turn_messages import UNREACHABLE

BASE, SECOND = Base("192.168.1.2", 5000), Base("192.168.1.3", 5000)
SERVER = ("203.0.113.1", 3478)
PUBLIC, LATER = ("198.51.100.4", 40_000), ("198.51.100.4", 40_001)
Answer = Callable[[stun.Message], stun.Message]


def mapped(address: tuple[str, int]) -> Answer:
    def answer(request: stun.Message) -> stun.Message:
        value = stun.xor_address(address, request.transaction_id)
        return stun.Message(stun.BINDING + stun.SUCCESS, request.transaction_id, {stun.XOR_MAPPED_ADDRESS: value})

    return answer


class Asked:
    """Queries on a virtual clock."""

    def __init__(self) -> None:
        self.now = 0.0
        numbers = iter(range(1, 10_000))
        self.queries = ServerQueries(lambda length: next(numbers).to_bytes(length, "big"))
        self.queries.ask(BASE, SERVER, self.now)

    def answer(self, answer: Answer) -> list[Mapped | QueryFailed]:
        for _, _, datagram in self.queries.datagrams_to_send(self.now):
            response = stun.serialize(answer(stun.parse_untrusted(datagram)))
            assert self.queries.owns(response)
            self.queries.receive_datagram(response, self.now)
        return self.queries.events()

    def advance(self, seconds: float) -> int:
        """Let time pass; return the number of datagrams that were sent."""
        end, sent = self.now + seconds, 0
        while (due := self.queries.next_timeout()) is not None and due <= end:
            self.now = due
            self.queries.handle_timeout(due)
            sent += len(self.queries.datagrams_to_send(due))
        self.now = end
        return sent


def test_reports_the_address_of_a_base_as_a_server_sees_it() -> None:
    asked = Asked()
    assert asked.answer(mapped(PUBLIC)) == [Mapped(BASE, SERVER, PUBLIC)]
    assert not asked.queries.waiting


def test_keeps_the_mapping_alive_and_reports_another_one() -> None:
    asked = Asked()
    asked.answer(mapped(PUBLIC))
    for address, events in ((PUBLIC, []), (LATER, [Mapped(BASE, SERVER, LATER)])):
        assert asked.queries.next_timeout() == asked.now + KEEPALIVE
        asked.now += KEEPALIVE
        asked.queries.handle_timeout(asked.now)
        assert asked.answer(mapped(address)) == events


def test_a_network_that_is_away_for_a_while_does_not_end_the_keepalive() -> None:
    asked = Asked()
    asked.answer(mapped(PUBLIC))
    assert asked.advance(200) > 2
    assert asked.queries.events() == []


def test_reads_the_address_that_old_servers_send() -> None:
    def answer(request: stun.Message) -> stun.Message:
        value = b"\0\1" + PUBLIC[1].to_bytes(2, "big") + bytes(map(int, PUBLIC[0].split(".")))
        return stun.Message(stun.BINDING + stun.SUCCESS, request.transaction_id, {stun.MAPPED_ADDRESS: value})

    assert Asked().answer(answer) == [Mapped(BASE, SERVER, PUBLIC)]


def test_an_error_of_the_server_is_reported_with_its_code() -> None:
    def answer(request: stun.Message) -> stun.Message:
        value = stun.error_code(500, "Server Error")
        return stun.Message(stun.BINDING + stun.ERROR, request.transaction_id, {stun.ERROR_CODE: value})

    assert Asked().answer(answer) == [QueryFailed(BASE, SERVER, 500, "Server Error")]


def test_an_answer_without_an_address_is_a_failure() -> None:
    [failure] = Asked().answer(lambda request: stun.Message(stun.BINDING + stun.SUCCESS, request.transaction_id))
    assert isinstance(failure, QueryFailed)
    assert (failure.code, failure.reason) == (UNREACHABLE, "the answer has no XOR-MAPPED-ADDRESS")


def test_a_silent_server_fails_after_seven_requests() -> None:
    asked = Asked()
    asked.queries.datagrams_to_send(0)
    assert asked.advance(40) == 6
    assert asked.queries.events() == [QueryFailed(BASE, SERVER, UNREACHABLE, "the server does not answer")]
    assert asked.queries.next_timeout() is None


def test_an_icmp_error_ends_the_query_at_once() -> None:
    asked = Asked()
    asked.queries.send_failed(BASE, SERVER, "Connection refused")
    assert asked.queries.events() == [QueryFailed(BASE, SERVER, UNREACHABLE, "Connection refused")]
    assert asked.advance(100) == 0


def test_a_base_that_is_removed_is_not_queried_any_more() -> None:
    asked = Asked()
    asked.queries.ask(SECOND, SERVER, 0)
    asked.queries.remove_base(BASE)
    assert asked.answer(mapped(PUBLIC)) == [Mapped(SECOND, SERVER, PUBLIC)]
    assert asked.advance(KEEPALIVE) == 1


def test_stop_ends_all_queries_with_the_reason() -> None:
    asked = Asked()
    asked.queries.stop("no answer in 5 s")
    assert asked.queries.events() == [QueryFailed(BASE, SERVER, UNREACHABLE, "no answer in 5 s")]
    assert asked.queries.next_timeout() is None


def test_the_number_of_queries_is_limited() -> None:
    asked = Asked()
    for number in range(MAX_QUERIES):
        asked.queries.ask(BASE, ("203.0.113.2", 1 + number), 0)
    assert len(asked.queries.datagrams_to_send(0)) == MAX_QUERIES
    assert len(asked.queries.events()) == 1


@pytest.mark.parametrize("junk", [b"", b"\1\1" + bytes(30), stun.serialize(stun.Message(0x101, b"unknown id.."))])
def test_datagrams_that_answer_no_query_are_not_owned(junk: bytes) -> None:
    asked = Asked()
    assert not asked.queries.owns(junk)
    asked.queries.receive_datagram(junk, 0)
    assert asked.queries.events() == []
