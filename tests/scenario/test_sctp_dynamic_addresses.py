"""A and Z change their addresses while their association lasts (RFC 5061)."""

from __future__ import annotations

from typing import Any

import pytest

from datachan.sctp.addresses import MAX_ADDRESSES, address_parameter
from datachan.sctp.association import Association
from datachan.sctp.errors import InvalidAddress, InvalidState
from datachan.sctp.events import (
    AddressChange,
    AssociationClosed,
    AssociationLost,
    LocalAddressChanged,
    MessageReceived,
    PathStatus,
    PathStatusChanged,
)
from datachan.sctp.options import AssociationOptions
from datachan.sctp.records.asconf import MAX_WAITING
from datachan.sctp.stats import PathState
from datachan.sctp.wire.causes import (
    DELETE_LAST_ADDRESS,
    DELETE_SOURCE_ADDRESS,
    ILLEGAL_ASCONF_ACK,
    RESOURCE_SHORTAGE,
    UNRECOGNIZED_PARAMETERS,
    UNRESOLVABLE_ADDRESS,
    parse_causes_untrusted,
    unrecognized_chunk_type,
)
from datachan.sctp.wire.chunks import AbortChunk, Chunk, DataChunk, ErrorChunk, InitAckChunk, InitChunk
from datachan.sctp.wire.extensions import AsconfAckChunk, AsconfChunk, AuthChunk
from datachan.sctp.wire.packet import serialize_packet
from datachan.sctp.wire.parameters import (
    AddIpAddress,
    DeleteIpAddress,
    ErrorCauseIndication,
    Parameter,
    Random,
    SetPrimaryAddress,
    UnknownParameter,
)

from .sctp_pair import A_SEED, PORT, Z_SEED, S, changed, chunks, entropy, names, read

UDP = 9899
A1, A2, A3 = "192.0.2.1", "198.51.100.1", "203.0.113.1"
Z1, Z2 = "192.0.2.2", "198.51.100.2"


class Host:
    """An association, the addresses of its host, and its events."""

    def __init__(self, seed: int, *ips: str, **options: Any) -> None:
        chosen: AssociationOptions = changed(
            **{"local_addresses": ips, "authentication": True, "dynamic_addresses": True, **options}
        )
        self.machine = Association(chosen, entropy(seed))
        self.bound = list(ips)
        self.events: list[Any] = []

    def source_for(self, destination: str) -> str:
        """Return the source address for a destination: one of the same network if that is allowed, any other if not."""
        allowed = [ip for ip in self.machine.source_addresses() if ip in self.bound] or self.bound
        near = [ip for ip in allowed if ip.rpartition(".")[0] == destination.rpartition(".")[0]]
        return (near or allowed)[0]

    def statuses(self, ip: str) -> list[PathStatus]:
        return [e.status for e in self.events if isinstance(e, PathStatusChanged) and e.address == (ip, UDP)]

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


