"""A DTLS session as a sans-IO machine: OpenSSL over memory BIOs; it knows records and trust, not the messages' meaning.

Datagrams go in and decrypted messages come out; messages go in and datagrams come out. OpenSSL has three peculiarities:

- Its retransmission timer (1 s, doubling) uses its own clock, which cannot be replaced. `next_timeout` converts the
  remaining time to the caller's clock, and `handle_timeout` does nothing until OpenSSL's clock agrees. Under a virtual
  clock, a handshake without loss takes no time, but a handshake with loss waits for the real clock.
- Its error queue belongs to the thread, not to the session. An error counts only if a second read reports one, too.
- It does not mark the boundaries of datagrams: `records` finds them.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from OpenSSL import SSL

from .certificate import Certificate, Fingerprint
from .contexts import CIPHER_SUITES, new_connection
from .errors import NotConnected, RecordTooLarge
from .openssl import seal, unseal
from .records import (
    MAX_MESSAGE,
    NONCE_AND_TAG_LENGTH,
    TAG_LENGTH,
    UNEXPECTED_MESSAGE,
    Batch,
    batches_untrusted,
    client_random_untrusted,
    describe_alert,
    pack_records,
    screen_untrusted,
    split_records,
)
from .verifier import PeerVerifier

# OpenSSL reads little more than one record of 2**14 bytes from a memory BIO at once; a record across the end is lost.
_READ_LIMIT: Final = 16384
_BIO_READ_SIZE: Final = 65536
# Application data that overtakes the last flight is kept here: OpenSSL before 4.0.3 keeps only its first record.
_MAX_EARLY_BATCHES: Final = 8

# At least the bytes of header, explicit nonce and tag (37 with AES-GCM).
_RECORD_OVERHEAD: Final = 64

# An unencrypted record needs no key: every host on the path, or with a forged source address, can end a handshake.
MAX_RESTARTS: Final = 5
RESTART_TIMEOUT: Final = 10.0  # seconds that a handshake has to complete after an alert or a restart
MAX_REFUSALS: Final = 3  # certificates refused before the handshake fails: the first may be forged, too
STALLED: Final = 0.5  # seconds without progress after which a server begins again with a client's new ClientHello

# RFC 9147, 4.4 sets no minimum; IPv4 delivers 576 bytes everywhere, and OpenSSL needs at least 208.
MIN_MTU: Final = 256


class DtlsState(enum.Enum):
    """The states of a session."""

    NEW = "new"
    """A server that has received nothing from its client."""
    CONNECTING = "connecting"
    CONNECTED = "connected"
    CLOSED = "closed"
    """close_notify was sent or received."""
    FAILED = "failed"


class DtlsEvent:
    """Base class of the events of a DTLS session."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class DtlsConnected(DtlsEvent):
    """The handshake is complete and the peer's certificate matches its fingerprint.

    Attributes:
        version: ``DTLSv1.2`` or ``DTLSv1.3``.
        cipher: the IANA name of the cipher suite.
    """

    version: str
    cipher: str


@dataclass(frozen=True, slots=True)
class DtlsClosed(DtlsEvent):
    """The session ended with close_notify.

    Attributes:
        by_peer: True when the peer sent its close_notify first.
    """

    by_peer: bool = False


@dataclass(frozen=True, slots=True)
class DtlsFailed(DtlsEvent):
    """The session failed for good.

    Attributes:
        reason: a sentence for the user.
    """

    reason: str


