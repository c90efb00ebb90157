"""Check that every MUST and SHOULD of the RFCs in `RFCS` is cited, or explained in exceptions.toml."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from . import rfc
from .quotations import quotations
from .requirements import (
    EXCEPTIONS,
    RFCS,
    Explanation,
    Report,
    check,
    form_complaints,
    named_code,
    names_in_the_engine,
    read_exceptions,
    reports,
    test_exists,
)
from .table import BEGIN, DOCUMENT, generated

found = cache(reports)


# -- the check ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", RFCS)
def test_every_requirement_is_cited_or_explained(number: int) -> None:
    lost = [f"RFC {number}, {sentence.section}: {sentence.text}" for sentence in found()[number].open]
    assert not lost, "neither cited nor explained in exceptions.toml:\n" + "\n".join(lost)


@pytest.mark.parametrize("number", RFCS)
def test_every_explanation_holds(number: int) -> None:
    complaints = found()[number].complaints
    assert not complaints, "\n" + "\n".join(complaints)


def test_every_explanation_has_a_kind_a_reason_and_tests_that_exist() -> None:
    complaints = list(form_complaints(read_exceptions(EXCEPTIONS.read_text(encoding="utf-8"))))
    assert not complaints, "\n" + "\n".join(complaints)


def test_the_document_is_up_to_date() -> None:
    _, _, shown = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    assert shown == generated(found()), "run: python -m tests.compliance --write"


def test_finds_every_key_word_of_the_text() -> None:
    """Compare the number of key words in the whole text with the number in the sentences found."""
    for number in RFCS:
        text = rfc.load(number)
        report = found()[number]
        sentences = [*report.cited, *(sentence for sentence, _ in report.explained), *report.open]
        for word in ("MUST", "SHOULD"):
            everywhere = sum(1 for token in text.text.split() if token.strip("\"',.;:()*") == word)
            in_sentences = sum(
                1 for sentence in sentences for token in sentence.text.split() if token.strip("\"',.;:()*") == word
            )
            # The rest is in the paragraph that defines the key words (twice each), and in headings and figures.
            assert 0 <= everywhere - in_sentences <= 4, f"RFC {number}: {everywhere} {word}, {in_sentences} found"


# -- the check can fail ------------------------------------------------------------------------------------------------

TEXT = """\
1.  First

   The key words "MUST", "MUST NOT", "REQUIRED" are described elsewhere.

   An endpoint MUST send a first chunk.  It can be long.  An endpoint SHOULD NOT
   send a second chunk.

1.1.  Below

   The receiver SHOULD read it.

2.  Second

   Nobody MUST do anything here.
