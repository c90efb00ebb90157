"""Which identifiers our channels get."""

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


def test_the_client_has_the_even_ones_and_the_server_the_odd_ones() -> None:
    assert take_all(IdPool(0, 7)) == [0, 2, 4, 6]
    assert take_all(IdPool(1, 7)) == [1, 3, 5]


@pytest.mark.parametrize("parity", [0, 1])
def test_the_last_one_is_65534_at_most(parity: int) -> None:
    assert take_all(IdPool(parity, 65536))[-1] == 65534 - parity


def test_there_is_none_where_there_are_no_streams() -> None:
    assert IdPool(1, 1).take(set()) is None


def test_passes_over_those_in_use() -> None:
    assert take_all(IdPool(0, 10), {0, 4}) == [2, 6, 8]


def test_takes_a_fresh_one_rather_than_one_given_back() -> None:
    pool = IdPool(0, 6)
    assert pool.take(set()) == 0
    pool.give_back(0)
    assert pool.take(set()) == 2


def test_takes_the_one_longest_free_when_none_is_fresh() -> None:
    pool = IdPool(0, 6)
    assert take_all(pool) == [0, 2, 4]
    pool.give_back(4)
    pool.give_back(0)
    assert pool.take({2}) == 4
    assert pool.take({2, 4}) == 0
    assert pool.take({0, 2, 4}) is None


def test_one_passed_over_can_be_had_once_it_is_free() -> None:
    pool = IdPool(0, 4)
    assert take_all(pool, {0}) == [2]
    pool.give_back(0)
    assert pool.take({2}) == 0


def test_one_of_the_other_role_never_comes_out() -> None:
    pool = IdPool(0, 2)
    assert pool.take(set()) == 0
    pool.give_back(1)
    assert pool.take({0}) is None


def test_one_given_back_twice_comes_out_once() -> None:
    pool = IdPool(0, 2)
    assert pool.take(set()) == 0
    pool.give_back(0)
    pool.give_back(0)
    assert pool.take(set()) == 0
    assert pool.take({0}) is None
