"""The memory for incomplete messages that associations share."""

from __future__ import annotations

import pytest

from datachan.sctp import ReceiveBudget
from datachan.sctp.association import AssociationState
from datachan.sctp.events import AssociationLost, MessageReceived
from datachan.sctp.rx.base import OVERHEAD
from datachan.sctp.wire.chunks import DataChunk
from datachan.sctp.wire.extensions import IDataChunk
from tests.scenario.sctp_pair import Pair, changed, packet

LIMIT = 100_000
SIZE = 1000


def test_an_association_that_takes_more_than_its_share_may_not_grow() -> None:
    budget = ReceiveBudget(100)
    assert budget.change(0, 70)
    assert budget.change(0, 30)
    assert not budget.change(70, 71)
    assert budget.change(71, 60)  # holding less is always allowed
    assert budget.change(30, 50)  # half of the limit is its share
    assert not budget.change(50, 51)
    assert budget.change(60, 0)
    assert budget.change(51, 100)
    assert budget.total == 100


@pytest.mark.parametrize("count", [1, 2, 10])
def test_all_associations_together_hold_at_most_twice_the_limit(count: int) -> None:
    budget = ReceiveBudget(1000)
    held = [0] * count
    for step in range(20 * 1000):
        number = step * 7 % (step % count + 1)
        if budget.change(held[number], held[number] + 1):
            held[number] += 1
        else:  # it is aborted, and another takes its place
            budget.change(held[number] + 1, 0)
            held[number] = 0
        assert budget.total == sum(held) <= 2 * 1000


@pytest.mark.parametrize("interleaving", [False, True], ids=["DATA", "I-DATA"])
def test_a_peer_whose_incomplete_messages_take_too_much_is_aborted_and_others_go_on(interleaving: bool) -> None:
    budget = ReceiveBudget(LIMIT)
    options = changed(receive_budget=budget, interleaving=interleaving)
    greedy, modest = (
        Pair(changed(interleaving=interleaving), options),
        Pair(changed(interleaving=interleaving), options),
    )
    for pair in (greedy, modest):
        pair.establish()
        pair.z.events()
    assert budget.total == 0
    first_fragment(modest, 0, interleaving)
    cost, held = budget.total, 0
    assert cost >= SIZE + OVERHEAD
    while greedy.z.state is AssociationState.ESTABLISHED:
        first_fragment(greedy, held, interleaving)
        held += 1
        assert budget.total <= LIMIT + cost
    assert held > LIMIT // cost // 2
    [lost] = [event for event in greedy.z.events() if isinstance(event, AssociationLost)]
    assert lost.reason == "the incomplete messages of all associations take too much memory"
    assert budget.total == cost
    last_fragment(modest, interleaving)
    [message] = [event for event in modest.z.events() if isinstance(event, MessageReceived)]
    assert message.data == bytes(SIZE) + b"end"
    assert budget.total == 0


def first_fragment(pair: Pair, number: int, interleaving: bool) -> None:
    """Deliver a first fragment, each on a stream of its own with I-DATA; of DATA the fragment before is missing."""
    tsn = pair.a._core.tcb.sender.outstanding.next_tsn + number * (1 if interleaving else 2) & 0xFFFFFFFF
    chunk = IDataChunk(tsn, number, 0, 51, bytes(SIZE), ending=False) if interleaving else None
    pair.to_z(packet(pair.z.local_tag, chunk or DataChunk(tsn, number, 0, 51, bytes(SIZE), ending=False)))
    pair.from_z()


def last_fragment(pair: Pair, interleaving: bool) -> None:
    tsn = pair.a._core.tcb.sender.outstanding.next_tsn + 1 & 0xFFFFFFFF
    chunk = IDataChunk(tsn, 0, 0, 1, b"end", beginning=False) if interleaving else None
    pair.to_z(packet(pair.z.local_tag, chunk or DataChunk(tsn, 0, 0, 51, b"end", beginning=False)))
