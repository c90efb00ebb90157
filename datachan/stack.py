"""DTLS, SCTP and data channels as one machine: datagrams in, channels out; it knows no socket, no ICE and no SDP.

Each SCTP packet travels in a DTLS record of its own (RFC 8261, section 3). Packets are processed in batches: datagrams
that a socket delivers together are decrypted, acknowledged and answered together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from datachan.dcep import ChannelEvent, DataChannels
from datachan.dtls.certificate import Certificate, Fingerprint
from datachan.dtls.connection import DtlsClosed, DtlsConnected, DtlsConnection, DtlsEvent, DtlsFailed, DtlsState
from datachan.sctp import (
    Association,
    AssociationClosed,
    AssociationEstablished,
    AssociationLost,
    AssociationOptions,
    AssociationState,
    Event,
    MessageReceived,
    PathMtuChanged,
    PathName,
    SenderDry,
    StreamProgress,
    make_init,
)
from datachan.sctp.wire.packet import serialize_packet

# Header, explicit nonce and tag of a DTLS 1.2 record with AES-GCM. Our other suites and DTLS 1.3 add less.
RECORD_OVERHEAD: Final = 13 + 8 + 16
# The maximum plaintext of a record (RFC 6347, 4.1).
_MAX_RECORD: Final = 16384

_BEFORE_COOKIE_ECHO: Final = (AssociationState.CLOSED, AssociationState.COOKIE_WAIT)
# Events of an association that is sending, which never lead to new packets.
_SENDING_EVENTS: Final = (StreamProgress, SenderDry)
_ROUNDS: Final = 4
# Bytes up to which what was sent is all there was: no portion was cut short, and the pacer has not held back data that
# it releases a moment later.
_SMALL: Final = 2000
# A full window is sealed and sent in portions, so that the peer decrypts one while we seal the next. It is what leaves
# with two system calls (UDP_SEGMENT), records included.
_BYTES_AT_ONCE: Final = 125_000


@dataclass(frozen=True, slots=True)
class StackConnected:
    """The association is established.

    Attributes:
        max_channels: the number of channel ids: the streams of the direction with fewer.
    """

    max_channels: int


@dataclass(frozen=True, slots=True)
class StackClosed:
    """The stack has ended. This is its last event; the `ChannelClosed` of every channel comes before.

    Attributes:
        reason: a sentence for the user.
        graceful: True when all messages of both sides were delivered.
        by_peer: True when the peer ended the association.
    """

    reason: str
    graceful: bool
    by_peer: bool


StackEvent = DtlsEvent | ChannelEvent | StackConnected | PathMtuChanged | StackClosed


def largest_packet(mtu: int) -> int:
    """Return the largest SCTP packet whose DTLS record fits into a datagram of `mtu` bytes."""
    return min(mtu - RECORD_OVERHEAD, _MAX_RECORD) & ~3


def session_options(sctp_options: AssociationOptions, zero_checksum: bool = True) -> AssociationOptions:
    """Return the options of an association over DTLS, which also decide the contents of its INIT."""
    return dataclasses.replace(
        sctp_options,
        # RFC 8261, 6.1: "it is RECOMMENDED to set the SCTP parameter path.max.retrans to
        # association.max.retrans."
        path_max_retrans=sctp_options.association_max_retrans,
        zero_checksum=zero_checksum,
        bytes_at_once=_BYTES_AT_ONCE,
    )


def _with_packet_sizes(options: AssociationOptions, mtu: int, max_mtu: int | None, overhead: int) -> AssociationOptions:
    """Return the options with the sizes of packets that fit into DTLS records; the arguments are those of `Stack`."""
    base = min(options.max_packet_size, largest_packet(mtu))
    return dataclasses.replace(
        options,
        base_packet_size=base,
        max_packet_size=base if max_mtu is None else largest_packet(max(mtu, max_mtu)),
        path_mtu_discovery=max_mtu is not None,
        packet_overhead=overhead + RECORD_OVERHEAD,
    )


@dataclass(frozen=True, slots=True)
class SessionInits:
    """The INIT chunks of both sides that signaling carried (draft-hancke-tsvwg-snap).

    Attributes:
        local: our INIT, created by `make` with the options of the stack.
        remote: the peer's INIT, accepted by `datachan.sctp.records.init.read_init_untrusted`.
    """

    local: bytes
    remote: bytes

    @staticmethod
    def make(sctp_options: AssociationOptions, entropy: Callable[[int], bytes], zero_checksum: bool = True) -> bytes:
        """Create our INIT, for our description."""
        return make_init(session_options(sctp_options, zero_checksum), entropy)


class PacketTap(Protocol):
    """A receiver of unencrypted SCTP packets, such as `datachan.trace.Tap`."""

    def sent(self, packets: Sequence[bytes]) -> None:
        """Record packets before they are sealed."""

    def received(self, packets: Sequence[bytes]) -> None:
        """Record packets after they were opened."""


class Stack:
    """SCTP over DTLS (RFC 8261) with data channels.

    It follows the machine contract of docs/architecture.md: after any call, drain `datagrams_to_send` and `events` and
    arm one timer. Do the same after a call on `channels`, which the stack drives.

    Attributes:
        dtls: the DTLS connection, for its state, certificate and cipher.
        association: the SCTP association, for its state and `stats()`.
        channels: the data channels from the constructor.
        has_more: whether `datagrams_to_send` might return more than its last call has, although nothing happened since.
        bundles: whether SACKs may wait for what the handlers of messages send: once the association is established, and
            the last packets of the handshake, which wait for no handler, have been returned.
        packets_sent: the datagrams sent; packets_received, bytes_sent and bytes_received are counted in the same way.

    Args:
        certificate: our certificate.
        is_dtls_client: the role from ``a=setup``; the client's channels have even ids.
        remote_fingerprints: the fingerprints from ``a=fingerprint``.
        channels: the data channels; some may exist already.
        sctp_options: the options of the association. The stack lowers max_packet_size to what fits (to `max_mtu` with
            path MTU discovery), and sets path_max_retrans and zero_checksum as DTLS requires.
        entropy: a function from a count to that many random bytes.
        now: the time in monotonic seconds, at which the handshake timeout begins.
        mtu: the largest UDP payload in bytes; with path MTU discovery, the largest that needs no probe.
        handshake_mtu: the largest UDP payload of the DTLS handshake; None for `mtu`.
        max_mtu: the largest UDP payload that path MTU discovery may find (RFC 8899); None for no discovery. With
            discovery, the transport must respect `dont_fragment`.
        overhead: the bytes of the headers around a UDP payload, the IP header included.
        handshake_timeout: the maximum seconds of the DTLS handshake.
        zero_checksum: whether to announce RFC 9653, as DTLS protects packets better than the checksum.
        inits: both INITs, to establish the association as soon as DTLS is connected; None for the four-way handshake.
        tap: a receiver of every SCTP packet, or None.

    Raises:
        ValueError: the MTU is too small for DTLS.
    """

    def __init__(
        self,
        *,
        certificate: Certificate,
        is_dtls_client: bool,
        remote_fingerprints: Sequence[Fingerprint],
        channels: DataChannels,
        sctp_options: AssociationOptions,
        entropy: Callable[[int], bytes],
        now: float,
        mtu: int = 1200,
        handshake_mtu: int | None = None,
        max_mtu: int | None = None,
        overhead: int = 28,
        handshake_timeout: float = 30.0,
        zero_checksum: bool = True,
        inits: SessionInits | None = None,
        tap: PacketTap | None = None,
    ) -> None:
        self.dtls = DtlsConnection(
            certificate=certificate,
            is_client=is_dtls_client,
            remote_fingerprints=remote_fingerprints,
            now=now,
            mtu=mtu if handshake_mtu is None else handshake_mtu,
            handshake_timeout=handshake_timeout,
        )
        options = session_options(sctp_options, zero_checksum)
        self.association = Association(_with_packet_sizes(options, mtu, max_mtu, overhead), entropy)
        self.channels = channels
        self.packets_sent = self.packets_received = self.bytes_sent = self.bytes_received = 0
        self.has_more = self.bundles = self._established = False
        self._entropy = entropy
        self._tap = tap
        self._inits = inits
        self._events: list[StackEvent] = []
        self._started = self._suspended = self._connected = self._closed = False
        self._awaits_path = False
        self._close_wanted = self._all_delivered = False
        channels.attach(self.association, is_dtls_client, now)

    # -- calls of the application --------------------------------------------------------------------------------------

    def start(self, now: float, *, awaits_path: bool = False) -> None:
        """Start the handshake, because the transport can carry datagrams. Nothing is sent before.

        Args:
            now: monotonic seconds.
            awaits_path: whether only the handshake can be carried, at its own pace: no timer runs until `path_changed`.
        """
        self._started = True
        self._awaits_path = awaits_path
        if awaits_path:
            self.dtls.hold_deadline(now)
        self._after_dtls(now)

    def close(self, now: float) -> None:
        """Close gracefully: deliver queued data, then send SHUTDOWN, then close_notify. `StackClosed` reports the end.

        The peer decides how long that takes; `abort` ends it at once.
        """
        if self._closed or self._close_wanted:
            return
        self._close_wanted = True
        self.channels.flush(now)
        self.channels.begin_shutdown()
        if self.association.state in _BEFORE_COOKIE_ECHO:
            self._end("the connection was closed before it was established", now)
        else:
            self.association.shutdown(now)
            self._after_association(now)

    def abort(self, now: float, reason: str = "") -> None:
        """End at once with ABORT and close_notify, if they can be sent; `StackClosed` is among the next events."""
        if not self._closed:
            self._end(reason or "this side aborted the association", now, channel_reason=reason)

    def replace_association(self, now: float, *, local_port: int, remote_port: int) -> None:
        """Set up another association over the same DTLS connection, because signaling has changed an SCTP port.

        The channels of the association before close. Nothing more is sent on it: RFC 8841, 9.3 has both sides close it.

        Args:
            now: monotonic seconds.
            local_port: our SCTP port.
            remote_port: the peer's.
        """
        if self._closed:
            return
        self.channels.release_association("an SCTP association with another port has replaced the channel's")
        options = dataclasses.replace(self.association.options, local_port=local_port, remote_port=remote_port)
        self.association = Association(options, self._entropy)
        self._inits = None
        self.channels.attach(self.association, self.dtls.is_client, now)
        if self._connected:
            self.association.connect(now)

    def path_changed(
        self,
        now: float,
        max_mtu: int = 0,
        overhead: int = 28,
        *,
        lost: bool = False,
        name: PathName | None = None,
    ) -> None:
        """Reset round-trip time, congestion window and MTU, because datagrams take another path.

        Args:
            now: monotonic seconds.
            max_mtu: as for the constructor; 0 for no path MTU discovery.
            overhead: as for the constructor.
            lost: whether the old path was silent, so that what is in flight is probably lost.
            name: our IP address and the peer's, if they are known.
        """
        self._suspended = self._awaits_path = False
        self.dtls.release_deadline(now)
        base = self.association.options.base_packet_size
        largest = max(largest_packet(max_mtu), base)
        self.association.path_changed(now, largest, overhead + RECORD_OVERHEAD, lost=lost, name=name)

    def path_alive(self, now: float) -> None:
        """Send again at once what waits for a backed-off timer, because the peer answered the transport."""
        self.dtls.release_deadline(now)
        self.association.path_alive(now)

    def path_silent(self, now: float) -> None:
        """Stop the clock of the handshake timeout until `path_alive`, because nothing arrives from the peer."""
        self.dtls.hold_deadline(now)

    def path_lost(self, now: float) -> None:
        """Send nothing and run no timer until `path_changed`, because there is no path to the peer.

        Messages stay queued. Timers that go on would count the outage as a failure of the peer (RFC 9260, 8.1), and
        would end an association that a new path can continue.
        """
        if self.association.state is AssociationState.SHUTDOWN_ACK_SENT:
            self._finish_shutdown(now)
            return
        self._suspended = True
        self.dtls.hold_deadline(now)

    @property
    def dont_fragment(self) -> bool:
        """Whether the datagrams to send now must not be fragmented on their way."""
        return self.association.dont_fragment

    def datagram_too_long(self, length: int, now: float) -> None:
        """Lower the path MTU, because the transport could not send a datagram of `length` bytes."""
        self.association.packet_too_long(length - RECORD_OVERHEAD, now)
        self.has_more = True  # perhaps a shorter probe

    # -- the machine ---------------------------------------------------------------------------------------------------

    def receive_datagrams(self, datagrams: Sequence[bytes], now: float) -> None:
        """Process UDP payloads that are DTLS (first byte 20 to 63, RFC 7983)."""
        self.packets_received += len(datagrams)
        self.bytes_received += sum(map(len, datagrams))
        if not self._closed:
            self.channels.flush(now)
            self.dtls.receive_datagrams(datagrams, now)
            self._after_dtls(now)

    def handle_timeout(self, now: float) -> None:
        """Run the timers that are due."""
        if self._closed or self._suspended or self._awaits_path:
            return
        self.dtls.handle_timeout(now)
        self._after_dtls(now)
        if self._connected and not self._closed:
            self._all_delivered = self.association.state is AssociationState.SHUTDOWN_ACK_SENT
            self.association.handle_timeout(now)
            self._after_association(now)

    def next_timeout(self) -> float | None:
        """Return the time of the next `handle_timeout`; None when no timer runs."""
        if self._closed or not self._started or self._suspended or self._awaits_path:
            return None
        of_dtls = self.dtls.next_timeout()
        of_sctp = self.association.next_timeout() if self._connected else None
        if of_dtls is None or of_sctp is None:
            return of_sctp if of_dtls is None else of_dtls
        return min(of_dtls, of_sctp)

    def datagrams_to_send(self, now: float) -> list[bytes]:
        """Return the next UDP payloads to send; call again until the list is empty."""
        self.has_more = False
        if not self._started or self._suspended:
            return []
        is_busy = self._connected
        for _ in range(_ROUNDS):
            if self._closed or not is_busy:
                break
            self.channels.flush(now)
            self._seal(now)
            is_busy = self._after_association(now)
        datagrams = self.dtls.datagrams_to_send(now)
        size = sum(map(len, datagrams))
        self.packets_sent += len(datagrams)
        self.bytes_sent += size
        self.bundles = self._established
        self.has_more = is_busy or size > _SMALL
        return datagrams

    def events(self) -> list[StackEvent]:
        """Drain the events: of DTLS and of channels, `StackConnected`, `PathMtuChanged`, `StackClosed`."""
        events: list[StackEvent] = self._events
        events += self.channels.events()
        self._events = []
        return events

    # -- inside --------------------------------------------------------------------------------------------------------

    def _seal(self, now: float) -> None:
        packets = self.association.datagrams_to_send(now)
        if packets:
            if self._tap is not None:
                self._tap.sent(packets)
            self.dtls.send_messages(packets)

    def _after_dtls(self, now: float) -> None:
        events = self.dtls.events()
        self._events += events
        for event in events:
            if isinstance(event, DtlsConnected):
                # RFC 8261, 6.1: "A DTLS connection MUST be established before an SCTP association
                # can be set up."
                self._connected = True
                if self._inits is None:
                    self.association.connect(now)
                else:
                    # draft-hancke-tsvwg-snap: "both endpoints SHOULD consider the SCTP association to be in the
                    # ESTABLISHED state, as described in Section 4 of RFC9260, once the DTLS handshake finishes."
                    self._capture_inits(self._inits)
                    self.association.connect_negotiated(self._inits.local, self._inits.remote, now)
                    self._after_association(now)
        messages = self.dtls.messages()
        if messages:
            if self._tap is not None:
                self._tap.received(messages)
            self.association.receive_datagrams(messages, now)
            self._after_association(now)
        for event in events:
            if isinstance(event, (DtlsClosed, DtlsFailed)):
                self._dtls_ended(event, now)

    def _capture_inits(self, inits: SessionInits) -> None:
        """Write the INITs that signaling carried into the capture, as the packets that a handshake would have sent.

        Readers of the capture need them to match both directions, and to know what was negotiated.
        """
        if self._tap is not None:
            options = self.association.options
            sent, received = (chunk + bytes(-len(chunk) % 4) for chunk in (inits.local, inits.remote))
            self._tap.sent([serialize_packet(options.local_port, options.remote_port, 0, [sent])])
            self._tap.received([serialize_packet(options.remote_port, options.local_port, 0, [received])])

    def _after_association(self, now: float) -> bool:
        """Process the association's events; return whether they may have caused new packets."""
        busy = False
        handle_message = self.channels.handle_message
        for event in self.association.events():
            if isinstance(event, MessageReceived):
                handle_message(event, now)
                busy = True
            elif isinstance(event, _SENDING_EVENTS):
                self.channels.handle_event(event, now)
            else:
                self._handle_rare_event(event, now)
                busy = True
        return busy

    def _handle_rare_event(self, event: Event, now: float) -> None:
        if isinstance(event, PathMtuChanged):
            self._report(event)
            return
        if isinstance(event, AssociationEstablished):
            self._established = True
            self._report(StackConnected(min(event.inbound_streams, event.outbound_streams)))
        elif isinstance(event, AssociationLost) and self._all_delivered:
            # Both sides have acknowledged everything when a SHUTDOWN ACK is sent. The peer has closed, and both its
            # SHUTDOWN COMPLETE and its close_notify were lost.
            event = AssociationClosed()
        self.channels.handle_event(event, now)
        if isinstance(event, AssociationClosed):
            by_peer = not self._close_wanted
            who = "the peer" if by_peer else "this side"
            self._finish(StackClosed(f"{who} closed the association, and everything was delivered", True, by_peer), now)
        elif isinstance(event, AssociationLost):
            self._finish(StackClosed(event.reason or "the association was lost", False, event.by_peer), now)

    def _finish_shutdown(self, now: float) -> None:
        """End gracefully in SHUTDOWN-ACK-SENT: everything was delivered, and only the peer's last packets were lost."""
        self.channels.close_all()
        self._finish(StackClosed("the peer closed the association, and everything was delivered", True, True), now)

    def _dtls_ended(self, event: DtlsClosed | DtlsFailed, now: float) -> None:
        if isinstance(event, DtlsFailed):
            self.channels.close_all(event.reason)
            self._finish(StackClosed(event.reason, False, False), now)
            return
        # In SHUTDOWN-ACK-SENT only the SHUTDOWN COMPLETE was lost, and everything was delivered.
        graceful = self.association.state is AssociationState.SHUTDOWN_ACK_SENT
        self.channels.close_all()
        self._finish(StackClosed("the peer closed the DTLS connection", graceful, event.by_peer), now)

    def _end(self, reason: str, now: float, *, channel_reason: str = "") -> None:
        """Abort the association and end the stack."""
        self.association.abort(now, reason)
        self.channels.close_all(channel_reason)
        self._finish(StackClosed(reason, False, False), now)

    def _finish(self, closed: StackClosed, now: float) -> None:
        """Send the last packets and the close_notify, release everything and report the end."""
        if self._closed:
            return
        self._closed = True
        if self.dtls.state is DtlsState.CONNECTED:
            self._seal(now)
        self.dtls.close(now)
        if self.association.state is not AssociationState.CLOSED:
            self.association.abort(now, closed.reason)
        self.association.events()
        self._events += self.dtls.events()
        self._report(closed)

    def _report(self, event: StackEvent) -> None:
        self._events += self.channels.events()
        self._events.append(event)
