"""Destinations of packets when the application passes the source address of each received packet."""

from __future__ import annotations

from datachan.sctp.addresses import TransportAddress
from datachan.sctp.association import Association
from datachan.sctp.events import AssociationLost
from datachan.sctp.options import AssociationOptions
from datachan.sctp.wire.chunks import InitAckChunk, InitChunk

from .sctp_pair import A_SEED, Z_SEED, S, changed, chunks, entropy, packet, read

A: TransportAddress = ("192.0.2.1", 9899)
Z: TransportAddress = ("192.0.2.2", 9899)
Z2: TransportAddress = ("198.51.100.2", 9899)


def both(**options: object) -> tuple[Association, Association]:
    chosen: AssociationOptions = changed(**options)
    return Association(chosen, entropy(A_SEED)), Association(chosen, entropy(Z_SEED))


def test_each_side_sends_to_the_address_of_the_other() -> None:
    a, z = both()
    a.connect(1.0, [Z])
    for _ in range(4):
        for machine, other, here, there in ((a, z, A, Z), (z, a, Z, A)):
            for destination, packets in machine.packets_to_send(1.0):
                assert destination == there
                other.receive_datagrams(packets, 1.0, here)
    assert (a.state, z.state) == (S.ESTABLISHED, S.ESTABLISHED)


def test_without_addresses_packets_have_no_destination() -> None:
    a, _ = both()
    a.connect(1.0)
    ((destination, packets),) = a.packets_to_send(1.0)
    assert destination is None
    assert len(packets) == 1


def test_init_tries_the_addresses_in_turn() -> None:
    a, _ = both(max_init_retransmits=3)
    now, tried = 1.0, []
    a.connect(now, [Z, Z2])
    while a.state is S.COOKIE_WAIT:
        tried += [destination for destination, _ in a.packets_to_send(now)]
        now = a.next_timeout() or now
        a.handle_timeout(now)
    assert tried == [Z, Z2, Z, Z2]
    assert any(isinstance(event, AssociationLost) for event in a.events())


def test_sends_init_ack_to_the_source_of_the_init() -> None:
    a, z = both()
    a.connect(1.0, [Z])
    ((_, (init,)),) = a.packets_to_send(1.0)
    z.receive_datagrams([init], 1.0, ("203.0.113.9", 40000))
    ((destination, (init_ack,)),) = z.packets_to_send(1.0)
    assert destination == ("203.0.113.9", 40000)
    assert chunks([init_ack], InitAckChunk)


def test_answers_a_packet_out_of_the_blue_at_its_source() -> None:
    a, z = both()
    a.connect(1.0)
    init = read(a.datagrams_to_send(1.0)[0]).chunks[0]
    assert isinstance(init, InitChunk)
    init.outbound_streams = 0
    z.receive_datagrams([packet(0, init)], 1.0, Z2)
    assert [destination for destination, _ in z.packets_to_send(1.0)] == [Z2]
