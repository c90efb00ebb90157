"""Tests of `datachan.server`: clients in Python and in browsers."""
