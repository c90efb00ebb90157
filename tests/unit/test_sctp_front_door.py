"""`datachan.sctp` is enough to use the engine: its example works, and every event and error is importable from it."""

from __future__ import annotations

import doctest

import datachan.sctp
from datachan.sctp import errors, events


def test_the_example_in_the_docstring_works() -> None:
    result = doctest.testmod(datachan.sctp)
    assert result.attempted >= 10
    assert result.failed == 0


def test_exports_every_event_and_every_error() -> None:
    public = {
        name
        for module in (events, errors)
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__
    }
    assert public <= set(datachan.sctp.__all__)


def test_every_exported_name_exists() -> None:
    assert all(hasattr(datachan.sctp, name) for name in datachan.sctp.__all__)
