"""The figures of the ports of a server: its TCP connections, and the UDP port that its peers share."""

from __future__ import annotations

import datachan
from datachan.metrics import Metrics
from datachan.peer import UdpMux
from datachan.signaling.door import Door


def add_server_figures(metrics: Metrics, door: Door, mux: UdpMux | None) -> None:
    """Register the figures of the ports, and the version."""
    metrics.gauge("datachan_info", "1, with the version of datachan.", ("version",)).set(1, datachan.__version__)
    metrics.gauge("datachan_tcp_connections", "TCP connections of the signaling.", read=lambda: len(door))
    metrics.counter(
        "datachan_refused_tcp_connections_total",
        "TCP connections for which there was no room.",
        read=lambda: door.refused,
    )
    if mux is not None:
        metrics.counter(
            "datachan_unknown_datagrams_total",
            "Datagrams on the shared UDP port that belong to no connection.",
            read=lambda: mux.dropped,
        )
        metrics.counter(
            "datachan_passed_on_datagrams_total",
            "Batches of datagrams that were passed on to the worker that has their connection.",
            read=lambda: mux.passed_on,
        )
        metrics.counter(
            "datachan_lost_passed_on_total",
            "Messages that another worker did not take, because it was away or did not keep up.",
            read=lambda: mux.lost_passed_on,
        )
