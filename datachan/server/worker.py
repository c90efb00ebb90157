"""Worker: one of the processes behind a server's ports, and its share of the bounds; it starts and sends nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from datachan.ice.mux_neighbors import MuxNeighbors
from datachan.server.options import ChannelServerOptions


@dataclass(frozen=True, slots=True)
class Worker:
    """One process among those that share the ports of a server; `run_workers` makes them.

    Attributes:
        index: The number of this process, from 0. A process that replaces another has the same number.
        count: The number of processes.
        folder: Where the processes reach one another. Only this user may enter it.
    """

    index: int
    count: int
    folder: Path

    def neighbors(self) -> MuxNeighbors:
        """Return the processes that share the UDP port."""
        return MuxNeighbors(self.index, self.count, self.folder)

    def share(self, options: ChannelServerOptions) -> ChannelServerOptions:
        """Return this worker's share of the bounds that hold for the server. Each client may come to any worker."""

        def part(bound: int) -> int:
            return math.ceil(bound / self.count)

        return replace(
            options,
            max_connections=part(options.max_connections),
            max_connections_per_address=part(options.max_connections_per_address),
            max_connections_per_user=part(options.max_connections_per_user),
            max_connecting_per_address=part(options.max_connecting_per_address),
            offer_burst=max(1.0, options.offer_burst / self.count),
            offers_per_second=options.offers_per_second / self.count,
        )
