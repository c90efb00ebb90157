"""Find the quotations of RFCs in comments and docstrings, and look them up in the RFC's text.

These count as quotations:

- `# RFC 9260, 6.1, C: "before sending new DATA chunks, [...] the sender MUST first ..."`: any words in quotation marks
  after the mention of an RFC, in the same comment block or docstring. The section, when given, must be right.
- `# C5: "If a FORWARD TSN is sent, ..."`: at least LONGEST_NAME words in quotation marks without a mention, in a file
  that names an RFC earlier. The words must be in one of the RFCs named so far.

Quotation marks nest; `[...]` leaves words out. A comment block is a run of consecutive whole-line comments, or a
comment after code with the whole-line comments that follow it.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from . import rfc

LONGEST_NAME = 5
"""In words: shorter text in quotation marks is a name or a figure of speech when its block names no RFC."""

LONGEST_NAME_OF_AN_RFC = 2
"""In words: text this short is not a quotation, even after the number of an RFC ("actpass")."""

_MENTION = re.compile(
    r"RFC ?(?P<number>\d{3,4})(?:,? (?:section |sections |appendix )?(?P<section>\d+(?:\.\d+)*|A(?= |,|:|\.))(?!\d))?"
)
_OTHER_SOURCE = re.compile(r"\bW3C\b|draft-|\bFACTS\b")
_OPENS_BEHIND = set(" ([\n")


@dataclass(frozen=True, slots=True)
class Block:
    """A comment or docstring.

    Attributes:
        text: the words, with lines joined by one space.
        lines: the line in the file of each character of `text`.
    """

    text: str
    lines: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Quotation:
    """Words in quotation marks that should be an RFC's.

    Attributes:
        path, line: the place of the quotation.
        words: the words without the outer quotation marks, normalized.
        rfcs: the RFCs that may contain the words; a single one when the same block names it.
        section: the section named, or "".
    """

    path: Path
    line: int
    words: str
    rfcs: tuple[int, ...]
    section: str

    @property
    def fragments(self) -> list[str]:
        """The parts between the omission marks."""
        return [part.strip(" ") for part in self.words.split("[...]") if part.strip(" ")]


class UnclosedQuotation(ValueError):
    """A quotation behind the mention of an RFC does not end in its comment or docstring."""


# -- reading the source ------------------------------------------------------------------------------------------------


def blocks(source: str) -> list[Block]:
    """Return the comments and docstrings of a Python file, in order."""
    found = [*_comment_blocks(source), *_docstrings(source)]
    return sorted(found, key=lambda block: block.lines[0])


def _block(lines: list[tuple[int, str]]) -> Block | None:
    text = ""
    numbers: list[int] = []
    for number, line in lines:
        words = " ".join(line.split())
        if not words:
            continue
        if text:
            words = " " + words
        text += words
        numbers.extend([number] * len(words))
    return Block(text, tuple(numbers)) if text else None


def _comment_blocks(source: str) -> Iterator[Block]:
    run: list[tuple[int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        alone = not token.line[: token.start[1]].strip()
        if run and not (alone and token.start[0] == run[-1][0] + 1):
            if (block := _block(run)) is not None:
                yield block
            run = []
        run.append((token.start[0], token.string.lstrip("#")))
    if (block := _block(run)) is not None:
        yield block


def _docstrings(source: str) -> Iterator[Block]:
    """Yield the strings that are statements of their own: docstrings of modules, classes, functions and constants."""
    source_lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            continue
        value = node.value.value
        if not isinstance(value, str) or not value.strip():
            continue
        lines = value.split("\n")
        # An escaped newline would shift the numbers. In that case every line gets the number of the first one.
        numbered = len(lines) == (node.end_lineno or node.lineno) - node.lineno + 1 <= len(source_lines)
        block = _block([(node.lineno + (i if numbered else 0), line) for i, line in enumerate(lines)])
        if block is not None:
            yield block


# -- finding quotations ------------------------------------------------------------------------------------------------


def quoted_spans(text: str) -> tuple[list[tuple[int, int]], int | None]:
    """Return the outermost quotations as (start, end) without their marks, and the start of an unclosed one or None.

    A mark after a space or an opening bracket opens a quotation, unless a space follows it. Other marks close one.
    """
    spans: list[tuple[int, int]] = []
    depth, begin = 0, 0
    for i, character in enumerate(text):
        if character != '"':
            continue
        opens = (i == 0 or text[i - 1] in _OPENS_BEHIND) and i + 1 < len(text) and text[i + 1] != " "
        if opens:
            if depth == 0:
                begin = i + 1
            depth += 1
        elif depth:
            depth -= 1
            if depth == 0:
                spans.append((begin, i))
    return spans, begin - 1 if depth else None


def quotations(path: Path, source: str) -> list[Quotation]:
    """Return the quotations in a file. Raises UnclosedQuotation."""
    found: list[Quotation] = []
    named: list[int] = []
    for block in blocks(source):
        spans, unclosed = quoted_spans(block.text)
        mentions = [m for m in _MENTION.finditer(block.text) if not any(b <= m.start() < e for b, e in spans)]
        if unclosed is not None and any(m.start() < unclosed for m in mentions):
            raise UnclosedQuotation(f"{path}:{block.lines[unclosed]}: the quotation does not end")
        for begin, end in spans:
            before = [mention for mention in mentions if mention.start() < begin]
            words = rfc.normalize(block.text[begin:end])
            if before:
                rfcs: tuple[int, ...] = (int(before[-1]["number"]),)
                section = before[-1]["section"] or ""
                if len(words.split()) <= LONGEST_NAME_OF_AN_RFC:
                    continue
            else:
                rfcs, section = tuple(dict.fromkeys(named)), ""
                if not rfcs or len(words.split()) < LONGEST_NAME:
                    continue
            if words and not _OTHER_SOURCE.search(block.text[before[-1].end() if before else 0 : begin]):
                found.append(Quotation(path, block.lines[begin], words, rfcs, section))
        named.extend(int(mention["number"]) for mention in mentions)
    return found


# -- looking them up ---------------------------------------------------------------------------------------------------


def locate(quotation: Quotation, text: rfc.Rfc) -> list[tuple[int, int]] | None:
    """Return the places of the fragments of a quotation, in order, as (start, end); None when one is missing.

    When the words occur more than once, prefer the places in the section named.
    """
    places: list[tuple[int, int]] = []
    for fragment in quotation.fragments:
        starts = [start for start in text.find(fragment) if not places or start >= places[0][0]]
        if quotation.section:
            here = [start for start in starts if rfc.within(text.section_at(start), quotation.section)]
            starts = here or starts
        if not starts:
            return None
        places.append((starts[0], starts[0] + len(fragment)))
    return places


def complaint(quotation: Quotation) -> str | None:
    """Say what is wrong with a quotation, beginning with file and line; None when it is verbatim."""
    where = f"{quotation.path}:{quotation.line}"
    texts = [rfc.load(number) for number in quotation.rfcs if number in rfc.at_hand()]
    for text in texts:
        places = locate(quotation, text)
        if places is None:
            continue
        section = text.section_at(places[0][0])
        if quotation.section and not rfc.within(section, quotation.section):
            return f"{where}: this is in section {section} of RFC {text.number}, not in {quotation.section}"
        return None
    names = " or ".join(f"RFC {text.number}" for text in texts)
    return f'{where}: not in {names}:\n  quoted:  "{quotation.words}"\n  nearest: "{nearest(quotation, texts)}"'


def nearest(quotation: Quotation, texts: list[rfc.Rfc]) -> str:
    """Return the sentence of the texts that is most similar to the quotation."""
    words = set(quotation.words.split())

    def shared(sentence: rfc.Sentence) -> float:
        other = set(sentence.text.split())
        return len(words & other) / len(words | other)

    candidates = sorted((s for text in texts for s in text.sentences), key=shared, reverse=True)[:20]
    best = max(
        candidates, key=lambda s: SequenceMatcher(None, quotation.words, s.text, autojunk=False).ratio(), default=None
    )
    return "" if best is None else f"{best.text} (section {best.section})"
