"""The road to the peer: ICE, then DTLS, SCTP and DCEP in one machine over it; it knows no offer, answer or event name.

`RTCPeerConnection` decides when to gather, connect and close; this does it, and reports through `TransportCallbacks`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from datachan.dcep.channels import DataChannels
from datachan.driver import Driver
from datachan.dtls.certificate import Certificate
from datachan.dtls.connection import DtlsState
from datachan.ice import IceError, IceState, IceTransport
from datachan.sctp.options import AssociationOptions, data_channel_options
from datachan.sdp import IceCandidate, LocalData, Section, TransportParameters
from datachan.stack import Stack, StackClosed

from .configuration import RTCConfiguration, RTCIceTransportPolicy

_log = logging.getLogger("datachan.peer")

# The largest UDP payload: IPv6's least MTU minus IPv6, UDP and TURN's channel header, 1280 - 40 - 8 - 4.
MTU: Final = 1228
_CLOSE_POLL: Final = 0.25


@dataclass(frozen=True, kw_only=True)
class TransportCallbacks:
    """Who is told what happens on the road.

    Attributes:
        ice_state_changed: ICE found, lost or gave up a path.
        local_candidate: a candidate of ours is known; None: there are no more.
        stack_event: DTLS, SCTP or a channel has something to say.
        failed: no connection was made, or it is gone; the reason is a sentence.
    """

    ice_state_changed: Callable[[IceState], None]
    local_candidate: Callable[[IceCandidate | None], None]
    stack_event: Callable[[object], None]
    failed: Callable[[str], None]


class PeerTransports:
    """The one transport of a peer connection.

    Args:
        configuration: servers, policy and limits.
        certificate: who we are.
        channels: the data channels; they exist before the association does.
        callbacks: who is told.
    """

    def __init__(
        self,
        configuration: RTCConfiguration,
        certificate: Certificate,
        channels: DataChannels,
        callbacks: TransportCallbacks,
    ) -> None:
        self._configuration = configuration
        self._certificate = certificate
        self._channels = channels
        self._callbacks = callbacks
        self._tls_id = os.urandom(16).hex()
        self._gathering = False
        self._connecting: asyncio.Task[None] | None = None
        self._driver: Driver[object] | None = None
        self._stack_closed = asyncio.Event()
        self._remote: Section | None = None
        self.stack: Stack | None = None
        self.is_dtls_client: bool | None = None
        self.ice = IceTransport(
            controlling=True,
            servers=[server.to_ice() for server in configuration.iceServers or ()],
            relay_only=configuration.iceTransportPolicy is RTCIceTransportPolicy.RELAY,
            host_addresses=configuration.hostAddresses,
            patience=configuration.iceTimeout,
        )
        self.ice.on_state_change = callbacks.ice_state_changed
        self.ice.on_local_candidate = callbacks.local_candidate

    # -- before the connection ----------------------------------------------------------------------------------

    def local_data(self) -> LocalData:
        """What the description says about us."""
        transport = TransportParameters(
            ice_ufrag=self.ice.username_fragment,
            ice_pwd=self.ice.password,
            fingerprints=(self._certificate.fingerprint("sha-256"),),
            setup="actpass",
            tls_id=self._tls_id,
        )
        return LocalData(transport=transport, max_message_size=self._configuration.maxMessageSize)

    async def gather(self) -> None:
        """Find our candidates. To cancel the wait does not cancel the search: the description is set already."""
        self._gathering = True
        try:
            await self.ice.gather()
        except (IceError, OSError) as error:
            self._callbacks.failed(f"no candidates could be gathered: {error}")

    @property
    def gathered(self) -> bool:
        """Whether all our candidates are known."""
        return self.ice.gathered

    def add_remote_candidates(self, candidates: Sequence[IceCandidate], *, complete: bool) -> None:
        """Try these addresses of the peer, too."""
        for candidate in candidates:
            if candidate.usable:
                self.ice.add_remote_candidate(candidate)
        if complete:
            self.ice.add_remote_candidate(None)

    # -- the connection -----------------------------------------------------------------------------------------

    @property
    def started(self) -> bool:
        """Whether `connect` was called."""
        return self._connecting is not None

    @property
    def gathering_state(self) -> str:
        """W3C's RTCIceGatheringState."""
        return "complete" if self.gathered else "gathering" if self._gathering else "new"

    @property
    def setup(self) -> str | None:
        """Our DTLS role as a=setup has it; None until there is one."""
        if self.is_dtls_client is None:
            return None
        return "active" if self.is_dtls_client else "passive"

    @property
    def dtls_connected(self) -> bool:
        """Whether the peer has proven who it is."""
        return self.stack is not None and self.stack.dtls.state is DtlsState.CONNECTED

    @property
    def remote(self) -> Section | None:
        """The peer's data section the connection was made with."""
        return self._remote

    def connect(self, remote: Section, *, controlling: bool, is_dtls_client: bool) -> None:
        """Start connecting to the one who wrote the section."""
        self._remote = remote
        self.is_dtls_client = is_dtls_client
        self.ice.set_controlling(controlling)
        self._connecting = asyncio.create_task(self._connect(remote, is_dtls_client))
        self._connecting.add_done_callback(self._connect_done)

    def update_remote(self, remote: Section) -> None:
        """The peer described itself anew without a new transport; its limits may have changed."""
        self._remote = remote

    @property
    def max_message_size(self) -> float:
        """Longest message that may be sent: the smaller of what both sides announce, in bytes."""
        theirs = self._remote.max_message_size if self._remote is not None else 65536
        limits = [limit for limit in (theirs, self._configuration.maxMessageSize) if limit > 0]
        return min(limits, default=float("inf"))

    @property
    def running(self) -> bool:
        """Whether DTLS, SCTP and the channels are being driven."""
        return self._driver is not None and not self._stack_closed.is_set()

    def wake(self) -> None:
        """The channels were called directly: look after what they want to send and say."""
        if self._driver is not None:
            self._driver.wake()

    # -- the end ------------------------------------------------------------------------------------------------

    async def close(self, hurry: asyncio.Event) -> None:
        """Deliver what was sent, take leave, and let go of everything.

        Waits as long as something is acknowledged at least every `RTCConfiguration.closeTimeout` seconds.

        Args:
            hurry: once set, there is no more waiting.
        """
        if self._connecting is not None and not self._connecting.done():
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self.stack is not None and self._driver is not None and not self._stack_closed.is_set():
            self.stack.close(self._now())
            self._driver.flush()
            if not await self._delivered(hurry):
                self.stack.abort(self._now(), "the application closed the connection")
                self._driver.flush()
        await self._release()

    def abandon(self) -> None:
        """Stop at once; `close` is still to be called."""
        if self._driver is not None:
            self._driver.close()
        self._stack_closed.set()

    # -- private ------------------------------------------------------------------------------------------------

    async def _connect(self, remote: Section, is_dtls_client: bool) -> None:
        transport = remote.transport
        if transport is None:
            return
        try:
            self.ice.set_remote(transport.ice_ufrag, transport.ice_pwd, lite=transport.ice_lite)
            await self.ice.start()
        except (IceError, OSError) as error:
            self._callbacks.failed(str(error) or "no path to the peer was found")
            return
        self.stack = Stack(
            certificate=self._certificate,
            is_dtls_client=is_dtls_client,
            remote_fingerprints=transport.fingerprints,
            channels=self._channels,
            sctp_options=self._sctp_options(remote),
            entropy=os.urandom,
            now=self._now(),
            mtu=MTU,
        )
        # The peer may have been ready first: what it sent meanwhile comes in as soon as there is a driver.
        self.stack.start(self._now())
        self._driver = Driver(self.stack, self.ice, self._stack_event)

    def _connect_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("connecting failed unexpectedly", exc_info=error)
            self._callbacks.failed(f"internal error: {error!r}")

    def _sctp_options(self, remote: Section) -> AssociationOptions:
        return data_channel_options(
            remote_port=remote.sctp_port or 5000,
            max_message_size=self._configuration.maxMessageSize,
            congestion_control=self._configuration.congestionControl,
        )

    def _stack_event(self, event: object) -> None:
        if isinstance(event, StackClosed):
            self._stack_closed.set()
        self._callbacks.stack_event(event)

    async def _delivered(self, hurry: asyncio.Event) -> bool:
        """Wait for the graceful end; False when it does not come."""
        loop = asyncio.get_running_loop()
        closed = asyncio.ensure_future(self._stack_closed.wait())
        hurried = asyncio.ensure_future(hurry.wait())
        least, deadline = self._undelivered(), loop.time() + self._configuration.closeTimeout
        try:
            while not closed.done() and not hurried.done():
                await asyncio.wait((closed, hurried), timeout=_CLOSE_POLL, return_when=asyncio.FIRST_COMPLETED)
                if (left := self._undelivered()) < least:
                    least, deadline = left, loop.time() + self._configuration.closeTimeout
                elif loop.time() >= deadline:
                    break
            return closed.done()
        finally:
            closed.cancel()
            hurried.cancel()
            await asyncio.gather(closed, hurried, return_exceptions=True)

    def _undelivered(self) -> int:
        association = self.stack.association if self.stack is not None else None
        in_flight = 0 if association is None else association.stats().flight_size
        return in_flight + sum(channel.buffered_amount for channel in self._channels.channels)

    async def _release(self) -> None:
        if self._driver is not None:
            self._driver.close()
        self._stack_closed.set()
        await self.ice.close()
        self.ice.on_state_change = None
        self.ice.on_local_candidate = None

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
