"""Resolves host names for aiohttp in threads that end with the program, because the default executor's do not."""

from __future__ import annotations

import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from datachan.name_lookup import look_up


class HostResolver(AbstractResolver):
    """A resolver of aiohttp over `look_up`."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host. Raises OSError if there is none."""
        return [
            ResolveResult(
                hostname=host,
                host=_with_zone(address[0], address[3] if len(address) > 2 else 0),
                port=port,
                family=socket.AF_INET6 if ":" in address[0] else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in await look_up(host, family)
        ]

    async def close(self) -> None:
        """Do nothing: there is nothing to release."""


def _with_zone(host: str, scope_id: int) -> str:
    """Return a link-local address with its interface, without which the system cannot use it."""
    return f"{host}%{scope_id}" if scope_id and "%" not in host else host
