"""What the path of a connection carried is kept for the next connection, over real sockets on this machine."""

from __future__ import annotations

import time

from datachan.sctp import PathHistory
from tests.pairs import Pair, configuration, pair, soon

NAME = ("127.0.0.1", "127.0.0.1")
MESSAGES = 64
SIZE = 65_536
INITIAL_WINDOW = 20_000


async def transfer(p: Pair) -> None:
    """Send four megabytes from a to z."""
    for _ in range(MESSAGES):
        p.a_channel.send(bytes(SIZE))
    for _ in range(MESSAGES):
        assert len(await soon(anext(p.z_channel))) == SIZE


async def test_a_transfer_is_recorded_under_the_addresses_of_its_path() -> None:
    """What starts with it is a test of the network's simulator: paths as short as this one do not jump."""
    history = PathHistory()
    settings = configuration(pathHistory=None)
    async with pair(a_configuration=configuration(pathHistory=history), z_configuration=settings) as p:
        await transfer(p)
    saved = history.get(NAME, time.monotonic())
    assert saved is not None
    assert saved.cwnd > INITIAL_WINDOW
    assert 0 < saved.round_trip < 1
    assert len(history) == 1
