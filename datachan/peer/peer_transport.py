"""The transport to the peer: ICE, and over it DTLS, SCTP and DCEP as one machine; it knows no offers or event names.

`RTCPeerConnection` decides when to gather, connect and close. This module does so and reports by `TransportCallbacks`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from datachan.callbacks import ignore
from datachan.dcep import DataChannels
from datachan.dcep.channel_events import ChannelEvent
from datachan.driver import Driver
from datachan.dtls.certificate import Certificate
from datachan.dtls.connection import DtlsConnected, DtlsState
from datachan.ice import IceError, IceServerError, IceState, IceTransport, PathLimits, SelectedLink
from datachan.ice_agent import AgentOptions
from datachan.log_rate import get_limited_logger
from datachan.sctp import AssociationOptions, PathName, data_channel_options
from datachan.sdp import IceCandidate, LocalData, Section, TransportParameters
from datachan.stack import SessionInits, Stack, StackClosed, StackConnected
from datachan.trace import Tap, open_tap

from .configuration import RTCConfiguration, RTCIceTransportPolicy, network_options
from .connection_end import ConnectionEnd
from .early_link import EarlyLink
from .errors import ArgumentError
from .hello_repetition import HelloRepetition
from .transport_changes import TransportChanges, transport_changes

_log = get_limited_logger("datachan.peer")

# The largest UDP payload: IPv6's least MTU minus IPv6, UDP and TURN's channel header, 1280 - 40 - 8 - 4.
MTU: Final = 1228
# With this and the attributes of a check, a handshake datagram makes a check of at most `MTU` bytes.
_EMBEDDED_MTU: Final = 1050
_NO_LIMITS: Final = PathLimits(0, 28)  # a path without path MTU discovery
SCTP_PORT: Final = 5000
# The states in which the peer cannot be told of the end.
_WITHOUT_PATH: Final = (IceState.DISCONNECTED, IceState.FAILED, IceState.CLOSED)


@dataclass(frozen=True, kw_only=True)
class TransportCallbacks:
    """The callbacks of a `PeerTransport`.

    Attributes:
        on_ice_state_change: called when `PeerTransport.ice_state` may have changed.
        on_local_candidate: called with our username fragment and each of our candidates, and None after the last one.
        on_server_error: called with each failure of a STUN or TURN server.
        on_selected_pair_change: called when ICE has selected a pair, or another one.
        on_restart_needed: called when only an ICE restart may find another path.
        on_stack_start: called when the DTLS handshake starts.
        on_stack_event: called with each event of DTLS and SCTP.
        on_channel_event: called with each event of a channel.
        on_failure: called with the reason, as a sentence, when an internal error has ended the connection.
    """

    on_ice_state_change: Callable[[], None]
    on_local_candidate: Callable[[str, IceCandidate | None], None]
    on_server_error: Callable[[IceServerError], None]
    on_selected_pair_change: Callable[[], None]
    on_restart_needed: Callable[[], None]
    on_stack_start: Callable[[], None]
    on_stack_event: Callable[[object], None]
    on_channel_event: Callable[[ChannelEvent], None]
    on_failure: Callable[[str], None]


# The longest time, in seconds, that the answerer on a shared port waits for the peer's first check. Checks of its own
# arrive before the answer does, and are lost. pion then nominates no pair for 200 ms: no check follows its success.
_PEER_FIRST: Final = 0.2


_NO_CALLBACKS: Final = TransportCallbacks(
    on_ice_state_change=ignore,
    on_local_candidate=ignore,
    on_server_error=ignore,
    on_selected_pair_change=ignore,
    on_restart_needed=ignore,
    on_stack_start=ignore,
    on_stack_event=ignore,
    on_channel_event=ignore,
    on_failure=ignore,
)


class PeerTransport:
    """The only transport of a peer connection.

    Args:
        configuration: servers, policy and limits.
        certificate: our certificate.
        channels: the data channels, which exist before the association.
        callbacks: the callbacks for candidates, states and events.

    Attributes:
        max_message_size: the longest message that may be sent, in bytes: the smaller of both sides' limits.
        selected_pair_changes: how often ICE has selected a pair.
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
        self.max_message_size = self._longest(65536)
        self.selected_pair_changes = 0
        self._tls_id = os.urandom(16).hex()
        self._next_tls_id: str | None = None
        self._tap = self._open_tap()
        self._connecting: asyncio.Task[None] | None = None
        self._driver: Driver[bytes, object] | None = None
        self._early_link: EarlyLink | None = None
        self._hello: HelloRepetition | None = None
        self._ending = ConnectionEnd()
        self._remote: Section | None = None
        self._local_init: bytes | None = None
        self._inits: SessionInits | None = None
        self.stack: Stack | None = None
        self.is_dtls_client: bool | None = None
        self.ice = self._make_ice()
        # Of an ICE restart: the transport of a description to be agreed upon, and the one that looks for a path.
        self._prepared_ice: IceTransport | None = None
        self._next_ice: IceTransport | None = None
        self._has_restarted = False
        self._restarting: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    # -- before the connection -----------------------------------------------------------------------------------------

    def local_data(self) -> LocalData:
        """Return our side of the data section."""
        transport = TransportParameters(
            ice_ufrag=self._negotiated_ice.username_fragment,
            ice_pwd=self._negotiated_ice.password,
            fingerprints=(self._certificate.fingerprint("sha-256"),),
            setup="actpass",
            ice_lite=self._configuration.iceLite,
            sped=self._configuration.sped,
            tls_id=self._next_tls_id or self._tls_id,
        )
        return LocalData(
            transport=transport, max_message_size=self._configuration.maxMessageSize, sctp_init=self._shown_init()
        )

    def _shown_init(self) -> bytes | None:
        """Return our INIT if the association may still be set up with it, or was set up with it."""
        # draft-hancke-tsvwg-snap: "Attempting to add an sctp-init attribute to an existing SCTP association results in
        # an error."
        if not self._configuration.snap or (self.started and self._inits is None):
            return None
        if self._local_init is None:
            self._local_init = SessionInits.make(self._sctp_options(SCTP_PORT), os.urandom)
        return self._local_init

    async def gather(self) -> None:
        """Begin to gather our candidates, and wait for the host candidates; for all if the configuration says so.

        Canceling the call does not stop gathering, as the description is already set.
        """
        ice = self._negotiated_ice
        with suppress(IceError, OSError):  # the state of ICE is FAILED then, with the reason
            await (ice.gather() if self._configuration.waitForCandidates else ice.gather_hosts())

    @property
    def gathered(self) -> bool:
        """Whether all our candidates are gathered."""
        return self._negotiated_ice.gathered

    def local_candidates(self, ufrag: str) -> tuple[list[IceCandidate], bool]:
        """Return our candidates of an ICE generation so far, and whether gathering is complete."""
        ice = next((ice for ice in self._generations if ice.username_fragment == ufrag), self.ice)
        return ice.local_candidates, ice.gathered

    def add_remote_candidates(self, ufrag: str, candidates: Sequence[IceCandidate], *, complete: bool) -> None:
        """Add candidates of the peer, and the end of its candidates if `complete`, to the ICE generation `ufrag`."""
        for ice in self._generations:
            if ice.remote_username_fragment != ufrag:
                continue
            for candidate in candidates:
                if candidate.usable:
                    ice.add_remote_candidate(candidate)
            if complete:
                ice.add_remote_candidate(None)

    # -- the connection ------------------------------------------------------------------------------------------------

    @property
    def started(self) -> bool:
        """Whether `connect` was called."""
        return self._connecting is not None

    @property
    def gathering_state(self) -> str:
        """The state of gathering: W3C's RTCIceGatheringState."""
        return self._negotiated_ice.gathering_state

    @property
    def setup(self) -> str | None:
        """Our DTLS role as a value of a=setup; None while it is open, also in a new DTLS association."""
        if self.is_dtls_client is None or self._next_tls_id is not None:
            return None
        return "active" if self.is_dtls_client else "passive"

    @property
    def dtls_connected(self) -> bool:
        """Whether DTLS is connected, so that the peer is authenticated."""
        return self.stack is not None and self.stack.dtls.state is DtlsState.CONNECTED

    @property
    def remote(self) -> Section | None:
        """The peer's latest data section."""
        return self._remote

    def connect(self, local: TransportParameters, remote: Section, *, controlling: bool, is_dtls_client: bool) -> None:
        """Start connecting to the peer with these data sections."""
        self._set_remote(remote)
        unused = self.ice
        if self._prepared_ice is not None and self.is_prepared(local):
            self.ice, self._prepared_ice = self._prepared_ice, None
        self.cancel_restart()
        if self._local_init is not None and remote.sctp_init:
            self._inits = SessionInits(self._local_init, remote.sctp_init)
        self.is_dtls_client = is_dtls_client
        self.ice.set_controlling(controlling)
        if self._configuration.sped and remote.transport is not None:
            self._early_link = early_link = EarlyLink(self.ice.embed)
            self._run_stack(self._make_stack(remote, remote.transport, _NO_LIMITS), early_link)
        self._ending.begin()
        self._connecting = self._start_ice(self.ice, remote, at_once=True, forget_old=True)
        if unused is not self.ice:
            self._leave(unused)

    def update_remote(self, remote: Section) -> None:
        """Apply the peer's new data section, which has the same transport but may have other limits."""
        self._set_remote(remote)

    def _set_remote(self, remote: Section) -> None:
        self._remote = remote
        self.max_message_size = self._longest(remote.max_message_size)

    def _longest(self, theirs: int) -> float:
        limits = [limit for limit in (theirs, self._configuration.maxMessageSize) if limit > 0]
        return min(limits, default=float("inf"))

    @property
    def running(self) -> bool:
        """Whether a driver runs DTLS, SCTP and the channels."""
        return self._driver is not None and not self._ending.closed

    def wake(self) -> None:
        """Have the driver send the channels' packets and deliver their events, after a call on the channels."""
        if self._driver is not None:
            self._driver.wake()

    def send_now(self) -> bool:
        """Send queued messages; return False if no driver runs."""
        if self._driver is None or self._ending.closed:
            return False
        self._driver.send_now()
        return True

    # -- a new path ----------------------------------------------------------------------------------------------------

    def is_prepared(self, local: TransportParameters) -> bool:
        """Return whether these are the new ICE credentials that `prepare_restart` has created."""
        return self._prepared_ice is not None and self._prepared_ice.username_fragment == local.ice_ufrag

    def has_lost(self, fragments: frozenset[str]) -> bool:
        """Return whether none of our descriptions' ICE generations is left, because a restart has found no path."""
        return self.started and not any(ice.username_fragment in fragments for ice in self._generations)

    def changes(self, remote: Section) -> TransportChanges:
        """Return what the peer's new data section changes."""
        certificate = None if self.stack is None else self.stack.dtls.remote_certificate_der
        return transport_changes(self._remote, remote, certificate)

    def prepare_restart(self, *, new_dtls: bool = False) -> None:
        """Create new ICE credentials for the next description; the current path stays in use.

        Args:
            new_dtls: whether the peer's offer requests a new DTLS association, which our answer has to identify.
        """
        self._next_tls_id = os.urandom(16).hex() if new_dtls else None
        if self._prepared_ice is None:
            self._prepared_ice = self._make_ice(restarts=self.ice)

    @property
    def ice_state(self) -> IceState:
        """The state of ICE. During a restart, it is the one that W3C defines for the restart."""
        state = self.ice.state
        if state is IceState.NEW and self._has_restarted:
            return IceState.CHECKING  # after a failure, the new transport has just taken the place of the old one
        if self._next_ice is None:
            return state
        # W3C WebRTC, 5.6.4: a restart that begins in "completed" leads to "connected", and one that begins in
        # "disconnected" to "checking". The path before the restart stays in use meanwhile.
        if state is IceState.COMPLETED:
            return IceState.CONNECTED
        return IceState.CHECKING if state in {IceState.DISCONNECTED, IceState.FAILED} else state

    def cancel_restart(self) -> None:
        """Discard an ICE restart whose negotiation is not complete."""
        self._next_tls_id = None
        if self._prepared_ice is not None:
            self._leave(self._prepared_ice)
            self._prepared_ice = None

    def roll_back(self) -> None:
        """Discard the additions of the pending offer: an ICE restart, or candidates of an unstarted connection."""
        self.cancel_restart()
        if not self.started and self.gathering_state != "new":
            self._leave(self.ice)
            self.ice = self._make_ice()

    def restart(self, remote: Section, *, new_dtls_client: bool | None = None) -> None:
        """Look for the new path, after both descriptions are set, and use it when it is found.

        Args:
            remote: the peer's data section.
            new_dtls_client: our role in a new DTLS association, which ends the one before at once. None continues it.
        """
        ice = self._prepared_ice
        if ice is None:
            return
        if new_dtls_client is not None:
            self._end_stack()
            self.is_dtls_client = new_dtls_client
            self._tls_id = self._next_tls_id or self._tls_id
        self._next_tls_id = None
        self._set_remote(remote)
        self._drop_next()
        self._prepared_ice, self._next_ice = None, ice
        # If both sides take the controlling role, RFC 8445, 7.3.1.1 resolves the conflict.
        ice.set_controlling(self.ice.is_controlling)
        if self.ice.state is IceState.FAILED or new_dtls_client is not None:
            new_dtls = new_dtls_client is not None
            self._connecting = self._start_ice(ice, remote, at_once=True, forget_old=new_dtls)
            self._take_next(ice)
        else:
            self._restarting = self._start_ice(ice, remote)
        self._callbacks.on_ice_state_change()

    def replace_association(self) -> None:
        """Set up another SCTP association with the peer's new port."""
        self._local_init = self._inits = None
        if self.stack is not None and self._driver is not None and self._remote is not None:
            self.stack.replace_association(self._now(), local_port=SCTP_PORT, remote_port=self._remote.sctp_port)
            self._driver.wake()

    # -- the end -------------------------------------------------------------------------------------------------------

    async def close(self, hurry: asyncio.Event) -> None:
        """Deliver queued messages, end the connection, and release everything.

        The call waits as long as a message is acknowledged at least every `RTCConfiguration.closeTimeout` seconds. It
        does not wait if there is no path to the peer.

        Args:
            hurry: an event that ends the wait.
        """
        try:
            delivered = await self._end(hurry)
        except asyncio.CancelledError:  # asyncio.run cancels every task at the end of a program: still tell the peer
            delivered = False
        if not delivered and self.stack is not None and self._driver is not None and not self._ending.closed:
            self.stack.abort(self._now(), self.ice.failure or "the application closed the connection")
            self._driver.flush()
        await self._release()

    def disown(self) -> None:
        """Report nothing any longer; the caller still has to call `close`."""
        self._callbacks = _NO_CALLBACKS
        for ice in self._generations:
            ice.on_local_candidate = ice.on_server_error = None

    def abandon(self) -> None:
        """Stop the driver at once; the caller still has to call `close`."""
        if self._driver is not None:
            self._driver.close()
        self._ending.note_closed()

    # -- private -------------------------------------------------------------------------------------------------------

    @property
    def _negotiated_ice(self) -> IceTransport:
        """The ICE transport that the pending or latest descriptions negotiate."""
        return self._prepared_ice or self._next_ice or self.ice

    @property
    def _generations(self) -> list[IceTransport]:
        return [ice for ice in (self._prepared_ice, self._next_ice, self.ice) if ice is not None]

    def _open_tap(self) -> Tap | None:
        try:
            tap = open_tap(self._configuration.trace, f"RTCPeerConnection {self._tls_id[:8]}")
        except OSError as error:
            raise ArgumentError(f"no capture can be written: {error}") from None
        if tap is not None:
            tap.wait_for_addresses()
        return tap

    def _locate_tap(self) -> None:
        """Set the addresses of the selected pair in the capture."""
        pair = self.ice.selected_pair
        if self._tap is not None and pair is not None:
            local, remote = pair.local, pair.remote
            self._tap.set_addresses((local.address, local.port), (remote.address, remote.port))

    def _make_ice(self, *, restarts: IceTransport | None = None) -> IceTransport:
        configuration = self._configuration
        ice = IceTransport(
            controlling=True,
            servers=[server.to_ice() for server in configuration.iceServers or ()],
            relay_only=configuration.iceTransportPolicy is RTCIceTransportPolicy.RELAY,
            host_addresses=configuration.hostAddresses,
            ports=configuration.portRange,
            network=network_options(configuration),
            agent_options=AgentOptions(
                lite=configuration.iceLite,
                embeds=configuration.sped and not self.started,
                peer_first=0.0 if configuration.udpMux is None else _PEER_FIRST,
            ),
            patience=configuration.iceTimeout,
            restarts=restarts,
        )
        ice.on_local_candidate = partial(self._callbacks.on_local_candidate, ice.username_fragment)
        ice.on_state_change = lambda state: self._ice_changed(state) if ice is self.ice else None
        ice.on_server_error = self._callbacks.on_server_error
        ice.on_selected_pair_change = lambda pair: (
            self._path_changed(lost=pair.replaces_silent) if ice is self.ice else None
        )
        ice.on_restart_needed = lambda: self._callbacks.on_restart_needed() if ice is self.ice else None
        ice.on_peer_alive = lambda: self._peer_alive() if ice is self.ice else None
        return ice

    def _peer_alive(self) -> None:
        """Let SCTP retransmit at once the data that waits for a timer because of an outage."""
        if self.stack is not None and self._driver is not None:
            self.stack.path_alive(self._driver.now)
            self._driver.wake()

    def _ice_changed(self, state: IceState) -> None:
        """Have the stack start, pause or continue with the path, and report the state."""
        if self.stack is not None and self._driver is not None:
            if state is IceState.FAILED:
                self.stack.path_lost(self._now())
            elif state is IceState.DISCONNECTED:
                self.stack.path_silent(self._now())
            elif state is IceState.CONNECTED:
                self.stack.path_alive(self._now())
                self._driver.wake()
        self._callbacks.on_ice_state_change()
        if self.stack is None and state is IceState.CONNECTED:
            self._start_stack()

    def _path_changed(self, *, lost: bool = False, same: bool = False) -> None:
        """Send over the link that ICE has selected, and have SCTP measure its path.

        Args:
            lost: whether the path before was silent.
            same: whether datagrams take the same path as before, so that SCTP has nothing new to measure.
        """
        self.selected_pair_changes += 1
        self._callbacks.on_selected_pair_change()
        self._locate_tap()
        link = self.ice.link
        if link is not None and self.stack is not None and self._driver is not None:
            limits = link.limits or _NO_LIMITS
            if not same:
                self.stack.path_changed(
                    self._driver.now, limits.max_datagram, limits.overhead, lost=lost, name=self._path_name()
                )
            self._prepare_link(link, self.stack)
            self._leave_early_link(link)
            self._driver.use(link)

    def _leave_early_link(self, link: SelectedLink) -> None:
        """Send over the first path what the checks have carried so far, in case the peer has ignored it."""
        if self._early_link is not None:
            early, self._early_link = self._early_link.take(), None
            if not self.dtls_connected:
                self._callbacks.on_stack_start()
            if early:
                link.send_datagrams(early)
                self._hello = HelloRepetition(early, self._repeat_hello)

    def _repeat_hello(self, flight: list[bytes]) -> bool:
        """Send the first flight again if the peer has sent nothing yet; return whether it was sent."""
        stack, link = self.stack, self.ice.link
        if stack is None or link is None or stack.packets_received:
            return False
        link.send_datagrams(flight)
        return True

    def _stop_repeating(self) -> None:
        if self._hello is not None:
            self._hello.stop()
            self._hello = None

    def _prepare_link(self, link: SelectedLink, stack: Stack) -> None:
        """Let path MTU discovery control fragmentation, and report datagrams that are too long for the first link."""
        if self._configuration.pathMtuDiscovery:
            link.keep_whole = lambda: stack.dont_fragment
            link.on_too_long = lambda datagram, _: stack.datagram_too_long(len(datagram), self._now())

    def _start_ice(
        self, ice: IceTransport, remote: Section, *, at_once: bool = False, forget_old: bool = False
    ) -> asyncio.Task[None]:
        if remote.transport is not None:
            theirs = remote.transport
            ice.set_remote(
                theirs.ice_ufrag,
                theirs.ice_pwd,
                lite=theirs.ice_lite,
                ice2=theirs.ice2,
                renomination=theirs.renomination,
                sped=theirs.sped,
            )
        ice.restart(at_once=at_once, forget_old=forget_old)
        task = asyncio.create_task(self._run_ice(ice))
        task.add_done_callback(self._task_done)
        return task

    async def _run_ice(self, ice: IceTransport) -> None:
        """Look for a path; after a restart, take the new path when it is found."""
        try:
            await ice.start()
        except IceError as error:
            if ice is self._next_ice:
                _log.warning("the ICE restart found no path: %s", error)
                self._drop_next()
                self._callbacks.on_ice_state_change()
            return
        if ice is self._next_ice:
            self._take_next(ice)

    def _start_stack(self) -> None:
        remote, link = self._remote, self.ice.link
        if link is None or remote is None or remote.transport is None or self.is_dtls_client is None:
            return
        stack = self._make_stack(remote, remote.transport, link.limits or _NO_LIMITS)
        self._prepare_link(link, stack)
        self._callbacks.on_stack_start()
        self._run_stack(stack, link)

    def _make_stack(self, remote: Section, theirs: TransportParameters, limits: PathLimits) -> Stack:
        return Stack(
            certificate=self._certificate,
            is_dtls_client=bool(self.is_dtls_client),
            remote_fingerprints=theirs.fingerprints,
            channels=self._channels,
            sctp_options=replace(self._sctp_options(remote.sctp_port or SCTP_PORT), path_name=self._path_name()),
            entropy=os.urandom,
            now=self._now(),
            mtu=MTU,
            handshake_mtu=_EMBEDDED_MTU if self._configuration.sped else None,
            max_mtu=limits.max_datagram if self._configuration.pathMtuDiscovery else None,
            overhead=limits.overhead,
            inits=self._inits,
            tap=self._tap,
        )

    def _run_stack(self, stack: Stack, link: SelectedLink | EarlyLink) -> None:
        self.stack = stack
        self._ending.note_handshake(over=False)
        stack.start(self._now(), awaits_path=isinstance(link, EarlyLink))
        self._driver = Driver(stack, link, self._stack_event, self._stack_failed)
        # If the peer was ready first, ICE has kept its datagrams and delivers them now.
        self.ice.set_receiver(self._driver.receive)

    def _end_stack(self) -> None:
        """Leave the DTLS and SCTP associations, which a new DTLS association replaces.

        Nothing is sent: the same peer may still wait for our description, and another peer may have taken over.
        """
        self._stop_repeating()
        if self._driver is not None:
            self._driver.close()
        self.stack = self._driver = self._local_init = self._inits = self._early_link = None
        self.ice.set_receiver(None)
        self._channels.release_association("a new DTLS association has replaced the channel's")
        for event in self._channels.events():
            self._callbacks.on_channel_event(event)

    def _take_next(self, ice: IceTransport) -> None:
        """Use the new path from now on; the agent receives on the old one until the peer has left it, too."""
        old, self.ice, self._next_ice, self._restarting = self.ice, ice, None, None
        self._has_restarted = True
        if ice.link is not None:
            same = old.link is not None and ice.link.is_same_path(old.link)
            self._path_changed(same=same)
            self._ice_changed(ice.state)
        self._leave(old)

    def _drop_next(self) -> None:
        if self._restarting is not None and self._restarting is not asyncio.current_task():
            self._restarting.cancel()
        self._restarting = None
        if self._next_ice is not None:
            self._leave(self._next_ice)
            self._next_ice = None

    def _leave(self, ice: IceTransport) -> None:
        ice.on_local_candidate = None
        ice.on_server_error = None
        task = asyncio.create_task(ice.close())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("connecting failed unexpectedly", exc_info=error)
            self._callbacks.on_failure(f"internal error: {error!r}")

    def _sctp_options(self, remote_port: int) -> AssociationOptions:
        return data_channel_options(
            remote_port=remote_port,
            max_message_size=self._configuration.maxMessageSize,
            congestion_control=self._configuration.congestionControl,
            streams=self._configuration.maxChannels,
            receive_budget=self._configuration.receiveBudget,
            path_history=self._configuration.pathHistory,
        )

    def _path_name(self) -> PathName | None:
        """Return the addresses of the selected pair; a relay is part of the path, and so of its name."""
        pair = self.ice.selected_pair
        return None if pair is None else (pair.local.address, pair.remote.address)

    def _stack_event(self, event: object) -> None:
        if isinstance(event, ChannelEvent):
            self._callbacks.on_channel_event(event)
            return
        if isinstance(event, DtlsConnected):
            # In DTLS 1.2 the server sends the last flight, in DTLS 1.3 the client.
            self.ice.handshake_complete(last_flight_is_ours=self.is_dtls_client is (event.version == "DTLSv1.3"))
        if isinstance(event, StackConnected):
            self._ending.note_handshake(over=True)
        elif isinstance(event, StackClosed):
            self._ending.note_closed()
        self._callbacks.on_stack_event(event)

    def _stack_failed(self, error: Exception) -> None:
        """Report an exception of the machine or the transport, after an attempt to send the peer an ABORT."""
        reason = f"internal error: {error!r}"
        if self.stack is not None:
            now = self._now()
            try:
                self.stack.abort(now, reason)
                if self.ice.link is not None:
                    self.ice.link.send_datagrams(self.stack.datagrams_to_send(now))
            except Exception:
                _log.debug("no ABORT could be sent to the peer", exc_info=True)
        self._callbacks.on_failure(reason)

    async def _end(self, hurry: asyncio.Event) -> bool:
        """End the tasks and then the association; return False if it has to be aborted."""
        if self.started and self.ice.state not in _WITHOUT_PATH:
            await self._ending.handshake_over(lambda: self.ice.has_heard_peer, hurry)
        for task in (self._connecting, self._restarting):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self.stack is None or self._driver is None or self._ending.closed:
            return True
        if self.ice.link is None:
            return False
        self.stack.close(self._now())
        self._driver.flush()
        return await self._ending.delivered(self._undelivered, hurry, self._configuration.closeTimeout)

    def _undelivered(self) -> int:
        association = self.stack.association if self.stack is not None else None
        in_flight = 0 if association is None else association.stats().flight_size
        return in_flight + sum(channel.buffered_amount for channel in self._channels.channels)

    async def _release(self) -> None:
        self._stop_repeating()
        if self._driver is not None:
            self._driver.close()
        self._ending.note_closed()
        self.cancel_restart()
        self._drop_next()
        self.ice.on_state_change = None
        await self.ice.close()
        self.ice.on_local_candidate = None
        self.ice.on_server_error = None
        if self._tap is not None:
            self._tap.close()
        if self._leaving:
            await asyncio.gather(*self._leaving, return_exceptions=True)
        self._callbacks = _NO_CALLBACKS  # they refer to the connection

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
