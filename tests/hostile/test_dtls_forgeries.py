"""Records in the clear that a stranger forges into a handshake: it starts again, and completes without them."""

from __future__ import annotations

import time

import pytest

from datachan.dcep import ChannelMessage, DataChannels
from datachan.dtls import DtlsConnected, DtlsConnection, DtlsFailed, DtlsState
from datachan.dtls.connection import MAX_RESTARTS, RESTART_TIMEOUT, STALLED
from datachan.sctp import AssociationOptions
from datachan.stack import SessionInits, Stack
from tests.scenario.dtls_pair import CERTIFICATE_A, CERTIFICATE_Z, NOW, STRANGER, Pair, settle, wait_for_openssl
from tests.sim.seeds import entropy


def record(content_type: int, body: bytes) -> bytes:
    """Return a record of epoch 0, as any host can write it."""
    header = bytes([content_type]) + b"\xfe\xfd" + bytes(2) + (1 << 20).to_bytes(6, "big")
    return header + len(body).to_bytes(2, "big") + body


def handshake(kind: int, body: bytes, sequence: int) -> bytes:
    length = len(body).to_bytes(3, "big")
    return record(22, bytes([kind]) + length + sequence.to_bytes(2, "big") + bytes(3) + length + body)


def certificate_list(der: bytes) -> bytes:
    """Return the body of a Certificate message (RFC 5246, 7.4.2)."""
    one = len(der).to_bytes(3, "big") + der
    return len(one).to_bytes(3, "big") + one


FORGERIES = {
    "fatal alert": record(21, bytes([2, 40])),
    "close_notify": record(21, bytes([1, 0])),
    "client hello of garbage": handshake(1, bytes(40), 0),
    "server hello of garbage": handshake(2, bytes(40), 0),
    "server hello done": handshake(14, b"", 1),
    "server hello done, later": handshake(14, b"", 2),
    "certificate of a stranger": handshake(11, certificate_list(STRANGER.der), 1),
    "certificate of a stranger, as the client's": handshake(11, certificate_list(STRANGER.der), 2),
    "certificate of garbage": handshake(11, b"\x00\x00\x05\x00\x00\x02ab", 1),
    "key exchange of garbage": handshake(16, b"\x41" + bytes(65), 2),
    **{f"finished of garbage, message {number}": handshake(20, bytes(12), number) for number in (3, 4, 5)},
    "handshake of another kind": handshake(99, b"", 0),
    "handshake of another kind, last": handshake(99, b"", 5),
    "change cipher spec": record(20, b"\x01"),
}

STEPS = 6


def attacked(forgery: bytes, step: int, victim: str, now: float) -> Pair:
    """Return a pair of which one side received the forgery before this step of the handshake."""
    pair = Pair(now=now)
    for number in range(STEPS):
        if number == step:
            getattr(pair, victim).receive_datagrams([forgery], now)
        if number % 2:
            pair.z_to_a(now=now)
        else:
            pair.a_to_z(now=now)
    pair.run(now=now)
    return pair


def test_a_forged_record_does_not_end_the_handshake() -> None:
    now = time.monotonic()
    cases = [(name, step, victim) for name in FORGERIES for step in range(STEPS) for victim in "az"]
    pairs = {(name, step, victim): attacked(FORGERIES[name], step, victim, now) for name, step, victim in cases}
    assert sum(pair.a._restarts + pair.z._restarts for pair in pairs.values()) > 5, "the forgeries are harmless"
    settle(list(pairs.values()))
    assert [case for case, pair in pairs.items() if not pair.connected] == []
    for pair in pairs.values():
        for sender, receiver in (pair.both, pair.both[::-1]):
            sender.send_messages([b"hello"])
            pair.run()
            assert receiver.messages() == [b"hello"]
            assert [type(event) for event in receiver.events()] == [DtlsConnected]


def test_a_flood_of_forged_records_ends_the_handshake_with_the_first_reason() -> None:
    pair = Pair()
    for _ in range(MAX_RESTARTS + 1):
        pair.a.receive_datagrams([FORGERIES["server hello of garbage"]], NOW)
    assert pair.a.state is DtlsState.FAILED
    [event] = pair.a.events()
    assert isinstance(event, DtlsFailed)
    assert event.reason.startswith("the DTLS handshake failed: ")