class Net:
    """A and Z on a network that delivers at once if the destination exists."""

    def __init__(self, a: Host | None = None, z: Host | None = None) -> None:
        self.a = a or Host(A_SEED, A1)
        self.z = z or Host(Z_SEED, Z1)
        self.now = 1000.0
        self.log: list[tuple[str, str, bytes]] = []
        self.lost = 0  # the number of packets that are still to be lost

    def establish(self) -> Net:
        self.a.machine.connect(self.now, [(Z1, UDP)])
        self.settle()
        assert (self.a.machine.state, self.z.machine.state) == (S.ESTABLISHED, S.ESTABLISHED)
        self.pass_time(5)
        return self

    def settle(self) -> None:
        for _ in range(200):
            moved = self._send(self.a, self.z) | self._send(self.z, self.a)
            if not moved:
                return
        raise RuntimeError("A and Z do not stop sending")

    def _send(self, sender: Host, receiver: Host) -> bool:
        runs = sender.machine.packets_to_send(self.now)
        for destination, packets in runs:
            assert destination is not None
            source = sender.source_for(destination[0])
            for packet in packets:
                self.log.append((source, destination[0], packet))
                if self.lost:
                    self.lost -= 1
                elif destination[0] in receiver.bound:
                    receiver.machine.receive_datagrams([packet], self.now, (source, UDP))
        for host in (sender, receiver):
            for event in host.machine.events():
                host.events.append(event)
                if isinstance(event, MessageReceived):
                    host.machine.message_consumed(len(event.data), self.now)
        return bool(runs)

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            self.settle()
            moments = [host.machine.next_timeout() for host in (self.a, self.z)]
            due = [moment for moment in moments if moment is not None]
            if not due or min(due) > end:
                self.now = end
                return
            self.now = max(self.now, min(due))
            for host in (self.a, self.z):
                host.machine.handle_timeout(self.now)

    def talk(self, text: bytes = b"hello") -> None:
        """Send a message in each direction."""
        for host, other in ((self.a, self.z), (self.z, self.a)):
            host.machine.send(0, text, ppid=0, now=self.now)
            before = len(other.of(MessageReceived))
            self.pass_time(1)
            assert [event.data for event in other.of(MessageReceived)[before:]] == [text]

    def sent(self, kind: type[Chunk], since: int = 0) -> list[tuple[str, str]]:
        """Return (source, destination) of the packets with chunks of one class."""
        return [(source, there) for source, there, packet in self.log[since:] if chunks([packet], kind)]

    def signed(self, *carried: Chunk) -> bytes:
        """Return a packet that A has signed."""
        auth = self.a.machine.authenticator
        assert auth is not None
        wire = [chunk.serialize() for chunk in carried]
        return serialize_packet(PORT, PORT, self.a.machine.peer_tag, [auth.sign(wire, 0), *wire])

    def ask(self, *requests: Parameter, number: int = 0, own: str = A1, source: str = A1) -> AsconfAckChunk | None:
        """Deliver an ASCONF of A with these requests to Z; return Z's answer."""
        asconf = AsconfChunk(self.a.machine.local_initial_tsn + number, address_parameter(own), requests)
        self.z.machine.receive_datagrams([self.signed(asconf)], self.now, (source, UDP))
        runs = self.z.machine.packets_to_send(self.now)
        answers = [(there, chunk) for there, packets in runs for chunk in chunks(packets, AsconfAckChunk)]
        assert all(there == (source, UDP) for there, _ in answers)
        return answers[0][1] if answers else None


def refusals(ack: AsconfAckChunk | None) -> dict[int, int]:
    """Return the code of the error cause for each refused request."""
    assert ack is not None
    return {
        p.correlation_id: parse_causes_untrusted(p.causes, 0, len(p.causes))[0].code
        for p in ack.parameters
        if isinstance(p, ErrorCauseIndication)
    }


def add(correlation: int, ip: str) -> AddIpAddress:
    return AddIpAddress(correlation, address_parameter(ip))


def delete(correlation: int, ip: str) -> DeleteIpAddress:
    return DeleteIpAddress(correlation, address_parameter(ip))


# -- changes of our addresses ------------------------------------------------------------------------------------------


def test_an_address_is_added_verified_and_used() -> None:
    net = Net(z=Host(Z_SEED, Z1, Z2)).establish()
    net.a.bound.append(A2)
    net.a.machine.add_address(A2)
    before = len(net.log)
    net.settle()
    # A -> Z  AUTH, ASCONF from the old address; Z -> A  AUTH, ASCONF-ACK, and a HEARTBEAT to the new one.
    asconf = [packet for _, _, packet in net.log[before:] if chunks([packet], AsconfChunk)]
    assert [names(packet) for packet in asconf] == [["Auth", "Asconf"]]
    assert net.sent(AsconfChunk, before) == [(A1, Z1)]
    assert net.sent(AsconfAckChunk, before) == [(Z1, A1)]
    assert net.a.of(LocalAddressChanged) == [LocalAddressChanged(A2, AddressChange.ADDED, True, "")]
    assert net.a.machine.source_addresses() == [A1, A2]
    net.pass_time(3)
    assert net.z.statuses(A2) == [PathStatus.ADDED, PathStatus.CONFIRMED]
    assert net.z.machine.peer_addresses() == [(A1, UDP), (A2, UDP)]
    net.z.machine.set_primary((A2, UDP))
    before = len(net.log)
    net.talk()
    assert {there for _, there in net.sent(DataChunk, before)} == {A2, Z1}


