"""`python -m tests.compliance`: the counts and what is open; `--write` brings the document up to date."""

from __future__ import annotations

import sys

from .requirements import reports
from .table import details, table, write


def main() -> None:
    """Print them."""
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
