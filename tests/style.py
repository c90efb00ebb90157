"""Check the plain English of docstrings, comments and documents, where ruff cannot (`python -m tests.style`).

Four rules: the docstring of a function begins with a verb, a function in datachan/ has at most 40 lines, nothing uses
the words in `UNPLAIN`, and a comment that names a section is a line of dashes that ends in column 120.
Quotations and code are exempt.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.compliance.quotations import blocks, quoted_spans

ROOT: Final = Path(__file__).parents[1]

UNPLAIN: Final = {
    "anew": "again, or re- (re-arm, retransmit)",
    "nobody": "no peer, no handler, no caller",
    "somebody": "a peer, a caller",
    "anybody": "any peer, any caller",
    "whoever": "the peer that, the caller that",
    "so many": "at most 64, this many",
    "for ever": "forever, or the limit",
    "likewise": "too, in the same way",
    "hitherto": "until now",
}
"""Words that readers who learned English at work stumble over, and what to write instead."""

_NOT_VERBS = """
    a about after all an another any are as at because before both by data each either every everything for from
    how if in is it its neither new no none nothing of on once one only our same several since some something
    such table that the their there these they this those to true two until us user we what when where whether
    which while who whose why with within without you your
"""
NOT_A_VERB: Final = frozenset(_NOT_VERBS.split())

_UNPLAIN = re.compile(rf"\b({'|'.join(UNPLAIN)})\b", re.IGNORECASE)
_SECTION = re.compile(r" *# -- .*?(-*)$")
SECTION_WIDTH: Final = 120
MAX_FUNCTION_LINES: Final = 40
_CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)


def begins_with_a_verb(docstring: str) -> bool:
    """Return whether the first word can be an imperative; ruff's D401 knows verbs, but passes nouns and articles."""
    first, _, rest = docstring.strip().partition(" ")
    word = first.rstrip(".,:;")
    if not re.fullmatch(r"[A-Z][a-z]+(-[a-z]+)*", word) or word.lower() in NOT_A_VERB:
        return False
    plural = word.endswith("s") and not word.endswith("ss")
    return not plural and not rest.startswith("of ")


def verbless_docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and complaint for each function whose docstring does not begin with a verb.

    Properties may be noun phrases. The name of a test says what it checks; its docstring may say why.
    """
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        is_property = any(ast.unparse(decorator).endswith(("property", ".setter")) for decorator in node.decorator_list)
        if is_property or node.name.startswith("test_"):
            continue
        docstring = ast.get_docstring(node)
        if docstring and not begins_with_a_verb(docstring):
            yield node.body[0].lineno, f"{node.name}: begin with a verb: {docstring.splitlines()[0][:60]}"


def long_functions(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and complaint for each function longer than `MAX_FUNCTION_LINES`, its docstring not counted."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = node.body[0]
        documentation = _lines(first) if ast.get_docstring(node) is not None else 0
        length = _lines(node) - documentation
        if length > MAX_FUNCTION_LINES:
            yield node.lineno, f"{node.name}: split the function: {length} lines, at most {MAX_FUNCTION_LINES}"


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _without_quotations(text: str) -> str:
    """Blank quotations out; positions stay the same."""
    for start, end in quoted_spans(text)[0]:
        text = text[:start] + " " * (end - start) + text[end:]
    return _CODE.sub(lambda code: re.sub(r"[^\n]", " ", code[0]), text)


def unplain_words(path: Path, source: str) -> Iterator[tuple[int, str]]:
    """Yield line and complaint for each word of `UNPLAIN` in the comments and docstrings, or in a document."""
    is_code = path.suffix == ".py"
    texts = [(block.text, block.lines) for block in blocks(source)] if is_code else [(source, ())]
    for text, lines in texts:
        for match in _UNPLAIN.finditer(_without_quotations(text)):
            line = lines[match.start()] if lines else text.count("\n", 0, match.start()) + 1
            yield line, f"{match[0]!r}: write {UNPLAIN[match[0].lower()]}"


def uneven_sections(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and complaint for each section comment that does not end in column 120."""
    for number, line in enumerate(source.splitlines(), 1):
        section = _SECTION.fullmatch(line)
        if section and (len(line) != SECTION_WIDTH or not section[1]):
            yield number, "end the section comment with dashes in column 120"


def complaints(path: Path) -> Iterator[str]:
    """Yield the complaints about one file, each with its place."""
    source = path.read_text(encoding="utf-8")
    name = path.relative_to(ROOT)
    found = list(unplain_words(path, source))
    if path.suffix == ".py":
        found += uneven_sections(source)
        found += verbless_docstrings(source)
    if name.parts[0] == "datachan" and path.suffix == ".py":
        found += long_functions(source)
    for line, complaint in sorted(found):
        yield f"{name}:{line}: {complaint}"


def files() -> list[Path]:
    """Return the files that are checked: all Python, and all documents."""
    folders = (ROOT / name for name in ("datachan", "tests", "examples", "docs"))
    inside = [path for folder in folders for path in folder.rglob("*") if path.suffix in {".py", ".md"}]
    return sorted([*inside, *ROOT.glob("*.md")])


def main() -> None:
    """Print the complaints about the files named (all when none is), and exit with 1 when there are any."""
    chosen = [path for name in sys.argv[1:] for path in files() if path.is_relative_to((ROOT / name).resolve())]
    found = [text for path in chosen or files() if path != Path(__file__) for text in complaints(path)]
    print("\n".join(found) or "plain English: no complaints")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
