"""A DTLS client A and a DTLS server Z, and the wire between them: what the DTLS tests share."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from datachan.dtls import Certificate, DtlsConnected, DtlsConnection, DtlsState, Fingerprint

CERTIFICATE_A = Certificate.generate(datetime.now(UTC))
CERTIFICATE_Z = Certificate.generate(datetime.now(UTC))
STRANGER = Certificate.generate(datetime.now(UTC))

# What a handshake without loss needs is no time at all; only tests of loss look at the clock.
NOW = 1000.0

Wire = Callable[[list[bytes]], list[bytes]]


def as_sent(datagrams: list[bytes]) -> list[bytes]:
    return datagrams


class Pair:
    """A and Z. Each knows the other's fingerprints unless told otherwise."""

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
        """Carry what A has to Z; return what A sent."""
        sent = self.a.datagrams_to_send(now)
        self.z.receive_datagrams(wire(list(sent)), now)
        return sent

    def z_to_a(self, wire: Wire = as_sent, now: float = NOW) -> list[bytes]:
        """Carry what Z has to A; return what Z sent."""
        sent = self.z.datagrams_to_send(now)
        self.a.receive_datagrams(wire(list(sent)), now)
        return sent

    def run(self, wire: Wire = as_sent, now: float = NOW) -> list[bytes]:
        """Carry datagrams in both directions until none is left; return all of them."""
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


def connected_pair(*, mtu: int = 1200, max_undelivered: int = 4 * 1024 * 1024) -> Pair:
    """A pair that has shaken hands and reported it."""
    pair = Pair(mtu=mtu, max_undelivered=max_undelivered)
    pair.run()
    for machine in pair.both:
        assert [type(event) for event in machine.events()] == [DtlsConnected]
    return pair


def wait_for_openssl(machines: Sequence[DtlsConnection]) -> float:
    """Wait until the first of the machines wants `handle_timeout`, and return that time.

    The one place where a test waits for real time. OpenSSL retransmits by its own clock (gettimeofday) and cannot be
    given another; its first timeout is one second and cannot be set. So the tests of loss give `time.monotonic()` as
    `now`, and lose many things at once, in sessions that run side by side, in order to wait only once.
    """
    due = min(timeout for machine in machines if (timeout := machine.next_timeout()) is not None)
    while (left := due - time.monotonic()) > 0:
        select.select([], [], [], left)
    return time.monotonic()
