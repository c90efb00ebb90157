"""The code that both sides of a call compare."""

from __future__ import annotations

import pytest

from datachan.sdp import verification_code

A = "v=0\r\na=fingerprint:sha-256 AB:CD\r\n"
Z = "v=0\r\na=fingerprint:sha-256 12:34\r\n"


def test_both_sides_see_the_same_code_which_never_changes() -> None:
    assert verification_code(A, Z) == verification_code(Z, A) == "8366 5297 0821 3992 7968"


def test_case_line_ends_and_repetition_do_not_matter() -> None:
    assert verification_code(A.replace("AB:CD", "ab:cd").replace("\r\n", "\n") + A, Z) == verification_code(A, Z)


@pytest.mark.parametrize(
    "line",
    [
        "a=fingerprint:sha-256 AB:CE",
        "a=fingerprint:sha-1 AB:CD",
        "a=fingerprint:sha-256  AB:CE",
        " a=fingerprint:sha-256 AB:CE",
        "A=FINGERPRINT:sha-256 AB:CE",
        "a=fingerprint:sha-256 AB:CE ;",
    ],
)
def test_an_added_fingerprint_in_any_form_changes_the_code(line: str) -> None:
    assert verification_code(A + line + "\r\n", Z) != verification_code(A, Z)


def test_a_replaced_fingerprint_changes_the_code() -> None:
    assert verification_code(A, Z.replace("12:34", "12:35")) != verification_code(A, Z)
