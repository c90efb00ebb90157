"""What a STUN or TURN server's URL says (RFC 7064, RFC 7065); it knows how to read one and asks no server anything."""

from dataclasses import dataclass


@dataclass(frozen=True)
class IceServer:
    """One entry of RTCConfiguration.iceServers.

    Arguments:
        urls: `stun:host[:port]`, `turn:host[:port][?transport=udp|tcp]` or `turns:…`; all of them are used.
        username: for TURN.
        credential: the password for TURN.
    """

    urls: tuple[str, ...]
    username: str | None = None
    credential: str | None = None
