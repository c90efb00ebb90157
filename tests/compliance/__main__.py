"""Print the counts and the open requirements (`python -m tests.compliance`); `--write` updates docs/compliance.md."""

from __future__ import annotations

import sys

from .requirements import reports
from .table import details, table, write


def main() -> None:
    """Print the reports, and update the document when `--write` is given."""
    found = reports()
    print(table(found))
    print(details(found))
    for number, report in found.items():
        for complaint in report.complaints:
            print(complaint)
        for sentence in report.open:
            print(f"RFC {number}, {sentence.section}: {sentence.text}")
    if "--write" in sys.argv[1:]:
        write(found)


if __name__ == "__main__":
    main()
