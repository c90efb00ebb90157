"""Test that the files in deploy/ name what exists: options, settings, figures, and the files of the image."""

from __future__ import annotations

import fnmatch
import json
import re
from argparse import ArgumentParser
from pathlib import Path

import pytest

from datachan.cli import build_parser
from datachan.cli_settings import words_of_environment, words_of_file
from datachan.metrics import Metrics
from datachan.monitoring import ConnectionMetrics, LoopLag, add_server_figures, process_figures
from datachan.peer import UdpMux
from datachan.server import ChannelServer
from datachan.signaling import SignalingServer
from datachan.signaling.door import Door, DoorOptions

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"

# Variables that are no options: a password would be in the list of processes.
SECRETS = {"DATACHAN_TURN_SECRET", "DATACHAN_HEALTH_TOKEN", "DATACHAN_CONFIG"}


@pytest.fixture
def parser() -> ArgumentParser:
    return build_parser().parse_args(["serve"]).parser


def test_settings_are_options(parser: ArgumentParser) -> None:
    assert words_of_file(DEPLOY / "datachan.toml", parser)


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml", "kubernetes.yaml"])
def test_variables_are_options(name: str, parser: ArgumentParser) -> None:
    variables = set(re.findall(r"\bDATACHAN_[A-Z_]+\b", (DEPLOY / name).read_text())) - SECRETS
    assert variables
    for variable in variables:
        # A switch wants a truth value, other options any text.
        assert any(words_of_environment({variable: value}, parser) for value in ("1", "text")), variable


def test_the_image_gets_what_the_wheel_is_built_from() -> None:
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    wanted = ["datachan/__init__.py", "web/index.html", "web/datachan/datachan.js"]
    wanted += ["pyproject.toml", "README.md", "LICENSE"]
    assert [path for path in wanted if _ignored(path, rules)] == []
    assert _ignored("tests/server/test_deploy.py", rules)
    assert _ignored(".git/config", rules)


def _ignored(path: str, rules: list[str]) -> bool:
    """Return whether a path is left out of the image: the last rule that matches it or a folder of it decides."""
    ignored = False
    parts = path.split("/")
    for rule in rules:
        pattern = rule.removeprefix("!").removeprefix("**/")
        if any(fnmatch.fnmatch("/".join(parts[: length + 1]), pattern) for length in range(len(parts))):
            ignored = not rule.startswith("!")
    return ignored


async def names_of_figures() -> set[str]:
    """Return the names of all figures of both servers, as Prometheus stores them."""

    async def handler(connection: object) -> None:
        """Do nothing."""

    both = Metrics(), Metrics()
    SignalingServer(metrics=both[0])
    ConnectionMetrics(both[0], lambda: 0.0)
    ChannelServer(handler, metrics=both[1])
    names = set()
    for metrics in both:
        lag = LoopLag(metrics)
        lag.stop()
        add_server_figures(metrics, Door(DoorOptions()), UdpMux())
        metrics.add_source(process_figures)
        for one in await metrics.families():
            suffixes = ("_bucket", "_sum", "_count") if one.kind == "histogram" else ("",)
            names |= {one.name + suffix for suffix in suffixes}
    return names


def expressions() -> list[str]:
    panels = json.loads((DEPLOY / "grafana.json").read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


async def test_the_alerts_ask_for_figures_that_exist() -> None:
    asked = set(re.findall(r"\b(?:datachan|process)_[a-z_]+", (DEPLOY / "alerts.yml").read_text()))
    assert asked
    assert asked <= await names_of_figures()


async def test_the_dashboard_asks_for_figures_that_exist() -> None:
    known = await names_of_figures()
    asked = {name for one in expressions() for name in re.findall(r"\b(?:datachan|process)_[a-z_]+", one)}
    assert asked <= known
    # And it shows every figure of ours, but for sums that no panel needs: a new one gets a panel.
    ours = {name for name in known if name.startswith("datachan") and not name.endswith(("_sum", "_count"))}
    assert ours - asked == set()


def test_the_panels_of_the_dashboard_have_places_of_their_own() -> None:
    panels = json.loads((DEPLOY / "grafana.json").read_text())["panels"]
    places = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & places, panel["title"]
        places |= cells
    assert len({panel["id"] for panel in panels}) == len(panels)
