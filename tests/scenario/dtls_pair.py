"""A DTLS client A and a DTLS server Z, and the network between them, for the DTLS tests."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from datachan.dtls import Certificate, DtlsConnected, DtlsConnection, DtlsState, Fingerprint

CERTIFICATE_A = Certificate.generate(datetime.now(UTC))
CERTIFICATE_Z = Certificate.generate(datetime.now(UTC))
STRANGER = Certificate.generate(datetime.now(UTC))

# A handshake without loss takes no time; only tests of loss read the clock.
NOW = 1000.0

Wire = Callable[[list[bytes]], list[bytes]]


def as_sent(datagrams: list[bytes]) -> list[bytes]:
    return datagrams


class Pair:
    """A client A and a server Z; each expects the other's fingerprint by default."""

    def __init__(
        self,
        *,
        a_expects: Sequence[Fingerprint] | None = None,
        z_expects: Sequence[Fingerprint] | None = None,
        now: float = NOW,
        mtu: int = 1200,
        handshake_timeout: float = 30.0,
        max_undelivered: int = 4 * 1024 * 1024,
    ) -> None:
        self.a = DtlsConnection(
            certificate=CERTIFICATE_A,
            is_client=True,
            remote_fingerprints=[CERTIFICATE_Z.fingerprint()] if a_expects is None else a_expects,
            now=now,
            mtu=mtu,
            handshake_timeout=handshake_timeout,
            max_undelivered=max_undelivered,
        )
        self.z = DtlsConnection(
            certificate=CERTIFICATE_Z,
            is_client=False,
            remote_fingerprints=[CERTIFICATE_A.fingerprint()] if z_expects is None else z_expects,
            now=now,
            mtu=mtu,
            handshake_timeout=handshake_timeout,
            max_undelivered=max_undelivered,
        )

    def a_to_z(self, wire: Wire = as_sent, now: float = NOW) -> list[bytes]:
        """Deliver A's datagrams to Z and return them."""
        sent = self.a.datagrams_to_send(now)
        self.z.receive_datagrams(wire(list(sent)), now)
        return sent

    def z_to_a(self, wire: Wire = as_sent, now: float = NOW) -> list[bytes]:
        """Deliver Z's datagrams to A and return them."""
        sent = self.z.datagrams_to_send(now)
        self.a.receive_datagrams(wire(list(sent)), now)
        return sent

    def run(self, wire: Wire = as_sent, now: float = NOW) -> list[bytes]:
        """Deliver datagrams in both directions until there are none; return all of them."""
        everything: list[bytes] = []
        while sent := self.a_to_z(wire, now) + self.z_to_a(wire, now):
            everything += sent
        return everything

    @property
    def both(self) -> tuple[DtlsConnection, DtlsConnection]:
        return self.a, self.z

    @property
    def connected(self) -> bool:
        return self.a.state is DtlsState.CONNECTED and self.z.state is DtlsState.CONNECTED

    @property
    def settled(self) -> bool:
        """Whether both are connected or one has failed."""
        return self.connected or DtlsState.FAILED in (self.a.state, self.z.state)


def connected_pair(*, mtu: int = 1200, max_undelivered: int = 4 * 1024 * 1024) -> Pair:
    """Return a connected pair whose events have been drained."""
    pair = Pair(mtu=mtu, max_undelivered=max_undelivered)
    pair.run()
    for machine in pair.both:
        assert [type(event) for event in machine.events()] == [DtlsConnected]
    return pair


def settle(pairs: Sequence[Pair], patience: float = 12.0) -> None:
    """Let OpenSSL retransmit, by the real clock, until each pair is connected or one of its sides has failed."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        unfinished = [pair for pair in pairs if not pair.settled]
        if not unfinished:
            return
        now = wait_for_openssl([machine for pair in unfinished for machine in pair.both])
        for pair in unfinished:
            for machine in pair.both:
                machine.handle_timeout(now)
            pair.run(now=now)


def wait_for_openssl(machines: Sequence[DtlsConnection]) -> float:
    """Wait until the earliest timer of the machines is due, and return that time.

    This is the only place where a test waits for real time. OpenSSL retransmits by its own clock (gettimeofday), which
    cannot be replaced, and its first timeout of one second cannot be changed. Tests of loss therefore pass
    `time.monotonic()` as `now`, and lose datagrams in many sessions side by side in order to wait only once.
    """
    due = min(timeout for machine in machines if (timeout := machine.next_timeout()) is not None)
    while (left := due - time.monotonic()) > 0:
        select.select([], [], [], left)
    return time.monotonic()
