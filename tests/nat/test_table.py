"""The tables of docs/nat.md say what the kept results say, of the networks and events that exist."""

from __future__ import annotations

from tests.nat import table
from tests.nat.path_events import EVENTS
from tests.nat.topologies import TOPOLOGIES

CELL = {"milliseconds": 120, "pairs": ["host/host"], "connected": 3, "of": 3, "failed_after": None}
NONE = {"milliseconds": None, "pairs": [], "connected": 0, "of": 1, "failed_after": 39.6}


def test_a_row_has_a_cell_for_each_stack() -> None:
    topologies = {"one LAN": {"datachan": CELL, "libwebrtc": NONE}}
    events = {"outage": {"datachan": {"seconds": 1.234, "in_order": True}, "libwebrtc": {"seconds": None}}}
    lines = table.render({"topologies": topologies, "events": events}).splitlines()
    assert lines[2] == "| one LAN | 120 | no (40 s) | – |"
    assert lines[6] == "| outage | 1.23 | dead | – |"


def test_documentation_shows_the_kept_results() -> None:
    assert table.between_markers(table.DOCUMENT.read_text()) == table.render(table.load())


def test_kept_results_are_of_the_networks_and_events_that_exist() -> None:
    results = table.load()
    assert list(results["topologies"]) == list(TOPOLOGIES)
    assert list(results["events"]) == list(EVENTS)
