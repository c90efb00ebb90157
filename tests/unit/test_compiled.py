"""Which engine runs: interpreted from the source tree, or compiled by mypyc."""

import os

import pytest

from datachan.sctp import association, inbound, writer
from datachan.sctp.rx import reassembly
from datachan.sctp.tx import outstanding, retransmission
from datachan.sctp.wire import packet

HOT = [association, inbound, writer, reassembly, outstanding, retransmission, packet]


@pytest.mark.skipif("DATACHAN_EXPECT_COMPILED" not in os.environ, reason="this is a run of the interpreted engine")
@pytest.mark.parametrize("module", HOT, ids=lambda module: module.__name__)
def test_the_compiled_engine_is_the_one_that_is_tested(module: object) -> None:
    assert str(module.__file__).endswith((".so", ".pyd"))  # type: ignore[attr-defined]
