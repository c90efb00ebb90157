"""Find the fuzz targets. An undocumented exception or a broken promise is a finding.

The targets are the public functions of the package that end in `_untrusted`, so a new one is a target as soon as it
exists. Private helpers are reached through them. Live associations are targets, too; see `living`.
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
    """Return the functions by name, without the name of the package."""
    for module in pkgutil.walk_packages(datachan.__path__, "datachan."):
        if module.name.endswith("__main__"):
            continue
        for name, function in inspect.getmembers(importlib.import_module(module.name), inspect.isroutine):
            if name.endswith("_untrusted") and not name.startswith("_") and function.__module__ == module.name:
                yield f"{module.name.partition('.')[2]}.{name}", function


def is_ours(error: BaseException) -> bool:
    """Return whether this is an error that the package documents."""
    return type(error).__module__.startswith("datachan.")


def arguments(function: Callable[..., Any], data: bytes) -> list[Any]:
    """Return the arguments of the function, by the names of its parameters."""
    names = list(inspect.signature(function).parameters)
    if "zero_checksum_acceptable" in names and len(data) >= 12:
        # A packet needs the right checksum, or the rest is not read.
        return [data[:8] + struct.pack("<I", crc32c(data[:8] + bytes(4) + data[12:])) + data[12:]]
    if names[0] == "text":
        return [data.decode("utf-8", "replace")]
    if names[0] == "datagrams":
        return [pieces(data), 16_384]
    if names[1:3] == ["start", "end"]:
        # For a chunk or a list, the caller has checked that there is a header of four bytes.
        return [data.ljust(4, b"\0"), 0, max(len(data), 4)]
    return [data, 0] if names[1:2] in (["start"], ["number"]) else [data]


def pieces(data: bytes) -> list[bytes]:
    """Split the bytes into pieces, each of which begins with its length."""
    found: list[bytes] = []
    while data:
        length = data[0]
        found.append(data[1 : 1 + length])
        data = data[1 + length :]
    return found


def reader(function: Callable[..., Any]) -> Target:
    """Return the target of a function, which returns or raises a documented error."""

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
