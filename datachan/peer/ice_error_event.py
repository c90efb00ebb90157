"""RTCPeerConnectionIceErrorEvent: the argument of icecandidateerror (W3C WebRTC, 4.8.2)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RTCPeerConnectionIceErrorEvent:
    """The failure of a STUN or TURN server while candidates are gathered.

    Attributes:
        address: the local address that the request was sent from; None if it is no candidate, or if there are several.
        port: the local port; None without `address`.
        url: the server's URL.
        errorCode: the STUN error code that the server answered with, or 701 if the server cannot be reached.
        errorText: the reason in the server's answer, or a description of the failure.
    """

    address: str | None
    port: int | None
    url: str
    errorCode: int
    errorText: str
