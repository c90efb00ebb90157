"""Measure microseconds per DTLS record, in and out, single and in batches: `python -m tests.bench.bench_dtls`.

On a shared machine, compare the ratios of one run and not absolute times. "OpenSSL" is pyOpenSSL called directly in
the same two ways, which is the lower bound.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from time import perf_counter

from OpenSSL import SSL

from datachan.dtls import Certificate, DtlsConnection, DtlsState

Pair = tuple[DtlsConnection, DtlsConnection]


def connected_pair() -> Pair:
    """Return a client and a server after their handshake."""
    ours, theirs = Certificate.generate(datetime.now(UTC)), Certificate.generate(datetime.now(UTC))
    client = DtlsConnection(
        certificate=ours, is_client=True, remote_fingerprints=[theirs.fingerprint()], now=0.0, max_undelivered=1 << 30
    )
    server = DtlsConnection(
        certificate=theirs, is_client=False, remote_fingerprints=[ours.fingerprint()], now=0.0, max_undelivered=1 << 30
    )
    while sent := client.datagrams_to_send(0.0):
        server.receive_datagrams(sent, 0.0)
        client.receive_datagrams(server.datagrams_to_send(0.0), 0.0)
    if client.state is not DtlsState.CONNECTED:
        raise RuntimeError(f"the handshake failed: {client.events()}")
    return client, server


def handshake_milliseconds(repeat: int) -> float:
    """Return the shortest time of a whole handshake, with both sides in one process and two new certificates."""
    best = float("inf")
    for _ in range(repeat):
        begun = perf_counter()
        connected_pair()
        best = min(best, perf_counter() - begun)
    return best * 1e3


def ours(size: int, count: int, batch: int, repeat: int) -> tuple[float, float]:
    """Measure microseconds per record out and in through DtlsConnection, `batch` records per call."""
    client, server = connected_pair()
    messages = [bytes(size)] * batch
    best_out = best_in = float("inf")
    for _ in range(repeat):
        begun = perf_counter()
        sent = []
        for _ in range(count // batch):
            client.send_messages(messages)
            sent.append(client.datagrams_to_send(0.0))
        between = perf_counter()
        received = 0
        for datagrams in sent:
            server.receive_datagrams(datagrams, 0.0)
            received += len(server.messages())
        ended = perf_counter()
        if received != count // batch * batch:
            raise RuntimeError(f"{count} records sent, {received} received")
        best_out = min(best_out, between - begun)
        best_in = min(best_in, ended - between)
    return best_out / count * 1e6, best_in / count * 1e6


def bare(size: int, count: int, repeat: int) -> dict[str, tuple[float, float]]:
    """Measure microseconds per record out and in through pyOpenSSL: one by one with a probe, and in batches of 13."""
    client, server = bare_connections()
    message = bytes(size)

    def one_by_one() -> tuple[float, float]:
        begun = perf_counter()
        sent = []
        for _ in range(count):
            client.send(message)
            sent.append(client.bio_read(65536))
            nothing_left(client.bio_read)
        between = perf_counter()
        for datagram in sent:
            server.bio_write(datagram)
            server.recv(65536)
            nothing_left(server.recv)
        return between - begun, perf_counter() - between

    def batched() -> tuple[float, float]:
        begun = perf_counter()
        sent = []
        for _ in range(0, count, 13):
            for _ in range(13):
                client.send(message)
            sent.append(client.bio_read(65536))
        between = perf_counter()
        for records in sent:
            server.bio_write(records)
            for _ in range(13):
                server.recv(65536)
        return between - begun, perf_counter() - between

    results = {}
    for name, run in (("OpenSSL, one by one, probing", one_by_one), ("OpenSSL, 13 per batch", batched)):
        times = [run() for _ in range(repeat)]
        results[name] = (min(out for out, _ in times) / count * 1e6, min(into for _, into in times) / count * 1e6)
    return results


def nothing_left(read: Callable[[int], bytes]) -> None:
    """Read once more without a result, as a reader must that does not count records."""
    try:
        read(65536)
    except SSL.WantReadError:
        return
    raise RuntimeError("a record was left")


def bare_connections() -> tuple[SSL.Connection, SSL.Connection]:
    """Return a client and a server of pyOpenSSL, with the first of our cipher suites."""
    connections = []
    for is_client in (True, False):
        certificate = Certificate.generate(datetime.now(UTC))
        context = SSL.Context(SSL.DTLS_METHOD)
        context.set_options(SSL.OP_NO_QUERY_MTU)
        context.set_cipher_list(b"ECDHE-ECDSA-AES128-GCM-SHA256")
        context.use_certificate(certificate.x509)
        context.use_privatekey(certificate.private_key)
        connection = SSL.Connection(context)
        connection.set_ciphertext_mtu(1200)
        (connection.set_connect_state if is_client else connection.set_accept_state)()
        connections.append(connection)
    client, server = connections
    for sender, receiver in ((client, server), (server, client)) * 3:
        with suppress(SSL.WantReadError):
            sender.do_handshake()
        with suppress(SSL.WantReadError):
            receiver.bio_write(sender.bio_read(65536))
    return client, server


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1172, help="bytes per message")
    parser.add_argument("--repeat", type=int, default=15, help="runs; the best one counts")
    parser.add_argument("--json", action="store_true", help="print the microseconds as JSON instead of a table")
    arguments = parser.parse_args()
    size, repeat, count = arguments.size, arguments.repeat, 1300
    rows = bare(size, count, repeat)
    for batch in (1, 13, 64, 1300):
        rows[f"DtlsConnection, {batch} per call"] = ours(size, count // batch * batch, batch, repeat)
    if arguments.json:
        print(json.dumps({"size": size, **rows}))
        return
    naive_out, naive_in = rows["OpenSSL, one by one, probing"]
    print(f"{size} bytes per message, microseconds per record, best of {repeat}")
    print(f"{'':34}{'out':>7}{'':>8}{'in':>7}")
    for name, (out, into) in rows.items():
        print(f"{name:34}{out:7.2f}  x{naive_out / out:4.2f} {into:7.2f}  x{naive_in / into:4.2f}")
    print(f"handshake with new certificates, both sides: {handshake_milliseconds(repeat):.1f} ms")


if __name__ == "__main__":
    main()
