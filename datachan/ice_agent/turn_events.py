"""What a TURN client reports, as values (RFC 8656)."""

from __future__ import annotations

from dataclasses import dataclass

from .candidates import TransportAddress


@dataclass(frozen=True, slots=True)
class Allocated:
    """There is an allocation. After `AllocationLost`, this is another one with another address.

    Attributes:
        relayed: its address.
        mapped: our address as the server sees it; None if the server did not say.
        additional: its address of the other family, if the server gives both.
    """

    relayed: TransportAddress
    mapped: TransportAddress | None
    additional: TransportAddress | None = None


@dataclass(frozen=True, slots=True)
class AllocationLost:
    """The server no longer has the allocation; another one is being requested.

    Attributes:
        code: the code of the server's answer.
        reason: its text.
    """

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class DataReceived:
    """A peer's datagrams that have arrived together, in order."""

    peer: TransportAddress
    datagrams: list[bytes]


@dataclass(frozen=True, slots=True)
class PeerRefused:
    """The server does not relay to or from a peer; the allocation goes on.

    Attributes:
        host: the peer's address.
        code: the code of the server's answer, such as 403 (Forbidden).
        reason: its text.
    """

    host: str
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Redirected:
    """The server names another one to ask instead (RFC 8489, 10). This is the last event.

    Attributes:
        server: the address of the other server.
    """

    server: TransportAddress


@dataclass(frozen=True, slots=True)
class TurnFailed:
    """There is no allocation, and there will be none. This is the last event.

    Attributes:
        code: the code of the server's answer; `UNREACHABLE` if there was none.
        reason: its text, or a description of the failure.
    """

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class TurnClosed:
    """The server has confirmed that the allocation is released, or nothing had to be. This is the last event."""


TurnEvent = Allocated | AllocationLost | DataReceived | PeerRefused | Redirected | TurnFailed | TurnClosed
