"""Associations set up by signaling (SNAP) whose peer ignored the INIT, or whose first packets were lost."""

from __future__ import annotations

import pytest

from datachan.sctp.events import AssociationEstablished, AssociationLost, AssociationRestarted, SendFailed
from datachan.sctp.records.init import make_init
from datachan.sctp.wire.chunks import InitAckChunk, InitChunk
from tests.scenario.sctp_pair import Pair, S, chunks, entropy, names


def signaled(*, z_takes_it: bool) -> Pair:
    """Return A, which accepted the INITs of both descriptions, and Z, which did if `z_takes_it`."""
    pair = Pair()
    ours, theirs = make_init(pair.options, entropy(1)), make_init(pair.options, entropy(2))
    pair.a.connect_negotiated(ours, theirs, pair.now)
    if z_takes_it:
        pair.z.connect_negotiated(theirs, ours, pair.now)
    return pair


def check_one_association(pair: Pair) -> None:
    """Check that both sides have one association, without a restart, and that it carries messages."""
    assert pair.a.state is pair.z.state is S.ESTABLISHED
    for seen in (pair.a_saw, pair.z_saw):
        assert len(seen(AssociationEstablished)) == 1
        assert seen(AssociationRestarted) == seen(AssociationLost) == seen(SendFailed) == []
    pair.send_a(bytes(5000))
    pair.send_z(b"last")
    pair.exchange()
    assert pair.received_by_z()[-1] == bytes(5000)
    assert pair.received_by_a()[-1] == b"last"


def test_an_association_of_two_accepted_inits_needs_no_packet() -> None:
    pair = signaled(z_takes_it=True)
    pair.send_a(b"first")
    pair.exchange()
    pair.pass_time(5.0)

    assert pair.received_by_z() == [b"first"]
    check_one_association(pair)


def test_sends_init_within_an_rto_to_a_peer_that_ignored_the_signaled_one() -> None:
    pair = signaled(z_takes_it=False)
    pair.send_a(b"first")

    # A     [DATA] ─▶ Z, which knows no association
    pair.to_z(*pair.from_a())
    pair.to_a(*pair.from_z())
    start = pair.now
    pair.pass_time(pair.options.rto_initial + 0.01)

    assert pair.now - start < 2 * pair.options.rto_initial
    pair.pass_time(5.0)
    assert pair.received_by_z() == [b"first"]
    check_one_association(pair)


def test_a_peer_that_sends_its_own_init_is_answered_with_the_same_association() -> None:
    pair = signaled(z_takes_it=False)
    pair.send_a(b"first")
    pair.from_a()

    # A     ◀─ [INIT] Z, the ordinary handshake
    pair.z.connect(pair.now)
    pair.exchange()
    pair.pass_time(5.0)

    assert pair.received_by_z() == [b"first"]
    check_one_association(pair)


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_lost_first_packets_neither_lose_nor_duplicate_messages(lost: int) -> None:
    pair = signaled(z_takes_it=True)
    pair.send_a(b"from A")
    pair.send_z(b"from Z")
    for _ in range(lost):
        pair.from_a()
        pair.from_z()
        pair.now += pair.options.rto_initial
        pair.a.handle_timeout(pair.now)
        pair.z.handle_timeout(pair.now)

    pair.exchange()
    pair.pass_time(10.0)

    assert pair.received_by_z() == [b"from A"]
    assert pair.received_by_a() == [b"from Z"]
    check_one_association(pair)


def test_the_repeated_init_confirms_an_association_that_the_peer_has_already() -> None:
    pair = signaled(z_takes_it=True)

    # A     [HEARTBEAT] ─▶ /lost/, [INIT, as signaled] ─▶ Z
    sent = pair.expire_a()
    assert [names(datagram) for datagram in sent] == [["Heartbeat"], ["Init"]]
    (init,) = chunks(sent, InitChunk)
    assert (init.initiate_tag, init.initial_tsn) == (pair.a.local_tag, pair.a.local_initial_tsn)
    pair.to_z(sent[1])

    # A     ◀─ [INIT ACK with the tag and TSN of Z's description] Z
    (answer,) = answers = pair.from_z()
    (init_ack,) = chunks(answers, InitAckChunk)
    assert (init_ack.initiate_tag, init_ack.initial_tsn) == (pair.a.peer_tag, pair.z.local_initial_tsn)
    pair.to_a(answer)

    # Nothing is left to do: no COOKIE ECHO, no further INIT.
    assert pair.from_a() == []
    check_one_association(pair)


def test_a_reflected_abort_of_a_peer_without_the_association_does_not_end_ours() -> None:
    pair = signaled(z_takes_it=False)
    pair.send_a(b"first")

    # A     [DATA] ─▶ Z      A ◀─ [ABORT with the tag reflected] Z, which knows no association
    pair.to_z(*pair.from_a())
    aborts = pair.from_z()
    assert [names(datagram) for datagram in aborts] == [["Abort"]]
    pair.to_a(*aborts)

    assert pair.a.state is S.ESTABLISHED
    pair.pass_time(5.0)
    assert pair.received_by_z() == [b"first"]
