"""The style check reports each violation, and nothing in quotations or code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.style import begins_with_a_verb, long_functions, uneven_sections, unplain_words, verbless_docstrings


@pytest.mark.parametrize(
    "docstring",
    ["Return the chunk.", "Re-arm T3-rtx.", "Process a SACK.", "Close.", "Send, then wait.", "Read: nothing is sent."],
)
def test_accepts_a_docstring_that_begins_with_a_verb(docstring: str) -> None:
    assert begins_with_a_verb(docstring)


@pytest.mark.parametrize(
    "docstring",
    ["The chunk.", "An ASCONF-ACK came.", "Whether it fits.", "Length of a chunk.", "Bytes in flight.", "RFC 9260."],
)
def test_reports_a_docstring_that_begins_with_something_else(docstring: str) -> None:
    assert not begins_with_a_verb(docstring)


def test_properties_may_be_noun_phrases() -> None:
    source = '''
class Path:
    @property
    def rto(self):
        """The retransmission timeout."""

    def reset(self):
        """The timeout is reset."""
'''
    assert [line for line, _ in verbless_docstrings(source)] == [8]


def test_the_docstring_of_a_test_may_begin_with_anything() -> None:
    source = 'def test_close():\n    """OpenSSL keeps errors."""\n\n\ndef close():\n    """OpenSSL keeps errors."""\n'
    assert [line for line, _ in verbless_docstrings(source)] == [6]


def test_reports_an_unplain_word_with_its_line() -> None:
    source = 'x = 1\n# RFC 9260, 6.1: "sent anew"\n# It is sent\n# anew.\n'
    assert [line for line, _ in unplain_words(Path("a.py"), source)] == [4]


def test_ignores_code_in_documents() -> None:
    document = "One\n`nobody`\n```\nnobody\n```\nnobody\n"
    assert [line for line, _ in unplain_words(Path("a.md"), document)] == [6]


def test_reports_a_section_comment_of_another_width() -> None:
    even = "# -- private " + 107 * "-"
    source = f"{even}\n# -- private ---\n# -- private\n{even}-\nx = 1  # -- no section\n"
    assert [line for line, _ in uneven_sections(source)] == [2, 3, 4]


def test_reports_a_function_of_more_than_40_lines_without_its_docstring() -> None:
    docstring = '    """Count.\n\n    Slowly.\n    """\n'
    fits = "def fits():\n" + docstring + "    x = 1\n" * 39
    does_not_fit = "async def does_not_fit():\n" + docstring + "    x = 1\n" * 40
    assert [line for line, _ in long_functions(fits + does_not_fit)] == [45]