"""


def explanation(**fields: object) -> Explanation:
    """Return an entry for RFC 1."""
    values: dict[str, object] = {"rfc": 1, "kind": "scope", "reason": "no such thing here"}
    return Explanation(**{**values, **fields})  # type: ignore[arg-type]


def report(*entries: Explanation, source: str = "") -> Report:
    """Return the report on TEXT as RFC 1, with these entries and this source."""
    cited = quotations(Path("source.py"), source.replace("RFC 1,", "RFC 0001,"))
    return check(rfc.parse(1, TEXT), cited, list(entries))


def sections_open(result: Report) -> list[str]:
    """Return the sections of the open sentences."""
    return [sentence.section for sentence in result.open]


def test_without_citation_and_explanation_every_requirement_is_open() -> None:
    assert sections_open(report()) == ["1", "1", "1.1", "2"]


def test_a_citation_of_a_part_counts_for_its_sentence_only() -> None:
    result = report(source='# RFC 1, 1: "endpoint MUST send a first chunk"')
    assert [sentence.text for sentence in result.cited] == ["An endpoint MUST send a first chunk."]
    assert sections_open(result) == ["1", "1.1", "2"]


def test_a_citation_over_two_sentences_counts_for_both() -> None:
    result = report(source='# RFC 1, 1: "send a first chunk. It can be long. An endpoint SHOULD NOT send"')
    assert len(result.cited) == 2


def test_four_words_or_changed_words_do_not_cite() -> None:
    assert report(source='# RFC 1, 1: "send a first chunk"').cited == []
    assert report(source='# RFC 1, 1: "endpoint MUST send the first chunk"').cited == []


def test_a_section_explains_its_subsections_and_the_nearest_entry_counts() -> None:
    near, far = explanation(sections=("1.1",)), explanation(sections=("1",))
    result = report(near, far)
    assert sections_open(result) == ["2"]
    assert [entry for _, entry in result.explained] == [far, far, near]


def test_an_entry_for_a_sentence_overrides_one_for_its_section() -> None:
    exact, section = explanation(sentences=("SHOULD NOT send",)), explanation(sections=("1",))
    result = report(section, exact)
    assert [entry for _, entry in result.explained] == [section, exact, section]
    assert result.complaints == []


def test_reports_an_explanation_whose_words_are_in_no_sentence() -> None:
    (complaint,) = report(explanation(sentences=("SHOULD NOT send a third chunk",))).complaints
    assert "in no requirement of RFC 1" in complaint
    # "It can be long." is in the text, but it is not a requirement.
    assert report(explanation(sentences=("It can be long",))).complaints
    assert report(explanation(sections=("2",), sentences=("MUST send a first",))).complaints


def test_reports_an_explanation_of_a_section_without_requirements() -> None:
    (complaint,) = report(explanation(sections=("3",))).complaints
    assert "no requirement in section 3" in complaint


def test_reports_an_explanation_of_a_cited_sentence() -> None:
    source = '# RFC 1, 1.1: "The receiver SHOULD read it."'
    (complaint,) = report(explanation(sections=("1.1",)), source=source).complaints
    assert "explains nothing that is not cited" in complaint
    assert report(explanation(sections=("1",)), source=source).complaints == []


def test_reports_a_sentence_explained_twice() -> None:
    first, second = explanation(sentences=("MUST send a first",)), explanation(sentences=("first chunk",))
    assert "explained twice" in report(first, second).complaints[0]
    assert "explained twice" in report(explanation(sections=("1",)), explanation(sections=("1",))).complaints[0]


def test_reports_a_cited_sentence_that_is_not_implemented() -> None:
    missing = explanation(kind="not implemented", sentences=("MUST send a first",))
    source = '# RFC 1, 1: "endpoint MUST send a first chunk"'
    assert "implemented after all?" in report(missing, source=source).complaints[0]
    assert report(missing).complaints == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "laziness"}, "the kind is none of"),
        ({"rfc": 1}, "no RFC that is checked"),
        ({"reason": "because"}, "without a reason"),
        ({"sections": ()}, "explains nothing"),
        ({"kind": "covered"}, "names no test"),
        ({"kind": "covered", "tests": ("scenario/test_sctp_ending.py::test_of_dreams",)}, "there is no test"),
        ({"reason": "DataTracker.record_nothing sees to it."}, "there is no DataTracker.record_nothing"),
        ({"reason": "It is shutdown.start_shut that does it."}, "there is no shutdown.start_shut"),
    ],
)
def test_reports_an_entry_of_the_wrong_form(fields: dict[str, object], words: str) -> None:
    good = {"rfc": 9260, "sections": ("6",)}
    assert list(form_complaints([explanation(**good)])) == []
    (complaint,) = form_complaints([explanation(**{**good, **fields})])
    assert words in complaint


def test_finds_the_code_that_a_reason_names() -> None:
    words = "SendQueue.take, init.refuse, AssociationOptions.rto_min; but not os.urandom, Max.Burst or cookie.py."
    assert named_code(words) == ["SendQueue.take", "init.refuse", "AssociationOptions.rto_min"]
    assert set(named_code(words)) <= names_in_the_engine()


def test_a_test_exists_when_a_function_of_this_name_is_in_the_file() -> None:
    assert test_exists("compliance/test_requirements.py::test_finds_every_key_word_of_the_text")
    assert not test_exists("compliance/test_requirements.py::report")
    assert not test_exists("compliance/test_nothing.py::test_finds_every_key_word_of_the_text")
