"""DTLS handshakes over good and bad networks."""

from __future__ import annotations

import time

import pytest

from datachan.dtls import DtlsConnected, DtlsConnection, DtlsFailed, DtlsState, Fingerprint
from datachan.dtls.connection import RESTART_TIMEOUT
from tests.scenario.dtls_pair import (
    CERTIFICATE_A,
    CERTIFICATE_Z,
    NOW,
    STRANGER,
    Pair,
    connected_pair,
    settle,
    wait_for_openssl,
)

HANDSHAKE = 22
SMALL_MTU = 256


def assert_talking(pair: Pair) -> None:
    """Assert that both are connected, reported it once, and receive each other's messages."""
    for machine in pair.both:
        assert machine.state is DtlsState.CONNECTED
        assert [type(event) for event in machine.events()] == [DtlsConnected]
    pair.a.send_messages([b"from A"])
    pair.z.send_messages([b"from Z"])
    pair.run()
    assert pair.z.messages() == [b"from A"]
    assert pair.a.messages() == [b"from Z"]


# -- the plain case ----------------------------------------------------------------------------------------------------


def test_handshake_takes_two_round_trips() -> None:
    # A -> ClientHello                                                    Z
    # A    ServerHello, Certificate, .., CertificateRequest, Done      <- Z
    # A -> Certificate, .., CertificateVerify, [CCS], Finished            Z
    # A                                             [CCS], Finished    <- Z
    pair = Pair()
    pair.a_to_z()
    pair.z_to_a()
    assert not pair.connected
    pair.a_to_z()
    assert pair.z.state is DtlsState.CONNECTED
    assert pair.a.state is DtlsState.CONNECTING
    pair.z_to_a()
    assert_talking(pair)


@pytest.mark.parametrize("mtu", [256, 300, 576, 1200, 1500, 9000])
def test_no_datagram_of_a_handshake_exceeds_the_mtu(mtu: int) -> None:
    pair = Pair(mtu=mtu)
    datagrams = pair.run()
    assert max(map(len, datagrams)) <= mtu
    assert len(datagrams) == 4 or mtu < 1200
    assert_talking(pair)


def test_many_sessions_do_not_disturb_each_other() -> None:
    pairs = [Pair() for _ in range(20)]
    refused = [Pair(a_expects=[STRANGER.fingerprint()], now=time.monotonic()) for _ in range(20)]
    for _ in range(3):
        for pair, other in zip(pairs, refused, strict=True):
            other.a_to_z(now=time.monotonic())
            pair.a_to_z()
            other.z_to_a(now=time.monotonic())
            pair.z_to_a()
    assert not any(other.connected for other in refused)
    for pair in pairs:
        assert_talking(pair)


# -- authentication ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sha-256", "sha-384", "sha-512"])
def test_each_hash_function_is_enough(algorithm: str) -> None:
    pair = Pair(
        a_expects=[CERTIFICATE_Z.fingerprint(algorithm)],
        z_expects=[CERTIFICATE_A.fingerprint(algorithm)],
    )
    pair.run()
    assert_talking(pair)


