"""Test that a packet of a stranger is parsed if an honest peer could have sent it, and is refused at little cost."""

from __future__ import annotations

import pytest

from datachan.sctp import admission
from datachan.sctp.admission import LONGEST_INIT, MAX_CHUNKS, parse_stranger_untrusted
from datachan.sctp.errors import BadPacket
from datachan.sctp.wire.chunks import Chunk, CookieEchoChunk, DataChunk, InitChunk, ShutdownAckChunk
from datachan.sctp.wire.extensions import AuthChunk
from datachan.sctp.wire.packet import serialize_packet
from datachan.sctp.wire.parameters import IPv6Address, UnknownParameter
from tests.interpreted import is_compiled
from tests.sim.steps import count_steps


def packet_of(*chunks: Chunk, tag: int = 99) -> bytes:
    return serialize_packet(7, 9, tag, [chunk.serialize() for chunk in chunks])


def init(*parameters: object) -> InitChunk:
    return InitChunk(1, 100_000, 10, 10, 1, list(parameters))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "chunks",
    [
        [init(*(IPv6Address(number.to_bytes(16, "big")) for number in range(1, 401)))],
        [CookieEchoChunk(bytes(200)), *(DataChunk(number, 1, number, 51, b"x") for number in range(730))],
        [ShutdownAckChunk()] * MAX_CHUNKS,
        [DataChunk(1, 1, 1, 51, bytes(60_000))],
    ],
    ids=["400 addresses", "a cookie with data", "the most chunks", "a large chunk"],
)
def test_parses_what_an_honest_peer_sends(chunks: list[Chunk]) -> None:
    assert len(parse_stranger_untrusted(packet_of(*chunks)).chunks) == len(chunks)


FILLED = UnknownParameter(0xC123, b"")
REFUSED = {
    "AUTH chunks": packet_of(*[AuthChunk(0, 1, b"")] * 8000),
    "one chunk too many": packet_of(*[ShutdownAckChunk()] * (MAX_CHUNKS + 1)),
    "an INIT of 64 kB": packet_of(init(*[FILLED] * 16_000), tag=0),
    "an INIT a little too long": packet_of(init(*[FILLED] * (LONGEST_INIT // 4)), tag=0),
    "INITs beside each other": packet_of(*[init()] * 3000, tag=0),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_what_would_take_long_to_parse(name: str) -> None:
    with pytest.raises(BadPacket):
        parse_stranger_untrusted(REFUSED[name])


@pytest.mark.skipif(is_compiled(admission), reason="compiled, it executes no lines to count")
@pytest.mark.parametrize("name", REFUSED)
def test_refusing_takes_a_few_steps_for_each_chunk_allowed(name: str) -> None:
    def receive() -> None:
        with pytest.raises(BadPacket):
            parse_stranger_untrusted(REFUSED[name])

    assert count_steps(receive) < 6 * MAX_CHUNKS


@pytest.mark.parametrize("size", range(20))
def test_refuses_a_packet_that_is_cut_short(size: int) -> None:
    with pytest.raises(BadPacket):
        parse_stranger_untrusted(packet_of(init(), tag=0)[:size])
