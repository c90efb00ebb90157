"""The token bucket that limits the answers to strangers and the messages of clients."""

from __future__ import annotations

from datachan.token_bucket import TokenBucket


def test_allows_a_burst_and_then_a_rate():
    bucket = TokenBucket(2.0, 3, now=100.0)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(100.5), bucket.take(100.5)] == [True, False]
    assert [bucket.take(1000.0) for _ in range(4)] == [True, True, True, False]


def test_a_clock_that_stops_or_goes_back_adds_no_tokens():
    bucket = TokenBucket(10.0, 1, now=100.0)
    assert [bucket.take(100.0), bucket.take(99.0), bucket.take(99.05)] == [True, False, False]


def test_counts_the_refused_actions():
    bucket = TokenBucket(1.0, 2, now=100.0)
    for _ in range(5):
        bucket.take(100.0)
    assert bucket.refused == 3