def test_a_wrong_certificate_is_refused_three_times_with_an_alert() -> None:
    # A -> ClientHello                                 Z
    # A    ServerHello, Certificate (of a stranger) <- Z
    # A -> alert, ClientHello                          Z     the certificate may be forged: once more, and a third time
    now = time.monotonic()
    algorithms = ["sha-256", "sha-384", "sha-512"]
    of_server = [Pair(a_expects=[STRANGER.fingerprint(one)], now=now) for one in algorithms]
    of_client = [Pair(z_expects=[STRANGER.fingerprint(one)], now=now) for one in algorithms]
    for pair in of_server + of_client:
        pair.run(now=now)
    settle(of_server + of_client)
    assert time.monotonic() - now < 4.0
    refusals = [(pair.a, pair.z, CERTIFICATE_Z, one) for pair, one in zip(of_server, algorithms, strict=True)]
    refusals += [(pair.z, pair.a, CERTIFICATE_A, one) for pair, one in zip(of_client, algorithms, strict=True)]
    for refusing, refused, certificate, algorithm in refusals:
        (event,) = refusing.events()
        assert isinstance(event, DtlsFailed)
        assert str(certificate.fingerprint(algorithm).value) in event.reason
        assert str(STRANGER.fingerprint(algorithm).value) in event.reason
        assert refusing.remote_certificate_der is None
        # The alert is in the clear and may be forged, so the other side tries again for a while.
        assert refused.events() == []
        refused.handle_timeout(now + RESTART_TIMEOUT + 0.1)
        (event,) = refused.events()
        assert isinstance(event, DtlsFailed)
        assert "the peer rejected our certificate" in event.reason
        assert refusing.messages() == refused.messages() == []
        assert refusing.next_timeout() is refused.next_timeout() is None


def test_a_wrong_certificate_fails_in_time_if_the_peer_does_not_begin_again() -> None:
    pair = Pair(a_expects=[STRANGER.fingerprint()])
    pair.a_to_z()
    pair.z_to_a()
    assert pair.a.state is DtlsState.CONNECTING
    pair.a.handle_timeout(NOW + RESTART_TIMEOUT)
    (event,) = pair.a.events()
    assert isinstance(event, DtlsFailed)
    assert CERTIFICATE_Z.fingerprint().value in event.reason


def test_data_of_a_peer_with_a_wrong_certificate_is_not_delivered() -> None:
    # The certificate does not match the fingerprint; data after its Finished is not delivered.
    pair = Pair(z_expects=[STRANGER.fingerprint()])
    old = connected_pair()
    old.a.send_messages([b"believe me"])
    pair.a_to_z()
    pair.z_to_a()
    flight = pair.a.datagrams_to_send(NOW) + old.a.datagrams_to_send(NOW)
    pair.z.receive_datagrams(flight, NOW)
    assert pair.z.messages() == []
    assert pair.z.state is not DtlsState.CONNECTED


def test_one_of_several_certificates_announced_is_enough() -> None:
    both = [STRANGER.fingerprint(), CERTIFICATE_Z.fingerprint()]
    pair = Pair(a_expects=both)
    pair.run()
    assert_talking(pair)


def test_connections_that_share_a_certificate_are_each_checked_against_their_own_fingerprints() -> None:
    pairs = [Pair(z_expects=[STRANGER.fingerprint()] if number % 2 else None) for number in range(6)]
    for _ in range(10):
        for pair in pairs:
            pair.a_to_z()
            pair.z_to_a()
    assert [pair.z.state is DtlsState.CONNECTED for pair in pairs] == [True, False] * 3


def test_fingerprints_with_unsupported_hashes_are_ignored_beside_a_supported_one() -> None:
    pair = Pair(a_expects=[Fingerprint("sha-1", "AA:BB"), CERTIFICATE_Z.fingerprint(), Fingerprint("sha-3000", "CC")])
    pair.run()
    assert_talking(pair)


def test_the_strongest_hash_announced_decides() -> None:
    """RFC 8122, 5.1: the set of the most preferred hash function is the one to match."""
    pair = Pair(a_expects=[CERTIFICATE_Z.fingerprint("sha-256"), STRANGER.fingerprint("sha-512")])
    pair.run()
    assert not pair.connected
    pair.a.handle_timeout(NOW + RESTART_TIMEOUT)
    (event,) = pair.a.events()
    assert isinstance(event, DtlsFailed)
    assert str(STRANGER.fingerprint("sha-512").value) in event.reason


# -- order and duplicates ----------------------------------------------------------------------------------------------


def test_the_datagrams_of_a_flight_may_arrive_in_reverse_order() -> None:
    for mtu in (256, 300, 400, 500):
        pair = Pair(mtu=mtu)
        pair.a_to_z()
        assert len(pair.z_to_a(lambda datagrams: datagrams[::-1])) > 1
        pair.run()
        assert_talking(pair)


