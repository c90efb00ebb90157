"""The identifiers of our channels."""

from __future__ import annotations

import pytest

from datachan.dcep.id_pool import IdPool


def take_all(pool: IdPool, used: set[int] | None = None) -> list[int]:
    taken: list[int] = []
    busy = set(used or ())
    while (identifier := pool.take(busy)) is not None:
        taken.append(identifier)
        busy.add(identifier)
    return taken


def test_client_ids_are_even_and_server_ids_are_odd() -> None:
    assert take_all(IdPool(0, 7)) == [0, 2, 4, 6]
    assert take_all(IdPool(1, 7)) == [1, 3, 5]


@pytest.mark.parametrize("parity", [0, 1])
def test_the_largest_id_is_65534(parity: int) -> None:
    assert take_all(IdPool(parity, 65536))[-1] == 65534 - parity


def test_without_streams_there_is_no_id() -> None:
    assert IdPool(1, 1).take(set()) is None


def test_skips_ids_in_use() -> None:
    assert take_all(IdPool(0, 10), {0, 4}) == [2, 6, 8]


def test_prefers_unused_ids_to_returned_ones() -> None:
    pool = IdPool(0, 6)
    assert pool.take(set()) == 0
    pool.give_back(0)
    assert pool.take(set()) == 2


def test_reuses_the_id_that_has_been_free_longest() -> None:
    pool = IdPool(0, 6)
    assert take_all(pool) == [0, 2, 4]
    pool.give_back(4)
    pool.give_back(0)
    assert pool.take({2}) == 4
    assert pool.take({2, 4}) == 0
    assert pool.take({0, 2, 4}) is None


def test_a_skipped_id_is_available_once_it_is_free() -> None:
    pool = IdPool(0, 4)
    assert take_all(pool, {0}) == [2]
    pool.give_back(0)
    assert pool.take({2}) == 0


def test_an_id_of_the_other_role_is_never_taken() -> None:
    pool = IdPool(0, 2)
    assert pool.take(set()) == 0
    pool.give_back(1)
    assert pool.take({0}) is None


def test_an_id_returned_twice_is_taken_once() -> None:
    pool = IdPool(0, 2)
    assert pool.take(set()) == 0
    pool.give_back(0)
    pool.give_back(0)
    assert pool.take(set()) == 0
    assert pool.take({0}) is None
