"""`DtlsConnection` call by call, misuse included; whole sessions are in tests/scenario."""

from __future__ import annotations

import gc
import weakref

import pytest

import datachan.dtls.connection
from datachan.dtls import (
    Certificate,
    DtlsClosed,
    DtlsConnected,
    DtlsConnection,
    DtlsFailed,
    DtlsState,
    Fingerprint,
    NotConnected,
    RecordTooLarge,
)
from tests.interpreted import only_interpreted
from tests.scenario.dtls_pair import CERTIFICATE_A, CERTIFICATE_Z, NOW, Pair, connected_pair

SHA_1 = Fingerprint("sha-1", ":".join(["AA"] * 20))
MD5 = Fingerprint("md5", ":".join(["AA"] * 16))


def connection(*, is_client: bool, certificate: Certificate = CERTIFICATE_A, timeout: float = 30.0) -> DtlsConnection:
    return DtlsConnection(
        certificate=certificate,
        is_client=is_client,
        remote_fingerprints=[CERTIFICATE_Z.fingerprint()],
        now=NOW,
        handshake_timeout=timeout,
    )


def test_client_sends_the_first_datagram() -> None:
    client, server = connection(is_client=True), connection(is_client=False)
    assert client.state is DtlsState.CONNECTING
    assert server.state is DtlsState.NEW
    (hello,) = client.datagrams_to_send(NOW)
    assert hello[0] == 22
    assert server.datagrams_to_send(NOW) == []


def test_client_timer_is_the_retransmission_of_the_first_flight() -> None:
    timeout = connection(is_client=True).next_timeout()
    assert timeout is not None
    assert NOW + 0.9 < timeout <= NOW + 1.0


def test_server_timer_is_the_handshake_timeout() -> None:
    assert connection(is_client=False, timeout=12.5).next_timeout() == NOW + 12.5


def test_a_drained_list_does_not_change_afterwards() -> None:
    pair = connected_pair()
    messages, events, datagrams = pair.z.messages(), pair.z.events(), pair.a.datagrams_to_send(NOW)
    pair.a.send_messages([b"one"])
    pair.a_to_z()
    pair.z.close(NOW)
    assert messages == events == datagrams == []
    assert pair.z.messages() == [b"one"]


def test_handshake_timeout_without_any_packet_states_that_reason() -> None:
    server = connection(is_client=False, timeout=5.0)
    server.handle_timeout(NOW + 4.999)
    assert server.events() == []
    server.handle_timeout(NOW + 5.0)
    assert server.events() == [DtlsFailed("no DTLS packet arrived from the peer within 5 s")]
    assert server.state is DtlsState.FAILED
    assert server.next_timeout() is None
    server.handle_timeout(NOW + 60)
    assert server.events() == []


def test_handshake_timeout_states_the_last_step() -> None:
    pair = Pair(handshake_timeout=5.0)
    pair.a_to_z()
    pair.z.datagrams_to_send(NOW)
    pair.z.handle_timeout(NOW + 5.0)
    (event,) = pair.z.events()
    assert isinstance(event, DtlsFailed)
    assert "not complete within 5 s" in event.reason
    assert "the last step was 'write server done'" in event.reason


def test_no_timer_runs_once_connected() -> None:
    pair = connected_pair()
    assert [machine.next_timeout() for machine in pair.both] == [None, None]
    pair.a.handle_timeout(NOW + 1000)
    assert pair.a.state is DtlsState.CONNECTED
    assert pair.a.events() == pair.a.datagrams_to_send(NOW) == []


@pytest.mark.parametrize("is_client", [True, False])
def test_messages_cannot_be_sent_before_connected(is_client: bool) -> None:
    with pytest.raises(NotConnected):
        connection(is_client=is_client).send_messages([b"too early"])


def test_messages_after_the_end_are_discarded() -> None:
    pair = connected_pair()
    pair.a.close(NOW)
    pair.a.datagrams_to_send(NOW)
    pair.a.send_messages([b"too late"])
    assert pair.a.datagrams_to_send(NOW) == []


def test_a_message_of_a_full_record_is_sent_and_one_byte_more_raises() -> None:
    pair = connected_pair()
    with pytest.raises(RecordTooLarge):
        pair.a.send_messages([b"small", bytes(16385)])
    assert pair.a.datagrams_to_send(NOW) == []
    pair.a.send_messages([bytes(16384)])
    pair.a_to_z()
    assert pair.z.messages() == [bytes(16384)]


