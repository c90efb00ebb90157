"""Quotations of RFCs in comments and docstrings: found by reading the source, and looked up in the RFC's text.

What counts as one:

- `# RFC 9260, 6.1, C: "before sending new DATA chunks, [...] the sender MUST first ..."`: whatever stands in quotation
  marks behind the mention of an RFC, in the same comment block or docstring. The section, when given, must be right.
- `# C5: "If a FORWARD TSN is sent, ..."`: without a mention of its own, when it is LONGEST_NAME words or longer, in a
  file that names an RFC earlier. Then it must be in one of the RFCs named so far.

Quotation marks nest; `[...]` leaves something out. A comment block is the run of whole-line comments one below the
other, or a comment behind code with the whole-line comments that follow it.
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
"""Words: shorter text in quotation marks, with no RFC named in its block, is a name or a figure of speech."""

LONGEST_NAME_OF_AN_RFC = 2
"""Words: as short as that it is no quotation even behind an RFC's number ("actpass")."""

_MENTION = re.compile(
    r"RFC ?(?P<number>\d{3,4})(?:,? (?:section |sections |appendix )?(?P<section>\d+(?:\.\d+)*|A(?= |,|:|\.))(?!\d))?"
)
_OTHER_SOURCE = re.compile(r"\bW3C\b|draft-|\bFACTS\b")
_OPENS_BEHIND = set(" ([\n")


@dataclass(frozen=True, slots=True)
class Block:
    """A comment or docstring.

    Attributes:
        text: its words, lines joined by one blank.
        lines: for each character of `text`, its line in the file.
    """

    text: str
    lines: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Quotation:
    """Words in quotation marks that claim to be an RFC's.

    Attributes:
        path, line: where they stand.
        words: without the outer quotation marks, normalized.
        rfcs: the RFCs they may be from; one when it is named in the same block.
        section: the section named, or "".
    """

    path: Path
    line: int
    words: str
    rfcs: tuple[int, ...]
    section: str

    @property
    def fragments(self) -> list[str]:
        """What stands between the omission marks."""
        return [part.strip(" ") for part in self.words.split("[...]") if part.strip(" ")]


class UnclosedQuotation(ValueError):
    """A quotation behind the mention of an RFC does not end in its comment or docstring."""


# -- reading the source -------------------------------------------------------------------------------------------


def blocks(source: str) -> list[Block]:
    """The comments and docstrings of a Python file, in order."""
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
    """Strings that stand alone as a statement: docstrings of modules, classes, functions and of what is assigned."""
    source_lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            continue
        value = node.value.value
        if not isinstance(value, str) or not value.strip():
            continue
        lines = value.split("\n")
        # An escaped newline would shift the numbers; then all lines count as the first.
        numbered = len(lines) == (node.end_lineno or node.lineno) - node.lineno + 1 <= len(source_lines)
        block = _block([(node.lineno + (i if numbered else 0), line) for i, line in enumerate(lines)])
        if block is not None:
            yield block


# -- finding quotations -------------------------------------------------------------------------------------------


def quoted_spans(text: str) -> tuple[list[tuple[int, int]], int | None]:
    """The outermost quotations as (start, end) without their marks; and where one opens that does not end, or None.

    A mark opens behind a blank or an opening bracket, unless a blank follows it; else it closes.
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
    """What a file quotes. Raises UnclosedQuotation."""
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


# -- looking them up ----------------------------------------------------------------------------------------------


def locate(quotation: Quotation, text: rfc.Rfc) -> list[tuple[int, int]] | None:
    """Where the fragments of a quotation stand, in order, as (start, end); None when they do not.

    Where the words are found more than once, the places are those in the section named.
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
    """What is wrong with a quotation, beginning with file and line; None when it is verbatim."""
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
    """The sentence of the texts that is most like the quotation."""
    words = set(quotation.words.split())

    def shared(sentence: rfc.Sentence) -> float:
        other = set(sentence.text.split())
        return len(words & other) / len(words | other)

    candidates = sorted((s for text in texts for s in text.sentences), key=shared, reverse=True)[:20]
    best = max(
        candidates, key=lambda s: SequenceMatcher(None, quotation.words, s.text, autojunk=False).ratio(), default=None
    )
    return "" if best is None else f"{best.text} (section {best.section})"
