"""One DTLS session as a sans-IO machine: OpenSSL over memory BIOs; knows records and trust, not what the messages mean.

Datagrams go in, decrypted messages come out; messages go in, datagrams come out. Three things are peculiar to OpenSSL:

- It keeps its own clock for retransmission (1 s, doubling) and offers no way to give it another. `next_timeout` turns
  what it says is left into the caller's time, and `handle_timeout` does nothing before OpenSSL's own clock agrees.
  Under a virtual clock a handshake without loss takes no time at all; one with loss has to wait for the real one.
- Its error queue belongs to the thread, not to the session. An error found there is believed only if it is there again.
- It leaves no mark between the datagrams it writes and takes what it reads as one: `records` makes the cuts.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from OpenSSL import SSL

from .certificate import Certificate, Fingerprint
from .errors import NotConnected, RecordTooLarge
from .openssl import seal, unseal
from .records import (
    MAX_MESSAGE,
    NONCE_AND_TAG_LENGTH,
    TAG_LENGTH,
    Batch,
    batches_untrusted,
    pack_records,
    split_records,
)
from .verifier import PeerVerifier

# RFC 8827, 6.5: "Implementations MUST favor cipher suites which support Forward
# Secrecy (FS) over non-FS cipher suites and SHOULD favor Authenticated
# Encryption with Associated Data (AEAD) over non-AEAD cipher suites."
# The suite every implementation has comes first; the RSA ones are for servers with an RSA certificate. DTLS 1.3 has its
# own list.
_CIPHER_SUITES: Final = {
    "ECDHE-ECDSA-AES128-GCM-SHA256": "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384": "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384": "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305": "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "ECDHE-RSA-CHACHA20-POLY1305": "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
}
_DTLS_1_2: Final = 0xFEFD
_MODE_RELEASE_BUFFERS: Final = 0x10

# What OpenSSL reads from a memory BIO at once is a little more than one record of 2**14 bytes; what straddles is lost.
_READ_LIMIT: Final = 16384
_BIO_READ_SIZE: Final = 65536
# Application data that overtakes the last flight is kept here, because OpenSSL before 4.0.3 keeps but the first of it.
_MAX_EARLY_BATCHES: Final = 8

# More than a record grows by header, explicit nonce and tag (37 bytes with AES-GCM).
_RECORD_OVERHEAD: Final = 64

# RFC 9147, 4.4 leaves the smallest path to us; IPv4 delivers 576 bytes everywhere, and OpenSSL wants at least 208.
MIN_MTU: Final = 256


class DtlsState(enum.Enum):
    """Where a session stands."""

    NEW = "new"
    """A server that has not heard of its client."""
    CONNECTING = "connecting"
    CONNECTED = "connected"
    CLOSED = "closed"
    """close_notify was sent or received."""
    FAILED = "failed"


class DtlsEvent:
    """The base of all events."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class DtlsConnected(DtlsEvent):
    """The handshake is done and the peer is who signaling said it is.

    Attributes:
        version: ``DTLSv1.2`` or ``DTLSv1.3``.
        cipher: the cipher suite by its IANA name.
    """

    version: str
    cipher: str


@dataclass(frozen=True, slots=True)
class DtlsClosed(DtlsEvent):
    """The session ended in order.

    Attributes:
        by_peer: True when the peer's close_notify came first.
    """

    by_peer: bool = False


@dataclass(frozen=True, slots=True)
class DtlsFailed(DtlsEvent):
    """There is no session and will be none.

    Attributes:
        reason: a sentence for people.
    """

    reason: str


