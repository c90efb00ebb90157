"""What an operator sees of a running server: figures of its connections and event loop, and the port that shows them.

    connections.py       the figures of peer connections, taken when they are asked for
    event_loop.py        how late the event loop runs what is due
    ports.py             TCP connections, and the shared UDP port
    process.py           CPU, memory and descriptors of this process
    service_manager.py   tells systemd that the service is ready, or stops
    exposition.py        figures as text that Prometheus reads
    listener.py          the HTTP port that shows the text

The figures themselves are in `datachan.metrics`. Reading them needs the extra `metrics` (prometheus-client).
"""

from __future__ import annotations

from datachan.monitoring.connections import ConnectionMetrics
from datachan.monitoring.event_loop import LoopLag
from datachan.monitoring.exposition import MetricsUnavailable, render
from datachan.monitoring.listener import ListenAddress, MetricsListener
from datachan.monitoring.ports import add_server_figures
from datachan.monitoring.process import process_figures
from datachan.monitoring.service_manager import notify

__all__ = [
    "ConnectionMetrics",
    "ListenAddress",
    "LoopLag",
    "MetricsListener",
    "MetricsUnavailable",
    "add_server_figures",
    "notify",
    "process_figures",
    "render",
]
