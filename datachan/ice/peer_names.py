"""The mDNS names in the peer's candidates: resolves each in a task of its own; it does not use the candidates."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext

from datachan.callbacks import ignore
from datachan.ice.resolver import MdnsResolver, shared_resolver
from datachan.sdp import IceCandidate


class PeerNames:
    """Resolves names until `cancel`.

    Args:
        resolver: resolves the names; None uses one that all transports of the event loop share.
        on_address: called with each candidate whose name was resolved, and its address.
    """

    def __init__(self, resolver: MdnsResolver | None, on_address: Callable[[IceCandidate, str], None]) -> None:
        self._given = resolver
        self._on_address = on_address
        self._resolver: MdnsResolver | None = None
        self._resolving: dict[str, asyncio.Task[None]] = {}

    def resolve(self, candidate: IceCandidate) -> None:
        """Resolve the name of a candidate. Needs a running event loop."""
        task = asyncio.get_running_loop().create_task(self._resolve(candidate))
        key = _key(candidate)
        if key in self._resolving:
            self._resolving[key].cancel()
        self._resolving[key] = task

    async def _resolve(self, candidate: IceCandidate) -> None:
        async with shared_resolver() if self._given is None else nullcontext(self._given) as self._resolver:
            address = await self._resolver.resolve(candidate.address)
        self._resolving.pop(_key(candidate), None)
        if address is not None:
            self._on_address(candidate, address)

    def query_again(self) -> None:
        """Ask for unresolved names now, because the peer may answer for them from now on."""
        if self._resolver is not None and self._resolving:
            self._resolver.query_again()

    @property
    def unresolved(self) -> list[str]:
        """The names that are not resolved yet, in order."""
        return sorted({key.split(" ")[0] for key in self._resolving})

    def cancel(self) -> None:
        """Give up the names that are not resolved."""
        for task in self._resolving.values():
            task.cancel()

    async def close(self) -> None:
        """Give up, wait for the tasks, and release the callback."""
        self.cancel()
        self._on_address = ignore
        await asyncio.gather(*self._resolving.values(), return_exceptions=True)
        self._resolving.clear()


def _key(candidate: IceCandidate) -> str:
    return f"{candidate.address} {candidate.port}"