@pytest.mark.parametrize("mtu", [SMALL_MTU, 1200])
def test_every_datagram_may_arrive_three_times(mtu: int) -> None:
    pair = Pair(mtu=mtu)
    pair.run(lambda datagrams: datagrams * 3)
    assert_talking(pair)


def test_datagrams_may_arrive_one_by_one() -> None:
    pair = Pair(mtu=SMALL_MTU)
    while True:
        from_a, from_z = pair.a.datagrams_to_send(NOW), pair.z.datagrams_to_send(NOW)
        if not from_a and not from_z:
            break
        for datagram in from_a:
            pair.z.receive_datagrams([datagram], NOW)
        for datagram in from_z:
            pair.a.receive_datagrams([datagram], NOW)
    assert_talking(pair)


def test_a_flight_may_arrive_coalesced() -> None:
    pair = Pair(mtu=SMALL_MTU)
    pair.run(lambda datagrams: [b"".join(datagrams)])
    assert_talking(pair)


def test_data_that_overtakes_the_finished_is_delivered_after_it() -> None:
    # A -> .., Finished                            Z
    #      Z is connected and sends at once
    # A    DATA 1, DATA 2        (overtaking)   <- Z
    # A    [CCS], Finished                      <- Z
    pair = Pair()
    pair.a_to_z()
    pair.z_to_a()
    pair.a_to_z()
    finished = pair.z.datagrams_to_send(NOW)
    pair.z.send_messages([b"one", b"two"])
    early = pair.z.datagrams_to_send(NOW)
    pair.a.receive_datagrams(early, NOW)
    assert pair.a.messages() == []
    assert pair.a.state is DtlsState.CONNECTING
    pair.a.receive_datagrams(finished, NOW)
    assert pair.a.state is DtlsState.CONNECTED
    assert pair.a.messages() == [b"one", b"two"]


def test_data_that_overtakes_the_finished_is_limited() -> None:
    pair = Pair()
    pair.a_to_z()
    pair.z_to_a()
    pair.a_to_z()
    finished = pair.z.datagrams_to_send(NOW)
    messages = [n.to_bytes(2, "big") * 586 for n in range(1000)]
    pair.z.send_messages(messages)
    pair.a.receive_datagrams(pair.z.datagrams_to_send(NOW), NOW)
    pair.a.receive_datagrams(finished, NOW)
    received = pair.a.messages()
    assert 50 < len(received) <= 8 * 16384 // 1172
    assert received == messages[: len(received)]


def test_data_in_one_batch_with_the_finished_is_delivered() -> None:
    pair = Pair()
    pair.a_to_z()
    pair.z_to_a()
    pair.a_to_z()
    messages = [bytes([n]) * 1172 for n in range(60)]
    pair.z.send_messages(messages)
    pair.z_to_a()
    assert pair.a.messages() == messages


def test_a_client_hello_in_two_fragments_is_reassembled() -> None:
    """Browsers' ClientHellos do not fit into one datagram. Ours does, so the test splits it."""
    pair = Pair()
    wire = FragmentingWire()
    pair.run(wire.carry)
    assert wire.fragmented
    assert_talking(pair)


@pytest.mark.parametrize("order", [(1, 0), (0, 1, 0, 1)], ids=["second first", "both twice"])
def test_fragments_of_a_client_hello_may_arrive_in_any_order(order: tuple[int, ...]) -> None:
    pair = Pair()
    pair.run(FragmentingWire(order).carry)
    assert_talking(pair)


