"""Addresses, and the ancillary data of a send, as values (RFC 6458, section 5.3).

Names are the RFC's without prefix. Times are milliseconds, as there.
"""

from __future__ import annotations

from dataclasses import dataclass

from .constants import PrPolicy

Address = tuple[str, int] | tuple[str, int, int, int]
"""A host and an SCTP port; for IPv6 also with flow information and scope id, as getaddrinfo returns them."""

PeerAddress = tuple[str, int]
"""A host and an SCTP port, as sockets return them; a link-local host has its scope: "fe80::1%eth0"."""


@dataclass(frozen=True, slots=True)
class InitMsg:
    """How an association is set up (SCTP_INIT, section 5.3.1, and SCTP_INITMSG); 0 leaves a value unchanged.

    Attributes:
        num_ostreams: outbound streams to request.
        max_instreams: inbound streams to accept.
        max_attempts: retransmissions of INIT before the setup fails.
        max_init_timeo: the longest time between two INITs, in milliseconds.
    """

    num_ostreams: int = 0
    max_instreams: int = 0
    max_attempts: int = 0
    max_init_timeo: int = 0


@dataclass(frozen=True, slots=True)
class SndInfo:
    """How a message is sent (SCTP_SNDINFO, section 5.3.4).

    Attributes:
        sid: the stream.
        flags: any of `SendFlag`.
        ppid: payload protocol identifier, in host byte order.
        context: any object; it comes back in `SendFailedEvent`.
        assoc_id: the association, on a one-to-many socket; 0 selects it by the address.
    """

    sid: int = 0
    flags: int = 0
    ppid: int = 0
    context: object = None
    assoc_id: int = 0


@dataclass(frozen=True, slots=True)
class PrInfo:
    """When a message is abandoned (SCTP_PRINFO, section 5.3.7).

    Attributes:
        policy: one of `PrPolicy`.
        value: the lifetime in milliseconds, the number of retransmissions, or the priority (0 is the highest).
    """

    policy: int = PrPolicy.SCTP_PR_SCTP_NONE
    value: int = 0


@dataclass(frozen=True, slots=True)
class AuthInfo:
    """The shared key that authenticates a message (SCTP_AUTHINFO, section 5.3.8)."""

    keynumber: int


@dataclass(frozen=True, slots=True)
class DstAddr:
    """A further address of the peer, for a send that sets up an association (SCTP_DSTADDRV4 and V6, section 5.3.9)."""

    host: str


Ancillary = InitMsg | SndInfo | PrInfo | AuthInfo | DstAddr
"""The ancillary data of a send."""
