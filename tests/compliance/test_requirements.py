"""Every MUST and SHOULD of RFC 9260, 3758, 6525 and 8260 is cited, or explained in exceptions.toml."""

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


# -- the check ----------------------------------------------------------------------------------------------------


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


def test_the_document_shows_these_counts() -> None:
    _, _, shown = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    assert shown == generated(found()), "run: python -m tests.compliance --write"


def test_no_requirement_is_overlooked() -> None:
    """A count that knows nothing of sentences: how often the words stand in the text, and how often in those."""
    for number in RFCS:
        text = rfc.load(number)
        report = found()[number]
        sentences = [*report.cited, *(sentence for sentence, _ in report.explained), *report.open]
        for word in ("MUST", "SHOULD"):
            everywhere = sum(1 for token in text.text.split() if token.strip("\"',.;:()*") == word)
            in_sentences = sum(
                1 for sentence in sentences for token in sentence.text.split() if token.strip("\"',.;:()*") == word
            )
            # What remains is the paragraph on key words, twice each, and headings and figures.
            assert 0 <= everywhere - in_sentences <= 4, f"RFC {number}: {everywhere} {word}, {in_sentences} found"


# -- the check can fail -------------------------------------------------------------------------------------------

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
    """An entry for RFC 1."""
    values: dict[str, object] = {"rfc": 1, "kind": "scope", "reason": "no such thing here"}
    return Explanation(**{**values, **fields})  # type: ignore[arg-type]


def report(*entries: Explanation, source: str = "") -> Report:
    """What becomes of TEXT as RFC 1 with these entries and this source."""
    cited = quotations(Path("source.py"), source.replace("RFC 1,", "RFC 0001,"))
    return check(rfc.parse(1, TEXT), cited, list(entries))


def sections_open(result: Report) -> list[str]:
    """The sections of what is open."""
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


def test_four_words_are_no_citation_nor_is_one_that_is_not_verbatim() -> None:
    assert report(source='# RFC 1, 1: "send a first chunk"').cited == []
    assert report(source='# RFC 1, 1: "endpoint MUST send the first chunk"').cited == []


def test_a_section_explains_what_is_below_it_and_the_nearest_entry_counts() -> None:
    near, far = explanation(sections=("1.1",)), explanation(sections=("1",))
    result = report(near, far)
    assert sections_open(result) == ["2"]
    assert [entry for _, entry in result.explained] == [far, far, near]


def test_a_sentence_is_explained_by_its_words_whatever_its_section_says() -> None:
    exact, section = explanation(sentences=("SHOULD NOT send",)), explanation(sections=("1",))
    result = report(section, exact)
    assert [entry for _, entry in result.explained] == [section, exact, section]
    assert result.complaints == []


def test_an_explanation_whose_words_are_in_no_sentence_is_told() -> None:
    (complaint,) = report(explanation(sentences=("SHOULD NOT send a third chunk",))).complaints
    assert "in no requirement of RFC 1" in complaint
    # "It can be long." is there, but no requirement.
    assert report(explanation(sentences=("It can be long",))).complaints
    assert report(explanation(sections=("2",), sentences=("MUST send a first",))).complaints


def test_an_explanation_of_a_section_without_requirements_is_told() -> None:
    (complaint,) = report(explanation(sections=("3",))).complaints
    assert "no requirement in section 3" in complaint


def test_an_explanation_of_what_is_cited_anyway_is_told() -> None:
    source = '# RFC 1, 1.1: "The receiver SHOULD read it."'
    (complaint,) = report(explanation(sections=("1.1",)), source=source).complaints
    assert "explains nothing that is not cited" in complaint
    assert report(explanation(sections=("1",)), source=source).complaints == []


def test_what_is_explained_twice_is_told() -> None:
    first, second = explanation(sentences=("MUST send a first",)), explanation(sentences=("first chunk",))
    assert "explained twice" in report(first, second).complaints[0]
    assert "explained twice" in report(explanation(sections=("1",)), explanation(sections=("1",))).complaints[0]


def test_something_not_implemented_that_is_cited_is_told() -> None:
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
        ({"reason": "It is teardown.start_shut that does it."}, "there is no teardown.start_shut"),
    ],
)
def test_an_entry_of_the_wrong_form_is_told(fields: dict[str, object], words: str) -> None:
    good = {"rfc": 9260, "sections": ("6",)}
    assert list(form_complaints([explanation(**good)])) == []
    (complaint,) = form_complaints([explanation(**{**good, **fields})])
    assert words in complaint


def test_the_code_a_reason_speaks_of_is_found() -> None:
    words = "SendQueue.take, handshake.refuse, AssociationOptions.rto_min; but not os.urandom, Max.Burst or cookie.py."
    assert named_code(words) == ["SendQueue.take", "handshake.refuse", "AssociationOptions.rto_min"]
    assert set(named_code(words)) <= names_in_the_engine()


def test_a_test_exists_when_a_function_of_this_name_is_in_the_file() -> None:
    assert test_exists("compliance/test_requirements.py::test_no_requirement_is_overlooked")
    assert not test_exists("compliance/test_requirements.py::report")
    assert not test_exists("compliance/test_nothing.py::test_no_requirement_is_overlooked")
