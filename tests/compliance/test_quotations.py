"""Check that every RFC quotation in a comment or docstring is verbatim, and in the section it names."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from . import rfc
from .quotations import Quotation, UnclosedQuotation, blocks, complaint, quotations, quoted_spans
from .requirements import all_quotations

HERE = Path("somewhere.py")

TEXT_MISSING = {
    1035: "DNS; three words in one comment",
    3264: "offer and answer",
    5246: "TLS 1.2",
    5888: "SDP grouping",
    6347: "DTLS 1.2",
    6762: "multicast DNS",
    9959: "Careful Resume",
}
"""RFCs that are quoted, but whose text is not in rfcs/ yet. Their quotations are not checked."""


def of(source: str) -> list[Quotation]:
    """Return the quotations in a file with this text."""
    return quotations(HERE, textwrap.dedent(source))


def only(source: str) -> Quotation:
    """Return the only quotation in a file with this text."""
    (quotation,) = of(source)
    return quotation


# -- the check ---------------------------------------------------------------------------------------------------------


def test_every_quotation_is_verbatim_and_in_the_section_it_names() -> None:
    complaints = [
        text
        for quotation in all_quotations()
        if set(quotation.rfcs) & set(rfc.at_hand()) and (text := complaint(quotation)) is not None
    ]
    assert not complaints, "\n" + "\n".join(complaints)


def test_every_quoted_rfc_is_stored_or_listed_as_missing() -> None:
    quoted = {quotation.rfcs[0] for quotation in all_quotations() if len(quotation.rfcs) == 1}
    assert quoted - set(rfc.at_hand()) == set(TEXT_MISSING)


def test_finds_more_than_70_quotations_of_rfc_9260() -> None:
    assert len([quotation for quotation in all_quotations() if quotation.rfcs == (9260,)]) > 70


# -- the check can fail ------------------------------------------------------------------------------------------------


def test_accepts_a_verbatim_quotation() -> None:
    quotation = only('# RFC 9260, 6.1: "Senders MUST support zero window probing."')
    assert (quotation.rfcs, quotation.section, complaint(quotation)) == ((9260,), "6.1", None)


def test_reports_a_changed_word_with_file_line_and_nearest_sentence() -> None:
    source = """\
    x = 1

    # RFC 9260, 6.1: "Senders SHOULD support zero window probing."
    """
    text = complaint(only(source))
    assert text is not None
    assert text.startswith("somewhere.py:3: not in RFC 9260")
    assert "Senders MUST support zero window probing. (section 6.1)" in text


def test_reports_a_quotation_from_another_section() -> None:
    text = complaint(only('# RFC 9260, 6.3: "Senders MUST support zero window probing."'))
    assert text == "somewhere.py:1: this is in section 6.1 of RFC 9260, not in 6.3"


def test_the_section_above_is_right_too() -> None:
    assert complaint(only('# RFC 9260, section 6: "Senders MUST support zero window probing."')) is None


def test_reports_a_quotation_from_another_rfc() -> None:
    assert complaint(only('# RFC 3758, 3.5: "Senders MUST support zero window probing."')) is not None


def test_reports_left_out_words_unless_an_omission_mark_stands_there() -> None:
    whole = (
        "The data receiver SHOULD notify the data sender in a timely manner of changes in its ability to receive data."
    )
    assert whole in rfc.load(9260).text
    without = "The data receiver SHOULD notify the data sender of changes in its ability to receive data."
    marked = "The data receiver SHOULD notify the data sender [...] of changes in its ability to receive data."
    backwards = "changes in its ability to receive data [...] The data receiver SHOULD notify the data sender"
    assert complaint(only(f'# RFC 9260, 6.2: "{without}"')) is not None
    assert complaint(only(f'# RFC 9260, 6.2: "{marked}"')) is None
    assert complaint(only(f'# RFC 9260, 6.2: "{backwards}"')) is not None


def test_reports_an_unclosed_quotation() -> None:
    with pytest.raises(UnclosedQuotation, match=r"somewhere\.py:2"):
        of('x = 1\n# RFC 9260, 6.1: "Senders MUST support zero\n')


# -- finding quotations ------------------------------------------------------------------------------------------------


def test_reads_a_quotation_over_several_comment_lines() -> None:
    source = """\
    # RFC 9260, 6.1, C: "before sending new DATA chunks, the sender MUST first transmit any DATA chunks that are
    # marked for retransmission (limited by the current cwnd)."
    x = 1
    """
    quotation = only(source)
    assert quotation.words.endswith("chunks that are marked for retransmission (limited by the current cwnd).")
    assert complaint(quotation) is None


def test_a_comment_after_code_and_the_lines_below_it_are_one_block() -> None:
    source = """\
    x = 1  # RFC 9260, 6.1: "Senders MUST
    # support zero window probing."
    """
    assert only(source).words == "Senders MUST support zero window probing."


def test_reads_docstrings_of_modules_functions_and_constants() -> None:
    source = '''\
    """RFC 9260, 6.1: "Senders MUST support zero window probing."."""

    VALUE = 3
    """RFC 9260, 6.1: "Senders MUST support one."."""


    def function():
        """A summary.

        RFC 9260, 6.1: "Senders MUST support
        two."
        """
        return "RFC 9260, 6.1: 'no docstring' and "
    '''
    found = of(source)
    assert [(quotation.line, quotation.words) for quotation in found] == [
        (1, "Senders MUST support zero window probing."),
        (4, "Senders MUST support one."),
        (10, "Senders MUST support two."),
    ]


def test_ignores_a_string_that_looks_like_a_comment() -> None:
    assert of("""x = '# RFC 9260, 6.1: "Senders SHOULD do as they please."'\n""") == []


def test_quotation_marks_nest() -> None:
    text = 'it says "set RTO = RTO * 2 ("back off the timer")" and "is marked as "abandoned"".'
    spans, unclosed = quoted_spans(text)
    assert [text[begin:end] for begin, end in spans] == [
        'set RTO = RTO * 2 ("back off the timer")',
        'is marked as "abandoned"',
    ]
    assert unclosed is None
    # The first outer mark has no partner.
    assert quoted_spans('so "the end is "missing" here') == ([], 3)


def test_a_later_comment_may_quote_without_the_number_of_the_rfc() -> None:
    source = """\
    # RFC 3758, section 3.5.
    x = 1
    # C5: "If a FORWARD TSN is sent, the sender MUST assure that at least one T3-rtx timer is running."
    x = 2
    # C5: "If a FORWARD TSN is sent, the sender SHOULD assure that at least one T3-rtx timer is running."
    """
    right, wrong = of(source)
    assert (right.rfcs, complaint(right)) == ((3758,), None)
    assert (complaint(wrong) or "").startswith("somewhere.py:5: not in RFC 3758")


def test_ignores_names_and_quotations_of_other_sources() -> None:
    source = """\
    # RFC 8842 says "actpass".
    x = 1
    # A "figure of speech" here.
    y = 2
    # W3C: "Whatever the words of another standard may be."
    """
    assert of(source) == []


def test_a_quotation_belongs_to_the_last_rfc_named_before_it() -> None:
    quotation = only('# As RFC 8985 and RFC 9260, 6.1 have it: "Senders MUST support zero window probing." RFC 3758')
    assert (quotation.rfcs, quotation.section) == ((9260,), "6.1")


def test_empty_comment_lines_do_not_end_a_block() -> None:
    (block,) = blocks("# one\n#\n# two\n")
    assert (block.text, block.lines[0], block.lines[-1]) == ("one two", 1, 3)


# -- the texts ---------------------------------------------------------------------------------------------------------

PAGED = """\
1.  First

   A sentence runs over the end
   of the page and must not

