"""Tells systemd how a service is doing: that it is ready, or stops (sd_notify); knows nothing of the service."""

from __future__ import annotations

import os
import socket

from datachan.log_rate import get_limited_logger

logger = get_limited_logger("datachan.serve")


def notify(state: str) -> None:
    """Send a state to the service manager that has started this process; do nothing if there is none.

    Args:
        state: What sd_notify(3) defines, such as "READY=1" or "STOPPING=1".
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")) or not hasattr(socket, "AF_UNIX"):
        return
    if address.startswith("@"):  # the abstract namespace of Linux
        address = f"\0{address[1:]}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.connect(address)
            sock.send(state.encode())
    except OSError as error:
        logger.warning("the service manager could not be told %s: %s", state, error)
