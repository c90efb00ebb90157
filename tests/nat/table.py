"""The tables of docs/nat.md, rendered from the kept results of `make nat-lab`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from tests.nat.lab import DATACHAN, LIBDATACHANNEL, LIBWEBRTC

RESULTS: Final = Path(__file__).with_name("results.json")
DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "nat.md"
BEGIN: Final = "<!-- nat:begin -->"
END: Final = "<!-- nat:end -->"
_STACKS: Final = (DATACHAN, LIBWEBRTC, LIBDATACHANNEL)
Results = dict[str, Any]


def load() -> Results:
    """Return the kept results."""
    results: Results = json.loads(RESULTS.read_text())
    return results


def _connection(cell: Results | None) -> str:
    if cell is None:
        return "–"
    if cell["milliseconds"] is None:
        return f"no ({cell['failed_after']:.0f} s)" if cell["failed_after"] else "no"
    some = "" if cell["connected"] == cell["of"] else f", {cell['connected']} of {cell['of']}"
    return f"{cell['milliseconds']}{some}"


def _event(cell: Results | None) -> str:
    if cell is None:
        return "–"
    return "dead" if cell["seconds"] is None else f"{cell['seconds']:.2f}" + ("" if cell["in_order"] else ", lost")


def render(results: Results) -> str:
    """Return both tables."""
    head = "| " + " | ".join(_STACKS) + " |\n|---" + "|--:" * len(_STACKS) + "|"
    lines = [f"| network, ms until open {head}"]
    for name, row in results["topologies"].items():
        lines.append(f"| {name} | " + " | ".join(_connection(row.get(stack)) for stack in _STACKS) + " |")
    lines += ["", f"| event, s until messages flow again {head}"]
    for name, row in results["events"].items():
        lines.append(f"| {name} | " + " | ".join(_event(row.get(stack)) for stack in _STACKS) + " |")
    return "\n".join(lines)


def between_markers(text: str) -> str:
    """Return what a document has between the markers."""
    return text.partition(BEGIN)[2].partition(END)[0].strip()


def write(results: Results) -> None:
    """Write the tables between the markers of the document."""
    before, begin, rest = DOCUMENT.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{DOCUMENT} has no {BEGIN} … {END}")
    DOCUMENT.write_text(f"{before}{BEGIN}\n{render(results)}\n{END}{after}")
