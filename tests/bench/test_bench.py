"""Check the benchmark: each row has its figures, the goals are compared with them, and builds are not confused."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.bench import browsers
from tests.bench.__main__ import contenders, in_turns, parse, run
from tests.bench.bench_setup import open_time, pairs_in_a_row
from tests.bench.goals import GOALS, Goal, Medians
from tests.bench.measure import PAIRS, ROWS
from tests.bench.report import FIGURES, goals_table, medians_table, plot
from tests.missing import missing
from tests.stacks.installed import datachan, host_address
from tests.stacks.process import Contender

HOST = "127.0.0.1"


@pytest.mark.parametrize("row", ["back", "large", "loaded"])
async def test_each_row_measures_datachan(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.bench.measure.RAMP", 0.2)

    figures = await ROWS[row](datachan("datachan"), HOST, 0.3)

    assert figures
    assert all(value > 0 for name, value in figures.items() if name != "cpu")
    assert set(figures) <= {figure for figure, _, _ in FIGURES}


async def test_measures_many_connections_beside_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.bench.measure.RAMP", 0.2)
    monkeypatch.setattr("tests.bench.measure.MANY", 3)

    figures = await ROWS["many"](datachan("datachan"), HOST, 0.5)

    assert figures["many"] > 0
    assert figures["many share"] > 0
    assert set(figures) <= {figure for figure, _, _ in FIGURES}


async def test_measures_each_pair_that_connects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.bench.measure.PAIRS", 5)
    monkeypatch.setattr("tests.bench.measure.IDLE", 0.1)

    figures = await ROWS["pairs"](datachan("datachan"), HOST, 0.1)

    assert PAIRS == 100
    assert figures["pair"] > 0
    assert set(figures) == {"pair", "memory", "idle"}


async def test_reports_a_stack_that_does_not_run_and_measures_the_others() -> None:
    broken = Contender("broken", [sys.executable, "-c", "raise SystemExit(3)"])
    arguments = argparse.Namespace(runs=1, seconds=0.1)

    book = await run([broken], ["ping"], arguments)

    assert len(book.failures) == 1
    assert "exit code 3" in book.failures[0]


async def test_refuses_to_measure_another_build_than_the_one_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.bench.measure.RAMP", 0.1)

    with pytest.raises(RuntimeError, match="another build"):
        await ROWS["bulk"](datachan("datachan compiled"), HOST, 0.1)


def test_the_stacks_take_turns() -> None:
    one, other = datachan("one"), datachan("other")

    assert [item.name for turn in range(3) for item in in_turns([one, other], turn)] == [
        "one", "other", "other", "one", "one", "other",
    ]  # fmt: skip


def test_says_how_to_install_a_missing_stack() -> None:
    arguments = parse(["--no-compiled", "--wrtc-python", "no-such-python", "--node-modules", "nowhere"])

    found, not_found = contenders(arguments)

    assert "datachan" in {item.name for item in found}
    assert {"wrtc", "node-datachannel", "@roamhq/wrtc", "werift"} <= not_found.keys()


def test_an_unknown_row_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--rows", "bulk,magic"])

    assert "magic" in capsys.readouterr().err


def test_a_goal_is_met_missed_or_not_measured() -> None:
    goal = Goal("ratio", "≥ 2 × z", lambda m: m("a", "f") / m("z", "f"), least=2)

    assert goal.judge(Medians({("a", "f"): [4.0, 4.2, 9.0], ("z", "f"): [2.0]})) == ("2.10 ×", "yes")
    assert goal.judge(Medians({("a", "f"): [3.0], ("z", "f"): [2.0]})) == ("1.50 ×", "no")
    assert goal.judge(Medians({("a", "f"): [3.0]})) == ("–", "–")
    assert Goal("most", "", lambda m: m("a", "f"), "ms", most=5.0).judge(Medians({("a", "f"): [5.1]}))[1] == "no"


def test_tables_show_medians_with_their_spread_and_each_goal() -> None:
    results = defaultdict(list, {("datachan", "throughput"): [100.0, 120.0, 110.0], ("wrtc", "throughput"): [80.0]})

    table = medians_table(results, ["datachan", "wrtc"])

    assert table.splitlines()[2] == "| 64 KiB messages, offerer to answerer, MB/s | 110 (100–120) | 80.0 |"
    assert len(table.splitlines()) == 3
    assert len(goals_table(results).splitlines()) == 2 + len(GOALS)


def test_the_plot_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    results = defaultdict(list, {("datachan", "throughput"): [100.0, 120.0], ("wrtc", "ping p50"): [0.1]})

    plot(results, ["datachan", "wrtc"], "here", tmp_path / "plot.png")

    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


async def test_measures_a_browser_in_both_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    if browsers.find("chromium") is None:
        missing("chromium is not installed")
    monkeypatch.setattr(browsers, "NAMES", ("chromium",))
    monkeypatch.setattr(browsers, "RAMP", 0.5)
    figures: dict[tuple[str, str], float] = {}

    def enter(name: str, told: dict[str, float]) -> None:
        figures.update({(name, figure): value for figure, value in told.items()})

    failures = await browsers.measure([datachan("datachan")], host_address(), 1.0, enter)

    assert failures == []
    assert set(figures) == {
        ("chromium", "chromium sends"), ("datachan", "chromium receives"), ("datachan", "chromium sends"),
    }  # fmt: skip
    assert all(figures.values())


def test_prints_the_rate_of_the_record_layer_as_json() -> None:
    command = [sys.executable, "-m", "tests.bench.bench_dtls", "--json", "--repeat", "1"]

    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert '"OpenSSL, 13 per batch"' in told


async def test_measures_setup_from_the_answer_and_from_the_beginning() -> None:
    opened, pair = await open_time(2), await pairs_in_a_row(2)
    assert 0 < opened < 5000
    assert 0 < pair < 5000
