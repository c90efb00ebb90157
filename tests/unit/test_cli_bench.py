"""`datachan bench` on one machine and between two programs, with a misbehaving other side."""

from __future__ import annotations

import asyncio
import json
import re
import shlex

import pytest

from datachan import RTCPeerConnection
from datachan.cli import main
from datachan.tools.bench import LABELS, MAX_SECONDS, BenchError, Report, Side, report_untrusted
from tests.examples.processes import run, serve
from tests.pairs import configuration, connected, signal, soon

FIGURES = {
    "sent": 1.0,
    "received": 2.0,
    "idle": [3.0, 4.0],
    "sending": [5.0, 6.0],
    "receiving": [7.0, 8.0],
    "local": "host 192.0.2.1:5000",
    "remote": "host 192.0.2.2:6000",
    "packet_size": 1400,
}


async def test_measures_two_processes_of_this_machine() -> None:
    async with run("-m", "datachan", "bench", "--local", "--seconds", "0.3", "--json") as program:
        assert await program.ends() == 0
    report = json.loads(program.printed)
    assert report.keys() == FIGURES.keys()
    assert report["sent"] > 0
    assert report["received"] > 0
    assert 0 < report["idle"][0] <= report["idle"][1]
    assert report["packet_size"] >= 1100


async def test_both_sides_report_the_same_measurements() -> None:
    command = ("-m", "datachan", "bench")
    async with serve() as server, run(*command, "--server", server, "--ice-server", "stun:127.0.0.1:9") as first:
        words = (await first.prints(r"On the other host:  datachan (bench .*)$"))[1]
        async with run("-m", "datachan", *shlex.split(words), "--seconds", "0.3") as second:
            assert await second.ends() == 0
        assert await first.ends() == 0
    assert words.endswith(f" --server {server} --ice-server stun:127.0.0.1:9")  # the printed command is complete
    figure = r"from here +([\d.]+) MB/s\nto here +([\d.]+) MB/s"
    here, there = re.search(figure, first.printed), re.search(figure, second.printed)
    assert here
    assert there
    assert here.groups() == there.groups()[::-1]


def test_reports_an_unreachable_server_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--server", "http://127.0.0.1:1"]) == 1
    assert "cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["0", "-1", "x", "nan", str(MAX_SECONDS + 1)])
def test_refuses_an_impossible_time(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "--local", "--seconds", seconds])
    assert "seconds" in capsys.readouterr().err


def test_the_other_side_sees_the_directions_exchanged() -> None:
    assert report_untrusted(FIGURES) == Report(
        2.0, 1.0, (3.0, 4.0), (7.0, 8.0), (5.0, 6.0), "host 192.0.2.2:6000", "host 192.0.2.1:5000", 1400
    )


@pytest.mark.parametrize("report", [None, [], {}, {**FIGURES, "idle": [1]}, {**FIGURES, "sent": "fast"}])
def test_refuses_a_malformed_report(report: object) -> None:
    with pytest.raises(BenchError):
        report_untrusted(report)


def test_replaces_characters_that_control_the_terminal() -> None:
    assert "\x1b" not in str(report_untrusted({**FIGURES, "local": "\x1b[2J" * 1000}))


async def test_ignores_malformed_requests_and_reports_that_the_driver_left() -> None:
    async with RTCPeerConnection(configuration()) as a, RTCPeerConnection(configuration()) as z:
        ours = {label: a.createDataChannel(label, negotiated=True, id=n) for n, label in enumerate(LABELS)}
        theirs = {label: z.createDataChannel(label, negotiated=True, id=n) for n, label in enumerate(LABELS)}
        await signal(a, z)
        await connected(a, z)
        for channel in (*ours.values(), *theirs.values()):
            await soon(channel.opened())
        following = asyncio.create_task(Side(z, theirs).follow())
        control = ours["control"]
        for nonsense in (
            "",
            "{",
            "[]",
            "null",
            "[" * 100_000,
            b"\xff",
            '{"do": "stream", "seconds": 1e9}',
            '{"do": 1}',
        ):
            control.send(nonsense)
        control.send(json.dumps({"do": "count"}))

        assert json.loads(await soon(anext(aiter(control))))["bytes"] == 0
        control.close()
        with pytest.raises(BenchError, match="left"):
            await soon(following)
