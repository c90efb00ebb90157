"""Skip a test whose peer or tool is not installed, or fail it where all of them must be."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it when DATACHAN_REQUIRE_PEERS is 1, as in CI."""
    if os.environ.get("DATACHAN_REQUIRE_PEERS") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