Author                       Standards Track                    [Page 1]
\f
RFC 1                          Title                           May 2004


   break.  Another ends before it.

Author                       Standards Track                    [Page 2]
\f
RFC 1                          Title                           May 2004


   o  The endpoint MUST use SHUTDOWN-
      SENT (e.g. later).  It SHOULD: wait.

2.  Second

   +---+-----------------------+
   | 0 | Stop processing and   |
   |   | discard it.           |
   +---+-----------------------+
   | 1 | Go on.                |
   +---+-----------------------+
"""


def test_removes_page_breaks_within_sentences_but_not_between_paragraphs() -> None:
    text = rfc.parse(1, PAGED)
    assert "over the end of the page and must not break. Another ends before it. o The" in text.text
    assert "Page" not in text.text
    assert "Title" not in text.text
    assert [sentence.text for sentence in text.requirements()] == [
        "The endpoint MUST use SHUTDOWN-SENT (e.g. later).",
        "It SHOULD: wait.",
    ]


def test_reads_tables_cell_by_cell_and_knows_sections() -> None:
    text = rfc.parse(1, PAGED)
    (start,) = text.find("Stop processing and discard it.")
    assert text.section_at(start) == "2"
    assert [(section.number, section.title) for section in text.sections] == [("1", "First"), ("2", "Second")]
    assert rfc.within("6.2.1", "6.2")
    assert not rfc.within("6.21", "6.2")


@pytest.mark.parametrize("number", rfc.at_hand())
def test_each_stored_text_is_complete(number: int) -> None:
    text = rfc.load(number)
    assert text.text.count("[Page ") <= 2
    assert len(text.sections) > 5
    assert text.find("Security Considerations")