def test_sends_only_heartbeats_to_an_added_address_until_it_is_verified() -> None:
    net = Net(z=Host(Z_SEED, Z1, Z2)).establish()
    net.a.machine.add_address(A2)  # A does not have this address, so heartbeats to it are not answered
    net.settle()
    before = len(net.log)
    net.z.machine.send(0, b"data", ppid=0, now=net.now)
    net.pass_time(30)
    there = [packet for _, destination, packet in net.log[before:] if destination == A2]
    assert {name for packet in there for name in names(packet)} == {"Heartbeat"}
    with pytest.raises(InvalidAddress):
        net.z.machine.set_primary((A2, UDP))


def test_an_address_is_deleted() -> None:
    net = Net(Host(A_SEED, A1, A2), Host(Z_SEED, Z1, Z2)).establish()
    net.z.machine.set_primary((A1, UDP))
    net.a.machine.delete_address(A1)
    assert net.a.machine.source_addresses() == [A2]
    net.settle()
    assert net.a.of(LocalAddressChanged) == [LocalAddressChanged(A1, AddressChange.REMOVED, True, "")]
    assert net.z.statuses(A1) == [PathStatus.REMOVED]
    assert net.z.machine.peer_addresses() == [(A2, UDP)]
    assert net.z.machine.primary_address == (A2, UDP)
    net.a.bound.remove(A1)
    net.talk()


def test_retransmits_data_in_flight_to_a_deleted_address_on_another_path() -> None:
    net = Net(Host(A_SEED, A1, A2), Host(Z_SEED, Z1, Z2)).establish()
    net.a.bound.remove(A1)  # the address is gone, but Z still sends there
    for number in range(20):
        net.z.machine.send(0, bytes([number]) * 3000, ppid=0, now=net.now)
    net.z.machine.packets_to_send(net.now)
    net.a.machine.delete_address(A1)
    net.pass_time(5)
    assert [event.data[0] for event in net.a.of(MessageReceived)] == list(range(20))


def test_an_association_survives_a_host_that_changes_its_address() -> None:
    # RFC 5061, 5.3.2: the sender "may only have one IP address in an association that is being renumbered."
    net = Net().establish()
    net.a.bound[:] = [A3]
    net.a.machine.add_address(A3)
    net.a.machine.delete_address(A1)
    before = len(net.log)
    net.settle()
    assert net.sent(AsconfChunk, before) == [(A3, Z1)]
    (asconf,) = [c for _, _, packet in net.log[before:] for c in chunks([packet], AsconfChunk)]
    assert asconf.address == address_parameter(A1)
    assert net.sent(AsconfAckChunk, before) == [(Z1, A3)]
    net.pass_time(3)
    assert net.z.machine.peer_addresses() == [(A3, UDP)]
    assert net.z.machine.stats().paths[0].state is PathState.ACTIVE
    net.talk()


def test_requests_that_the_peer_sends_to_another_address() -> None:
    net = Net(Host(A_SEED, A1, A2), Host(Z_SEED, Z1, Z2)).establish()
    net.a.machine.request_peer_primary(A2)
    net.settle()
    assert net.z.statuses(A2)[-1] is PathStatus.MADE_PRIMARY
    assert net.z.machine.primary_address == (A2, UDP)
    assert net.a.of(LocalAddressChanged) == [LocalAddressChanged(A2, AddressChange.MADE_PRIMARY, True, "")]


