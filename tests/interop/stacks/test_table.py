"""The tables in README.md and docs/interop.md say what the kept results say, of the cases that exist as tests."""

from __future__ import annotations

import pytest

from tests.interop.stacks import table, test_closing, test_messages, test_opening
from tests.interop.stacks.installed import ROLES, STACKS

RESULTS = {
    "versions": {"werift": "1.2", "pion": "3"},
    "outcomes": {
        "opens": {
            "werift": {"datachan offers": "passed", "datachan answers": "passed"},
            "pion": {"datachan offers": "failed", "datachan answers": "passed"},
        },
        "text": {"werift": {"datachan offers": "passed", "datachan answers": "failed"}},
    },
}


def test_table_has_a_row_for_each_case_and_a_column_for_each_stack() -> None:
    lines = table.details(RESULTS).splitlines()

    assert lines[0] == "| | werift 1.2 | pion 3 |"
    assert lines[2] == "| opens | yes | **no** / yes |"
    assert lines[3] == "| text | yes / **no** | not run |"


def test_summary_counts_the_cases_of_each_role() -> None:
    lines = table.summary(RESULTS).splitlines()

    assert lines[2] == "| werift | 1.2 | 2 of 2 | 1 of 2 |"
    assert lines[3] == "| pion | 3 | 0 of 1 | 1 of 1 |"


def test_only_the_text_between_the_markers_is_replaced() -> None:
    document = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"

    replaced = table.replace(document, "new")

    assert replaced == f"before\n{table.BEGIN}\nnew\n{table.END}\nafter\n"
    assert table.between_markers(replaced) == "new"


def test_a_document_without_markers_is_an_error() -> None:
    with pytest.raises(ValueError, match="interop:begin"):
        table.replace("nothing here", "new")


def test_readme_shows_the_kept_results() -> None:
    assert table.between_markers(table.SUMMARY.read_text()) == table.summary(table.load())


def test_documentation_shows_the_kept_results() -> None:
    assert table.between_markers(table.DETAILS.read_text()) == table.details(table.load())


def test_kept_results_are_of_the_cases_that_exist_as_tests() -> None:
    modules = (test_opening, test_messages, test_closing)
    functions = [function for module in modules for function in vars(module).values() if callable(function)]
    marks = [mark for function in functions for mark in getattr(function, "pytestmark", ())]
    cases = {mark.args[0] for mark in marks if mark.name == "case"}

    results = table.load()
    assert set(results["outcomes"]) == cases
    assert set(results["versions"]) == {stack.name for stack in STACKS}
    for case, by_stack in results["outcomes"].items():
        ran = {(stack, role) for stack, roles in by_stack.items() for role in roles}
        assert ran == {(stack.name, role) for stack in STACKS for role in ROLES if not stack.lack(case, role)}


def test_every_case_that_a_stack_lacks_exists_as_a_test() -> None:
    cases = set(table.load()["outcomes"])

    for stack in STACKS:
        assert {lack.partition(", ")[0] for lack in stack.lacks} <= cases
