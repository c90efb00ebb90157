"""The budget that strangers share, of which one network cannot use everything."""

from __future__ import annotations

import pytest

from datachan.fair_budget import FairBudget


@pytest.fixture
def budget() -> FairBudget:
    return FairBudget(40.0, 400, bytes(range(32)), now=100.0)


def test_one_address_gets_a_quarter_of_the_burst_and_of_the_rate(budget: FairBudget) -> None:
    assert sum(budget.take("192.0.2.1", 100.0) for _ in range(1000)) == 100
    assert sum(budget.take("192.0.2.1", 101.0) for _ in range(1000)) == 10
    assert budget.refused == 1890


def test_most_others_are_served_while_one_address_floods(budget: FairBudget) -> None:
    for _ in range(1000):
        budget.take("192.0.2.1", 100.0)
    served = [budget.take(f"198.51.100.{number}", 100.0) for number in range(200)]
    assert sum(served) > 180


def test_all_together_get_no_more_than_the_whole_budget(budget: FairBudget) -> None:
    assert sum(budget.take(f"10.0.{number // 256}.{number % 256}", 100.0) for number in range(5000)) == 400


@pytest.mark.parametrize("name", ["2001:db8::{:x}", "2001:db8:0:0:ffff::{:x}", "fe80::{:x}%eth0"])
def test_the_addresses_of_one_ipv6_network_count_as_one(budget: FairBudget, name: str) -> None:
    assert sum(budget.take(name.format(number), 100.0) for number in range(1, 400)) == 100


def test_a_name_that_is_no_address_counts_too(budget: FairBudget) -> None:
    assert sum(budget.take("no:address\ud800", 100.0) for _ in range(400)) == 100


def test_the_secret_decides_who_shares_a_group() -> None:
    def served(secret: bytes) -> list[bool]:
        budget = FairBudget(4.0, 4, secret)
        return [budget.take(f"10.0.0.{number}", 0.0) for number in range(4)]

    assert len({tuple(served(bytes([number]) * 32)) for number in range(40)}) > 1