def test_a_new_address_becomes_the_primary_one_once_it_is_verified() -> None:
    net = Net(z=Host(Z_SEED, Z1, Z2)).establish()
    net.a.bound.append(A2)
    net.a.machine.add_address(A2)
    net.a.machine.request_peer_primary(A2)
    net.settle()
    assert len(net.sent(AsconfChunk)) == 1  # both in one
    net.pass_time(3)
    assert net.z.statuses(A2) == [PathStatus.ADDED, PathStatus.CONFIRMED, PathStatus.MADE_PRIMARY]


def test_only_one_asconf_is_in_flight_at_a_time() -> None:
    # RFC 5061, 5.1.1, C1: "One and only one SCTP packet-holding ASCONF Chunk(s) MAY be in transit and unacknowledged at
    # any one time."
    net = Net(Host(A_SEED, A1, A2), Host(Z_SEED, Z1, Z2)).establish()
    net.a.machine.add_address(A3)
    first = net.a.machine.packets_to_send(net.now)
    net.a.machine.request_peer_primary(A2)
    assert len(first) == 1
    assert net.a.machine.packets_to_send(net.now) == []
    net.z.machine.receive_datagrams(first[0][1], net.now, (A1, UDP))
    net.settle()
    numbers = [c.sequence_number for _, _, packet in net.log for c in chunks([packet], AsconfChunk)]
    (own,) = chunks(first[0][1], AsconfChunk)
    assert own.sequence_number == net.a.machine.local_initial_tsn
    assert numbers == [own.sequence_number + 1]


def test_retransmits_an_unanswered_asconf_unchanged_on_another_path() -> None:
    net = Net(Host(A_SEED, A1, A2), Host(Z_SEED, Z1, Z2)).establish()
    before = len(net.log)
    net.a.machine.add_address(A3)
    net.lost = 1
    net.pass_time(20)
    sent = [(there, packet) for _, there, packet in net.log[before:] if chunks([packet], AsconfChunk)]
    assert [there for there, _ in sent] == [Z1, Z2]
    assert chunks([sent[0][1]], AsconfChunk) == chunks([sent[1][1]], AsconfChunk)
    assert net.a.of(LocalAddressChanged)[0].accepted


def test_repeats_a_lost_asconf_ack() -> None:
    net = Net(Host(A_SEED, A1, A2), Host(Z_SEED, Z1, Z2)).establish()
    net.a.machine.delete_address(A1)
    asconf = net.a.machine.packets_to_send(net.now)[0][1]
    net.z.machine.receive_datagrams(asconf, net.now, (A2, UDP))
    assert chunks(net.z.machine.packets_to_send(net.now)[0][1], AsconfAckChunk)  # and lost
    net.pass_time(20)
    assert net.a.of(LocalAddressChanged) == [LocalAddressChanged(A1, AddressChange.REMOVED, True, "")]
    assert net.z.statuses(A1) == [PathStatus.REMOVED]


def test_gives_up_a_peer_that_never_answers_an_asconf() -> None:
    net = Net(Host(A_SEED, A1, association_max_retrans=2, rto_max=2.0)).establish()
    net.lost = 1000
    net.a.machine.add_address(A3)
    net.pass_time(60)
    assert net.a.of(AssociationLost)


def test_refuses_impossible_address_changes_at_once() -> None:
    with pytest.raises(InvalidState):
        Association(AssociationOptions(), entropy(1)).add_address(A2)
    net = Net().establish()
    machine = net.a.machine
    with pytest.raises(InvalidAddress, match="only address"):
        machine.delete_address(A1)
    with pytest.raises(InvalidAddress, match="peer knows"):
        machine.delete_address(A3)
    with pytest.raises(InvalidAddress, match="peer knows"):
        machine.request_peer_primary(A3)
    with pytest.raises(InvalidAddress, match="one host"):
        machine.add_address("224.0.0.1")
    with pytest.raises(InvalidAddress):
        machine.add_address("somewhere")
    machine.add_address(A3)
    machine.delete_address(A1)
    with pytest.raises(InvalidAddress, match="only address"):
        machine.delete_address(A3)
    for _ in range(MAX_WAITING - 2):
        machine.add_address(A2)
    with pytest.raises(InvalidState, match="waiting"):
        machine.add_address(A2)


