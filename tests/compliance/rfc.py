"""The RFCs' texts as one line of words each, with its sections and sentences; it knows nothing of our code.

A text is normalized once: page breaks fall out, white space becomes one blank, a word broken after a hyphen or a slash
is put together again. Positions (`Sentence.start`, `Section.start`) are offsets in that normalized text.
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
    """A section from its heading to the next section's.

    Attributes:
        number: "6.2.1", or "A" for an appendix.
        title: its heading's words.
        start: where its heading begins.
    """

    number: str
    title: str
    start: int


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence and where it stands.

    Attributes:
        rfc: the RFC's number.
        section: the number of the section it is in.
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
        """Whether it has a MUST, SHOULD or SHALL, also with NOT."""
        return _STRENGTH.search(self.text) is not None

    @property
    def is_must(self) -> bool:
        """Whether it has a MUST (or SHALL); else a requirement is a SHOULD."""
        return re.search(r"\b(?:MUST|SHALL)\b", self.text) is not None


@dataclass(frozen=True, slots=True)
class Rfc:
    """One text.

    Attributes:
        number: the RFC's.
        text: normalized.
        sections: in order.
        sentences: in order; figures, headings and lists of references have some, too.
    """

    number: int
    text: str
    sections: tuple[Section, ...]
    sentences: tuple[Sentence, ...]

    def section_at(self, position: int) -> str:
        """The number of the section a position is in; "" before the first."""
        i = bisect_right([section.start for section in self.sections], position)
        return self.sections[i - 1].number if i else ""

    def find(self, words: str) -> list[int]:
        """Every position at which these words, normalized, begin."""
        return [match.start() for match in re.finditer(re.escape(words), self.text)]

    def requirements(self) -> list[Sentence]:
        """The sentences with MUST, SHOULD or SHALL, without the paragraph that says what these words mean."""
        return [
            sentence for sentence in self.sentences if sentence.is_requirement and not _KEY_WORDS.search(sentence.text)
        ]


def normalize(text: str) -> str:
    """One blank for any white space, and no blank after a hyphen or slash that joins two parts of a word."""
    text = " ".join(text.split())
    return re.sub(r"(?<=\w)([-/]) (?=\w)", r"\1", text)


def within(section: str, ancestor: str) -> bool:
    """Whether a section number is another's or below it."""
    return section == ancestor or section.startswith(ancestor + ".")


def at_hand() -> list[int]:
    """The numbers of the RFCs whose text is here."""
    return sorted(int(path.name[3:-7]) for path in TEXTS.glob("rfc*.txt.gz"))


@cache
def load(number: int) -> Rfc:
    """Read an RFC. Raises FileNotFoundError when its text is not here."""
    with gzip.open(TEXTS / f"rfc{number}.txt.gz", "rt", encoding="utf-8-sig") as file:
        return parse(number, file.read())


def parse(number: int, raw: str) -> Rfc:
    """The RFC of a text as the RFC Editor has it."""
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
    """A page's footer, the form feed and the next page's header become a blank line, or nothing within a sentence."""
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
    # A paragraph that ends without a full stop goes on behind the break.
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
    """A table's words cell by cell."""
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
    """Paragraphs, with the items of a list one by one where blank lines divide them."""
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
    """Whether a colon ends a sentence: it does behind a requirement ("the endpoint MUST do the following: ...")."""
    return _STRENGTH.search(words, start, match.start()) is not None
