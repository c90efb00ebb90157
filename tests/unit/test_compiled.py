"""Which engine runs: interpreted from the source tree, or compiled by mypyc."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

import datachan
from datachan import driver, lazy_timers, stack, udp
from datachan.dcep import data_channels
from datachan.dtls import connection, openssl, records
from datachan.ice import link, runner, traffic, udp_mux
from datachan.ice_agent import agent, pairs, session, stun
from datachan.peer import channel_registry
from datachan.sctp import association, writer
from datachan.sctp.procedures import data, dispatch
from datachan.sctp.rx import reassembly
from datachan.sctp.tx import outstanding, retransmission
from datachan.sctp.wire import packet

# Words that begin with two underscores to C compilers; mypyc puts one underscore before the name of an attribute.
C_WORDS = {
    "_alignof", "_asm", "_attribute", "_complex", "_const", "_extension", "_imag", "_inline", "_label", "_real",
    "_restrict", "_signed", "_thread", "_typeof", "_volatile",
}  # fmt: skip

HOT = [
    association, dispatch, data, writer, reassembly, outstanding, retransmission, packet,
    data_channels, openssl, records, connection, stack, driver, channel_registry, runner, udp_mux, udp,
    agent, session, pairs, stun, lazy_timers, link, traffic,
]  # fmt: skip


@pytest.mark.skipif("DATACHAN_EXPECT_COMPILED" not in os.environ, reason="this is a run of the interpreted engine")
@pytest.mark.parametrize("module", HOT, ids=lambda module: module.__name__)
def test_the_compiled_engine_is_the_one_that_is_tested(module: object) -> None:
    assert str(module.__file__).endswith((".so", ".pyd"))  # type: ignore[attr-defined]


def test_no_attribute_is_a_word_of_c_once_it_is_compiled() -> None:
    found = {
        (path.name, node.attr)
        for path in Path(datachan.__path__[0]).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in C_WORDS
    }
    assert not found