def test_adding_an_address_raises_if_the_peer_lacks_the_extension() -> None:
    for options in ({"dynamic_addresses": False}, {"dynamic_addresses": False, "authentication": False}):
        net = Net(z=Host(Z_SEED, Z1, **options)).establish()
        with pytest.raises(InvalidState, match="support"):
            net.a.machine.add_address(A2)


def test_sends_no_more_asconf_to_a_peer_that_reports_it_as_unrecognized() -> None:
    # RFC 5061, 5.1, A9: "the sender of the ASCONF MUST NOT send any further ASCONF Chunks and MUST stop its T-4 timer."
    net = Net().establish()
    net.a.machine.add_address(A3)
    asconf = chunks(net.a.machine.packets_to_send(net.now)[0][1], AsconfChunk)[0]
    error = ErrorChunk([unrecognized_chunk_type(asconf.serialize())])
    packet = serialize_packet(PORT, PORT, net.z.machine.peer_tag, [error.serialize()])
    net.a.machine.receive_datagrams([packet], net.now, (Z1, UDP))
    before = len(net.log)
    net.pass_time(20)
    assert not net.sent(AsconfChunk, before)
    assert [event.accepted for event in net.a.of(LocalAddressChanged)] == [False]
    with pytest.raises(InvalidState):
        net.a.machine.add_address(A3)


def test_a_peer_without_authentication_is_refused() -> None:
    # RFC 5061, 6: "An implementation that receives an INIT-ACK that indicates that the peer does not support the
    # [RFC4895] extension MUST NOT send the COOKIE-ECHO to establish the association."
    for first in (InitChunk, InitAckChunk):
        net = Net()
        net.a.machine.connect(net.now, [(Z1, UDP)])
        (packet,) = net.a.machine.packets_to_send(net.now)[0][1]
        other = net.z
        if first is InitAckChunk:
            net.z.machine.receive_datagrams([packet], net.now, (A1, UDP))
            (packet,) = net.z.machine.packets_to_send(net.now)[0][1]
            other = net.a
        found = read(packet)
        (init,) = found.chunks
        assert type(init) is first
        init.parameters = [p for p in init.parameters if not isinstance(p, Random)]
        tag = found.verification_tag
        stripped = serialize_packet(PORT, PORT, tag, [init.serialize()])
        other.machine.receive_datagrams([stripped], net.now, (Z1 if other is net.a else A1, UDP))
        ((_, packets),) = other.machine.packets_to_send(net.now)
        assert names(packets[0]) == ["Abort"]
        assert other.machine.state is S.CLOSED


def test_ignores_an_abort_for_a_late_packet_from_an_address_being_deleted() -> None:
    # RFC 5061, 5.3.1: "an Abort MUST be ignored if the destination address of the Abort message is that of a
    # destination being deleted."
    net = Net(Host(A_SEED, A1, A2), Host(Z_SEED, Z1, Z2)).establish()
    abort = serialize_packet(PORT, PORT, net.a.machine.peer_tag, [AbortChunk([], tag_reflected=True).serialize()])
    net.a.machine.delete_address(A1)
    net.a.machine.receive_datagrams([abort], net.now, (Z1, UDP))
    assert net.a.machine.state is S.ESTABLISHED
    net.settle()
    net.a.machine.receive_datagrams([abort], net.now, (Z1, UDP))
    assert net.a.machine.state is S.CLOSED


# -- changes of the peer's addresses -----------------------------------------------------------------------------------


