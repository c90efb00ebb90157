"""Codes: how they are made, typed and completed."""

from __future__ import annotations

import os

import pytest

from datachan.transfer.codes import (
    PREFIX_LENGTH,
    BadCode,
    Code,
    complete,
    make_code,
    parse_code,
    room_of,
    word_list,
    words_of,
)


def test_the_list_has_2048_words_that_their_first_four_letters_tell_apart() -> None:
    words = word_list()
    assert len(words) == len(set(words)) == 2048
    assert len({word[:PREFIX_LENGTH] for word in words}) == 2048
    assert list(words) == sorted(words)
    assert all(word.isascii() and word.isalpha() and word.islower() for word in words)


def test_words_are_the_leading_bits() -> None:
    assert words_of(bytes(3), 2) == ["abandon", "abandon"]
    assert words_of(b"\xff" * 6, 4) == ["zoo"] * 4
    assert words_of(b"\x00\x20\x00", 2) == ["ability", "abandon"]


def test_a_code_that_was_made_is_read_back(seed: int) -> None:
    for slot in (1, 7, 9999):
        code = make_code(slot, os.urandom)
        assert parse_code(str(code)) == code
        assert room_of(code.slot) == f"send-{slot}"


@pytest.mark.parametrize(
    "typed", ["7-marble-kitten", "7 marble kitten", "  7-MARBLE-Kitten\n", "7-marb-kitt", "7 - marbl - kitte"]
)
def test_a_code_is_read_as_people_type_it(typed: str) -> None:
    assert parse_code(typed) == Code(7, ("marble", "kitten"))
    assert str(parse_code(typed)) == "7-marble-kitten"


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("", "a number and two words"),
        ("7-marble", "a number and two words"),
        ("marble-kitten-7", "begins with a number"),
        ("0-marble-kitten", "from 1 to 9999"),
        ("10000-marble-kitten", "from 1 to 9999"),
        ("٧-marble-kitten", "begins with a number"),
        ("7-marbel-kitten", "'marbel'"),
        ("7-mar-kitten", "'mar'"),
        ("7-\x1b[31m-kitten", "'this'"),
        ("7-marble-kitten" + " " * 200, "a number and two words"),
    ],
)
def test_another_text_is_refused_with_the_part_that_is_wrong(typed: str, says: str) -> None:
    with pytest.raises(BadCode, match=says):
        parse_code(typed)


def test_tab_completes_each_word() -> None:
    assert complete("7-marb") == ["7-marble-"]
    assert complete("7-marble-kitt") == ["7-marble-kitten"]
    assert complete("7-MARBLE-kitt") == ["7-marble-kitten"]
    assert len(complete("7-")) == 2048
    assert complete("7") == complete("x-ma") == complete("7-a-b-c") == []
