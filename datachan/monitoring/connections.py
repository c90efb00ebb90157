"""The figures of peer connections: states, paths, traffic, losses and queues; knows no server.

Connections are not asked until the figures are. Then each one costs some microseconds, and the event loop gets a turn
after every two milliseconds of this work, so that thousands of connections do not delay their own packets.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

from datachan.metrics import Family, Metrics
from datachan.peer import ConnectionSummary, RTCPeerConnection

_TURN: Final = 0.002
"""Seconds that the event loop is kept by this work at once."""

_NOTHING: Final = ConnectionSummary("none", 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


class _Watched:
    """One connection, and what has been counted of it."""

    def __init__(self, pc: RTCPeerConnection, started: float) -> None:
        self.pc = pc
        self.started = started
        self.connected = False
        self.counted = _NOTHING


class ConnectionMetrics:
    """The figures of the connections of one server.

    Args:
        metrics: Where the figures are registered.
        clock: Returns monotonic seconds.
    """

    def __init__(self, metrics: Metrics, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._watched: set[_Watched] = set()
        self._established = metrics.counter(
            "datachan_connections_established_total", "Connections that were established."
        )
        self._failed = metrics.counter(
            "datachan_connections_failed_total", "Connections that ended before they were established."
        )
        self._handshake = metrics.histogram(
            "datachan_handshake_seconds", "Time from the offer until the connection was established."
        )
        self._messages = metrics.counter("datachan_messages_total", "Messages of all channels.", ("direction",))
        self._bytes = metrics.counter("datachan_message_bytes_total", "Bytes of messages.", ("direction",))
        self._retransmissions = metrics.counter(
            "datachan_sctp_retransmissions_total", "DATA chunks that SCTP sent again."
        )
        self._dropped_messages = metrics.counter(
            "datachan_dropped_messages_total",
            "Messages abandoned because of maxPacketLifeTime (lifetime) or maxRetransmits (retransmissions).",
            ("reason",),
        )
        self._dropped_datagrams = metrics.counter(
            "datachan_dropped_datagrams_total",
            "Datagrams that the system refused or that had no path (send), or from unproved addresses (receive).",
            ("reason",),
        )
        # Each value of a label is shown from the beginning: Prometheus finds no rate before it has seen a counter at 0.
        for counter, labels in (
            (self._messages, ("sent", "received")),
            (self._bytes, ("sent", "received")),
            (self._dropped_messages, ("lifetime", "retransmissions")),
            (self._dropped_datagrams, ("send", "receive")),
        ):
            for label in labels:
                counter.add(label, amount=0)
        metrics.add_source(self._collect)

    def watch(self, pc: RTCPeerConnection) -> None:
        """Count a new connection, until it is closed."""
        watched = _Watched(pc, self._clock())
        self._watched.add(watched)

        def changed() -> None:
            if pc.connectionState == "connected" and not watched.connected:
                watched.connected = True
                self._established.add()
                self._handshake.observe(self._clock() - watched.started)
            elif pc.connectionState == "closed":
                self._end(watched)

        pc.on("connectionstatechange", changed)

    def _end(self, watched: _Watched) -> None:
        if watched in self._watched:
            self._watched.remove(watched)
            self._count(watched)
            if not watched.connected:
                self._failed.add()

    async def _collect(self) -> list[Family]:
        """Count what has happened since the last time, and return the states, paths and queues of this moment."""
        states: Counter[tuple[str, ...]] = Counter()
        queued = unread = 0
        turn = self._clock()
        for watched in tuple(self._watched):
            if watched not in self._watched:
                continue  # it has ended during a pause
            summary = self._count(watched)
            states[watched.pc.connectionState, summary.path] += 1
            queued += summary.send_queue_bytes
            unread += summary.unread_bytes
            if self._clock() - turn > _TURN:
                await asyncio.sleep(0)
                turn = self._clock()
        return [
            Family(
                "datachan_connections",
                "gauge",
                "Connections by W3C's connectionState, and by the type of their path.",
                ("state", "path"),
                dict(states),
            ),
            Family("datachan_send_queue_bytes", "gauge", "Bytes given to send and not sent yet.", (), {(): queued}),
            Family("datachan_unread_bytes", "gauge", "Bytes received and not read by the program.", (), {(): unread}),
        ]

    def _count(self, watched: _Watched) -> ConnectionSummary:
        """Add what a connection has done since it was last counted."""
        before, now = watched.counted, watched.pc.summary()
        watched.counted = now
        self._messages.add("sent", amount=_grown(before.messages_sent, now.messages_sent))
        self._messages.add("received", amount=_grown(before.messages_received, now.messages_received))
        self._bytes.add("sent", amount=_grown(before.bytes_sent, now.bytes_sent))
        self._bytes.add("received", amount=_grown(before.bytes_received, now.bytes_received))
        self._retransmissions.add(amount=_grown(before.retransmissions, now.retransmissions))
        messages, datagrams = self._dropped_messages, self._dropped_datagrams
        messages.add("lifetime", amount=_grown(before.abandoned_by_lifetime, now.abandoned_by_lifetime))
        messages.add(
            "retransmissions", amount=_grown(before.abandoned_by_retransmissions, now.abandoned_by_retransmissions)
        )
        datagrams.add("send", amount=_grown(before.packets_discarded_on_send, now.packets_discarded_on_send))
        datagrams.add("receive", amount=_grown(before.packets_discarded_on_receive, now.packets_discarded_on_receive))
        return now


def _grown(before: int, now: int) -> int:
    """Return by how much a counter has grown. It has begun again at 0 if it is smaller than before."""
    return now - before if now >= before else now
