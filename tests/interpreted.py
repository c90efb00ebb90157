"""Skips tests that replace parts of a module or pass it stand-ins: compiled code calls and checks its own types."""

from __future__ import annotations

from types import ModuleType

import pytest


def is_compiled(module: ModuleType) -> bool:
    """Return whether a module is compiled by mypyc."""
    return str(module.__file__).endswith((".so", ".pyd"))


def only_interpreted(module: ModuleType) -> pytest.MarkDecorator:
    """Return a mark for tests that need an interpreted module."""
    return pytest.mark.skipif(is_compiled(module), reason=f"{module.__name__} is compiled: it takes no stand-ins")
