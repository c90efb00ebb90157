"""Records in the clear that a stranger forges into a handshake: it starts again, and completes without them."""

from __future__ import annotations

import time

from datachan.dtls import DtlsFailed, DtlsState
from datachan.dtls.connection import MAX_RESTARTS
from tests.scenario.dtls_pair import NOW, Pair, wait_for_openssl


def record(content_type: int, body: bytes) -> bytes:
    """Return a record of epoch 0, as any host can write it."""
    header = bytes([content_type]) + b"\xfe\xfd" + bytes(2) + (1 << 20).to_bytes(6, "big")
    return header + len(body).to_bytes(2, "big") + body


def handshake(kind: int, body: bytes, sequence: int) -> bytes:
    length = len(body).to_bytes(3, "big")
    return record(22, bytes([kind]) + length + sequence.to_bytes(2, "big") + bytes(3) + length + body)


FORGERIES = {
    "fatal alert": record(21, bytes([2, 40])),
    "close_notify": record(21, bytes([1, 0])),
    "client hello of garbage": handshake(1, bytes(40), 0),
    "server hello of garbage": handshake(2, bytes(40), 0),
    "server hello done": handshake(14, b"", 1),
    "server hello done, later": handshake(14, b"", 2),
    "certificate of garbage": handshake(11, b"\x00\x00\x05\x00\x00\x02ab", 1),
    "key exchange of garbage": handshake(16, b"\x41" + bytes(65), 2),
    "finished of garbage": handshake(20, bytes(12), 3),
    "handshake of another kind": handshake(99, b"", 0),
    "change cipher spec": record(20, b"\x01"),
}

STEPS = 5


def attacked(forgery: bytes, step: int, victim: str, now: float) -> Pair:
    """Return a pair of which one side received the forgery before this step of the handshake."""
    pair = Pair(now=now)
    for number in range(STEPS):
        if number == step:
            getattr(pair, victim).receive_datagrams([forgery], now)
        pair.a_to_z(now=now)
        pair.z_to_a(now=now)
    pair.run(now=now)
    return pair


def repair(pairs: list[Pair], rounds: int = 8) -> None:
    """Let OpenSSL retransmit in every pair that is not connected."""
    for _ in range(rounds):
        unfinished = [pair for pair in pairs if not pair.connected]
        if not unfinished:
            return
        wait_for_openssl([machine for pair in unfinished for machine in pair.both])
        time.sleep(0.05)
        now = time.monotonic()
        for pair in unfinished:
            for machine in pair.both:
                machine.handle_timeout(now)
            pair.run(now=now)


def test_a_forged_record_does_not_end_the_handshake() -> None:
    now = time.monotonic()
    cases = [(name, step, victim) for name in FORGERIES for step in range(STEPS) for victim in "az"]
    pairs = {(name, step, victim): attacked(FORGERIES[name], step, victim, now) for name, step, victim in cases}
    assert sum(pair.a._restarts + pair.z._restarts for pair in pairs.values()) > 5, "the forgeries are harmless"
    repair(list(pairs.values()))
    assert [case for case, pair in pairs.items() if not pair.connected] == []


def test_a_flood_of_forged_records_ends_the_handshake_with_the_first_reason() -> None:
    pair = Pair()
    for _ in range(MAX_RESTARTS + 1):
        pair.a.receive_datagrams([FORGERIES["server hello of garbage"]], NOW)
    assert pair.a.state is DtlsState.FAILED
    [event] = pair.a.events()
    assert isinstance(event, DtlsFailed)
    assert event.reason.startswith("the DTLS handshake failed: ")


def test_a_forged_record_after_the_handshake_is_ignored() -> None:
    for forgery in FORGERIES.values():
        pair = Pair()
        pair.run()
        for machine in pair.both:
            machine.receive_datagrams([forgery], NOW)
        pair.a.send_messages([b"hello"])
        pair.run()
        assert pair.z.messages() == [b"hello"]
