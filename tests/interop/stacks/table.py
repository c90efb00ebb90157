"""The table of what works with which stack: rendered from results, written into README.md and docs/interop.md.

    python -m tests.interop.stacks.table RESULTS

reads the file that a test run wrote (DATACHAN_STACKS_RESULTS names it, `make interop` sets it), keeps a copy as
results.json beside this module, and writes the tables between their markers.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from tests.interop.stacks.installed import ROLES, ROOT, STACKS, Stack

RESULTS: Final = Path(__file__).with_name("results.json")
SUMMARY: Final = ROOT / "README.md"
DETAILS: Final = ROOT / "docs" / "interop.md"
BEGIN: Final = "<!-- interop:begin -->"
END: Final = "<!-- interop:end -->"
_PASSED: Final = "passed"

# {"versions": {stack: version}, "outcomes": {case: {stack: {role: "passed" or "failed"}}}}
Results = dict[str, Any]


def load(path: Path = RESULTS) -> Results:
    """Return the results in a file."""
    results: Results = json.loads(path.read_text())
    return results


def _cell(outcomes: dict[str, str], case: str, stack: Stack) -> str:
    marks = []
    for role in ROLES:
        if role in outcomes:
            marks.append("yes" if outcomes[role] == _PASSED else "**no**")
        else:
            marks.append("–" if stack.lack(case, role) else "not run")
    return marks[0] if len(set(marks)) == 1 else " / ".join(marks)


def details(results: Results) -> str:
    """Return the table with a row for each case."""
    versions, outcomes = results["versions"], results["outcomes"]
    stacks = [stack for stack in STACKS if stack.name in versions]
    lines = [
        "| | " + " | ".join(f"{stack.name} {versions[stack.name]}" for stack in stacks) + " |",
        "|---" * (len(stacks) + 1) + "|",
    ]
    for case, by_stack in outcomes.items():
        cells = (_cell(by_stack.get(stack.name, {}), case, stack) for stack in stacks)
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    notes = [f"- {stack.name}, {case}: {reason}" for stack in stacks for case, reason in stack.lacks.items()]
    return "\n".join([*lines, "", "What a stack does not do (–):", "", *notes] if notes else lines)


def summary(results: Results) -> str:
    """Return the table with a row for each stack."""
    versions, outcomes = results["versions"], results["outcomes"]
    lines = ["| stack | version | datachan offers | datachan answers |", "|---|---|---|---|"]
    for stack in STACKS:
        if stack.name not in versions:
            continue
        cells = []
        for role in ROLES:
            ran = [by_stack[stack.name][role] for by_stack in outcomes.values() if role in by_stack.get(stack.name, {})]
            cells.append(f"{ran.count(_PASSED)} of {len(ran)}")
        lines.append(f"| {stack.name} | {versions[stack.name]} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def between_markers(text: str) -> str:
    """Return what a document has between the markers."""
    return text.partition(BEGIN)[2].partition(END)[0].strip()


def replace(text: str, table: str) -> str:
    """Return a document with the table between its markers.

    Raises:
        ValueError: the document has no markers.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"no {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def write(results: Results) -> None:
    """Keep the results and write both tables."""
    RESULTS.write_text(json.dumps(results, indent=2, sort_keys=False) + "\n")
    for document, table in ((SUMMARY, summary(results)), (DETAILS, details(results))):
        document.write_text(replace(document.read_text(), table))


if __name__ == "__main__":
    write(load(Path(sys.argv[1])))