def test_an_empty_message_raises_before_any_message_is_sent() -> None:
    pair = connected_pair()
    with pytest.raises(ValueError, match="empty"):
        pair.a.send_messages([b"one", b""])
    assert pair.a.datagrams_to_send(NOW) == []


def test_sending_no_messages_sends_no_datagram() -> None:
    pair = connected_pair()
    pair.a.send_messages([])
    assert pair.a.datagrams_to_send(NOW) == []


def test_messages_may_be_any_bytes_like_object() -> None:
    pair = connected_pair()
    pair.a.send_messages([bytearray(b"one"), memoryview(b"two")])
    pair.a_to_z()
    assert pair.z.messages() == [b"one", b"two"]


@pytest.mark.parametrize(
    ("promised", "words"),
    [
        ([], "has no certificate fingerprint"),
        ([SHA_1], "with sha-1 only; one with sha-256, sha-384, sha-512 is needed"),
        ([SHA_1, MD5], "with md5, sha-1 only"),
    ],
    ids=["none", "sha-1", "md5 and sha-1"],
)
def test_without_a_usable_fingerprint_the_handshake_does_not_start(promised: list[Fingerprint], words: str) -> None:
    pair = Pair(a_expects=promised, z_expects=promised)
    for machine in pair.both:
        (event,) = machine.events()
        assert isinstance(event, DtlsFailed)
        assert words in event.reason
        assert machine.state is DtlsState.FAILED
        assert machine.next_timeout() is None
    assert pair.run() == []


def test_an_mtu_too_small_for_a_handshake_is_refused() -> None:
    with pytest.raises(ValueError, match="256"):
        Pair(mtu=255)


def test_connected_event_has_version_and_cipher() -> None:
    pair = Pair()
    pair.run()
    for machine in pair.both:
        (event,) = machine.events()
        assert isinstance(event, DtlsConnected)
        assert event.version == machine.version
        assert event.version in ("DTLSv1.2", "DTLSv1.3")
        assert machine.version_code == {"DTLSv1.2": "FEFD", "DTLSv1.3": "FEFC"}[event.version]
        assert event.cipher == machine.cipher
        assert event.cipher.startswith("TLS_")
        assert event.cipher.endswith("_AES_128_GCM_SHA256")
    assert pair.a.local_certificate.der == pair.z.remote_certificate_der == CERTIFICATE_A.der
    assert pair.z.local_certificate.der == pair.a.remote_certificate_der == CERTIFICATE_Z.der


def test_remote_certificate_and_version_are_unknown_before_the_check() -> None:
    pair = Pair()
    assert pair.a.version == pair.a.version_code == pair.a.cipher == ""
    assert pair.a.remote_certificate_der is None
    pair.a_to_z()
    assert pair.z.remote_certificate_der is None


@pytest.mark.parametrize("is_client", [True, False])
def test_closing_before_connected_sends_nothing(is_client: bool) -> None:
    machine = connection(is_client=is_client)
    machine.close(NOW)
    assert machine.state is DtlsState.CLOSED
    assert machine.events() == [DtlsClosed()]
    assert machine.datagrams_to_send(NOW) == []
    assert machine.next_timeout() is None


def test_closing_again_does_nothing() -> None:
    pair = connected_pair()
    pair.a.close(NOW)
    assert pair.a.events() == [DtlsClosed()]
    assert len(pair.a.datagrams_to_send(NOW)) == 1
    pair.a.close(NOW)
    assert pair.a.events() == pair.a.datagrams_to_send(NOW) == []


def test_closing_after_a_failure_does_nothing() -> None:
    machine = connection(is_client=False)
    machine.handle_timeout(NOW + 31)
    machine.events()
    machine.close(NOW + 32)
    assert machine.state is DtlsState.FAILED
    assert machine.events() == []


@only_interpreted(datachan.dtls.connection)
def test_nothing_is_left_for_the_garbage_collector() -> None:
    """Python's collector does not see OpenSSL's memory, so it must be freed with the connection."""
    gc.disable()
    try:
        pair = connected_pair()
        traces = [weakref.ref(machine) for machine in pair.both]
        del pair
        assert [trace() for trace in traces] == [None, None]
    finally:
        gc.enable()
