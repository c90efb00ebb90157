"""What is fuzzed: bytes in, and an exception that is not one of ours, or a broken promise, is a finding.

The package is searched for public functions that end in `_untrusted`: a new one is a target as soon as it exists. Their
private helpers are reached through them. Besides them there are live associations, see `living`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import struct
from collections.abc import Callable, Iterator
from typing import Any

import datachan
from datachan.sctp.checksum import crc32c

from . import living

Target = Callable[[bytes], None]


def untrusted_functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """The functions, by name without the package's."""
    for module in pkgutil.walk_packages(datachan.__path__, "datachan."):
        if module.name.endswith("__main__"):
            continue
        for name, function in inspect.getmembers(importlib.import_module(module.name), inspect.isroutine):
            if name.endswith("_untrusted") and not name.startswith("_") and function.__module__ == module.name:
                yield f"{module.name.partition('.')[2]}.{name}", function


def is_ours(error: BaseException) -> bool:
    """Whether this is an error that the package documents, and its caller expects."""
    return type(error).__module__.startswith("datachan.")


def arguments(function: Callable[..., Any], data: bytes) -> list[Any]:
    """What the function takes, by the names of its parameters."""
    names = list(inspect.signature(function).parameters)
    if "zero_checksum_acceptable" in names and len(data) >= 12:
        # A packet: with the checksum that lets the rest of it be read.
        return [data[:8] + struct.pack("<I", crc32c(data[:8] + bytes(4) + data[12:])) + data[12:]]
    if names[0] == "text":
        return [data.decode("utf-8", "replace")]
    if names[0] == "datagrams":
        return [pieces(data), 16_384]
    if names[1:3] == ["start", "end"]:
        # A chunk or a list: the caller has seen that four bytes of header are there.
        return [data.ljust(4, b"\0"), 0, max(len(data), 4)]
    return [data, 0] if names[1:2] == ["start"] else [data]


def pieces(data: bytes) -> list[bytes]:
    """Cut where the bytes themselves say: each piece has its length in front."""
    found: list[bytes] = []
    while data:
        length = data[0]
        found.append(data[1 : 1 + length])
        data = data[1 + length :]
    return found


def reader(function: Callable[..., Any]) -> Target:
    """A target of a function: it returns, or raises an error of ours."""

    def target(data: bytes) -> None:
        try:
            function(*arguments(function, data))
        except Exception as error:
            if not is_ours(error):
                raise

    return target


TARGETS: dict[str, Target] = {
    **{name: reader(function) for name, function in untrusted_functions()},
    "live.interleaved": living.interleaved,
    "live.plain": living.plain,
}
