"""Sort the requirements of the RFCs into cited in our code or tests, explained, and neither.

A requirement is a sentence with MUST, SHOULD or SHALL. It is cited when it shares at least `MIN_WORDS` words with a
quotation. An entry of exceptions.toml explains it:

    [[explained]]
    rfc = 9260
    kind = "scope"                       # one of KINDS
    sections = ["6.4"]                   # the sentences of these sections and their subsections that are not cited;
    sentences = ["An endpoint ..."]      # or the sentences that contain these words, cited or not
    tests = ["scenario/test_x.py::test_y"]   # which show it; they must exist
    reason = "..."
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from . import rfc
from .quotations import Quotation, locate, quotations

ROOT = Path(__file__).parents[2]
EXCEPTIONS = Path(__file__).with_name("exceptions.toml")
RFCS = (9260, 3758, 4895, 5061, 6525, 8260)
MIN_WORDS = 5

KINDS = {
    "covered": "followed, as the tests named show",
    "built in": "followed because of the structure of the code; the reason says where",
    "scope": "about something that does not exist here: ICMP, IANA, other layers",
    "upper layer": "about the interface to the upper layer, or left to its choice",
    "replaced": "the rule of another RFC, named in the reason, is followed instead",
    "deviation": "done differently on purpose",
    "not implemented": "missing",
}
NEED_TESTS = frozenset({"covered"})
"""Kinds that must name a test."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """An entry of exceptions.toml."""

    rfc: int
    kind: str
    reason: str
    sections: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"RFC {self.rfc}, {self.kind}: {' '.join((*self.sections, *self.sentences))[:80]}"


@dataclass(slots=True)
class Report:
    """The requirements of one RFC, sorted.

    Attributes:
        cited: the requirements that a quotation cites.
        explained: the requirements that an entry explains, with the entry.
        open: the other requirements.
        complaints: what is wrong with entries.
    """

    cited: list[rfc.Sentence] = field(default_factory=list)
    explained: list[tuple[rfc.Sentence, Explanation]] = field(default_factory=list)
    open: list[rfc.Sentence] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def python_files() -> list[Path]:
    """Return the files in which a citation counts."""
    return [
        path
        for folder in ("datachan", "tests")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "compliance" not in path.parts
    ]


@cache
def all_quotations() -> tuple[Quotation, ...]:
    """Return every quotation in `python_files()`. Raises UnclosedQuotation."""
    return tuple(
        quotation
        for path in python_files()
        for quotation in quotations(path.relative_to(ROOT), path.read_text(encoding="utf-8"))
    )


def read_exceptions(text: str) -> list[Explanation]:
    """Parse the entries of exceptions.toml. Raises KeyError, TOMLDecodeError."""
    return [
        Explanation(
            rfc=entry["rfc"],
            kind=entry["kind"],
            reason=" ".join(entry["reason"].split()),
            sections=tuple(entry.get("sections", ())),
            sentences=tuple(entry.get("sentences", ())),
            tests=tuple(entry.get("tests", ())),
        )
        for entry in tomllib.loads(text).get("explained", [])
    ]


def cited_places(text: rfc.Rfc, found: tuple[Quotation, ...] | list[Quotation]) -> list[tuple[int, int]]:
    """Return the places in an RFC of the quotations that are long enough to identify a sentence."""
    places: list[tuple[int, int]] = []
    for quotation in found:
        if text.number not in quotation.rfcs:
            continue
        for fragment, place in zip(quotation.fragments, locate(quotation, text) or [], strict=False):
            if len(fragment.split()) >= MIN_WORDS:
                places.append(place)
    return places


def check(text: rfc.Rfc, found: tuple[Quotation, ...] | list[Quotation], entries: list[Explanation]) -> Report:
    """Sort the requirements of one RFC into a report."""
    report = Report()
    entries = [entry for entry in entries if entry.rfc == text.number]
    places = cited_places(text, found)
    by_sentence, by_section = _matches(text, entries, report)
    for sentence in text.requirements():
        cited = any(start < sentence.end and sentence.start < end for start, end in places)
        exact = by_sentence.get(sentence.start)
        if exact is not None and cited and exact.kind == "not implemented":
            report.complaints.append(f'{exact}: cited, so implemented after all? "{sentence.text}"')
        entry = exact or (None if cited else _of_section(sentence.section, by_section))
        if entry is not None:
            report.explained.append((sentence, entry))
        elif cited:
            report.cited.append(sentence)
        else:
            report.open.append(sentence)
    used = {id(entry) for _, entry in report.explained}
    for entry in entries:
        if id(entry) not in used and not any(words.startswith(f"{entry}:") for words in report.complaints):
            report.complaints.append(f"{entry}: explains nothing that is not cited")
    return report


def _matches(
    text: rfc.Rfc, entries: list[Explanation], report: Report
) -> tuple[dict[int, Explanation], dict[str, Explanation]]:
    by_sentence: dict[int, Explanation] = {}
    by_section: dict[str, Explanation] = {}
    requirements = text.requirements()
    for entry in entries:
        for words in entry.sentences:
            # With `sections`, only the sentences there count.
            meant = [
                sentence
                for sentence in requirements
                if rfc.normalize(words) in sentence.text
                and (not entry.sections or any(rfc.within(sentence.section, s) for s in entry.sections))
            ]
            if not meant:
                report.complaints.append(f'{entry}: in no requirement of RFC {text.number}: "{words}"')
            for sentence in meant:
                if sentence.start in by_sentence:
                    report.complaints.append(f'{entry}: explained twice: "{sentence.text}"')
                by_sentence[sentence.start] = entry
        if entry.sentences:
            continue
        for section in entry.sections:
            if not any(rfc.within(sentence.section, section) for sentence in requirements):
                report.complaints.append(f"{entry}: no requirement in section {section}")
            if section in by_section:
                report.complaints.append(f"{entry}: section {section} is explained twice")
            by_section[section] = entry
    return by_sentence, by_section


def _of_section(section: str, by_section: dict[str, Explanation]) -> Explanation | None:
    """Return the entry of the section itself, or else of the nearest one that contains it."""
    while section:
        if section in by_section:
            return by_section[section]
        section = section.rpartition(".")[0]
    return None


def form_complaints(entries: list[Explanation]) -> Iterator[str]:
    """Yield what is wrong with the form of entries, independent of the RFCs."""
    for entry in entries:
        if entry.kind not in KINDS:
            yield f"{entry}: the kind is none of {', '.join(KINDS)}"
        if entry.rfc not in RFCS:
            yield f"{entry}: no RFC that is checked"
        if len(entry.reason.split()) < 3:
            yield f"{entry}: without a reason"
        if not entry.sections and not entry.sentences:
            yield f"{entry}: explains nothing"
        if entry.kind in NEED_TESTS and not entry.tests:
            yield f"{entry}: names no test"
        for test in entry.tests:
            if not test_exists(test):
                yield f"{entry}: there is no test {test}"
        for name in named_code(entry.reason):
            if name not in names_in_the_engine():
                yield f"{entry}: there is no {name}"


def named_code(reason: str) -> list[str]:
    """Return the code of the engine that a reason names: "Class.method" or "module.function"."""
    modules = {name.partition(".")[0] for name in names_in_the_engine()}
    return [
        f"{owner}.{name}"
        for owner, name in re.findall(r"\b([A-Za-z]\w*)\.(_?[a-z]\w+)\b", reason)
        if name != "py" and (owner in modules or re.match(r"[A-Z][a-z]+[A-Z]", owner))
    ]


@cache
def names_in_the_engine() -> frozenset[str]:
    """Return every "Class.method", "Class.attribute" and "module.function" of datachan.sctp."""
    found: set[str] = set()
    for path in (ROOT / "datachan" / "sctp").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found |= {f"{node.name}.{name}" for name in _names_of_class(node)}
            elif isinstance(node, ast.FunctionDef):
                found.add(f"{path.stem}.{node.name}")
    return frozenset(found)


def _names_of_class(node: ast.ClassDef) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.FunctionDef):
            yield part.name
        elif isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == "self":
            yield part.attr
        elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            yield part.target.id


def test_exists(name: str) -> bool:
    """Return whether the test "folder/test_file.py::test_name" (below tests/) exists."""
    path, _, function = name.partition("::")
    return function.startswith("test_") and function in _tests_in(ROOT / "tests" / path)


test_exists.__test__ = False  # type: ignore[attr-defined]


@cache
def _tests_in(path: Path) -> frozenset[str]:
    if not path.is_file():
        return frozenset()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def reports() -> dict[int, Report]:
    """Return the report of each RFC for this tree."""
    entries = read_exceptions(EXCEPTIONS.read_text(encoding="utf-8"))
    found = all_quotations()
    return {number: check(rfc.load(number), found, entries) for number in RFCS}
