"""Write the generated part of docs/compliance.md: the counts, the deviations, and what is missing."""

from __future__ import annotations

from .requirements import ROOT, Report

DOCUMENT = ROOT / "docs" / "compliance.md"
BEGIN = "<!-- from here on generated: python -m tests.compliance --write -->\n"

COLUMNS = {
    "held": ("covered", "built in"),
    "out of scope": ("scope", "upper layer"),
    "replaced": ("replaced",),
    "deviation": ("deviation",),
    "not implemented": ("not implemented",),
}


def _count(report: Report, kinds: tuple[str, ...]) -> int:
    return sum(1 for _, entry in report.explained if entry.kind in kinds)


def table(reports: dict[int, Report]) -> str:
    """Return a Markdown table with a line for each RFC. Cited sentences count as held."""
    rows = [["RFC", "sentences", "with MUST", *COLUMNS, "neither"]]
    rows.append(["---", *["--:"] * (len(rows[0]) - 1)])
    for number, report in reports.items():
        sentences = [*report.cited, *(sentence for sentence, _ in report.explained), *report.open]
        counts = [_count(report, kinds) for kinds in COLUMNS.values()]
        counts[0] += len(report.cited)
        musts = sum(1 for sentence in sentences if sentence.is_must)
        rows.append([str(count) for count in (number, len(sentences), musts, *counts, len(report.open))])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def details(reports: dict[int, Report]) -> str:
    """Return, for each RFC, how many sentences are cited, covered by tests, and built in."""
    return "".join(
        f"RFC {number}: {len(report.cited)} cited, {_count(report, ('covered',))} covered by tests, "
        f"{_count(report, ('built in',))} built in\n"
        for number, report in reports.items()
    )


def reasons(reports: dict[int, Report], kind: str) -> str:
    """Return a list of the reasons of one kind, each with its sections and the number of sentences."""
    lines = []
    for number, report in reports.items():
        by_reason: dict[str, list[str]] = {}
        for sentence, entry in report.explained:
            if entry.kind == kind:
                by_reason.setdefault(entry.reason, []).append(sentence.section)
        for reason, sections in by_reason.items():
            places = ", ".join(dict.fromkeys(sections))
            lines.append(f"- RFC {number}, {places} ({len(sections)}): {reason}\n")
    return "".join(lines)


def generated(reports: dict[int, Report]) -> str:
    """Return the part of the document after BEGIN."""
    return (
        f"\n{table(reports)}\n## Deliberate deviations\n\n{reasons(reports, 'deviation')}"
        f"\n## Replaced by another RFC\n\n{reasons(reports, 'replaced')}"
        f"\n## Missing\n\n{reasons(reports, 'not implemented')}"
    )


def write(reports: dict[int, Report]) -> None:
    """Replace the generated part of the document."""
    head = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)[0]
    DOCUMENT.write_text(head + BEGIN + generated(reports), encoding="utf-8")
