"""Looks up host names in threads that end with the program: a resolver that hangs does not keep the program alive."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

from datachan.udp import Address as SystemAddress


async def look_up(host: str, family: int) -> list[SystemAddress]:
    """Return the addresses of a host in the form of the system.

    asyncio's own getaddrinfo uses the default executor, whose threads `asyncio.run` waits for at its end.

    Args:
        host: the name.
        family: the address family, or `socket.AF_UNSPEC` for all.

    Raises:
        OSError: the name has no address.
        UnicodeError: the name cannot be encoded.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[list[SystemAddress]] = loop.create_future()

    def settle(found: list[SystemAddress], error: Exception | None) -> None:
        if result.done():  # the caller was canceled
            return
        if error is None:
            result.set_result(found)
        else:
            result.set_exception(error)

    def resolve() -> None:
        found: list[SystemAddress] = []
        problem: Exception | None = None
        try:
            found = [entry[4] for entry in socket.getaddrinfo(host, None, family=family, type=socket.SOCK_DGRAM)]
        except (OSError, UnicodeError) as error:
            problem = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: no caller waits any more
            loop.call_soon_threadsafe(settle, found, problem)

    threading.Thread(target=resolve, name=f"look up {host}", daemon=True).start()
    return await result
