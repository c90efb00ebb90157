"""DTLS, SCTP and data channels as one machine: datagrams in, channels out; it knows no socket, no ICE and no SDP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from datachan.dcep.channels import DataChannels
from datachan.dcep.events import ChannelEvent
from datachan.dtls.certificate import Certificate, Fingerprint
from datachan.dtls.connection import DtlsConnection
from datachan.sctp.association import Association
from datachan.sctp.options import AssociationOptions


@dataclass(frozen=True, slots=True)
class StackConnected:
    """The association is established; messages flow.

    Attributes:
        max_channels: ids there are, in both directions (RTCSctpTransport.maxChannels).
    """

    max_channels: int


@dataclass(frozen=True, slots=True)
class StackClosed:
    """The end; told once, and every channel's `ChannelClosed` comes before it.

    Attributes:
        reason: a sentence for people.
        graceful: True when both sides delivered everything.
        by_peer: True when the peer ended it.
    """

    reason: str
    graceful: bool
    by_peer: bool


StackEvent = (
    ChannelEvent | StackConnected | StackClosed | object
)  # the latter: the events of `datachan.dtls.connection`


class Stack:
    """SCTP over DTLS (RFC 8261) with data channels: one machine of DESIGN's shape.

    Attributes:
        dtls: the DTLS connection, for its state, certificate and cipher.
        association: the SCTP association, for its state and `stats()`; None until DTLS is connected.
        channels: the data channels given.
        bytes_received, bytes_sent, packets_received, packets_sent: what crossed the transport.
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
        handshake_timeout: float = 30.0,
        close_timeout: float = 10.0,
    ) -> None:
        """Nothing is sent before `start`.

        Args:
            certificate: ours. is_dtls_client: the role from `a=setup`. remote_fingerprints: from `a=fingerprint`.
            channels: may hold channels already.
            sctp_options: zero_checksum is switched on and max_packet_size lowered to what `mtu` leaves.
            entropy: gives n random bytes. now: seconds.
            mtu: largest UDP payload.
            handshake_timeout: seconds for DTLS. close_timeout: seconds a graceful close may take before it is an abort.
        """
        self.dtls: DtlsConnection
        self.association: Association | None = None
        self.channels = channels

    def start(self, now: float) -> None:
        """The transport can carry datagrams: begin the DTLS handshake."""

    def close(self, now: float) -> None:
        """End gracefully: queued data is delivered, then SCTP SHUTDOWN, then close_notify. `StackClosed` tells when."""

    def abort(self, now: float, reason: str = "") -> None:
        """End at once: SCTP ABORT and close_notify if they can be sent; `StackClosed` is among the next events."""

    def receive_datagrams(self, datagrams: Sequence[bytes], now: float) -> None:
        """Take UDP payloads that are DTLS (first byte 20 to 63, RFC 7983)."""

    def handle_timeout(self, now: float) -> None:
        """Call when `next_timeout` has come; earlier or later is harmless."""

    def next_timeout(self) -> float | None:
        """When `handle_timeout` wants to be called."""

    def datagrams_to_send(self, now: float) -> list[bytes]:
        """Drain the UDP payloads to send."""

    def events(self) -> list[StackEvent]:
        """Drain what happened: events of DTLS, of channels, `StackConnected`, `StackClosed`."""
