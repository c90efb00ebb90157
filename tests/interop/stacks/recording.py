"""A pytest plugin (-p tests.interop.stacks.recording) that keeps the outcome of each case with each stack."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

import pytest

from tests.interop.stacks.installed import ROLES, STACKS

# Names the file that the outcomes are written to.
VARIABLE: Final = "DATACHAN_STACKS_RESULTS"
_PROPERTY: Final = "stacks"
_outcomes: dict[tuple[str, str, str], str] = {}


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Say in the test's report which case, stack and role it is about."""
    marker = item.get_closest_marker("case")
    if marker is not None and isinstance(item, pytest.Function):
        parameters = item.callspec.params
        role = ROLES[0] if parameters["we_offer"] else ROLES[1]
        item.user_properties.append((_PROPERTY, (marker.args[0], parameters["stack"].name, role)))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the worst outcome of a test's phases; with pytest-xdist this runs in the controlling process."""
    for name, value in report.user_properties:
        if name == _PROPERTY:
            case, stack, role = (str(part) for part in value)  # type: ignore[attr-defined]
            if _outcomes.get((case, stack, role), "passed") == "passed":
                _outcomes[case, stack, role] = report.outcome


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the outcomes."""
    path = os.environ.get(VARIABLE)
    if path is None or hasattr(session.config, "workerinput"):
        return
    ran = {stack for _, stack, _ in _outcomes}
    outcomes: dict[str, dict[str, dict[str, str]]] = {}
    for (case, stack, role), outcome in sorted(_outcomes.items()):
        outcomes.setdefault(case, {}).setdefault(stack, {})[role] = outcome
    versions = {stack.name: stack.version() for stack in STACKS if stack.name in ran}
    Path(path).write_text(json.dumps({"versions": versions, "outcomes": outcomes}, indent=2))
