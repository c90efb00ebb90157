"""Simulates a defect in our own code: a call raises for one object, and works for all others."""

from __future__ import annotations

import sys
from typing import Any, TypeVar

import pytest

from tests.interpreted import is_compiled

Machine = TypeVar("Machine")


def raise_in_one(monkeypatch: pytest.MonkeyPatch, kind: type[Machine], call: str) -> list[Machine]:
    """Let `call` raise for the first object of a class that receives it; return a list that this object is added to."""
    broken: list[Machine] = []
    original = getattr(kind, call)

    def raise_or_call(machine: Machine, *arguments: Any) -> Any:
        if not broken:
            broken.append(machine)
        if machine is broken[0]:
            raise ZeroDivisionError(call)
        return original(machine, *arguments)

    if is_compiled(sys.modules[kind.__module__]):
        pytest.skip("compiled code calls the methods of a compiled class directly: a patch has no effect")
    monkeypatch.setattr(kind, call, raise_or_call)
    return broken