class FragmentingWire:
    """A network that splits A's ClientHello into two fragments and renumbers A's later records of epoch 0."""

    def __init__(self, order: tuple[int, ...] = (0, 1)) -> None:
        self.fragmented = False
        self._order = order

    def carry(self, datagrams: list[bytes]) -> list[bytes]:
        return [piece for datagram in datagrams for piece in self._carry_one(datagram)]

    def _carry_one(self, datagram: bytes) -> list[bytes]:
        if datagram[0] == HANDSHAKE and datagram[13] == 1:
            self.fragmented = True
            halves = self._halves(datagram)
            return [halves[n] for n in self._order]
        if not self._is_from_client(datagram):
            return [datagram]
        records = []
        while datagram:
            end = 13 + int.from_bytes(datagram[11:13], "big")
            record, datagram = datagram[:end], datagram[end:]
            if record[3:5] == b"\0\0":
                record = record[:5] + (int.from_bytes(record[5:11], "big") + 1).to_bytes(6, "big") + record[11:]
            records.append(record)
        return [b"".join(records)]

    @staticmethod
    def _is_from_client(datagram: bytes) -> bool:
        """Return whether a flight begins with the client's Certificate: message 1, while the server's is 2 or later."""
        return datagram[0] == HANDSHAKE and datagram[13] == 11

    @staticmethod
    def _halves(datagram: bytes) -> list[bytes]:
        head, message_type, body = datagram[:11], datagram[13:14], datagram[25:]
        message_seq = datagram[17:19]
        total, middle = len(body).to_bytes(3, "big"), len(body) // 2
        halves = []
        for number, (start, end) in enumerate([(0, middle), (middle, len(body))]):
            fragment = message_type + total + message_seq + start.to_bytes(3, "big") + (end - start).to_bytes(3, "big")
            fragment += body[start:end]
            record = head[:5] + number.to_bytes(6, "big") + len(fragment).to_bytes(2, "big") + fragment
            halves.append(record)
        return halves


# -- loss --------------------------------------------------------------------------------------------------------------


class LossyPair(Pair):
    """A pair that loses one datagram, by its number in sending order; it uses the real clock, as OpenSSL does."""

    def __init__(self, lost: int, mtu: int) -> None:
        super().__init__(now=time.monotonic(), mtu=mtu)
        self.lost = lost
        self.sent = 0

    def carry(self, datagrams: list[bytes]) -> list[bytes]:
        numbered = list(enumerate(datagrams, start=self.sent))
        self.sent += len(datagrams)
        return [datagram for number, datagram in numbered if number != self.lost]


@pytest.mark.parametrize("mtu", [1200, SMALL_MTU])
def test_the_loss_of_any_one_datagram_is_repaired(mtu: int) -> None:
    datagrams = len(Pair(mtu=mtu).run())
    pairs = [LossyPair(lost, mtu) for lost in range(datagrams)]
    for pair in pairs:
        pair.run(pair.carry, time.monotonic())
        assert not pair.connected, "a lost datagram made no difference"
    begun = time.monotonic()
    repair(pairs)
    assert time.monotonic() - begun < 3, "one lost datagram took more than one retransmission"
    for pair in pairs:
        assert_talking(pair)


def repair(pairs: list[LossyPair]) -> None:
    while waiting := [pair for pair in pairs if not pair.connected]:
        now = wait_for_openssl([machine for pair in waiting for machine in pair.both])
        for pair in waiting:
            for machine in pair.both:
                machine.handle_timeout(now)
            pair.run(pair.carry, now)


class ReversingPair(LossyPair):
    """A pair that loses nothing but reverses every flight."""

    def carry(self, datagrams: list[bytes]) -> list[bytes]:
        return datagrams[::-1]


def test_a_change_cipher_spec_that_arrives_too_early_is_repaired_like_a_loss() -> None:
    """In DTLS 1.2, OpenSSL keeps early messages, except for this one, which has no sequence number."""
    pair = ReversingPair(lost=-1, mtu=SMALL_MTU)
    pair.run(pair.carry, time.monotonic())
    repair([pair])
    assert_talking(pair)


