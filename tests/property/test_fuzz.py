"""Arbitrary and nearly right input for everything that reads what a peer sent.

The package is searched for public functions that end in `_untrusted`: a new one is fuzzed as soon as it exists. Their
private helpers are reached through them.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st

import datachan
from datachan.sctp.options import data_channel_options
from tests.sim.associations import Traffic, check_books, consume, established
from tests.sim.network import Conditions, Network

DATA = Path(__file__).parent.parent / "data" / "sdp"
OPTIONS = {name: getattr(data_channel_options(), name) for name in data_channel_options().__slots__}
CORPUS = [path.read_text() for path in sorted(DATA.glob("*.sdp"))]
BYTES = st.binary(max_size=300) | st.builds(
    lambda head, rest: head + rest, st.binary(min_size=4, max_size=8), st.binary(max_size=80)
)


def found() -> Iterator[tuple[str, Callable[..., Any]]]:
    for module in pkgutil.walk_packages(datachan.__path__, "datachan."):
        if module.name.endswith("__main__"):
            continue
        for name, function in inspect.getmembers(importlib.import_module(module.name), inspect.isroutine):
            if name.endswith("_untrusted") and not name.startswith("_") and function.__module__ == module.name:
                yield f"{module.name}.{name}", function


FUNCTIONS = dict(found())


@st.composite
def damaged_text(draw: st.DrawFn) -> str:
    """A browser's description with a few characters gone, doubled or changed."""
    text = draw(st.sampled_from(CORPUS))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.text(max_size=4)) + text[at + draw(st.integers(0, 12)) :]
    return text


def arguments(function: Callable[..., Any], data: st.DataObject) -> list[Any]:
    """What the function takes, by the names and types of its parameters."""
    names = list(inspect.signature(function).parameters)
    if names[0] == "text":
        return [data.draw(st.text(max_size=300) | damaged_text())]
    if names[0] == "datagrams":
        return [data.draw(st.lists(BYTES, max_size=4)), 16_384]
    given_bytes = data.draw(BYTES)
    if names[1:3] == ["start", "end"]:
        # A chunk or a list: the caller has seen that four bytes of header are there.
        return [given_bytes.ljust(4, b"\0"), 0, max(len(given_bytes), 4)]
    # A record's caller has seen that one begins there.
    return [given_bytes or b"\x16", 0] if names[1:2] == ["start"] else [given_bytes]


def test_the_functions_are_found() -> None:
    modules = {name.split(".")[1] for name in FUNCTIONS}
    assert {"sctp", "dcep", "dtls", "ice", "sdp", "signalling", "transfer"} <= modules


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_comes_is_read_or_refused_with_an_error_of_our_own(name: str, data: st.DataObject) -> None:
    function = FUNCTIONS[name]
    given_arguments = arguments(function, data)
    try:
        function(*given_arguments)
    except Exception as error:
        if not type(error).__module__.startswith("datachan."):
            raise


@settings(max_examples=80, deadline=None)
@given(
    bodies=st.lists(st.tuples(st.sampled_from([*range(16), 64, 130, 132, 192, 193, 194, 255]), BYTES), max_size=8),
    seed=st.integers(0, 1 << 16),
)
def test_a_live_association_survives_any_chunks_that_carry_its_tag(bodies: list[tuple[int, bytes]], seed: int) -> None:
    pair = established(Network(seed, Conditions(latency=0.01)), seed=seed, **OPTIONS)
    consume(pair.z)
    traffic = Traffic(pair.a, pair.z, random.Random(seed))
    traffic.send(pair.now, 5000)
    [header] = {p.datagram[:8] for p in pair.network.to_z.passages if p.datagram[4:8] != bytes(4)}
    for kind, body in bodies:
        chunk = struct.pack("!BBH", kind, body[0] if body else 0, 4 + len(body)) + body + bytes(-len(body) % 4)
        packet = header + bytes(4) + chunk
        packet = header + struct.pack("<I", crc32c(packet)) + chunk
        pair.network.to_z.inject(packet, pair.now)
    pair.run(1.0)
    check_books(pair)
    assert pair.z.machine.stats().receive_buffered < 1_000_000
