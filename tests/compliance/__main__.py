"""`python -m tests.compliance`: the counts, and what has neither citation nor explanation."""

from .requirements import reports
from .table import table


def main() -> None:
    """Print them."""
    found = reports()
    print(table(found))
    for number, report in found.items():
        for complaint in report.complaints:
            print(f"\n{complaint}")
        for sentence in report.open:
            print(f"RFC {number}, {sentence.section}: {sentence.text}")


if __name__ == "__main__":
    main()