def test_an_asconf_that_is_not_signed_is_discarded() -> None:
    net = Net().establish()
    asconf = AsconfChunk(net.a.machine.local_initial_tsn, address_parameter(A1), [add(1, A2)])
    packet = serialize_packet(PORT, PORT, net.a.machine.peer_tag, [asconf.serialize()])
    net.z.machine.receive_datagrams([packet], net.now, (A1, UDP))
    forged = serialize_packet(
        PORT, PORT, net.a.machine.peer_tag, [AuthChunk(0, 3, bytes(32)).serialize(), asconf.serialize()]
    )
    net.z.machine.receive_datagrams([forged], net.now, (A1, UDP))
    assert net.z.machine.packets_to_send(net.now) == []
    assert net.z.machine.peer_addresses() == [(A1, UDP)]


def test_without_the_extension_an_asconf_is_reported_and_skipped() -> None:
    net = Net(z=Host(Z_SEED, Z1, dynamic_addresses=False)).establish()
    asconf = AsconfChunk(net.a.machine.local_initial_tsn, address_parameter(A1), [add(1, A2)])
    net.z.machine.receive_datagrams([net.signed(asconf)], net.now, (A1, UDP))
    ((_, packets),) = net.z.machine.packets_to_send(net.now)
    (error,) = chunks(packets, ErrorChunk)
    assert error.causes[0].info[:1] == b"\xc1"
    assert net.z.machine.peer_addresses() == [(A1, UDP)]


def test_the_last_address_and_the_source_are_not_deleted() -> None:
    # RFC 5061, 5.3, F7 and F8.
    net = Net().establish()
    assert refusals(net.ask(delete(7, A1))) == {7: DELETE_LAST_ADDRESS}
    assert refusals(net.ask(add(8, A2), delete(9, A1), number=1)) == {9: DELETE_SOURCE_ADDRESS}
    assert net.z.machine.peer_addresses() == [(A1, UDP), (A2, UDP)]


def test_the_wildcard_address_stands_for_the_source() -> None:
    net = Net().establish()
    assert refusals(net.ask(add(1, "0.0.0.0"), source=A2)) == {}
    assert net.z.machine.peer_addresses() == [(A1, UDP), (A2, UDP)]
    assert refusals(net.ask(SetPrimaryAddress(2, address_parameter("0.0.0.0")), number=1)) == {}
    assert refusals(net.ask(delete(3, "0.0.0.0"), number=2)) == {}
    assert net.z.machine.peer_addresses() == [(A1, UDP)]


def test_accepts_from_an_unknown_source_only_an_asconf_that_names_a_known_address() -> None:
    net = Net().establish()
    assert net.ask(add(1, A2), own=A3, source=A2) is None
    assert net.z.machine.peer_addresses() == [(A1, UDP)]
    assert refusals(net.ask(add(1, A2), own=A1, source=A2)) == {}


def test_an_address_is_not_added_twice_and_there_is_a_limit() -> None:
    net = Net().establish()
    assert refusals(net.ask(add(1, A1), add(2, A2), add(3, A2))) == {}
    requests = [add(10 + i, f"10.0.0.{i}") for i in range(MAX_ADDRESSES)]
    refused = refusals(net.ask(*requests, delete(99, A2), number=1))
    # RFC 5061, 5.3, F11: "once a receiver begins failing any ADD or DELETE request, it must fail all subsequent ADD or
    # DELETE requests contained in that single ASCONF."
    assert refused == dict.fromkeys([10 + MAX_ADDRESSES - 2, 11 + MAX_ADDRESSES - 2, 99], RESOURCE_SHORTAGE)
    assert len(net.z.machine.peer_addresses()) == MAX_ADDRESSES


def test_refuses_invalid_requests_of_the_peer() -> None:
    net = Net().establish()
    unknown = UnknownParameter(0xC0FF, b"\0\0\0\5....")
    ack = net.ask(
        add(1, "224.0.0.1"),
        add(2, "2001:db8::1"),
        SetPrimaryAddress(3, address_parameter(A3)),
        delete(4, A3),
        unknown,
        add(6, "127.0.0.1"),
    )
    assert refusals(ack) == {
        1: UNRESOLVABLE_ADDRESS,
        2: UNRESOLVABLE_ADDRESS,
        3: UNRESOLVABLE_ADDRESS,
        5: UNRECOGNIZED_PARAMETERS,
        6: UNRESOLVABLE_ADDRESS,
    }


