"""Records through OpenSSL directly and through pyOpenSSL's public methods, with the same results."""

from __future__ import annotations

from typing import Any

import pytest
from OpenSSL import SSL

from datachan.dtls.openssl import is_direct, seal, unseal
from tests.bench.bench_dtls import bare_connections

MESSAGES = [b"a", bytes(1172), b"\xff" * 16384]
OVERHEAD = 64


class PublicNames:
    """A connection of which only the public names exist, as with a pyOpenSSL of other private names."""

    def __init__(self, connection: SSL.Connection) -> None:
        self.connection = connection

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.connection, name)


@pytest.fixture(params=["direct", "public"])
def connections(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    client: Any
    server: Any
    client, server = bare_connections()
    if request.param == "public":
        client, server = PublicNames(client), PublicNames(server)
    assert is_direct(client) is (request.param == "direct")  # with the pyOpenSSL that is installed
    return client, server


def test_sealed_messages_can_be_opened(connections: tuple[SSL.Connection, SSL.Connection]) -> None:
    client, server = connections
    opened: list[bytes] = []

    for message in MESSAGES:
        unseal(server, seal(client, [message], OVERHEAD), 1, 16384, opened)

    assert opened == MESSAGES


def test_records_come_back_to_back_and_in_order(connections: tuple[SSL.Connection, SSL.Connection]) -> None:
    client, server = connections
    sent = [bytes([number]) * 100 for number in range(50)]
    opened: list[bytes] = []

    unseal(server, seal(client, sent, OVERHEAD), 50, 16384, opened)

    assert opened == sent


def test_any_bytes_like_object_can_be_sealed(connections: tuple[SSL.Connection, SSL.Connection]) -> None:
    client, server = connections
    opened: list[bytes] = []

    unseal(server, seal(client, [bytearray(b"one"), memoryview(b"two")], OVERHEAD), 2, 16384, opened)

    assert opened == [b"one", b"two"]


def test_a_forged_record_ends_the_batch_and_earlier_messages_are_kept(
    connections: tuple[SSL.Connection, SSL.Connection],
) -> None:
    client, server = connections
    good, bad = seal(client, [b"good"], OVERHEAD), bytearray(seal(client, [b"bad"], OVERHEAD))
    bad[-1] ^= 1
    opened: list[bytes] = []

    with pytest.raises(SSL.WantReadError):
        unseal(server, good + bytes(bad), 2, 16384, opened)

    assert opened == [b"good"]
    unseal(server, seal(client, [b"next"], OVERHEAD), 1, 16384, opened)
    assert opened == [b"good", b"next"]


def test_both_ways_report_the_end_of_the_session(connections: tuple[SSL.Connection, SSL.Connection]) -> None:
    client, server = connections
    client.shutdown()
    opened: list[bytes] = []

    with pytest.raises(SSL.ZeroReturnError):
        unseal(server, client.bio_read(65536), 1, 16384, opened)
    with pytest.raises(SSL.Error):
        seal(client, [b"too late"], OVERHEAD)

    assert opened == []