class DtlsConnection:
    """A DTLS session with one peer (RFC 6347, RFC 9147), authenticated by fingerprint (RFC 8122, RFC 8827).

    It follows the machine contract of docs/architecture.md, with messages in addition. After any call, drain
    `datagrams_to_send`, `messages` and `events`.

    Args:
        certificate: our certificate.
        is_client: whether we send the ClientHello (``a=setup:active``).
        remote_fingerprints: the fingerprints from the peer's description. No message is delivered unless one matches.
        now: the time in monotonic seconds, at which the handshake begins.
        mtu: the maximum bytes of a handshake datagram, without IP and UDP headers.
        handshake_timeout: the seconds until an unfinished handshake fails.
        max_undelivered: the maximum bytes kept for `messages`. Further messages are dropped, like lost datagrams.

    Raises:
        ValueError: the MTU is below 256.
    """

    def __init__(
        self,
        *,
        certificate: Certificate,
        is_client: bool,
        remote_fingerprints: Sequence[Fingerprint],
        now: float,
        mtu: int = 1200,
        handshake_timeout: float = 30.0,
        max_undelivered: int = 4 * 1024 * 1024,
    ) -> None:
        if mtu < MIN_MTU:
            raise ValueError(f"a DTLS handshake needs datagrams of {MIN_MTU} bytes at least, not {mtu}")
        self.state = DtlsState.NEW
        self.is_client = is_client
        self.local_certificate = certificate
        self.version = self.cipher = ""
        self._remote_fingerprints = remote_fingerprints
        self._verifier = PeerVerifier(remote_fingerprints)
        self._restarts = self._refusals = self._next_number = 0
        self._successor: DtlsConnection | None = None
        self._first_failure = ""
        self._progress_at, self._client_random = now, b""
        self._mtu, self._handshake_timeout = mtu, handshake_timeout
        self._handshake_deadline: float | None = now + handshake_timeout
        self._held_since: float | None = None
        self._retransmission_deadline: float | None = None
        self._max_undelivered, self._undelivered = max_undelivered, 0
        self._peer_answered = self._unconfirmed = False
        self._early: list[Batch] = []
        self._shortest_sealed = NONCE_AND_TAG_LENGTH
        self._events: list[DtlsEvent] = []
        self._messages: list[bytes] = []
        self._output: list[bytes] = []
        self._tls = new_connection(certificate, is_client, self._verifier, mtu)
        if self._verifier.refusal:
            self._fail(self._verifier.refusal)
        elif is_client:
            self.state = DtlsState.CONNECTING
            self._do_handshake(now)

    @property
    def version_code(self) -> str:
        """The version as four hexadecimal digits such as ``FEFD`` (getStats' ``tlsVersion``); empty at first."""
        return f"{self._tls.get_protocol_version():04X}" if self.version else ""

    @property
    def remote_certificate_der(self) -> bytes | None:
        """The peer's certificate in DER, once it has passed the check."""
        return self._verifier.certificate_der

    # -- the machine ---------------------------------------------------------------------------------------------------

    def receive_datagrams(self, datagrams: Sequence[bytes], now: float) -> None:
        """Process datagrams from the network. Data that is not DTLS or does not authenticate is ignored.

        Args:
            datagrams: the UDP payloads, possibly several coalesced into one (UDP_GRO).
            now: the time in monotonic seconds.
        """
        if self.state is DtlsState.CLOSED or self.state is DtlsState.FAILED:
            return
        if self._handshake_deadline is not None:
            datagrams = self._screen_untrusted(datagrams, now)
        for batch in batches_untrusted(datagrams, _READ_LIMIT, self._shortest_sealed):
            if self._handshake_deadline is None:
                self._open(batch, now)
            elif batch.others:
                self.state = DtlsState.CONNECTING
                self._peer_answered = True
                self._tls.bio_write(batch.data)
                self._do_handshake(now)
            elif len(self._early) < _MAX_EARLY_BATCHES:
                self._early.append(batch)
        if self._unconfirmed:
            self._let_client_restart_untrusted(datagrams, now)

    def handle_timeout(self, now: float) -> None:
        """Retransmit a flight or end the handshake, if that is due.

        Args:
            now: the time in monotonic seconds.
        """
        if self._handshake_deadline is not None and self._held_since is None and now >= self._handshake_deadline:
            self._fail(self._timeout_reason())
            return
        if self._successor is not None:
            self._successor.handle_timeout(now)
            self._follow_successor(self._successor, now)
        if self._retransmission_deadline is None or now < self._retransmission_deadline:
            return
        try:
            self._tls.DTLSv1_handle_timeout()
        except SSL.Error as error:
            self._fail(f"the peer does not answer: {_describe(error)}")
            return
        self._collect_output()
        self._rearm(now)

    def hold_deadline(self, now: float) -> None:
        """Stop the clock of the handshake timeout, because the transport cannot carry datagrams at the moment.

        It goes on if the peer has sent an alert: such a peer stays silent because it has given up.
        """
        if self._held_since is None and not self._first_failure:
            self._held_since = now

    def release_deadline(self, now: float) -> None:
        """Let the clock of the handshake timeout run again."""
        if self._held_since is not None and self._handshake_deadline is not None:
            self._handshake_deadline += now - self._held_since
        self._held_since = None

    def next_timeout(self) -> float | None:
        """Return the time of the next `handle_timeout` in monotonic seconds; None when no timer runs."""
        if self._successor is not None:
            return self._successor.next_timeout()
        if self._held_since is not None:
            return self._retransmission_deadline
        if self._retransmission_deadline is None:
            return self._handshake_deadline
        if self._handshake_deadline is None:
            return self._retransmission_deadline
        return min(self._retransmission_deadline, self._handshake_deadline)

    def datagrams_to_send(self, now: float) -> list[bytes]:
        """Drain the datagrams to send, in order.

        Args:
            now: the time in monotonic seconds.
        """
        output, self._output = self._output, []
        return output

    def events(self) -> list[DtlsEvent]:
        """Drain the events."""
        events, self._events = self._events, []
        return events

    # -- messages ------------------------------------------------------------------------------------------------------

    def messages(self) -> list[bytes]:
        """Drain the decrypted messages in order of arrival; there are none before the peer's certificate has passed."""
        messages, self._messages = self._messages, []
        self._undelivered = 0
        return messages

    def send_messages(self, messages: Sequence[bytes]) -> None:
        """Seal messages into one record and one datagram each; after the end of the session they are discarded.

        Args:
            messages: the messages, 1 to 16384 bytes each. The caller respects the MTU.

        Raises:
            NotConnected: the handshake is not complete.
            RecordTooLarge: a message does not fit into a record; no message was sent.
            ValueError: a message is empty; no message was sent.
        """
        if self.state is not DtlsState.CONNECTED:
            if self.state is DtlsState.NEW or self.state is DtlsState.CONNECTING:
                raise NotConnected("no message can be sent before the DTLS handshake is complete")
            return
        if not messages:
            return
        longest = max(map(len, messages))
        if longest > MAX_MESSAGE:
            raise RecordTooLarge(f"a DTLS record holds {MAX_MESSAGE} bytes, not {longest}")
        if not all(messages):
            raise ValueError("a DTLS message cannot be empty")
        if self.version == "DTLSv1.2":
            # One read returns all records, which are then split by their headers.
            self._output += split_records(seal(self._tls, messages, _RECORD_OVERHEAD))
        else:
            # The records of DTLS 1.3 need not state their length.
            for message in messages:
                self._tls.send(message)
                self._output.append(self._tls.bio_read(len(message) + _RECORD_OVERHEAD))

    def close(self, now: float) -> None:
        """End the session with close_notify (RFC 5246, 7.2.1; RFC 8446, 6.1). After the end, further calls do nothing.

        Args:
            now: the time in monotonic seconds.
        """
        if self.state is DtlsState.CLOSED or self.state is DtlsState.FAILED:
            return
        if self.state is DtlsState.CONNECTED:
            self._send_close_notify()
        else:
            # OpenSSL has no alert for canceling a handshake. Pending flights are dropped: the peer would only answer.
            self._output.clear()
        self._end(DtlsState.CLOSED, DtlsClosed())

    # -- inside --------------------------------------------------------------------------------------------------------

    def _do_handshake(self, now: float) -> None:
        """Let OpenSSL continue the handshake with the received records."""
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            self._collect_output()
            self._rearm(now)
        except SSL.Error as error:
            if self._verifier.refusal:
                self._handle_refusal(self._verifier.refusal, now)
            else:
                self._restart_handshake(f"the DTLS handshake failed: {_describe(error)}", now)
        else:
            self._collect_output()
            self._finish_handshake(now)

    def _handle_refusal(self, reason: str, now: float) -> None:
        """Send the alert about a wrong certificate, and start the handshake again; fail at the `MAX_REFUSALS`-th.

        In DTLS 1.2, a certificate is a message in the clear. The peer's own may follow a forged one.
        """
        self._refusals += 1
        self._output.clear()
        self._collect_output()
        alert = self._output
        if self._refusals >= MAX_REFUSALS:
            self._fail(reason)
            return
        self._restart_handshake(reason, now)
        self._output = alert + self._output

    def _screen_untrusted(self, datagrams: Sequence[bytes], now: float) -> list[bytes]:
        """Return the datagrams of a handshake without alerts; begin again where the peer has begun again."""
        screened: list[bytes] = []
        for datagram in datagrams:
            rest, self._next_number, alert = screen_untrusted(datagram, self._next_number)
            if alert:
                self._handle_alert(alert, now)
            hello = b"" if self.is_client else client_random_untrusted(rest)
            if hello:
                self._handle_client_hello(hello, now)
            elif rest and self._restarts and self.state is DtlsState.NEW:
                # The client goes on with the handshake that ended here. It begins again when it gets an alert.
                self._output.append(UNEXPECTED_MESSAGE)
                continue
            elif rest:
                self._progress_at = now
            screened.append(rest)
        return screened

    def _handle_alert(self, alert: int, now: float) -> None:
        """Remember a fatal alert in the clear, which may be forged; begin again as a client that has stalled."""
        reason = _ended_by_peer(alert)
        if self.is_client and now - self._progress_at >= STALLED:
            self._restart_handshake(reason, now)
        else:
            self._expect_end(reason, now)

    def _handle_client_hello(self, random: bytes, now: float) -> None:
        """Restart the handshake with a client that has restarted it, if the current one has stalled."""
        stalled = now - self._progress_at >= STALLED
        if random != self._client_random and self._client_random and stalled and self._restarts < MAX_RESTARTS:
            self._renew()
        if self.state is DtlsState.NEW:
            self._client_random = random
            self._progress_at = now

    def _expect_end(self, reason: str, now: float) -> None:
        """Give the handshake `RESTART_TIMEOUT` to complete, because an unencrypted alert reports that it has failed."""
        if not self._first_failure or self._first_failure == _UNEXPECTED:
            self._first_failure = reason
        if self._handshake_deadline is not None:
            self._handshake_deadline = min(self._handshake_deadline, now + RESTART_TIMEOUT)

    def _restart_handshake(self, reason: str, now: float) -> None:
        """Start the handshake again, because a record in the clear may be forged; fail after `MAX_RESTARTS`.

        RFC 9147, 4.5.2: "In general, invalid records SHOULD be silently discarded, thus preserving the association".
        OpenSSL ends the handshake instead. A server of this kind notices the new ClientHello.
        """
        self._expect_end(reason, now)
        if self._restarts >= MAX_RESTARTS:
            self._fail(self._first_failure)
            return
        self._renew()
        if self.is_client:
            self.state = DtlsState.CONNECTING
            self._do_handshake(now)

    def _renew(self) -> None:
        """Replace OpenSSL's session by a new one, which has received nothing."""
        self._restarts += 1
        self._client_random = b""
        self._next_number = 0
        self._early.clear()
        self._output = []
        self._retransmission_deadline = None
        self._verifier = PeerVerifier(self._remote_fingerprints)
        self._tls = new_connection(self.local_certificate, self.is_client, self._verifier, self._mtu)
        self.state = DtlsState.NEW

    def _finish_handshake(self, now: float) -> None:
        # OpenSSL called the verifier during the handshake. Without its approval there is no session.
        if self._verifier.certificate_der is None:
            self._fail(self._verifier.refusal or "the peer sent no certificate")
            return
        self.state = DtlsState.CONNECTED
        self._handshake_deadline = None
        self._progress_at = now
        self._unconfirmed = not self.is_client
        self.version = self._tls.get_protocol_version_name()
        name = self._tls.get_cipher_name() or ""
        self.cipher = CIPHER_SUITES.get(name, name)
        if "GCM" not in name or self.version != "DTLSv1.2":
            self._shortest_sealed = TAG_LENGTH
        self._events.append(DtlsConnected(self.version, self.cipher))
        self._rearm(now)
        # Application data may follow the last flight in its datagram, or may have overtaken it.
        early, self._early = self._early, []
        for batch in (Batch(b"", 0, True), *early):
            self._open(batch, now)

    def _let_client_restart_untrusted(self, datagrams: Sequence[bytes], now: float) -> None:
        """Begin another handshake beside the session with a client that did not get our last flight.

        A forged record may have ended the client's handshake after its Finished. The session ends when the other
        handshake is complete, and the other handshake ends when a message proves that the client has the session.

        RFC 6347, 4.2.8: a server "MUST NOT destroy the existing association until the client has demonstrated
        reachability either by completing a cookie exchange or by completing a complete handshake".
        """
        if self._successor is None:
            stalled = now - self._progress_at >= STALLED
            if not stalled or self._restarts >= MAX_RESTARTS or not any(map(self._is_other_hello_untrusted, datagrams)):
                return
            self._restarts += 1
            self._progress_at = now
            self._successor = DtlsConnection(
                certificate=self.local_certificate,
                is_client=False,
                remote_fingerprints=self._remote_fingerprints,
                now=now,
                mtu=self._mtu,
                handshake_timeout=RESTART_TIMEOUT,
                max_undelivered=self._max_undelivered,
            )
        self._successor.receive_datagrams(datagrams, now)
        self._follow_successor(self._successor, now)

    def _is_other_hello_untrusted(self, datagram: bytes) -> bool:
        """Return whether a datagram is a ClientHello other than that of the session."""
        return client_random_untrusted(datagram) not in (b"", self._client_random)

    def _follow_successor(self, successor: DtlsConnection, now: float) -> None:
        """Send what the other handshake sends; replace the session when it is complete, forget it when it failed."""
        self._output += successor.datagrams_to_send(now)
        if successor.state is DtlsState.CONNECTED:
            self._tls, self._verifier, self._client_random = (
                successor._tls,
                successor._verifier,
                successor._client_random,
            )
            self.version, self.cipher, self._shortest_sealed = (
                successor.version,
                successor.cipher,
                successor._shortest_sealed,
            )
            self._successor = None
            self._progress_at = now
            self._rearm(now)
            if messages := successor.messages():
                self._keep(messages)
        elif successor.state is DtlsState.FAILED:
            self._successor = None

    def _open(self, batch: Batch, now: float) -> None:
        """Read the messages of a batch: one for each application record, or until OpenSSL is empty if it has others."""
        if self.state is not DtlsState.CONNECTED:
            return
        recv = self._tls.recv
        messages: list[bytes] = []
        try:
            # An empty read costs more than a successful one, so the batch's count saves the final empty read.
            unseal(self._tls, batch.data, batch.application_records, _READ_LIMIT, messages)
            while batch.others:
                messages.append(recv(_READ_LIMIT))
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            self._keep(messages)
            messages = self._read_past(error)
        if messages:
            self._keep(messages)
        if batch.others and self.state is DtlsState.CONNECTED:
            self._collect_output()
            self._rearm(now)

    def _keep(self, messages: list[bytes]) -> None:
        if not messages:
            return
        self._unconfirmed, self._successor = False, None  # the peer has the session, too
        size = sum(map(len, messages))
        if self._undelivered + size > self._max_undelivered:
            return
        self._undelivered += size
        self._messages += messages

    def _read_past(self, error: SSL.Error) -> list[bytes]:
        """Return the remaining messages if the session survives an error; otherwise end the session.

        A read reports and clears the thread's error queue, which may hold the error of another session or library. If
        the session itself has ended, the next read reports an error again.
        """
        messages: list[bytes] = []
        try:
            while not isinstance(error, SSL.ZeroReturnError):
                messages.append(self._tls.recv(_READ_LIMIT))
        except SSL.WantReadError:
            return messages
        except SSL.ZeroReturnError as end:
            error = end
        except SSL.Error:
            # The first error states the reason.
            pass
        self._keep(messages)
        if isinstance(error, SSL.ZeroReturnError):
            # RFC 5246, 7.2.1: "The other party MUST respond with a close_notify alert of its own"
            self._send_close_notify()
            self._end(DtlsState.CLOSED, DtlsClosed(by_peer=True))
        else:
            self._collect_output()
            self._fail(f"the DTLS session broke: {_describe(error)}")
        return []

    def _send_close_notify(self) -> None:
        try:
            self._tls.shutdown()
        except SSL.Error:
            # The session is over in any case, and the peer will detect that by its timers.
            return
        self._collect_output()

    def _collect_output(self) -> None:
        """Pack the records that OpenSSL wrote into datagrams."""
        written: list[bytes] = []
        try:
            while True:
                written.append(self._tls.bio_read(_BIO_READ_SIZE))
        except SSL.WantReadError:
            pass
        if written:
            self._output += pack_records(split_records(b"".join(written)), self._mtu)

    def _rearm(self, now: float) -> None:
        """Read OpenSSL's timer; it may run after the handshake, until the last flight of DTLS 1.3 is acknowledged."""
        untyped: Any = self._tls  # pyOpenSSL declares an int, and returns a float
        remaining: float | None = untyped.DTLSv1_get_timeout()
        self._retransmission_deadline = None if remaining is None else now + remaining

    def _timeout_reason(self) -> str:
        if self._first_failure:
            return self._first_failure
        seconds = f"{self._handshake_timeout:g} s"
        if not self._peer_answered:
            return f"no DTLS packet arrived from the peer within {seconds}"
        step = self._tls.get_state_string().decode("ascii", "replace").removeprefix("SSLv3/TLS ")
        return f"the DTLS handshake was not complete within {seconds}; the last step was {step!r}"

    def _fail(self, reason: str) -> None:
        self._end(DtlsState.FAILED, DtlsFailed(reason))

    def _end(self, state: DtlsState, event: DtlsEvent) -> None:
        self.state = state
        self._handshake_deadline = None
        self._retransmission_deadline = None
        self._unconfirmed, self._successor = False, None
        self._events.append(event)


def _ended_by_peer(alert: int) -> str:
    """Return an alert of the peer as a sentence."""
    return f"the peer ended the DTLS handshake: {describe_alert(alert)}"


_UNEXPECTED: Final = _ended_by_peer(UNEXPECTED_MESSAGE[-1])
"""The reason of a peer that has restarted its handshake; any other reason that follows says more."""


def _describe(error: SSL.Error) -> str:
    """Return the reason of an OpenSSL error as text."""
    if isinstance(error, SSL.ZeroReturnError):
        return "the peer closed it"
    if isinstance(error, SSL.SysCallError):
        return "the peer closed it without a close_notify"
    queue = error.args[0] if error.args else ()
    entries = queue if isinstance(queue, (list, tuple)) else ()
    reasons = ", ".join(str(entry[-1]) for entry in entries if isinstance(entry, tuple) and entry and entry[-1])
    if "alert" in reasons and ("certificate" in reasons or "unknown ca" in reasons):
        return f"the peer rejected our certificate; it may have received another fingerprint by signaling ({reasons})"
    return reasons or "OpenSSL gave no reason"