def test_forged_client_hellos_to_a_server_whose_client_is_silent_leave_its_session_alone() -> None:
    pair, sealed = Pair(), []
    pair.a_to_z()
    pair.z_to_a()
    pair.a_to_z()
    assert pair.z.state is DtlsState.CONNECTED
    finished, now = pair.z.datagrams_to_send(NOW), NOW
    for number in range(20 * MAX_RESTARTS):
        now += STALLED
        hello = Pair(now=now).a.datagrams_to_send(now) if number % 2 else [FORGERIES["client hello of garbage"]]
        pair.z.receive_datagrams(hello, now)
        pair.z.handle_timeout(now)
        pair.z.send_messages([b"x"])
        sealed += pair.z.datagrams_to_send(now)
    answers = [datagram for datagram in sealed if datagram[0] == 22]
    assert 0 < len(answers) <= 3 * MAX_RESTARTS * (MAX_RESTARTS + 1)
    pair.z.handle_timeout(now + RESTART_TIMEOUT)
    assert pair.z.next_timeout() is None
    pair.a.receive_datagrams(finished + [datagram for datagram in sealed if datagram[0] == 23], NOW)
    assert pair.a.state is DtlsState.CONNECTED
    assert pair.a.messages() == [b"x"] * 20 * MAX_RESTARTS
    pair.a.send_messages([b"hello"])
    pair.a_to_z()
    assert pair.z.messages() == [b"hello"]
    assert [type(event) for event in pair.z.events()] == [DtlsConnected]


def test_a_message_of_the_client_ends_the_handshake_beside_its_session() -> None:
    pair = Pair()
    pair.run()
    imposter = Pair(now=NOW).a
    pair.z.receive_datagrams(imposter.datagrams_to_send(NOW), NOW + STALLED)
    assert pair.z.datagrams_to_send(NOW) != []
    pair.a.send_messages([b"hello"])
    pair.a_to_z()
    assert pair.z.messages() == [b"hello"]
    pair.z.receive_datagrams(Pair(now=NOW).a.datagrams_to_send(NOW), NOW + 10)
    assert pair.z.datagrams_to_send(NOW) == []
    assert pair.z.next_timeout() is None


def test_only_the_peers_certificate_replaces_a_session() -> None:
    pair = Pair()
    pair.run()
    stranger = DtlsConnection(
        certificate=STRANGER, is_client=True, remote_fingerprints=[CERTIFICATE_Z.fingerprint()], now=NOW
    )
    now = NOW + STALLED
    for _ in range(20):
        pair.z.receive_datagrams(stranger.datagrams_to_send(now), now)
        stranger.receive_datagrams(pair.z.datagrams_to_send(now), now)
    assert stranger.state is not DtlsState.CONNECTED
    pair.a.send_messages([b"hello"])
    pair.a_to_z()
    assert pair.z.messages() == [b"hello"]


def test_a_forged_record_after_the_handshake_is_ignored() -> None:
    for forgery in FORGERIES.values():
        pair = Pair()
        pair.run()
        for machine in pair.both:
            machine.receive_datagrams([forgery], NOW)
        pair.a.send_messages([b"hello"])
        pair.run()
        assert pair.z.messages() == [b"hello"]


@pytest.mark.parametrize("inits", [False, True], ids=["INIT", "SNAP"])
def test_a_client_that_restarts_after_its_finished_gets_an_association(inits: bool) -> None:
    """The server has a session and an association already, whose first packets the client cannot read."""
    now = time.monotonic()
    a, z = connecting_stacks(now, with_inits=inits)
    for sender, receiver in ((a, z), (z, a), (a, z)):
        receiver.receive_datagrams(sender.datagrams_to_send(now), now)
    lost = z.datagrams_to_send(now)
    assert z.dtls.state is DtlsState.CONNECTED
    a.receive_datagrams([FORGERIES["finished of garbage, message 5"], *lost], now)
    channel = a.channels.create("x")
    a.channels.send(channel, "hello", now)
    received: list[object] = []
    while not received and now < a.dtls._progress_at + 10:
        for sender, receiver in ((a, z), (z, a)) * 3:
            receiver.receive_datagrams(sender.datagrams_to_send(now), now)
        received += [event.data for event in z.events() if isinstance(event, ChannelMessage)]
        if not received:
            now = wait_for_openssl([a, z])
            for machine in (a, z):
                machine.handle_timeout(now)
    assert received == ["hello"]


def connecting_stacks(now: float, *, with_inits: bool) -> tuple[Stack, Stack]:
    """Return a client A and a server Z that have not sent anything."""
    options = AssociationOptions()
    made = [SessionInits.make(options, entropy(number)) for number in (0, 1)]
    stacks = []
    for number, (own, other) in enumerate(((CERTIFICATE_A, CERTIFICATE_Z), (CERTIFICATE_Z, CERTIFICATE_A))):
        stack = Stack(
            certificate=own,
            is_dtls_client=number == 0,
            remote_fingerprints=[other.fingerprint()],
            channels=DataChannels(),
            sctp_options=options,
            entropy=entropy(number),
            now=now,
            inits=SessionInits(made[number], made[1 - number]) if with_inits else None,
        )
        stack.start(now)
        stacks.append(stack)
    return stacks[0], stacks[1]
