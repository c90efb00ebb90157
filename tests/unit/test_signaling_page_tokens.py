"""Tokens of the page: accepted for the address they were issued to, for five minutes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datachan.signaling.page_tokens import LIFETIME, PageTokens

TOKENS = PageTokens(b"secret")


@pytest.mark.parametrize(
    ("key", "later", "valid"),
    [
        ("192.0.2.1", 0, True),
        ("192.0.2.1", LIFETIME - 1, True),
        ("192.0.2.1", LIFETIME + 1, False),
        ("192.0.2.2", 0, False),
    ],
)
def test_a_token_is_for_one_address_and_a_limited_time(key, later, valid):
    assert TOKENS.is_valid(TOKENS.issue("192.0.2.1", 1000.0), key, 1000.0 + later) is valid


def test_a_token_of_another_server_is_refused():
    assert not TOKENS.is_valid(PageTokens(b"other").issue("192.0.2.1", 0.0), "192.0.2.1", 0.0)


@given(st.text() | st.builds("{}.{}".format, st.integers(), st.text()))
def test_any_other_text_is_refused(text):
    assert not TOKENS.is_valid(text, "192.0.2.1", 0.0)