def test_retransmissions_have_new_record_numbers_and_the_timer_backs_off() -> None:
    client = Pair(now=time.monotonic()).a
    (first,) = client.datagrams_to_send(0)
    early = time.monotonic()
    client.handle_timeout(early)
    assert client.datagrams_to_send(early) == []
    now = wait_for_openssl([client])
    client.handle_timeout(now)
    (second,) = client.datagrams_to_send(now)
    assert second[13:] == first[13:]
    assert int.from_bytes(second[5:11], "big") == int.from_bytes(first[5:11], "big") + 1
    timeout = client.next_timeout()
    assert timeout is not None
    assert 1.9 < timeout - now <= 2.0


def test_a_virtual_clock_ahead_of_openssls_makes_no_busy_loop() -> None:
    client = Pair().a
    client.datagrams_to_send(NOW)
    timeout = client.next_timeout()
    assert timeout is not None
    client.handle_timeout(timeout)
    again = client.next_timeout()
    assert again is not None
    assert again > timeout
    assert client.datagrams_to_send(timeout) == []


# -- foreign records ---------------------------------------------------------------------------------------------------


def stray_records() -> list[bytes]:
    """Return records of an earlier session that may still be in flight: data and an alert with other keys."""
    old = connected_pair()
    old.a.send_messages([b"stale"] * 3)
    old.z.send_messages([b"stale"] * 3)
    old.a.close(NOW)
    old.z.close(NOW)
    return old.a.datagrams_to_send(NOW) + old.z.datagrams_to_send(NOW)


def test_records_of_another_session_are_ignored_at_any_step() -> None:
    stray = stray_records()
    pair = Pair()
    pair.run(lambda datagrams: stray + datagrams + stray)
    assert_talking(pair)


def test_bytes_that_are_not_dtls_are_ignored_at_any_step() -> None:
    noise = [
        b"",
        b"\0",
        b"\x00\x01\x00\x00" + bytes(16),
        bytes(1200),
        b"\x80" * 100,
        b"\xff" * 1500,
        b"\x16",
        b"\x16\xfe\xfd",
    ]
    pair = Pair()
    pair.run(lambda datagrams: noise + datagrams + noise)
    assert_talking(pair)
    for machine in pair.both:
        machine.receive_datagrams(noise, NOW)
    assert_talking_again(pair)


def assert_talking_again(pair: Pair) -> None:
    pair.a.send_messages([b"still here"])
    pair.run()
    assert pair.z.messages() == [b"still here"]


def test_a_failed_session_does_not_affect_another_session() -> None:
    """OpenSSL's errors belong to the thread and must not be taken for those of another session."""
    good = connected_pair()
    (hello,) = Pair().a.datagrams_to_send(NOW)
    for position in range(13, len(hello)):
        broken = Pair()
        broken.z.receive_datagrams([hello[:position] + bytes([hello[position] ^ 0xFF]) + hello[position + 1 :]], NOW)
        good.a.send_messages([b"undisturbed"])
        good.a_to_z()
        good.z.receive_datagrams([b"\x17\xfe\xfd" + bytes(8) + b"\0\0"], NOW)
        assert good.z.messages() == [b"undisturbed"]
        assert good.z.state is DtlsState.CONNECTED


def test_a_corrupt_hello_fails_with_a_reason_or_is_ignored() -> None:
    (hello,) = Pair().a.datagrams_to_send(NOW)
    reasons = set()
    for position in range(len(hello)):
        for flip in (0x01, 0x80, 0xFF):
            server: DtlsConnection = Pair().z
            server.receive_datagrams([hello[:position] + bytes([hello[position] ^ flip]) + hello[position + 1 :]], NOW)
            server.handle_timeout(NOW + RESTART_TIMEOUT)
            for event in server.events():
                assert isinstance(event, DtlsFailed)
                reasons.add(event.reason)
    assert all(len(reason) > 20 for reason in reasons)
    assert len(reasons) > 3
