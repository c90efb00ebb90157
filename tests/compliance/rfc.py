"""Parse the text of an RFC into one line of words, with its sections and sentences; know nothing of our code.

A text is normalized once: page breaks are removed, white space becomes one space, and a word broken after a hyphen or
a slash is joined again. Positions (`Sentence.start`, `Section.start`) are offsets in that normalized text.
"""

from __future__ import annotations

import gzip
import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TEXTS = Path(__file__).parent / "rfcs"

_HEADING = re.compile(r"(?:Appendix )?(?P<number>\d+(?:\.\d+)*|[A-Z](?:\.\d+)*)(?P<dot>\.?) {1,3}(?P<title>[A-Z\"(].*)")
_FOOTER = re.compile(r"\S.*\[Page \d+\]\s*")
_SENTENCE_END = re.compile(r"[.!?:]\"?\)?(?= (?:[A-Z(\"'*]|\d+[.)] ))")
_ABBREVIATION = re.compile(r"(?:\be\.g|\bi\.e|\bvs|\bet al|\betc|\bcf|\bFig)\.$")
_STRENGTH = re.compile(r"\b(?:MUST|SHOULD|SHALL)\b")
_KEY_WORDS = re.compile(r"\"?MUST\"?, \"?MUST NOT\"?, \"?REQUIRED")
_FIGURE = re.compile(r"\+-\+|-{4}")
_LIST_MARK = re.compile(r"(?:[A-Z]\d{0,2}|\d{1,2}|[ivx]+|[a-z])[).] +|[*o\-] +|[A-Z]\d: +")


