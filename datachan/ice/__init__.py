"""Interactive Connectivity Establishment (RFC 8445): finds a path to the peer and carries datagrams over it.

`IceTransport` finds the path, over aioice, and hands up the `SelectedLink` to send on. Nothing in here knows what is
inside the datagrams beyond their first byte, which separates STUN from everything else (RFC 7983).
"""

from __future__ import annotations

from datachan.ice.ice_states import IceError, IceState
from datachan.ice.ice_stats import CandidatePairStats, IceStats, SelectedPair
from datachan.ice.ice_transport import IceTransport
from datachan.ice.link import DatagramLink, SelectedLink
from datachan.ice.server_errors import IceServerError
from datachan.ice.servers import IceServer
from datachan.ice.tcp_links import TcpMux
from datachan.ice.udp_mux import UdpMux
from datachan.udp import PathLimits

__all__ = [
    "CandidatePairStats",
    "DatagramLink",
    "IceError",
    "IceServer",
    "IceServerError",
    "IceState",
    "IceStats",
    "IceTransport",
    "PathLimits",
    "SelectedLink",
    "SelectedPair",
    "TcpMux",
    "UdpMux",
]