class DtlsConnection:
    """A DTLS session with one peer (RFC 6347, RFC 9147), authenticated by fingerprint (RFC 8122, RFC 8827).

    The machine shape of the house, and messages on top. After any call drain `datagrams_to_send`, `messages` and
    `events`.

    Args:
        certificate: who we are.
        is_client: whether we send the ClientHello (``a=setup:active``).
        remote_fingerprints: what signaling said of the peer's certificate. Nothing is delivered unless it matches.
        now: monotonic seconds. The handshake begins here.
        mtu: how many bytes a datagram of the handshake may have, without IP and UDP headers.
        handshake_timeout: seconds until an unfinished handshake fails.
        max_undelivered: how many bytes of messages are kept for `messages`; what comes on top is dropped like a lost
            datagram.

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
        self.version = ""
        self.cipher = ""
        self._verifier = PeerVerifier(remote_fingerprints)
        self._mtu = mtu
        self._handshake_timeout = handshake_timeout
        self._handshake_deadline: float | None = now + handshake_timeout
        self._retransmission_deadline: float | None = None
        self._max_undelivered = max_undelivered
        self._undelivered = 0
        self._peer_answered = False
        self._early: list[Batch] = []
        self._shortest_sealed = NONCE_AND_TAG_LENGTH
        self._events: list[DtlsEvent] = []
        self._messages: list[bytes] = []
        self._output: list[bytes] = []
        self._tls = _openssl_connection(certificate, is_client, self._verifier, mtu)
        if self._verifier.refusal:
            self._fail(self._verifier.refusal)
        elif is_client:
            self.state = DtlsState.CONNECTING
            self._do_handshake(now)

    @property
    def version_code(self) -> str:
        """The version as getStats has it (``tlsVersion``): four hexadecimal digits such as ``FEFD``, or nothing yet."""
        return f"{self._tls.get_protocol_version():04X}" if self.version else ""

    @property
    def remote_certificate_der(self) -> bytes | None:
        """The peer's certificate in DER, once it has passed the check."""
        return self._verifier.certificate_der

    # -- the machine ---------------------------------------------------------------------------------------------------

    def receive_datagrams(self, datagrams: Sequence[bytes], now: float) -> None:
        """Take what the network brought. What is no DTLS record, or does not authenticate, has no effect.

        Args:
            datagrams: payloads, also several coalesced into one (UDP_GRO).
            now: monotonic seconds.
        """
        if self.state is DtlsState.CLOSED or self.state is DtlsState.FAILED:
            return
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

    def handle_timeout(self, now: float) -> None:
        """Do what is due: retransmit a flight, or give the handshake up.

        Args:
            now: monotonic seconds.
        """
        if self._handshake_deadline is not None and now >= self._handshake_deadline:
            self._fail(self._timeout_reason())
            return
        if self._retransmission_deadline is None or now < self._retransmission_deadline:
            return
        try:
            self._tls.DTLSv1_handle_timeout()
        except SSL.Error as error:
            self._fail(f"the peer does not answer: {_describe(error)}")
            return
        self._collect_output()
        self._rearm(now)

    def next_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called, in monotonic seconds; None for never."""
        if self._retransmission_deadline is None:
            return self._handshake_deadline
        if self._handshake_deadline is None:
            return self._retransmission_deadline
        return min(self._retransmission_deadline, self._handshake_deadline)

    def datagrams_to_send(self, now: float) -> list[bytes]:
        """Drain the datagrams that wait to be sent, in order.

        Args:
            now: monotonic seconds.
        """
        output, self._output = self._output, []
        return output

    def events(self) -> list[DtlsEvent]:
        """Drain what happened."""
        events, self._events = self._events, []
        return events

    # -- messages ------------------------------------------------------------------------------------------------------

    def messages(self) -> list[bytes]:
        """Drain the decrypted messages, in the order they came. None comes before the peer's certificate has passed."""
        messages, self._messages = self._messages, []
        self._undelivered = 0
        return messages

    def send_messages(self, messages: Sequence[bytes]) -> None:
        """Seal messages, one record and one datagram each; after the end of the session they vanish.

        Args:
            messages: none empty, none longer than 16384 bytes. The MTU is the caller's business.

        Raises:
            NotConnected: the session is not connected yet.
            RecordTooLarge: a message does not fit into a record; none of the messages was sent.
            ValueError: a message is empty; none of the messages was sent.
        """
        if self.state is not DtlsState.CONNECTED:
            if self.state is DtlsState.NEW or self.state is DtlsState.CONNECTING:
                raise NotConnected("no messages can be sent before the DTLS handshake is done")
            return
        if not messages:
            return
        longest = max(map(len, messages))
        if longest > MAX_MESSAGE:
            raise RecordTooLarge(f"a DTLS record holds {MAX_MESSAGE} bytes, not {longest}")
        if not min(map(len, messages)):
            raise ValueError("a DTLS message cannot be empty")
        if self.version == "DTLSv1.2":
            # One read for all records: a memory BIO joins them, their headers part them again.
            self._output += split_records(seal(self._tls, messages, _RECORD_OVERHEAD))
        else:
            # The records of DTLS 1.3 need not say where they end.
            for message in messages:
                self._tls.send(message)
                self._output.append(self._tls.bio_read(len(message) + _RECORD_OVERHEAD))

    def close(self, now: float) -> None:
        """End the session with close_notify (RFC 5246, 7.2.1; RFC 8446, 6.1). Again, or after the end, it does nothing.

        Args:
            now: monotonic seconds.
        """
        if self.state is DtlsState.CLOSED or self.state is DtlsState.FAILED:
            return
        if self.state is DtlsState.CONNECTED:
            self._send_close_notify()
        else:
            # OpenSSL has no alert for giving up midway; the flights that wait would only be answered.
            self._output.clear()
        self._end(DtlsState.CLOSED, DtlsClosed())

    # -- inside --------------------------------------------------------------------------------------------------------

    def _do_handshake(self, now: float) -> None:
        """Let OpenSSL go as far as it can with what it was given."""
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            self._collect_output()
            self._rearm(now)
        except SSL.Error as error:
            # The alert that tells the peer why is in the output.
            self._collect_output()
            self._fail(self._verifier.refusal or f"the DTLS handshake failed: {_describe(error)}")
        else:
            self._collect_output()
            self._finish_handshake(now)

    def _finish_handshake(self, now: float) -> None:
        # OpenSSL asked the verifier during the handshake; without its yes there is no session, whatever OpenSSL thinks.
        if self._verifier.certificate_der is None:
            self._fail(self._verifier.refusal or "the peer showed no certificate")
            return
        self.state = DtlsState.CONNECTED
        self._handshake_deadline = None
        self.version = self._tls.get_protocol_version_name()
        name = self._tls.get_cipher_name() or ""
        self.cipher = _CIPHER_SUITES.get(name, name)
        if "GCM" not in name or self.version != "DTLSv1.2":
            self._shortest_sealed = TAG_LENGTH
        self._events.append(DtlsConnected(self.version, self.cipher))
        self._rearm(now)
        # Application data may stand right behind the last flight, or have overtaken it.
        early, self._early = self._early, []
        for batch in (Batch(b"", 0, True), *early):
            self._open(batch, now)

    def _open(self, batch: Batch, now: float) -> None:
        """Read what a batch brought: as many times as it has application records, to the end if it has others."""
        if self.state is not DtlsState.CONNECTED:
            return
        recv = self._tls.recv
        messages: list[bytes] = []
        try:
            # A read that finds nothing costs more than one that finds something, so the probing one is saved.
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
        size = sum(map(len, messages))
        if self._undelivered + size > self._max_undelivered:
            return
        self._undelivered += size
        self._messages += messages

    def _read_past(self, error: SSL.Error) -> list[bytes]:
        """Find out whether an error is the end, and end if so; else hand back what there still was to read.

        Reading reports whatever is in the thread's error queue, also what another session or library left there, and
        thereby empties the queue. The session's own end is found again at the next read.
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
            # The first error has the reason.
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
            # The session is over either way; the peer will notice by other means.
            return
        self._collect_output()

    def _collect_output(self) -> None:
        """Cut what OpenSSL wrote into datagrams."""
        written: list[bytes] = []
        try:
            while True:
                written.append(self._tls.bio_read(_BIO_READ_SIZE))
        except SSL.WantReadError:
            pass
        if written:
            self._output += pack_records(split_records(b"".join(written)), self._mtu)

    def _rearm(self, now: float) -> None:
        """Ask OpenSSL for its timer, also after the handshake: the last flight of DTLS 1.3 is acknowledged later."""
        remaining = self._tls.DTLSv1_get_timeout()
        self._retransmission_deadline = None if remaining is None else now + remaining

    def _timeout_reason(self) -> str:
        seconds = f"{self._handshake_timeout:g} s"
        if not self._peer_answered:
            return f"no DTLS packet came from the peer within {seconds}"
        step = self._tls.get_state_string().decode("ascii", "replace").removeprefix("SSLv3/TLS ")
        return f"the DTLS handshake was not done within {seconds}; the last step was {step!r}"

    def _fail(self, reason: str) -> None:
        self._end(DtlsState.FAILED, DtlsFailed(reason))

    def _end(self, state: DtlsState, event: DtlsEvent) -> None:
        self.state = state
        self._handshake_deadline = None
        self._retransmission_deadline = None
        self._events.append(event)


@cache
def _openssl_context() -> SSL.Context:
    """What all sessions have in common; one takes 0.3 ms to make, and memory."""
    context = SSL.Context(SSL.DTLS_METHOD)
    context.set_min_proto_version(_DTLS_1_2)
    context.set_cipher_list(":".join(_CIPHER_SUITES).encode())
    # RFC 8827, 6.5: "Implementations MUST NOT implement DTLS renegotiation and MUST reject
    # it with a "no_renegotiation" alert if offered."
    context.set_options(SSL.OP_NO_QUERY_MTU | SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # RFC 5764, 4.1.1. Nothing here uses SRTP, but aiortc takes no session without a profile, data channels only or not.
    context.set_tlsext_use_srtp(b"SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_128_GCM")
    # An idle session keeps no buffer for records.
    context.set_mode(_MODE_RELEASE_BUFFERS)
    return context


def _openssl_connection(certificate: Certificate, is_client: bool, verifier: PeerVerifier, mtu: int) -> SSL.Connection:
    connection = SSL.Connection(_openssl_context())
    connection.use_certificate(certificate.x509)
    connection.use_privatekey(certificate.private_key)
    connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, verifier.openssl_callback)
    connection.set_ciphertext_mtu(mtu)
    if is_client:
        connection.set_connect_state()
    else:
        connection.set_accept_state()
    return connection


def _describe(error: SSL.Error) -> str:
    """Put what OpenSSL raised into words."""
    if isinstance(error, SSL.ZeroReturnError):
        return "the peer closed it"
    if isinstance(error, SSL.SysCallError):
        return "the peer broke it off"
    queue = error.args[0] if error.args else ()
    entries = queue if isinstance(queue, (list, tuple)) else ()
    reasons = ", ".join(str(entry[-1]) for entry in entries if isinstance(entry, tuple) and entry and entry[-1])
    if "alert" in reasons and ("certificate" in reasons or "unknown ca" in reasons):
        return f"the peer does not accept our certificate; it may have been told another fingerprint ({reasons})"
    return reasons or "OpenSSL gave no reason"
