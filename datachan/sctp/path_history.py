"""What paths carried before, by their two addresses; it knows no association and no clock.

Careful Resume (RFC 9959) starts a transfer with it.
"""

from __future__ import annotations

from typing import Final

PathName = tuple[str, str]
"""Our IP address, empty if it is unknown, and the peer's."""

MOST_PATHS: Final = 1024
LIFE: Final = 3600.0
"""Seconds. Linux keeps the metrics of TCP for as long."""


class SavedPath:
    """What one path carried.

    Attributes:
        cwnd: the bytes that it delivered within its shortest round trip (saved_cwnd).
        round_trip: its shortest round trip in seconds (saved_rtt).
        saved_at: when it was observed, in monotonic seconds.
    """

    __slots__ = ("cwnd", "round_trip", "saved_at")

    def __init__(self, cwnd: int, round_trip: float, saved_at: float) -> None:
        self.cwnd = cwnd
        self.round_trip = round_trip
        self.saved_at = saved_at


class PathHistory:
    """The paths that the associations of a process have used, shared by them.

    It holds what an association found on a path until another one uses it, or until it is too old. Give it to
    associations with `AssociationOptions.path_history`.

    Args:
        most: the number of paths; above it, the one that was observed the longest time ago is forgotten.
        life: seconds for which an observation is used.
    """

    __slots__ = ("_life", "_most", "_paths")

    def __init__(self, most: int = MOST_PATHS, life: float = LIFE) -> None:
        self._most = most
        self._life = life
        self._paths: dict[PathName, SavedPath] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def record(self, name: PathName, cwnd: int, round_trip: float, now: float) -> None:
        """Save what a path carries, in place of what is known of it."""
        paths = self._paths
        paths.pop(name, None)
        paths[name] = SavedPath(cwnd, round_trip, now)
        if len(paths) > self._most:
            del paths[next(iter(paths))]

    def get(self, name: PathName, now: float) -> SavedPath | None:
        """Return what a path carried, or None if nothing recent is known."""
        saved = self._paths.get(name)
        if saved is not None and now - saved.saved_at > self._life:
            del self._paths[name]
            return None
        return saved

    def take(self, name: PathName, now: float) -> SavedPath | None:
        """Return what a path carried, and forget it, so that only one association starts with it.

        Two transfers that start at the same time would otherwise send twice what the path carried.
        """
        saved = self.get(name, now)
        self._paths.pop(name, None)
        return saved
