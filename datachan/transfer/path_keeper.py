"""Restarts ICE when a receiver's connection has lost its path, or gives the connection up; knows no file.

The receiver enters the room again, with the id that it had there, and offers new ICE credentials to the sender. The
channel and everything on its way stay. The certificates must stay the same: they are what the code has proved.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from datachan.log_rate import get_limited_logger
from datachan.peer import InvalidStateError, RTCPeerConnection
from datachan.signaling import RestartRefused, SignalingClient, SignalingError, restart_through

logger = get_limited_logger("datachan.transfer")

RESTART_TIMEOUT: Final = 20.0
"""Seconds without a path after which the connection is given up for a new one."""

_SENDER_MISSING: Final = 5.0
"""The same if the server can be reached and the sender is not in the room."""

_ATTEMPT: Final = 8.0
_PAUSE: Final = 0.5


async def keep_path(pc: RTCPeerConnection, client: SignalingClient, sender: str, session: str) -> None:
    """Look for a new path whenever there is none, and close the connection if that fails.

    Args:
        pc: The connection.
        client: The client that it was set up with; it has left the room.
        sender: The id of the sender in the room.
        session: The session of the call that has set the connection up.
    """
    changed = asyncio.Event()
    pc.on("connectionstatechange", changed.set)
    while pc.connectionState != "closed":
        await changed.wait()
        changed.clear()
        if pc.connectionState == "disconnected" and not await _found(pc, client, sender, session):
            await pc.close()


async def _found(pc: RTCPeerConnection, client: SignalingClient, sender: str, session: str) -> bool:
    """Return whether the connection has a path again, at the latest after `RESTART_TIMEOUT`."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(RESTART_TIMEOUT):
            while pc.connectionState == "disconnected":
                try:
                    async with client:
                        if sender not in client.peers and time.monotonic() - began > _SENDER_MISSING:
                            return False
                        await restart_through(client, pc, to=sender, session=session, timeout=_ATTEMPT)
                except (RestartRefused, InvalidStateError) as error:
                    logger.info("transfer: ICE is not restarted: %s", error)
                    return False
                except SignalingError as error:
                    logger.info("transfer: no path yet: %s", error)
                    await asyncio.sleep(_PAUSE)
    except TimeoutError:
        pass
    return pc.connectionState == "connected"
