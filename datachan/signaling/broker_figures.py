"""The figures of a broker for /metrics; knows only the contract of brokers."""

from __future__ import annotations

from datachan.metrics import Metrics
from datachan.signaling.broker import Broker


def add_broker_figures(metrics: Metrics, broker: Broker) -> None:
    """Register what a broker does and whether it can be reached."""
    stats = broker.stats
    metrics.gauge("datachan_broker_up", "1 while the broker can be reached.", read=lambda: not broker.problem)
    metrics.counter(
        "datachan_broker_outages_total",
        "Times that the connection to the broker broke.",
        read=lambda: broker.stats.outages,
    )
    metrics.counter(
        "datachan_broker_relayed_total",
        "Messages forwarded from members of this node.",
        read=lambda: stats.relayed,
    )
    metrics.counter(
        "datachan_broker_delivered_total",
        "Messages and notices delivered to members of this node when they were sent.",
        read=lambda: stats.delivered,
    )
    metrics.counter(
        "datachan_broker_replayed_total",
        "Messages and notices delivered later, because they had been missed.",
        read=lambda: stats.replayed,
    )
    metrics.counter(
        "datachan_broker_resumed_total", "Members that returned to their place.", read=lambda: stats.resumed
    )
    metrics.counter(
        "datachan_broker_missed_total",
        "Members that returned after messages for them had been dropped.",
        read=lambda: stats.missed,
    )
    stats.observe_step = metrics.histogram(
        "datachan_broker_step_seconds", "Time from a step on the rooms to its answer, if the broker is not in memory."
    ).observe
