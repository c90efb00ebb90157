"""Links: everything that carries datagrams under ICE has one shape, and the selected link is handed up to the driver.

A link is one local socket or TURN allocation: `datachan.udp.UdpSocket`, `AsyncioLink` where the event loop cannot watch
sockets, or `TurnLink`. It does not know ICE, nor what the datagrams are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Protocol

from datachan.ice.copies import Copies
from datachan.ice.traffic import Traffic
from datachan.ice_agent.turn_messages import CHANNEL_HEADER
from datachan.udp import Address, PathLimits, Receiver

TransportAddress = tuple[str, int]


class DatagramLink(Protocol):
    """Carries datagrams between one local address and any remote one, unreliably, in batches.

    Attributes:
        local_address: our address; of a TURN allocation, the relayed address.
        on_writable: called when `writable` becomes True; to be set each time that the link is found not writable.
        on_error: called with the OSError because of which datagrams were discarded.
        on_too_long: called with a datagram that is too long for the first link of its path, and its address.
    """

    local_address: Address
    on_writable: Callable[[], None] | None
    on_error: Callable[[OSError], None] | None
    on_too_long: Callable[[bytes, Address | None], None] | None

    @property
    def writable(self) -> bool:
        """Whether the link accepts datagrams now; if not, keep them and wait for `on_writable`."""

    @property
    def closed(self) -> bool:
        """Whether `close` was called, or the link has failed."""

    @property
    def discarded(self) -> int:
        """The number of datagrams that could not be sent."""

    @property
    def discarded_bytes(self) -> int:
        """The number of bytes in them."""

    def set_receiver(self, receiver: Receiver | None) -> None:
        """Set the callback for each batch of datagrams and its source address."""

    def send(self, datagrams: Sequence[bytes], address: Address | None = None) -> None:
        """Send datagrams in order, equal-sized ones together where the system can do that.

        Args:
            datagrams: the datagrams.
            address: the remote address; None on a link that is connected to one.

        Raises:
            BufferError: the caller has queued too much although the link is not `writable`.
        """

    def limits(self, address: Address) -> PathLimits | None:
        """Return how long datagrams to an address may be; None where fragmentation cannot be prevented."""

    def allow_fragmentation(self, allowed: bool) -> None:
        """Choose whether datagrams sent from now on may be fragmented, or arrive whole or not at all."""

    def close(self) -> None:
        """Release the socket or the allocation."""


class SharedLink(DatagramLink, Protocol):
    """A link over a port that connections share, which finds ours by username fragments."""

    def add_fragment(self, username_fragment: str, password: str) -> None:
        """Be found by new credentials, too, for an ICE restart. Raises OSError if the fragment is in use."""

    def keep_fragments(self, fragments: Container[str]) -> None:
        """Be found by these of the fragments only."""


class SelectedLink:
    """A link and the address of the peer, as ICE has selected them: the driver sends here.

    Args:
        link: the link.
        address: the address of the peer.
        traffic: counts what is sent.

    Attributes:
        keep_whole: returns whether datagrams must not be fragmented now; None leaves it to the system.
        on_sending: called after datagrams were sent.
    """

    keep_whole: Callable[[], bool] | None = None
    on_sending: Callable[[], None] | None = None

    def __init__(self, link: DatagramLink, address: TransportAddress, traffic: Traffic) -> None:
        self._link = link
        self._address = address
        self._traffic = traffic
        self._kept_whole: bool | None = None
        self._on_writable: Callable[[], None] | None = None
        self._on_too_long: Callable[[bytes, Address | None], None] | None = None
        self._copies: Copies | None = None
        self._closed = False

    def send_datagrams(self, datagrams: Sequence[bytes]) -> None:
        """Send to the peer; after `close`, datagrams are lost, and counted."""
        if self._closed:
            self._traffic.discarded_on_send += len(datagrams)
            self._traffic.bytes_discarded_on_send += sum(map(len, datagrams))
            return
        if self.keep_whole is not None and (whole := self.keep_whole()) is not self._kept_whole:
            self._kept_whole = whole
            self._link.allow_fragmentation(not whole)
        self._link.send(datagrams, self._address)
        self._traffic.sent(datagrams)
        if self._copies is not None:
            self._copies.note(datagrams, time.monotonic())
        if self.on_sending is not None:
            self.on_sending()

    def keep_copies(self, wanted: bool) -> None:
        """Keep what is sent for a moment, for `copy_over`, or do so no longer."""
        if wanted is (self._copies is None):
            self._copies = Copies() if wanted else None

    def copy_over(self, link: DatagramLink, address: TransportAddress, unanswered: float) -> None:
        """Send copies over another path: of what was sent in the last `unanswered` seconds, and of what follows."""
        if self._copies is not None:
            self._copies.start(partial(self._send_copies, link, address), time.monotonic() - unanswered)

    def _send_copies(self, link: DatagramLink, address: TransportAddress, datagrams: Sequence[bytes]) -> None:
        """Send copies, which may be lost."""
        if not link.closed:
            with suppress(BufferError, OSError):
                link.send(datagrams, address)
                self._traffic.sent(datagrams)

    def stop_copies(self) -> None:
        """Send no copies any longer."""
        if self._copies is not None:
            self._copies.stop()

    @property
    def writable(self) -> bool:
        """Whether the link accepts datagrams now."""
        return not self._closed and self._link.writable

    @property
    def on_writable(self) -> Callable[[], None] | None:
        """Called when `writable` becomes True; to be set each time that the link is found not writable."""
        return self._link.on_writable

    @on_writable.setter
    def on_writable(self, callback: Callable[[], None] | None) -> None:
        if not self._closed:
            self._link.on_writable = self._on_writable = callback

    @property
    def on_too_long(self) -> Callable[[bytes, Address | None], None] | None:
        """Called with a datagram that is too long for the first link, and its address."""
        return self._link.on_too_long

    @on_too_long.setter
    def on_too_long(self, callback: Callable[[bytes, Address | None], None] | None) -> None:
        if not self._closed:
            self._link.on_too_long = self._on_too_long = callback

    @property
    def limits(self) -> PathLimits | None:
        """How long datagrams may be; None where they cannot be kept whole.

        They leave room for TURN's channel header. Data that was sent once cannot be cut again, and would be fragmented
        or lost if a restart of ICE leads over a relay.
        """
        limits = self._link.limits(self._address)
        return None if limits is None else replace(limits, max_datagram=limits.max_datagram - CHANNEL_HEADER)

    def close(self) -> None:
        """Send nothing more here; the socket stays open, and another path over it keeps its callbacks."""
        if not self._closed:
            if self._link.on_writable is self._on_writable:
                self._link.on_writable = None
            if self._link.on_too_long is self._on_too_long:
                self._link.on_too_long = None
            self._closed = True
            self.keep_whole = self.on_sending = self._on_writable = self._on_too_long = self._copies = None

    def is_same_path(self, other: SelectedLink) -> bool:
        """Return whether datagrams take the same path on another selected link."""
        return self._link is other._link and self._address == other._address