@dataclass(frozen=True, slots=True)
class Section:
    """A section, from its heading to the next heading.

    Attributes:
        number: "6.2.1", or "A" for an appendix.
        title: the words of the heading.
        start: the position of the heading.
    """

    number: str
    title: str
    start: int


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence and its place.

    Attributes:
        rfc: the RFC's number.
        section: the number of the section that contains it.
        text: the sentence, normalized.
        start, end: its place in the normalized text.
    """

    rfc: int
    section: str
    text: str
    start: int
    end: int

    @property
    def is_requirement(self) -> bool:
        """Whether the sentence has a MUST, SHOULD or SHALL, with or without NOT."""
        return _STRENGTH.search(self.text) is not None

    @property
    def is_must(self) -> bool:
        """Whether the sentence has a MUST or SHALL. Any other requirement is a SHOULD."""
        return re.search(r"\b(?:MUST|SHALL)\b", self.text) is not None


@dataclass(frozen=True, slots=True)
class Rfc:
    """The text of one RFC.

    Attributes:
        number: the number of the RFC.
        text: the normalized text.
        sections: the sections, in order.
        sentences: the sentences, in order, including those of lists of references.
    """

    number: int
    text: str
    sections: tuple[Section, ...]
    sentences: tuple[Sentence, ...]

    def section_at(self, position: int) -> str:
        """Return the number of the section that contains a position; "" before the first section."""
        i = bisect_right([section.start for section in self.sections], position)
        return self.sections[i - 1].number if i else ""

    def find(self, words: str) -> list[int]:
        """Return every position at which these normalized words begin."""
        return [match.start() for match in re.finditer(re.escape(words), self.text)]

    def requirements(self) -> list[Sentence]:
        """Return the sentences with MUST, SHOULD or SHALL, without the paragraph that defines these words."""
        return [
            sentence for sentence in self.sentences if sentence.is_requirement and not _KEY_WORDS.search(sentence.text)
        ]


def normalize(text: str) -> str:
    """Replace white space by one space, and by none after a hyphen or slash that joins two parts of a word."""
    text = " ".join(text.split())
    return re.sub(r"(?<=\w)([-/]) (?=\w)", r"\1", text)


def within(section: str, ancestor: str) -> bool:
    """Return whether a section is `ancestor` or one of its subsections."""
    return section == ancestor or section.startswith(ancestor + ".")


def at_hand() -> list[int]:
    """Return the numbers of the RFCs whose text is stored here."""
    return sorted(int(path.name[3:-7]) for path in TEXTS.glob("rfc*.txt.gz"))


@cache
def load(number: int) -> Rfc:
    """Read an RFC. Raises FileNotFoundError when its text is not stored here."""
    with gzip.open(TEXTS / f"rfc{number}.txt.gz", "rt", encoding="utf-8-sig") as file:
        return parse(number, file.read())


def parse(number: int, raw: str) -> Rfc:
    """Parse the text of an RFC as the RFC Editor publishes it."""
    pieces: list[str] = []
    sections: list[Section] = []
    sentences: list[Sentence] = []
    position = 0
    for paragraph in _paragraphs(_without_page_breaks(raw.replace("\r\n", "\n"))):
        table = _is_table(paragraph)
        words = normalize(_cells(paragraph) if table else paragraph)
        joint = "" if not pieces else _joint(pieces[-1], words)
        position += len(joint)
        heading = _HEADING.fullmatch(words) if not paragraph.startswith(" ") else None
        if heading is not None and (heading["dot"] or "." in heading["number"]):
            sections.append(Section(heading["number"], heading["title"], position))
        elif not _FIGURE.search(words):
            section = sections[-1].number if sections else ""
            sentences.extend(_sentences(number, section, words, position))
        pieces.extend((joint, words))
        position += len(words)
    return Rfc(number, "".join(pieces), tuple(sections), tuple(sentences))


def _joint(before: str, after: str) -> str:
    return "" if re.search(r"\w[-/]$", before) and re.match(r"\w", after) else " "


def _without_page_breaks(raw: str) -> str:
    """Replace footer, form feed and the next header by a blank line, or by nothing within a sentence."""
    if "\f" not in raw:
        return raw
    lines: list[str] = []
    header_next = False
    for line in raw.split("\n"):
        if header_next and line.strip():
            header_next = False
            lines.append("\f")
        elif _FOOTER.fullmatch(line) and not line.startswith(" " * 12):
            while lines and not lines[-1].strip():
                lines.pop()
            header_next = False
        elif "\f" in line:
            rest = line.replace("\f", "")
            header_next = not rest.strip()
            if rest.strip():
                lines.append("\f")
        else:
            lines.append(line)
    text = "\n".join(lines)
    # A paragraph that ends without a full stop continues after the break.
    return re.sub(r"([^\n])\s*\n\f\n\s*?\n*(?= *\S)", _mend, text)


def _mend(match: re.Match[str]) -> str:
    last = match[1]
    return last + ("\n\n" if last in '.:;|+")' else "\n")


def _is_table(paragraph: str) -> bool:
    lines = [line.strip() for line in paragraph.strip().split("\n")]
    return (
        len(lines) > 2 and all(line[:1] in ("+", "|") for line in lines) and "|" in paragraph and "+-+" not in paragraph
    )


def _cells(table: str) -> str:
    """Return the words of a table cell by cell."""
    words = ""
    row: list[str] = []
    for line in table.strip().split("\n"):
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.strip().startswith("+"):
            words += " ".join(row) + " "
            row = []
        elif len(cells) == len(row):
            row = [f"{before} {cell}" for before, cell in zip(row, cells, strict=True)]
        else:
            words += " ".join(row) + " "
            row = cells
    return words + " ".join(row)


def _paragraphs(text: str) -> list[str]:
    """Split a text at blank lines; so the items of a list with blank lines are separate paragraphs."""
    return [paragraph.strip("\n") for paragraph in re.split(r"\n[ \t]*\n", text) if paragraph.strip()]


def _sentences(number: int, section: str, words: str, position: int) -> list[Sentence]:
    found: list[Sentence] = []
    mark = _LIST_MARK.match(words)
    start = mark.end() if mark else 0
    for match in _SENTENCE_END.finditer(words, start):
        if _ABBREVIATION.search(words[: match.end()]) or (match[0][0] == ":" and not _colon_ends(words, start, match)):
            continue
        found.append(Sentence(number, section, words[start : match.end()], position + start, position + match.end()))
        start = match.end() + 1
    if start < len(words):
        found.append(Sentence(number, section, words[start:], position + start, position + len(words)))
    return found


def _colon_ends(words: str, start: int, match: re.Match[str]) -> bool:
    """Return whether a colon ends a sentence: it does after "the endpoint MUST do the following: ..."."""
    return _STRENGTH.search(words, start, match.start()) is not None
