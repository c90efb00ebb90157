"""Notices that addresses of this host appear or vanish; it does not know who asks, nor what follows.

Linux reports changes (rtnetlink). Elsewhere the addresses are read again every two seconds. All watchers of an event
loop share one socket or timer.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import Final
from weakref import WeakKeyDictionary

from datachan.ice.interfaces import host_addresses
from datachan.ice.rtnetlink import change_notices, drain
from datachan.udp import has_reader_support

# Seconds between two looks where the system reports no changes.
POLL_INTERVAL: Final = 2.0
# One change makes several notices; they are taken together, in seconds.
_SETTLE: Final = 0.02

OnChange = Callable[[frozenset[str], frozenset[str]], None]


class AddressWatch:
    """A watcher of the addresses of this host, from `watch_addresses` until `close`."""

    def __init__(self, source: _Source, on_change: OnChange) -> None:
        self._source = source
        self.on_change = on_change

    def close(self) -> None:
        """Stop watching; a second call is harmless."""
        self._source.remove(self)


def watch_addresses(on_change: OnChange) -> AddressWatch:
    """Call back when addresses of interfaces that have a carrier appear or vanish.

    Args:
        on_change: called with the addresses that have appeared, and those that have vanished, in the form of
            `InterfaceAddress.address`.
    """
    loop = asyncio.get_running_loop()
    source = _sources.get(loop)
    if source is None:
        source = _sources[loop] = _Source(loop)
    watch = AddressWatch(source, on_change)
    source.add(watch)
    return watch


class _Source:
    """Reads the addresses of the host when they may have changed, for all watchers of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watches: list[AddressWatch] = []
        self._known: frozenset[str] = frozenset()
        self._notices: socket.socket | None = None
        self._timer: asyncio.TimerHandle | None = None

    def add(self, watch: AddressWatch) -> None:
        """Add a watcher; the first one starts the source."""
        if not self._watches:
            self._start()  # before the first look, so that no change between the two is missed
            self._known = _present()
        self._watches.append(watch)

    def remove(self, watch: AddressWatch) -> None:
        """Remove a watcher; the last one stops the source."""
        if watch in self._watches:
            self._watches.remove(watch)
            if not self._watches:
                self._stop()

    def _start(self) -> None:
        if sys.platform == "linux" and has_reader_support(self._loop):
            try:
                self._notices = change_notices()
            except OSError:  # a sandbox may forbid netlink sockets
                self._notices = None
        if self._notices is not None:
            self._loop.add_reader(self._notices.fileno(), self._noticed)
        else:
            self._timer = self._loop.call_later(POLL_INTERVAL, self._look)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._notices is not None:
            self._loop.remove_reader(self._notices.fileno())
            self._notices.close()
            self._notices = None

    def _noticed(self) -> None:
        if self._notices is not None:
            drain(self._notices)
        if self._timer is None:
            self._timer = self._loop.call_later(_SETTLE, self._look)

    def _look(self) -> None:
        self._timer = None
        known, self._known = self._known, _present()
        if self._notices is None:
            self._timer = self._loop.call_later(POLL_INTERVAL, self._look)
        appeared, vanished = self._known - known, known - self._known
        if appeared or vanished:
            for watch in self._watches[:]:
                if watch in self._watches:
                    watch.on_change(appeared, vanished)


_sources: WeakKeyDictionary[asyncio.AbstractEventLoop, _Source] = WeakKeyDictionary()


def _present() -> frozenset[str]:
    """Return the addresses that can be bound to, of interfaces with a carrier."""
    return frozenset(one.address for one in host_addresses() if one.running and not one.tentative)
