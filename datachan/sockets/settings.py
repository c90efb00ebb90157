"""The settings of a socket and of each of its associations, as values."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from datachan.known_paths import KNOWN_PATHS
from datachan.sctp import AssociationOptions

from .ancillary import InitMsg, PrInfo, SndInfo
from .constants import UDP_ENCAPSULATION_PORT

LARGEST_PACKET: Final = 65_484
"""The largest SCTP packet in bytes: it fits a UDP datagram over IPv6 and over IPv4."""


def default_options() -> AssociationOptions:
    """Return the protocol parameters that sockets start with, where they differ from the engine's defaults."""
    return AssociationOptions(
        path_mtu_discovery=True,
        max_packet_size=LARGEST_PACKET,
        outbound_streams=10,
        inbound_streams=2048,
        receive_window=256 * 1024,
        max_receive_window=4 * 1024 * 1024,
        max_message_size=16 * 1024 * 1024,
        send_buffer=2 * 1024 * 1024,
        # RFC 8260, 4.3.1: "Since the default fragment interleave level is not 2, user message interleaving is disabled
        # per default."
        interleaving=False,
        # RFC 6525, 6.3: "The default is to deny all incoming requests."
        allow_stream_reset=False,
        allow_tsn_reset=False,
        allow_added_streams=False,
        slow_start_limit=8,
        max_burst=16,
        path_history=KNOWN_PATHS,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a socket, which each new association starts with.

    Attributes:
        options: the protocol parameters.
        remote_udp_port: the UDP port of peers to connect to.
        sndinfo: the default for messages without a `SndInfo` (SCTP_DEFAULT_SNDINFO).
        prinfo: the default for messages without a `PrInfo` (SCTP_DEFAULT_PRINFO).
        context: the context of received messages (SCTP_CONTEXT).
        subscribed: the classes of the subscribed notifications.
        fragments: whether a message may be longer than a packet; the opposite of SCTP_DISABLE_FRAGMENTS.
    """

    options: AssociationOptions = field(default_factory=default_options)
    remote_udp_port: int = UDP_ENCAPSULATION_PORT
    sndinfo: SndInfo = field(default_factory=SndInfo)
    prinfo: PrInfo = field(default_factory=PrInfo)
    context: object = None
    subscribed: frozenset[type] = frozenset()
    fragments: bool = True


def with_init(options: AssociationOptions, init: InitMsg) -> AssociationOptions:
    """Return a copy of the options that an SCTP_INITMSG has changed."""
    changes: dict[str, int | float] = {}
    if init.num_ostreams:
        changes["outbound_streams"] = init.num_ostreams
    if init.max_instreams:
        changes["inbound_streams"] = init.max_instreams
    if init.max_attempts:
        changes["max_init_retransmits"] = init.max_attempts
    if init.max_init_timeo:
        changes["max_init_timeout"] = init.max_init_timeo / 1000
    return replace(options, **changes) if changes else options  # type: ignore[arg-type]
