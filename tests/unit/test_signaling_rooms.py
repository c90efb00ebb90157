"""Limits, origins and kept messages: pure modules, tested without sockets or waiting; rooms are in tests/broker."""

from __future__ import annotations

import pytest

from datachan.signaling.kept_messages import OVERHEAD, KeptMessages
from datachan.signaling.limits import KeyedLimiter
from datachan.signaling.origins import host_is_allowed, normalize_origin, origin_is_allowed
from datachan.signaling.server_options import ServerOptions


def test_keeps_the_newest_messages_and_the_number_of_the_last_one_dropped():
    kept = KeptMessages(2, 1000)
    assert [kept.append(number, "", "abc") for number in (1, 2, 3)] == [OVERHEAD + 3, OVERHEAD + 3, 0]
    assert (list(kept.after(0, "me")), kept.lost, len(kept)) == ([(2, "abc"), (3, "abc")], 1, 2)
    assert list(kept.after(2, "me")) == [(3, "abc")]


def test_keeps_nothing_that_does_not_fit():
    kept = KeptMessages(10, 2 * OVERHEAD)
    kept.append(1, "", "abc")
    assert kept.append(2, "", "x" * 3 * OVERHEAD) == -OVERHEAD - 3
    assert (list(kept.after(0, "me")), kept.lost, kept.size) == ([], 2, 0)
    assert kept.append(3, "", "abc", room_left=OVERHEAD) == 0
    assert kept.lost == 3


def test_a_member_does_not_get_what_is_about_itself():
    kept = KeptMessages(10, 1000)
    kept.append(1, "me", "about me")
    kept.append(2, "you", "about you")
    assert list(kept.after(0, "me")) == [(2, "about you")]


def test_each_key_has_its_own_bucket_and_old_keys_are_dropped():
    limiter = KeyedLimiter(0.001, 1, max_keys=2)
    assert [limiter.take("a", 0.0), limiter.take("a", 0.0), limiter.take("b", 0.0)] == [True, False, True]
    limiter.take("a", 0.0)
    limiter.take("c", 0.0)
    assert len(limiter) == 2
    assert limiter.take("a", 0.0) is False


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "127.0.0.1:8080", True),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", True),
        ("https://example.org", "example.org", True),
        ("HTTPS://Example.ORG", "example.org", True),
        ("https://friend.example", "127.0.0.1:8080", True),
        ("http://127.0.0.1:8081", "127.0.0.1:8080", False),
        ("http://localhost:8080", "127.0.0.1:8080", False),
        ("https://evil.example", "127.0.0.1:8080", False),
        ("null", "127.0.0.1:8080", False),
        ("", "", False),
        ("http://[", "127.0.0.1:8080", False),
    ],
)
def test_allows_only_its_own_page_and_listed_origins(origin, host, allowed):
    options = ServerOptions(allowed_origins=frozenset({"https://friend.example"}))
    assert origin_is_allowed(origin, host, options) is allowed


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1:8080", True),
        ("localhost", True),
        ("[::1]:8080", True),
        ("127.0.0.5:8080", True),
        ("LOCALHOST:80", True),
        ("127.0.0.1.evil.example", False),
        ("chan.example", True),
        ("rebound.example:8080", False),
        ("", False),
        ("[", False),
    ],
)
def test_a_loopback_server_answers_only_under_loopback_names(host, allowed):
    options = ServerOptions(loopback_only=True, allowed_origins=frozenset({"https://chan.example"}))
    assert host_is_allowed(host, options) is allowed
    assert host_is_allowed(host, ServerOptions()) is True


@pytest.mark.parametrize("text", ["example.org", "ftp://example.org", "https://", "https://example.org/path", ""])
def test_rejects_a_malformed_origin(text):
    with pytest.raises(ValueError, match="origin"):
        normalize_origin(text)
    assert normalize_origin("HTTPS://Example.org:444/") == "https://example.org:444"