def test_a_repeated_asconf_gets_the_stored_answer_and_one_out_of_sequence_none() -> None:
    net = Net().establish()
    first = net.ask(delete(7, A1))
    assert refusals(net.ask(add(1, A2), number=1)) == {}
    assert net.ask(delete(7, A1)) == first
    assert net.ask(add(1, A3), number=3) is None
    assert net.ask(add(1, A3), number=-5) is None
    assert net.z.machine.peer_addresses() == [(A1, UDP), (A2, UDP)]


def test_two_asconfs_in_a_packet_are_answered_together() -> None:
    net = Net().establish()
    number = net.a.machine.local_initial_tsn
    pair = [AsconfChunk(number + i, address_parameter(A1), [add(i, ip)]) for i, ip in enumerate((A2, A3))]
    net.z.machine.receive_datagrams([net.signed(*pair)], net.now, (A1, UDP))
    runs = net.z.machine.packets_to_send(net.now)
    answers = [packet for _, packets in runs for packet in packets if chunks([packet], AsconfAckChunk)]
    assert [names(packet) for packet in answers] == [["Auth", "AsconfAck", "AsconfAck"]]


def test_an_asconf_ack_for_a_request_never_sent_aborts_the_association() -> None:
    # RFC 5061, 5.3, F0: "the endpoint MUST ABORT the association."
    net = Net().establish()
    number = net.z.machine.local_initial_tsn
    old = AsconfAckChunk(number - 1 & 0xFFFFFFFF, [])
    net.z.machine.receive_datagrams([net.signed(old)], net.now, (A1, UDP))
    assert net.z.machine.state is S.ESTABLISHED
    net.z.machine.receive_datagrams([net.signed(AsconfAckChunk(number, []))], net.now, (A1, UDP))
    ((_, packets),) = net.z.machine.packets_to_send(net.now)
    (abort,) = chunks(packets, AbortChunk)
    assert [cause.code for cause in abort.causes] == [ILLEGAL_ASCONF_ACK]


def test_a_malformed_asconf_ack_raises_nothing() -> None:
    net = Net(z=Host(Z_SEED, Z1, Z2)).establish()
    net.z.machine.add_address("203.0.113.2")
    ((_, packets),) = net.z.machine.packets_to_send(net.now)
    (asconf,) = chunks(packets, AsconfChunk)
    nonsense = [ErrorCauseIndication(asconf.parameters[0].correlation_id, b"\0\1\0\1"), add(1, A2)]
    net.z.machine.receive_datagrams([net.signed(AsconfAckChunk(asconf.sequence_number, nonsense))], net.now, (A1, UDP))
    (event,) = [e for e in net.z.machine.events() if isinstance(e, LocalAddressChanged)]
    assert not event.accepted
    assert event.reason


def test_stored_asconf_answers_are_limited() -> None:
    net = Net().establish()
    for number in range(50):
        net.ask(delete(number, A3), number=number)
    assert net.ask(delete(0, A3), number=0) is None
    assert net.ask(delete(49, A3), number=49) is not None


def test_addresses_can_change_until_the_shutdown() -> None:
    net = Net(Host(A_SEED, A1, A2), Host(Z_SEED, Z1, Z2)).establish()
    for _ in range(5):
        net.a.machine.delete_address(A2)
        net.a.machine.add_address(A2)
        net.pass_time(3)
        net.talk()
    net.a.machine.shutdown(net.now)
    net.pass_time(5)
    assert net.a.of(AssociationClosed)
    assert net.z.of(AssociationClosed)
    assert read(net.log[-1][2]).chunks
