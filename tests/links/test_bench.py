"""The benchmark measures the goodput through a link, from the signaling to the table."""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import replace

import pytest

from tests.links.bench import ROWS, Book, choose, contenders, parse, run, sizes_of
from tests.links.measure import measure, transfer
from tests.links.model import Link

LINK = Link(rate=20e6, delay=0.005, queue=100_000)


async def test_datachan_fills_a_modest_link_and_never_more_than_it() -> None:
    found, _ = contenders(sys.executable, "nowhere")
    default = next(item for item in found if item.name == "datachan")

    result = await measure(default, LINK, host="127.0.0.1", ramp=1.0, seconds=2.0)

    assert 0.3 < result.share <= 1.0
    assert result.cpu > 0
    assert result.emulator["from_a"]["bytes_delivered"] >= result.curve[-1][1]


def test_the_peers_asked_for_are_measured() -> None:
    found, missing = contenders("no-such-python", "nowhere")

    assert [item.name for item in choose("datachan/cubic", found)] == ["datachan/cubic"]
    assert [item.name for item in choose("datachan", found)] == ["datachan"]
    assert choose("", found) == found
    assert {"wrtc", "node-datachannel"} <= missing.keys()


def test_an_unknown_row_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--rows", "wan,moon"])

    assert "moon" in capsys.readouterr().err


async def test_a_peer_that_ends_by_itself_is_reported_not_dropped() -> None:
    found, _ = contenders(sys.executable, "nowhere")
    broken = replace(found[0], name="broken", options={"controller": "no such thing"})
    arguments = argparse.Namespace(runs=1, seconds=0.1, ramp=0.1, seed=1)

    book = await run(["wan"], [broken], arguments, "127.0.0.1")

    assert len(book.failures) == 1
    assert "broken on wan" in book.failures[0]
    assert book.share("wan", "broken") == "–"


def test_the_table_has_a_row_for_each_link_and_a_column_for_each_peer() -> None:
    table = Book().table(list(ROWS), ["one", "two"]).splitlines()

    assert len(table) == 2 + len(ROWS)
    assert table[2] == "| wan: 100 Mbit/s, 40 ms, 0.0%, 500 kB | 0.95 | – | – |"
    assert table[4].startswith("| lossy: 100 Mbit/s, 40 ms, 1.0%, 500 kB | 0.93 |")


async def test_a_whole_transfer_takes_as_long_as_the_link_needs_and_not_much_longer() -> None:
    found, _ = contenders(sys.executable, "nowhere")

    seconds = await transfer(found[0], LINK, host="127.0.0.1", size=1_000_000)

    assert 0.4 <= seconds < 3.0


def test_the_table_of_transfers_has_a_row_for_each_link_and_size() -> None:
    book = Book()
    book.transfers["wan", 1_000_000, "one"] += [0.1, 0.16, 0.2]
    book.transfers["wan", 40_000_000, "two"] += [4.0]
    book.transfers["wan", 100_000_000, "one"] += [50.0, math.inf, math.inf]

    table = book.transfer_table(["one", "two"]).splitlines()

    # A transfer that was given up after 60 s has at most that rate.
    assert table[2:] == [
        "| wan | 1 |  | 0.500 | – |",
        "| wan | 40 | 0.92 | – | 0.800 |",
        "| wan | 100 |  | <0.133 | – |",
    ]


def test_a_goal_is_the_size_of_its_row() -> None:
    assert sizes_of("wan", "100,goal,1") == [1_000_000, 40_000_000, 100_000_000]
    assert sizes_of("lossy", "10,goal") == [10_000_000]
    assert sizes_of("lossy", "") == []
