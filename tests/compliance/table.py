"""The counts as the table in docs/compliance.md."""

from __future__ import annotations

from .requirements import KINDS, Report


def table(reports: dict[int, Report]) -> str:
    """A Markdown table with a line for each RFC: its sentences, those cited, and the explained ones by kind."""
    head = ["RFC", "sentences", "MUST", "cited", *KINDS, "open"]
    rows = [head, ["---", *["--:"] * (len(head) - 1)]]
    for number, report in reports.items():
        sentences = [*report.cited, *(sentence for sentence, _ in report.explained), *report.open]
        kinds = [sum(1 for _, entry in report.explained if entry.kind == kind) for kind in KINDS]
        musts = sum(1 for sentence in sentences if sentence.is_must)
        numbers = [len(sentences), musts, len(report.cited), *kinds, len(report.open)]
        rows.append([str(number), *map(str, numbers)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
