"""Two multi-homed associations, A and Z, with a network between each pair of their addresses."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from datachan.sctp.addresses import address_parameter
from datachan.sctp.association import Association, AssociationState
from datachan.sctp.errors import InvalidAddress, InvalidState
from datachan.sctp.events import (
    AssociationClosed,
    AssociationEstablished,
    AssociationLost,
    AssociationRestarted,
    MessageReceived,
    PathStatus,
    SenderDry,
)
from datachan.sctp.options import AssociationOptions
from datachan.sctp.stats import PathState, PathStats
from datachan.sctp.wire.causes import RESTART_WITH_NEW_ADDRESSES
from datachan.sctp.wire.chunks import (
    AbortChunk,
    Chunk,
    CookieAckChunk,
    CookieEchoChunk,
    DataChunk,
    HeartbeatAckChunk,
    HeartbeatChunk,
    InitAckChunk,
    InitChunk,
    SackChunk,
    ShutdownAckChunk,
    ShutdownChunk,
)
from datachan.sctp.wire.packet import Packet
from tests.sim.associations import Sent, Traffic, consume
from tests.sim.multihomed import PORT, MultiHomedPair, MultiHomedPeer, address
from tests.sim.network import PERFECT, Conditions, Link, as_packet
from tests.sim.seeds import entropy

from .sctp_pair import chunks, packet

S = AssociationState
ONLY_DATA = {"interleaving": False}


def established(paths: int = 2, **options: object) -> MultiHomedPair:
    """Return A and Z after all their paths were verified."""
    pair = MultiHomedPair([PERFECT] * paths, **{**ONLY_DATA, **options})  # type: ignore[arg-type]
    consume(pair.a)  # type: ignore[arg-type]
    consume(pair.z)  # type: ignore[arg-type]
    pair.connect()
    pair.run_until(lambda: all(verified(peer, paths) for peer in (pair.a, pair.z)), 60)
    return pair


def verified(peer: MultiHomedPeer, paths: int) -> bool:
    found = peer.machine.stats().paths
    return len(found) == paths and all(path.state is PathState.ACTIVE for path in found)


def traffic(pair: MultiHomedPair) -> Traffic:
    return Traffic(pair.a, pair.z, random.Random(pair.seed))  # type: ignore[arg-type]


def path_of(peer: MultiHomedPeer, path: int) -> PathStats:
    """Return the path to the n-th address of the other side."""
    return peer.machine.stats().paths[path]


def carried(link: Link, kind: type[Chunk]) -> list[float]:
    """Return the times at which chunks of one class were sent over a link."""
    return [passage.time for passage in link.passages if holds(passage.packet, kind)]


def holds(packet: Packet | None, kind: type[Chunk]) -> bool:
    return packet is not None and any(type(chunk) is kind for chunk in packet.chunks)


# -- addresses, and whether they are the peer's ------------------------------------------------------------------------


def test_both_sides_learn_each_others_addresses() -> None:
    pair = established(3)
    assert pair.a.machine.peer_addresses() == [address(n, 2) for n in range(3)]
    assert pair.z.machine.peer_addresses() == [address(n, 1) for n in range(3)]
    assert pair.a.machine.primary_address == address(0, 2)


def test_verifies_an_address_before_sending_anything_else_to_it() -> None:
    pair = established(3)
    for network in pair.networks[1:]:
        for link in (network.to_z, network.to_a):
            seen = [chunk for passage in link.passages for chunk in passage.packet.chunks]  # type: ignore[union-attr]
            assert {type(chunk) for chunk in seen} == {HeartbeatChunk, HeartbeatAckChunk}
    assert pair.a.statuses(0) == []
    assert pair.a.statuses(1) == pair.a.statuses(2) == [PathStatus.CONFIRMED]


def test_addresses_are_verified_one_per_rto() -> None:
    # RFC 9260, 5.4: "The number of packets containing HEARTBEAT chunks sent at each RTO SHOULD be limited by the
    # 'HB.Max.Burst' parameter."
    pair = established(4)
    times = sorted(time for network in pair.networks[1:] for time in carried(network.to_z, HeartbeatChunk))
    assert len(times) == 3
    assert all(later - earlier >= 1.0 for earlier, later in pairwise(times))


def test_an_unverified_address_gets_only_heartbeats_and_does_not_count_errors() -> None:
    pair = MultiHomedPair([PERFECT] * 2, path_max_retrans=3, association_max_retrans=4)
    pair.cut(1)
    pair.connect()
    messages = traffic(pair)
    pair.run(5)
    for _ in range(20):
        messages.send(pair.now, 3000)
    pair.run(200)
    messages.check_finished()
    assert pair.a.statuses(1) == [PathStatus.UNREACHABLE]
    assert path_of(pair.a, 1).state is PathState.UNCONFIRMED
    assert pair.a.machine.state is S.ESTABLISHED
    sent = [chunk for passage in pair.networks[1].to_z.passages for chunk in passage.packet.chunks]  # type: ignore[union-attr]
    assert {type(chunk) for chunk in sent} == {HeartbeatChunk}


def test_a_heartbeat_ack_for_another_nonce_verifies_nothing() -> None:
    pair = MultiHomedPair([PERFECT] * 2, **ONLY_DATA)
    pair.cut(1)
    pair.connect()
    pair.run(0.5)
    forged = packet(pair.a.machine.local_tag, HeartbeatAckChunk(bytes(12)))
    pair.a.machine.receive_datagrams([forged], pair.now, address(1, 2))
    pair.run(0.1)
    assert path_of(pair.a, 1).state is PathState.UNCONFIRMED


def test_treats_every_address_passed_to_connect_as_verified() -> None:
    pair = MultiHomedPair([PERFECT] * 2)
    pair.connect(0, 1)
    pair.run(0.2)
    assert [path.state for path in pair.a.machine.stats().paths] == [PathState.ACTIVE, PathState.ACTIVE]
    assert PathStatus.CONFIRMED not in pair.a.statuses(1)


def test_the_handshake_uses_another_path_when_the_first_is_cut() -> None:
    pair = MultiHomedPair([PERFECT] * 2)
    pair.cut(0)
    pair.connect(0, 1)
    pair.run_until(lambda: bool(pair.z.of(AssociationEstablished)), 10)
    assert pair.a.machine.primary_address == address(1, 2)


def test_retransmits_cookie_echo_on_another_path() -> None:
    # A -> Z  INIT, Z -> A INIT ACK, A -> Z COOKIE ECHO /lost/, and again over the other path.
    pair = MultiHomedPair([PERFECT] * 2)
    pair.networks[0].to_z.drop(lambda packet: holds(packet, CookieEchoChunk))
    pair.connect(0, 1)
    pair.run_until(lambda: bool(pair.a.of(AssociationEstablished)), 10)
    assert len(carried(pair.networks[1].to_z, CookieEchoChunk)) == 1
    # Z has not verified that path: it sends COOKIE ACK there together with a HEARTBEAT.
    (answer,) = [p.packet for p in pair.networks[1].to_a.passages if holds(p.packet, CookieAckChunk)]
    assert holds(answer, HeartbeatChunk)


def test_cookie_echo_to_an_address_not_passed_to_connect_is_bundled_with_a_heartbeat() -> None:
    a = Association(AssociationOptions(), entropy(1))
    z = Association(AssociationOptions(), entropy(2))
    a.connect(0.0, [address(0, 2)])
    ((_, init),) = a.packets_to_send(0.0)
    z.receive_datagrams(init, 0.0, address(0, 1))
    ((_, init_ack),) = z.packets_to_send(0.0)
    a.receive_datagrams(init_ack, 0.0, address(1, 2))
    ((destination, (echo,)),) = a.packets_to_send(0.0)
    assert destination == address(1, 2)
    found = as_packet(echo)
    assert found is not None
    assert [type(chunk) for chunk in found.chunks] == [CookieEchoChunk, HeartbeatChunk]


def test_packets_from_an_address_that_is_not_the_peers_are_discarded() -> None:
    pair = established()
    abort = packet(pair.a.machine.local_tag, AbortChunk([]))
    pair.a.machine.receive_datagrams([abort], pair.now, ("192.0.2.99", PORT))
    assert pair.a.machine.state is S.ESTABLISHED
    pair.a.machine.receive_datagrams([abort], pair.now, address(1, 2))
    assert pair.a.machine.state is S.CLOSED


def test_the_udp_port_of_each_path_follows_the_peer() -> None:
    pair = established()
    heartbeat = packet(pair.z.machine.local_tag, HeartbeatChunk(b"who am I now"))
    pair.z.machine.receive_datagrams([heartbeat], pair.now, (address(1, 1)[0], 40000))
    ((destination, _),) = pair.z.machine.packets_to_send(pair.now)
    assert destination == (address(1, 1)[0], 40000)
    assert pair.z.machine.peer_addresses() == [address(0, 1), (address(1, 1)[0], 40000)]


# -- where things go ---------------------------------------------------------------------------------------------------


def test_sends_data_and_sacks_on_the_primary_path() -> None:
    pair = established()
    messages = traffic(pair)
    for _ in range(50):
        messages.send(pair.now, 5000)
    pair.run(20)
    messages.check_finished()
    assert not carried(pair.networks[1].to_z, DataChunk)
    assert not carried(pair.networks[1].to_a, SackChunk)


def test_the_application_can_change_the_primary_path() -> None:
    pair = established()
    messages = traffic(pair)
    messages.send(pair.now, 1000)
    pair.run(1)
    pair.a.machine.set_primary(address(1, 2))
    moment = pair.now
    for _ in range(20):
        messages.send(pair.now, 5000)
    pair.run(20)
    messages.check_finished()
    assert max(carried(pair.networks[0].to_z, DataChunk)) < moment
    # The SACKs come back the same way.
    assert carried(pair.networks[1].to_a, SackChunk)
    assert max(carried(pair.networks[0].to_a, SackChunk)) < moment
    assert (path_of(pair.a, 1).primary, path_of(pair.a, 1).current) == (True, True)


def test_sends_a_message_to_the_address_in_its_send_call() -> None:
    pair = established(3)
    messages = traffic(pair)
    begin = pair.now
    for number in range(30):
        destination = None if number % 3 == 0 else address(number % 3, 2)
        data = number.to_bytes(4, "big") + bytes(3000)
        messages.sent.append(Sent(number, 0, 0, data, unordered=False, reliable=True))
        pair.a.machine.send(0, data, ppid=0, now=pair.now, destination=destination)
    pair.run(5)
    messages.check_finished()
    for network in pair.networks:
        assert len([time for time in carried(network.to_z, DataChunk) if time >= begin]) >= 25
    with pytest.raises(InvalidAddress):
        pair.a.machine.send(0, b"nowhere", ppid=0, now=pair.now, destination=("192.0.2.77", PORT))


def test_sends_a_message_for_an_inactive_path_on_another() -> None:
    # RFC 9260, 6.4.1: "where the SCTP user explicitly requests to send data to an inactive destination transport
    # address before reporting an error to its ULP, the SCTP endpoint SHOULD try to send the data to an alternate
    # active destination transport address if one exists."
    pair = established(path_max_retrans=1, heartbeat_interval=1.0)
    pair.cut(1)
    pair.run_until(lambda: pair.a.statuses(1)[-1] is PathStatus.UNREACHABLE, 60)
    pair.a.machine.send(0, b"wherever", ppid=0, now=pair.now, destination=address(1, 2))
    pair.run(1)
    assert [event.data for event in pair.z.of(MessageReceived)] == [b"wherever"]
    assert not carried(pair.networks[1].to_z, DataChunk)


def test_only_a_verified_address_of_the_peer_can_be_primary() -> None:
    with pytest.raises(InvalidState):
        Association(AssociationOptions(), entropy(1)).set_primary(address(0, 2))
    pair = MultiHomedPair([PERFECT] * 2)
    pair.cut(1)
    pair.connect()
    pair.run(1)
    with pytest.raises(InvalidAddress, match=r"192\.0\.2\.77"):
        pair.a.machine.set_primary(("192.0.2.77", PORT))
    with pytest.raises(InvalidAddress, match="not yet known"):
        pair.a.machine.set_primary(address(1, 2))


def test_retransmits_after_a_timeout_on_another_path_and_sends_new_data_on_the_primary() -> None:
    # RFC 9260, 6.4: "when its peer is multi-homed, an endpoint SHOULD try to retransmit a chunk that timed out to an
    # active destination transport address that is different from the last destination address to which the chunk was
    # sent."
    pair = established(tail_loss_probe=False)
    messages = traffic(pair)
    pair.networks[0].to_z.drop(lambda packet: holds(packet, DataChunk), count=1)
    messages.send(pair.now, 500)
    pair.run_until(lambda: bool(pair.a.of(SenderDry)), 10)
    messages.check_finished()
    assert len(carried(pair.networks[1].to_z, DataChunk)) == 1
    messages.send(pair.now, 500)
    pair.run(1)
    assert len(carried(pair.networks[1].to_z, DataChunk)) == 1
    assert pair.a.statuses(0) == []


def test_a_fast_retransmission_uses_the_same_path() -> None:
    # RFC 9260, 6.4: "When its peer is multi-homed, an endpoint SHOULD send fast retransmissions to the same destination
    # transport address to which the original data was sent."
    pair = established()
    messages = traffic(pair)
    for _ in range(20):
        messages.send(pair.now, 4000)
    pair.run(1)
    pair.networks[0].to_z.drop(lambda packet: holds(packet, DataChunk), count=1)
    for _ in range(20):
        messages.send(pair.now, 4000)
    pair.run(5)
    messages.check_finished()
    assert pair.a.machine.stats().retransmissions > 0
    assert not carried(pair.networks[1].to_z, DataChunk)


def test_data_on_a_slower_path_is_not_marked_lost_after_a_change_to_a_faster_one() -> None:
    # Data in flight on the slow path at the change to the fast one is late, not lost.
    pair = MultiHomedPair([Conditions(latency=0.3), Conditions(latency=0.005)], **ONLY_DATA)
    consume(pair.z)  # type: ignore[arg-type]
    pair.connect()
    pair.run(10)
    messages = traffic(pair)
    for _ in range(30):
        messages.send(pair.now, 4000)
    pair.run(1.0)
    assert path_of(pair.a, 0).flight_size > 0
    pair.a.machine.set_primary(address(1, 2))
    for _ in range(30):
        messages.send(pair.now, 4000)
    pair.run(10)
    messages.check_finished()
    assert carried(pair.networks[1].to_z, DataChunk)
    assert pair.a.machine.stats().retransmissions == 0


def test_each_path_has_its_own_round_trip_and_window() -> None:
    pair = MultiHomedPair([Conditions(latency=0.1), Conditions(latency=0.01)])
    consume(pair.z)  # type: ignore[arg-type]
    pair.connect()
    pair.run(5)
    before = path_of(pair.a, 1).cwnd
    messages = traffic(pair)
    for _ in range(60):
        messages.send(pair.now, 10000)
    pair.run(10)
    slow, fast = pair.a.machine.stats().paths
    assert slow.srtt == pytest.approx(0.2, rel=0.3)
    assert fast.srtt == pytest.approx(0.02, rel=0.3)
    assert slow.cwnd > before == fast.cwnd


def test_a_duplicate_is_acknowledged_on_another_path() -> None:
    # RFC 9260, 6.4: "it MAY be beneficial to vary the destination address and not use the source address of the DATA
    # chunk."
    pair = established()
    pair.networks[0].to_a.drop(lambda packet: holds(packet, SackChunk))
    messages = traffic(pair)
    messages.send(pair.now, 500)
    pair.run_until(lambda: bool(pair.a.of(SenderDry)), 30)
    messages.check_finished()
    assert carried(pair.networks[1].to_a, SackChunk)


# -- failure -----------------------------------------------------------------------------------------------------------


def test_sends_heartbeats_on_each_idle_path() -> None:
    pair = established(heartbeat_interval=5.0)
    pair.run(60)
    for network in pair.networks:
        times = carried(network.to_z, HeartbeatChunk)[1:]
        assert len(times) >= 8
        assert all(5.0 <= later - earlier <= 5.0 + 1.5 + 0.1 for earlier, later in pairwise(times))


def test_heartbeat_settings_can_change_for_a_single_path() -> None:
    pair = established(heartbeat_interval=5.0)
    pair.a.machine.set_path_parameters(address(1, 2), pair.now, heartbeat_interval=0, max_retrans=2)
    begin = pair.now
    pair.run(60)
    assert [time for time in carried(pair.networks[0].to_z, HeartbeatChunk) if time > begin]
    assert not [time for time in carried(pair.networks[1].to_z, HeartbeatChunk) if time > begin]
    pair.a.machine.request_heartbeat(address(1, 2), pair.now)
    pair.run(1)
    assert len([time for time in carried(pair.networks[1].to_z, HeartbeatChunk) if time > begin]) == 1
    assert (path_of(pair.a, 1).heartbeat_interval, path_of(pair.a, 1).max_retrans) == (0, 2)
    with pytest.raises(InvalidAddress):
        pair.a.machine.set_path_parameters(("192.0.2.77", PORT), pair.now, max_retrans=1)


def test_an_idle_path_that_fails_is_reported_and_does_not_count_for_the_association() -> None:
    # RFC 9260, 8.1: "Unacknowledged HEARTBEAT chunks observed on paths different from the path currently used for data
    # transfer SHOULD NOT increment the association error counter".
    pair = established(heartbeat_interval=2.0, path_max_retrans=3, association_max_retrans=2)
    pair.cut(1)
    pair.run(200)
    assert pair.a.statuses(1) == [PathStatus.CONFIRMED, PathStatus.UNREACHABLE]
    assert path_of(pair.a, 1).error_count == 4
    assert pair.a.machine.state is S.ESTABLISHED
    pair.mend(1)
    pair.run(300)
    assert pair.a.statuses(1) == [PathStatus.CONFIRMED, PathStatus.UNREACHABLE, PathStatus.AVAILABLE]
    assert path_of(pair.a, 1).error_count == 0


def test_ends_the_association_when_all_paths_fail() -> None:
    pair = established(association_max_retrans=4, rto_max=4.0)
    traffic(pair).send(pair.now, 500)
    pair.cut(0)
    pair.cut(1)
    pair.run_until(lambda: bool(pair.a.of(AssociationLost)), 120)
    # Meanwhile the retransmission uses both paths in turn.
    assert carried(pair.networks[1].to_z, DataChunk)
    assert len(carried(pair.networks[0].to_z, DataChunk)) > 1


def test_retransmits_shutdown_on_another_path() -> None:
    pair = established()
    pair.cut(0)
    pair.a.machine.shutdown(pair.now)
    pair.run_until(lambda: bool(pair.a.of(AssociationClosed)), 30)
    assert carried(pair.networks[1].to_z, ShutdownChunk)


def test_sends_no_reply_on_a_path_that_does_not_work() -> None:
    # The peer's packets come from an address that our packets do not reach: only one direction is cut.
    pair = established(path_max_retrans=1, heartbeat_interval=1.0, rto_max=2.0)
    pair.networks[0].to_z.drop()
    pair.run_until(lambda: PathStatus.UNREACHABLE in pair.a.statuses(0), 60)
    machine = pair.a.machine
    data = DataChunk(pair.z.machine.local_initial_tsn, 0, 0, 0, b"x")
    machine.receive_datagrams([packet(machine.local_tag, data)], pair.now, address(0, 2))
    assert [there for there, _ in machine.packets_to_send(pair.now)] == [address(1, 2)]
    # A HEARTBEAT is still answered at its source, because it tests that path.
    machine.receive_datagrams([packet(machine.local_tag, HeartbeatChunk(b"?"))], pair.now, address(0, 2))
    assert [there for there, _ in machine.packets_to_send(pair.now)] == [address(0, 2)]
    machine.shutdown(pair.now)
    machine.packets_to_send(pair.now)
    machine.receive_datagrams([packet(machine.local_tag, ShutdownAckChunk())], pair.now, address(0, 2))
    assert [there for there, _ in machine.packets_to_send(pair.now)] == [address(1, 2)]


# -- restart and collision ---------------------------------------------------------------------------------------------


def restarted_a(pair: MultiHomedPair, *extra: str) -> tuple[Association, list[bytes]]:
    """Restart A, with additional addresses if given, and return its INIT."""
    local = tuple(address(n, 1)[0] for n in range(2)) + extra
    a = Association(AssociationOptions(local_addresses=local, **ONLY_DATA), entropy(77))  # type: ignore[arg-type]
    a.connect(pair.now, [address(0, 2)])
    ((_, init),) = a.packets_to_send(pair.now)
    return a, init


def test_sets_the_association_up_again_for_a_peer_that_restarts_with_the_same_addresses() -> None:
    pair = established()
    a, init = restarted_a(pair)
    pair.z.machine.receive_datagrams(init, pair.now, address(0, 1))
    ((_, init_ack),) = pair.z.machine.packets_to_send(pair.now)
    a.receive_datagrams(init_ack, pair.now, address(0, 2))
    ((_, echo),) = a.packets_to_send(pair.now)
    pair.z.machine.receive_datagrams(echo, pair.now, address(0, 1))
    pair.z.drain(pair.now)
    assert pair.z.of(AssociationRestarted)
    # Only the address to which the cookie was sent is verified.
    assert [path.state for path in pair.z.machine.stats().paths] == [PathState.ACTIVE, PathState.UNCONFIRMED]


def test_a_restart_with_new_addresses_is_refused() -> None:
    # RFC 9260, 5.2.2: "If new addresses are added to the association, the endpoint MUST respond with an ABORT chunk".
    pair = established()
    _, init = restarted_a(pair, "203.0.113.66")
    pair.z.machine.receive_datagrams(init, pair.now, address(0, 1))
    ((destination, answer),) = pair.z.machine.packets_to_send(pair.now)
    (abort,) = chunks(answer, AbortChunk)
    assert destination == address(0, 1)
    assert [cause.code for cause in abort.causes] == [RESTART_WITH_NEW_ADDRESSES]
    assert abort.causes[0].info == address_parameter("203.0.113.66").serialize()
    assert pair.z.machine.state is S.ESTABLISHED
    assert pair.z.machine.peer_addresses() == [address(n, 1) for n in range(2)]


def test_a_colliding_init_is_answered_only_at_the_address_passed_to_connect() -> None:
    # RFC 9260, 5.2.1: "The packet containing the INIT ACK chunk MUST only be sent to an address passed by the upper
    # layer in the request to initialize the association."
    pair = MultiHomedPair([PERFECT] * 2)
    pair.connect(0)
    pair.a.machine.packets_to_send(pair.now)
    z = Association(AssociationOptions(local_addresses=tuple(address(n, 2)[0] for n in range(2))), entropy(9))
    z.connect(pair.now, [address(1, 1)])
    ((_, init),) = z.packets_to_send(pair.now)
    pair.a.machine.receive_datagrams(init, pair.now, address(1, 2))
    ((destination, answer),) = pair.a.machine.packets_to_send(pair.now)
    assert destination == address(0, 2)
    assert chunks(answer, InitAckChunk)
    # An INIT from a host that was not passed to connect is not answered.
    stranger = Association(AssociationOptions(), entropy(10))
    stranger.connect(pair.now, [address(0, 1)])
    ((_, init),) = stranger.packets_to_send(pair.now)
    assert chunks(init, InitChunk)
    pair.a.machine.receive_datagrams(init, pair.now, ("203.0.113.200", PORT))
    assert pair.a.machine.packets_to_send(pair.now) == []


def test_both_sides_may_connect_at_the_same_time() -> None:
    pair = MultiHomedPair([PERFECT] * 2)
    pair.connect(0)
    pair.z.machine.connect(pair.now, [address(1, 1)])
    pair.run_until(lambda: all(peer.of(AssociationEstablished) for peer in (pair.a, pair.z)), 30)
    messages = traffic(pair)
    for _ in range(10):
        messages.send(pair.now, 2000)
    pair.run(10)
    messages.check_finished()
