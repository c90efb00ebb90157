"""A and Z sign chunks (RFC 4895): which chunks, with which key; and how unsigned chunks are handled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from datachan.sctp.association import Association
from datachan.sctp.errors import UnknownKey
from datachan.sctp.events import (
    AdaptationIndicated,
    AssociationEstablished,
    AssociationLost,
    AuthenticationChanged,
    AuthenticationIndication,
)
from datachan.sctp.options import AssociationOptions
from datachan.sctp.wire.causes import MISSING_MANDATORY_PARAMETER, UNSUPPORTED_HMAC_IDENTIFIER
from datachan.sctp.wire.chunks import (
    ABORT,
    COOKIE_ECHO,
    DATA,
    HEARTBEAT,
    SACK,
    AbortChunk,
    CookieEchoChunk,
    DataChunk,
    ErrorChunk,
    HeartbeatChunk,
    InitAckChunk,
)
from datachan.sctp.wire.extensions import AUTH, I_DATA, AuthChunk, IDataChunk
from datachan.sctp.wire.packet import parse_packet_untrusted, serialize_packet
from datachan.sctp.wire.parameters import Random, SupportedExtensions

from .sctp_pair import A_SEED, Z_SEED, Pair, S, changed, chunks, entropy, names, packet, read

NEW_KEY, NO_AUTH, FREE_KEY = (
    AuthenticationIndication.NEW_KEY,
    AuthenticationIndication.NO_AUTH,
    AuthenticationIndication.FREE_KEY,
)


def signing(*kinds: int, **options: Any) -> AssociationOptions:
    return changed(authentication=True, authenticated_chunks=kinds, **options)


def without_auth(datagram: bytes) -> bytes:
    """Return the packet without its AUTH chunk."""
    found = read(datagram)
    kept = [chunk.serialize() for chunk in found.chunks if not isinstance(chunk, AuthChunk)]
    return serialize_packet(found.source_port, found.destination_port, found.verification_tag, kept)


def test_both_sides_announce_authentication() -> None:
    pair = Pair(signing(DATA))
    pair.a.connect(pair.now)
    (init,) = pair.from_a()
    pair.to_z(init)
    (init_ack,) = pair.from_z()
    for datagram in (init, init_ack):
        parameters = read(datagram).chunks[0].parameters  # type: ignore[attr-defined]
        assert [len(p.number) for p in parameters if isinstance(p, Random)] == [32]
        assert any(isinstance(p, SupportedExtensions) and AUTH in p.chunk_types for p in parameters)


@pytest.mark.parametrize("interleaving", [False, True])
def test_data_is_signed_and_arrives(interleaving: bool) -> None:
    options = replace(signing(DATA, I_DATA), interleaving=interleaving)
    pair = Pair(options).establish()
    pair.send_a(b"x" * 100_000)
    pair.send_a(b"small")
    for _ in range(100):
        from_a = pair.from_a()
        for datagram in from_a:
            assert len(datagram) <= pair.a.stats().mtu
            if chunks([datagram], DataChunk) or chunks([datagram], IDataChunk):
                assert names(datagram)[0] == "Auth"
        pair.to_z(*from_a)
        pair.to_a(*pair.from_z())
    assert pair.received_by_z() == [b"x" * 100_000, b"small"]


def test_signs_only_packets_with_chunk_types_that_the_peer_lists() -> None:
    pair = Pair(signing(HEARTBEAT), signing(DATA)).establish()
    # A lists HEARTBEAT, Z lists DATA: A signs DATA and Z signs HEARTBEAT.
    pair.send_a(b"data")
    pair.send_z(b"data")
    from_a, from_z = pair.from_a(), pair.from_z()
    assert [names(datagram) for datagram in from_a] == [["Auth", "Data"]]
    assert [names(datagram) for datagram in from_z] == [["Data"]]
    pair.to_z(*from_a)
    pair.to_a(*from_z)
    assert (pair.received_by_a(), pair.received_by_z()) == ([b"data"], [b"data"])
    assert pair.a.peer_authenticated_chunks == (DATA,)


def test_data_that_is_not_signed_is_discarded() -> None:
    # RFC 4895, 6.3: "It MUST silently discard these chunks if they are not placed after an AUTH chunk in the packet."
    pair = Pair(signing(DATA)).establish()
    pair.send_a(b"stripped")
    (datagram,) = pair.from_a()
    pair.to_z(without_auth(datagram))
    assert pair.from_z() == []
    assert pair.received_by_z() == []
    pair.to_z(datagram)
    assert pair.received_by_z() == [b"stripped"]


def test_discards_a_packet_with_a_wrong_hmac() -> None:
    pair = Pair(signing(DATA)).establish()
    pair.send_a(b"changed")
    (datagram,) = pair.from_a()
    found = parse_packet_untrusted(datagram)
    auth, data = found.chunks
    assert isinstance(auth, AuthChunk)
    assert isinstance(data, DataChunk)
    data.data = b"CHANGED"
    pair.to_z(packet(found.verification_tag, auth, data))
    assert pair.received_by_z() == []


def test_an_unsigned_abort_is_ignored_if_aborts_have_to_be_signed() -> None:
    pair = Pair(signing(ABORT)).establish()
    pair.to_z(packet(pair.z.local_tag, AbortChunk([])))
    assert pair.z.state is S.ESTABLISHED
    pair.a.abort(pair.now, "signed")
    (abort,) = pair.from_a()
    assert names(abort) == ["Auth", "Abort"]
    pair.to_z(abort)
    assert [event.reason for event in pair.z_saw(AssociationLost)] == ["the peer aborted: User-Initiated Abort: signed"]


def test_cookie_echo_is_signed_and_verified_before_the_association_is_set_up() -> None:
    pair = Pair(signing(COOKIE_ECHO, shared_keys=((1, b"secret"),), active_key=1))
    pair.a.connect(pair.now)
    pair.to_z(*pair.from_a())
    pair.to_a(*pair.from_z())
    (echo,) = pair.from_a()
    assert names(echo) == ["Auth", "CookieEcho"]
    pair.to_z(without_auth(echo))
    assert (pair.z.state, pair.from_z()) == (S.CLOSED, [])
    pair.to_z(echo)
    assert pair.z.state is S.ESTABLISHED
    pair.exchange()
    assert pair.a_saw(AssociationEstablished)


def test_a_peer_without_the_shared_key_gets_no_association() -> None:
    z_options = signing(COOKIE_ECHO, shared_keys=((1, b"secret"),), active_key=1)
    pair = Pair(replace(z_options, shared_keys=((1, b"guessed"),)), z_options)
    pair.a.connect(pair.now)
    pair.exchange()
    assert (pair.z.state, pair.a.state) == (S.CLOSED, S.COOKIE_ECHOED)


def test_signs_a_message_with_the_key_that_was_active_when_it_was_queued() -> None:
    options = signing(DATA, shared_keys=((1, b"one"), (2, b"two")), active_key=1)
    pair = Pair(options).establish()
    pair.send_a(b"with one")
    pair.a.keys.activate(2)
    pair.send_a(b"with two")
    pair.send_a(b"with one again", auth_key=1)
    from_a = pair.from_a()
    # RFC 6458, 5.3.8: the SCTP implementation must not bundle user messages that need different keys.
    assert [[chunk.key_id for chunk in chunks([datagram], AuthChunk)] for datagram in from_a] == [[1], [2], [1]]
    pair.to_z(*from_a)
    assert pair.received_by_z() == [b"with one", b"with two", b"with one again"]
    # The handshake was not signed: the first key is new, too.
    assert [event.key_id for event in pair.z_saw(AuthenticationChanged)] == [1, 2, 1]
    with pytest.raises(UnknownKey):
        pair.send_a(b"with three", auth_key=3)


def test_frees_a_deactivated_key_when_all_its_messages_are_acknowledged() -> None:
    options = signing(DATA, shared_keys=((1, b"one"), (2, b"two")), active_key=1)
    pair = Pair(options).establish()
    pair.send_a(b"with one")
    lost = pair.from_a()
    assert lost
    pair.a.keys.activate(2)
    pair.a.keys.deactivate(1)
    pair.from_a()
    assert not pair.a_saw(AuthenticationChanged)
    pair.to_z(*lost)
    pair.exchange()
    assert pair.a_saw(AuthenticationChanged) == [AuthenticationChanged(1, FREE_KEY)]
    pair.a.keys.delete(1)
    assert pair.received_by_z() == [b"with one"]


def test_signs_a_retransmission_with_the_key_of_its_message() -> None:
    options = signing(DATA, shared_keys=((1, b"one"), (2, b"two")), active_key=1)
    pair = Pair(options).establish()
    pair.send_a(b"with one")
    pair.from_a()
    pair.a.keys.activate(2)
    pair.send_a(b"with two")
    pair.from_a()
    again: list[bytes] = []
    while len(again) < 2:
        again += pair.expire_a()
    pair.to_z(*again)
    pair.pass_time(5)
    assert pair.received_by_z() == [b"with one", b"with two"]
    assert [chunks([datagram], AuthChunk)[0].key_id for datagram in again[-2:]] != []


def test_a_peer_that_cannot_sign_is_refused_if_signatures_are_required() -> None:
    pair = Pair(changed(), signing(DATA))
    pair.a.connect(pair.now)
    pair.to_z(*pair.from_a())
    (answer,) = pair.from_z()
    (abort,) = chunks([answer], AbortChunk)
    assert [cause.code for cause in abort.causes] == [MISSING_MANDATORY_PARAMETER]
    pair.to_a(answer)
    assert pair.a_saw(AssociationLost)
    other = Pair(signing(DATA), changed())
    other.a.connect(other.now)
    other.exchange()
    assert [event.cause_code for event in other.a_saw(AssociationLost)] == [MISSING_MANDATORY_PARAMETER]


def test_reports_that_the_peer_does_not_authenticate() -> None:
    pair = Pair(signing(), changed()).establish()
    assert pair.a_saw(AuthenticationChanged) == [AuthenticationChanged(0, NO_AUTH)]
    pair.send_a(b"plain")
    assert [names(datagram) for datagram in pair.from_a()] == [["Data"]]


def test_an_hmac_algorithm_that_was_not_offered_is_reported() -> None:
    pair = Pair(signing(DATA)).establish()
    pair.to_z(packet(pair.z.local_tag, AuthChunk(0, 2, bytes(16)), DataChunk(1, 0, 0, 0, b"x")))
    (error,) = chunks(pair.from_z(), ErrorChunk)
    assert [(cause.code, cause.info) for cause in error.causes] == [(UNSUPPORTED_HMAC_IDENTIFIER, b"\0\2")]


def test_without_the_extension_everything_behind_an_auth_chunk_is_discarded() -> None:
    # RFC 4895, 5: "It should be noted that the AUTH-chunk format requires the receiver to ignore the chunk if it is not
    # understood and silently discard all chunks that follow."
    pair = Pair().establish()
    pair.to_z(packet(pair.z.local_tag, AuthChunk(0, 1, bytes(20)), HeartbeatChunk(b"?")))
    assert pair.from_z() == []
    pair.to_z(packet(pair.z.local_tag, HeartbeatChunk(b"?"), AuthChunk(0, 1, bytes(20)), HeartbeatChunk(b"!")))
    assert [names(datagram) for datagram in pair.from_z()] == [["HeartbeatAck"]]


def test_a_packet_with_only_an_auth_chunk_is_ignored() -> None:
    pair = Pair(signing(DATA)).establish()
    for machine in (pair.z, Association(signing(DATA), entropy(9))):
        machine.receive_datagrams([packet(pair.z.local_tag, AuthChunk(0, 1, bytes(20)))], pair.now)
        assert machine.datagrams_to_send(pair.now) == []


def test_out_of_the_blue_an_auth_chunk_changes_nothing() -> None:
    # RFC 4895, 6.3: "The out of the blue handling MUST be based on the packet without taking the AUTH chunk into
    # account."
    pair = Pair()
    pair.to_z(packet(7, AuthChunk(0, 1, bytes(20)), DataChunk(1, 0, 0, 0, b"x")))
    (answer,) = pair.from_z()
    assert names(answer) == ["Abort"]


def test_both_sides_may_connect_at_the_same_time() -> None:
    pair = Pair(signing(DATA, SACK))
    pair.a.connect(pair.now)
    pair.z.connect(pair.now)
    pair.exchange()
    assert (pair.a.state, pair.z.state) == (S.ESTABLISHED, S.ESTABLISHED)
    pair.send_a(b"from a")
    pair.send_z(b"from z")
    pair.exchange()
    assert (pair.received_by_a(), pair.received_by_z()) == ([b"from z"], [b"from a"])


def test_a_restarted_peer_has_a_key_of_its_own() -> None:
    pair = Pair(signing(DATA)).establish()
    pair.a = Association(signing(DATA), entropy(A_SEED + Z_SEED))
    pair.a.connect(pair.now)
    pair.exchange()
    pair.send_a(b"again")
    pair.send_z(b"and back")
    pair.exchange()
    assert pair.received_by_z() == [b"again"]
    assert pair.received_by_a() == [b"and back"]


def test_delivers_all_signed_messages_over_a_lossy_network() -> None:
    pair = Pair(signing(DATA, SACK, shared_keys=((1, b"one"), (2, b"two")))).establish()
    expected = []
    for number in range(60):
        pair.a.keys.activate(number % 3)
        message = bytes([number]) * (200 * number + 1)
        expected.append(message)
        pair.send_a(message)
        from_a = pair.from_a()
        pair.to_z(*[datagram for index, datagram in enumerate(from_a) if (index + number) % 4])
        pair.to_a(*pair.from_z())
    pair.pass_time(60)
    assert pair.received_by_z() == expected


def test_the_adaptation_layer_indication_reaches_the_other_application() -> None:
    pair = Pair(changed(adaptation_indication=0xC0FFEE), changed(adaptation_indication=0)).establish()
    assert pair.z_saw(AdaptationIndicated) == [AdaptationIndicated(0xC0FFEE)]
    assert pair.a_saw(AdaptationIndicated) == [AdaptationIndicated(0)]
    assert not Pair().establish().z_saw(AdaptationIndicated)


@pytest.mark.parametrize(
    "options",
    [
        {"authenticated_chunks": (0,)},
        {"dynamic_addresses": True},
        {"authentication": True, "authenticated_chunks": (1,)},
        {"authentication": True, "active_key": 3},
    ],
)
def test_contradictory_authentication_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"auth|active_key"):
        AssociationOptions(**options)


def test_init_ack_has_no_shared_key_in_its_cookie() -> None:
    pair = Pair(signing(DATA, shared_keys=((1, b"top secret"),), active_key=1))
    pair.a.connect(pair.now)
    pair.to_z(*pair.from_a())
    init_ack = pair.from_z()
    assert chunks(init_ack, InitAckChunk)
    assert b"top secret" not in init_ack[0]
    pair.to_a(*init_ack)
    assert chunks(pair.from_a(), CookieEchoChunk)
