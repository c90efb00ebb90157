"""Interactive Connectivity Establishment (RFC 8445): finds a path to the peer and carries datagrams over it.

`DatagramTransport` is all that the layers above know of a path. `IceTransport` is one, over aioice. Nothing in here
knows what is inside the datagrams beyond their first byte, which tells STUN from everything else (RFC 7983).
"""

from __future__ import annotations

from datachan.ice.ice_transport import IceTransport
from datachan.ice.servers import IceServer
from datachan.ice.states import IceError, IceState
from datachan.ice.stats import CandidatePairStats, IceStats, SelectedPair
from datachan.ice.transport import DatagramTransport, PathLimits

__all__ = [
    "CandidatePairStats",
    "DatagramTransport",
    "IceError",
    "IceServer",
    "IceState",
    "IceStats",
    "IceTransport",
    "PathLimits",
    "SelectedPair",
]
