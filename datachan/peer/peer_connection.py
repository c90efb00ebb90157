"""RTCPeerConnection: offers, answers and states (W3C WebRTC, section 4); it does not know how bytes travel."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext
from types import TracebackType
from typing import Any

from datachan.dtls.connection import DtlsClosed, DtlsConnected, DtlsFailed
from datachan.ice import IceServerError, IceState
from datachan.log_rate import get_limited_logger
from datachan.sctp import PathMtuChanged
from datachan.sdp import IceCandidate, RTCIceCandidate, Section, SessionDescription
from datachan.stack import StackClosed, StackConnected

from .added_candidate import read_candidate
from .candidate_events import CandidateEvents
from .channel_options import channel_options
from .configuration import RTCConfiguration, changed_configuration, check_configuration, copied_configuration
from .connection_attributes import ConnectionAttributes
from .connection_summary import ConnectionSummary, summarize
from .errors import InvalidStateError, OperationError
from .event_target import EventHandler
from .ice_error_event import RTCPeerConnectionIceErrorEvent
from .negotiation import check_description
from .operations_chain import OperationsChain
from .peer_transport import PeerTransport, TransportCallbacks
from .rtc_certificate import RTCCertificate
from .rtc_data_channel import RTCDataChannel
from .rtc_session_description import RTCSessionDescription
from .signaling_state import HAVE_LOCAL_OFFER, STABLE
from .stats_report import RTCStatsReport, collect_stats
from .transport_views import RTCSctpTransport

_log = get_limited_logger("datachan.peer")


class RTCPeerConnection(ConnectionAttributes):
    """A connection to one peer, for data channels.

    Args:
        configuration: servers, certificate and limits. Without it, no server is contacted and the certificate is new.

    Events: `datachannel` (an RTCDataChannel), `connectionstatechange`, `iceconnectionstatechange`,
    `icegatheringstatechange`, `signalingstatechange`, `icecandidate` (an RTCIceCandidate, None after the last one),
    `icecandidateerror` (an RTCPeerConnectionIceErrorEvent), `negotiationneeded`.

    ``async with RTCPeerConnection() as pc`` closes the connection at the end.

    Raises:
        ArgumentError: a value in the configuration has a wrong type or is out of range.
        InvalidAccessError: a certificate in the configuration has expired.
    """

    ondatachannel = EventHandler()
    onconnectionstatechange = EventHandler()
    oniceconnectionstatechange = EventHandler()
    onicegatheringstatechange = EventHandler()
    onsignalingstatechange = EventHandler()
    onicecandidate = EventHandler()
    onicecandidateerror = EventHandler()
    onnegotiationneeded = EventHandler()
    # Programs written for browsers or for aiortc attach it. It is never emitted, as there are no media.
    ontrack = EventHandler()

    def __init__(self, configuration: RTCConfiguration | dict[str, Any] | None = None) -> None:
        super().__init__(check_configuration(configuration))
        self._operations = OperationsChain(self._needs_negotiation, self._emit_negotiation_needed)
        self._candidates = CandidateEvents(self._emit_candidate)
        # W3C WebRTC, 4.4.1: [[LocalIceCredentialsToReplace]], as the username fragments.
        self._fragments_to_replace: frozenset[str] = frozenset()
        self._teardown: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()

    async def __aenter__(self) -> RTCPeerConnection:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # -- channels ------------------------------------------------------------------------------------------------------

    def createDataChannel(
        self,
        label: str,
        maxPacketLifeTime: int | None = None,
        maxRetransmits: int | None = None,
        ordered: bool = True,
        protocol: str = "",
        negotiated: bool = False,
        id: int | None = None,
        priority: str = "low",
    ) -> RTCDataChannel:
        """Create a channel; it opens once the connection is established.

        Args:
            label: the name, at most 65535 bytes of UTF-8. Several channels may have the same name.
            maxPacketLifeTime: the milliseconds during which a message is (re)transmitted, 0 to 65535.
            maxRetransmits: the maximum number of retransmissions of a message, 0 to 65535. At most one of the two
                limits may be given.
            ordered: whether messages arrive in the order in which they were sent.
            protocol: the name of a subprotocol, at most 65535 bytes of UTF-8.
            negotiated: whether the peer's application creates the same channel, with the same id. There is no
                `datachannel` event then.
            id: the id of a negotiated channel, 0 to 65534; ignored otherwise.
            priority: "very-low", "low", "medium" or "high".

        Raises:
            InvalidStateError: the connection is closed.
            ArgumentError: an argument has a wrong type or is out of range.
            OperationError: the id is in use, or no id is left.
        """
        self._check_open()
        parameters = channel_options(
            label, maxPacketLifeTime, maxRetransmits, ordered, protocol, negotiated, id, priority
        )
        channel = self._channels.create(**parameters)
        self._operations.update_negotiation_needed()
        return channel

    # -- offer and answer ----------------------------------------------------------------------------------------------

    async def createOffer(self, *, iceRestart: bool = False) -> RTCSessionDescription:
        """Create an offer. It has a data section once a channel was created.

        Args:
            iceRestart: whether to look for a new path to the peer. The old path stays in use until one is found.

        Raises:
            InvalidStateError: an offer of the peer has no answer yet, or the connection is closed.
        """
        async with self._operations.operation():
            self._check_open()
            # W3C WebRTC, 4.4.2: an offer can be created in "stable" and "have-local-offer" only.
            if self.signalingState not in {STABLE, HAVE_LOCAL_OFFER}:
                raise InvalidStateError(f"no offer can be created in signaling state {self.signalingState!r}")
            return self._create_offer(restart=iceRestart)

    async def createAnswer(self) -> RTCSessionDescription:
        """Create an answer to the offer that was set. It rejects audio and video sections.

        Raises:
            InvalidStateError: there is no offer to answer, or the connection is closed.
        """
        async with self._operations.operation():
            return self._create_answer()

    async def setLocalDescription(
        self, sessionDescription: RTCSessionDescription | Mapping[str, str] | None = None
    ) -> None:
        """Set our description and gather our candidates; an answer also starts to connect.

        When the call returns, `localDescription` holds the host candidates, and all candidates if there are no servers.
        With `RTCConfiguration(waitForCandidates=True)` it waits for those of the servers, too. Each candidate is also
        emitted as `icecandidate`, to be sent to the peer. `negotiationneeded` is emitted after the call. So are the
        candidates, if the call creates the description: they must not reach the peer before the description.

        Args:
            sessionDescription: the result of `createOffer` or `createAnswer`, or a dictionary. Without it, or with an
                empty sdp, the offer or answer is created first. Type "rollback" withdraws the pending offer.

        Raises:
            InvalidStateError: a description of that type cannot be set now, or the connection is closed.
            InvalidModificationError: the description was changed after it was created.
        """
        with self._operations.call():
            async with self._operations.operation():
                self._check_open()
                given = sessionDescription
                # W3C WebRTC, 4.4.2: without a type, the signaling state decides.
                if given is None or (isinstance(given, Mapping) and "type" not in given):
                    sdp = "" if given is None else given.get("sdp", "")
                    given = RTCSessionDescription(sdp, self._negotiation.implicit_type())
                description = check_description(given)
                await self._operations.release_callers()
                gather = self._set_local(description)
            if gather:
                with nullcontext() if description.sdp else self._candidates.held():
                    await self._operations.wait_unless_superseded(self._gather())

    async def setRemoteDescription(self, sessionDescription: RTCSessionDescription | Mapping[str, str]) -> None:
        """Set the peer's description; an answer also starts to connect.

        If our own offer is pending, an offer of the peer withdraws ours first (W3C's "implicit rollback").

        Raises:
            SdpError: the description is malformed or does not fit ours.
            InvalidStateError: a description of that type cannot be set now, or the connection is closed.
            OperationError: the description requests something that is not supported.
        """
        description = check_description(sessionDescription)
        async with self._operations.operation():
            self._check_open()
            if self._negotiation.withdraws_offer(description.type):
                await self._operations.release_callers()
            self._set_remote(description)

    async def addIceCandidate(
        self, candidate: RTCIceCandidate | IceCandidate | Mapping[str, Any] | str | None = None
    ) -> None:
        """Add a candidate of the peer that arrived after its description.

        Args:
            candidate: an RTCIceCandidate, the dictionary that browsers send, or its text. None and the empty text mark
                the end of candidates.

        Raises:
            InvalidStateError: no remote description is set, or the connection is closed.
            ArgumentError: the candidate has neither sdpMid nor sdpMLineIndex.
            SdpError: the candidate's text is malformed.
            OperationError: the candidate belongs to no section or ICE generation of the remote description.
        """
        parsed = read_candidate(candidate)
        async with self._operations.operation():
            self._check_open()
            remote = self._negotiation.signaling.remote_with(parsed.username_fragment)
            if remote is None:
                raise InvalidStateError("a candidate can be added only after setRemoteDescription")
            data = remote.parsed.data
            if not parsed.belongs_to_data(remote.parsed) or data is None or data.transport is None:
                return
            remote.add_candidate(parsed.candidate)
            if self._transport is not None:
                self._transport.add_remote_candidates(
                    data.transport.ice_ufrag,
                    [] if parsed.candidate is None else [parsed.candidate],
                    complete=parsed.candidate is None,
                )

    def restartIce(self) -> None:
        """Request an ICE restart with the next offer, and emit `negotiationneeded`.

        The request is remembered until a negotiation has replaced the ICE credentials of the current descriptions.
        Without a description there is nothing to restart.
        """
        if self._over is None and self._closing is None:
            self._fragments_to_replace = self._negotiation.signaling.local_fragments
            self._operations.update_negotiation_needed()

    # -- statistics, configuration, end --------------------------------------------------------------------------------

    async def getStats(self) -> RTCStatsReport:
        """Return a snapshot of W3C's statistics: a dictionary from id to an object with `type` and W3C's members."""
        return collect_stats(self._certificate, self._channels, self._transport, self._channels.sctp)

    def summary(self) -> ConnectionSummary:
        """Return a few figures, for programs that watch thousands of connections."""
        return summarize(self._channels, self._transport)

    def getTransceivers(self) -> list[object]:
        """Return an empty list, because there are no media."""
        return []

    def getSenders(self) -> list[object]:
        """Return an empty list, because there are no media."""
        return []

    def getReceivers(self) -> list[object]:
        """Return an empty list, because there are no media."""
        return []

    def getConfiguration(self) -> RTCConfiguration:
        """Return a copy of the configuration in use."""
        return copied_configuration(self._configuration)

    def setConfiguration(self, configuration: RTCConfiguration | dict[str, Any]) -> None:
        """Change the ICE servers and the ICE transport policy; the next ICE restart uses them.

        Raises:
            InvalidStateError: the connection is closed.
            ArgumentError: a value has a wrong type or is out of range.
            InvalidAccessError: a TURN server has no credentials.
            InvalidModificationError: another member differs from the current configuration.
        """
        self._check_open()
        changed = changed_configuration(self._configuration, configuration)
        # The transport shares this object and reads it when it gathers.
        self._configuration.iceServers = changed.iceServers
        self._configuration.iceTransportPolicy = changed.iceTransportPolicy

    @staticmethod
    async def generateCertificate(algorithm: str | Mapping[str, Any] | None = None) -> RTCCertificate:
        """Create a certificate for `RTCConfiguration.certificates`; see `RTCCertificate.generateCertificate`."""
        return RTCCertificate.generateCertificate(algorithm)

    async def close(self) -> None:
        """Deliver queued messages, end the connection, and release all resources.

        The call returns when no task, timer or socket is left. It waits for acknowledgments as long as there is
        progress (`RTCConfiguration.closeTimeout`). A handshake that is under way is completed first, within a second:
        without it the peer could not be told of the end. Canceling the call ends these waits, and undelivered messages
        are lost. Further calls wait for the first one.
        """
        if self._closing is None:
            self._negotiation.signaling.close()
            self._channels.closing()
            self.emit("signalingstatechange")
        if self._closing is None or self._closing.cancelled():
            self._closing = asyncio.create_task(self._close())
        try:
            await asyncio.shield(self._closing)
        except asyncio.CancelledError:
            self._hurry.set()
            if self._closing.cancelling():  # asyncio.run cancels every task at the end of a program
                await asyncio.wait({self._closing})
                if self._closing.cancelled():  # perhaps before its first step: the peer would not be told
                    await self.close()
            raise

    # -- private: descriptions -----------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closing is not None:
            raise InvalidStateError("the RTCPeerConnection is closed")
        if self._over is not None:
            raise InvalidStateError(f"the connection has ended: {self._failure or 'the peer closed it'}")

    def _open_transport(self) -> PeerTransport:
        if self._transport is None:
            self._transport = PeerTransport(
                self._configuration,
                self._certificate.certificate,
                self._channels.core,
                TransportCallbacks(
                    on_ice_state_change=self._ice_state_changed,
                    on_local_candidate=self._local_candidate,
                    on_server_error=self._ice_server_failed,
                    on_selected_pair_change=self._selected_pair_changed,
                    on_restart_needed=self.restartIce,
                    on_stack_start=lambda: self._dtls_changed("connecting"),
                    on_stack_event=self._stack_event,
                    on_channel_event=self._channels.handle,
                    on_failure=self._fail,
                ),
            )
            self._channels.transport = self._transport
        return self._transport

    def _create_offer(self, *, restart: bool = False) -> RTCSessionDescription:
        self._check_open()
        wanted = self._channels.created > 0 or self._configuration.alwaysNegotiateDataChannels
        if not (wanted or self._negotiation.had_data):
            _log.warning(
                "%r: the offer is empty, so no channel can open: create a channel before the offer,"
                " or set RTCConfiguration(alwaysNegotiateDataChannels=True)",
                self,
            )
            return self._negotiation.create_offer(None)
        transport = self._open_transport()
        fragments = self._negotiation.signaling.local_fragments
        if (restart and fragments) or self._fragments_to_replace or transport.has_lost(fragments):
            transport.prepare_restart()
        elif self.signalingState == STABLE:
            transport.cancel_restart()
        return self._negotiation.create_offer(transport.local_data())

    def _create_answer(self) -> RTCSessionDescription:
        self._check_open()
        data = self._negotiation.pending_offer.data
        if data is None or data.transport is None:
            return self._negotiation.create_answer(None, None)
        transport = self._open_transport()
        changes = transport.changes(data)
        if changes.ice:
            # RFC 8839, 4.4.1.1.1: ICE restarts when the ufrag and pwd in the offer change; the answer's change, too.
            transport.prepare_restart(new_dtls=changes.dtls)
        else:
            transport.cancel_restart()
        return self._negotiation.create_answer(transport.local_data(), transport.setup)

    def _set_local(self, given: RTCSessionDescription) -> bool:
        """Set a local description; return whether candidates are to be gathered."""
        negotiation = self._negotiation
        kind = given.type
        if kind == "rollback":
            self._roll_back("local")
            return False
        negotiation.signaling.check("local", kind)
        description = negotiation.created_before(kind, given.sdp)
        if description is None:
            (self._create_offer if kind == "offer" else self._create_answer)()
            description = negotiation.last_created(kind)
        before, had_data = negotiation.signaling.state, negotiation.concerns_data
        negotiation.set_local(kind, description)
        if description.data is None:
            if kind == "answer" and had_data:
                self._data_refused()
            self._signaling_changed(before)
            return False
        self._signaling_changed(before)
        self._open_transport()
        self._show_sctp(description)
        if kind != "offer":
            self._connect(is_offerer=False)
        return True

    def _set_remote(self, given: RTCSessionDescription) -> None:
        if given.type == "rollback":
            self._roll_back("remote")
            return
        negotiation = self._negotiation
        parsed = negotiation.read_remote(given)
        self._check_transport(given.type, parsed)
        if given.type == "offer" and negotiation.signaling.state == HAVE_LOCAL_OFFER:
            self._roll_back("local")
        before, had_data = negotiation.signaling.state, negotiation.concerns_data
        negotiation.set_remote(given, parsed)
        if given.type == "answer" and parsed.data is None and had_data:
            self._data_refused()
        self._signaling_changed(before)
        if parsed.data is not None:
            self._open_transport()
            self._show_sctp(parsed)
            if given.type != "offer":
                self._connect(is_offerer=True)

    def _check_transport(self, kind: str, parsed: SessionDescription) -> None:
        """Check that a description changes nothing that is fixed while connected."""
        data, transport = parsed.data, self._transport
        if data is None or data.transport is None or transport is None or transport.remote is None:
            return
        changes = transport.changes(data)
        if changes.dtls and not changes.ice:
            # RFC 8829, 5.11: "If a DTLS connection needs to be torn down but the answer does not indicate an ICE
            # restart or, in the case of "have-remote-pranswer", new ICE credentials, an error MUST be generated."
            raise OperationError("the peer's certificate cannot change without an ICE restart, nor can its a=tls-id")
        # The a=setup is ignored, because the DTLS association keeps its roles. A passive Firefox answers the actpass of
        # an ICE restart with active, and stays passive.
        pending = self._negotiation.signaling.pending_local
        ours = None if pending is None or pending.parsed.data is None else pending.parsed.data.transport
        restarts = ours is not None and transport.is_prepared(ours)
        if kind != "offer" and changes.ice != restarts:
            raise OperationError("only one of offer and answer restarts ICE")

    def _roll_back(self, side: str) -> None:
        signaling = self._negotiation.signaling
        before = signaling.state
        signaling.roll_back(side)
        if self._transport is not None:
            self._transport.roll_back()
        if signaling.current_local is None or signaling.current_local.parsed.data is None:
            self._channels.sctp = None
        self._signaling_changed(before)
        if self._transport is not None and self._transport.gathering_state != self._ice_gathering_state:
            self._gathering_changed(self._transport.gathering_state)

    def _signaling_changed(self, before: str) -> None:
        signaling = self._negotiation.signaling
        if signaling.state == STABLE and not self._fragments_to_replace & signaling.local_fragments:
            self._fragments_to_replace = frozenset()
        if self.signalingState != before:
            self.emit("signalingstatechange")
        if self.signalingState == STABLE:
            self._operations.clear_negotiation_needed()
            self._operations.update_negotiation_needed()

    def _show_sctp(self, description: SessionDescription) -> None:
        if self._channels.sctp is None and self._transport is not None and description.data is not None:
            self._channels.sctp = RTCSctpTransport(self._transport, description.data.mid)

    def _replace_sctp(self, ours: Section, *, new_dtls: bool) -> None:
        """Continue with a new SCTP association, whose transport W3C represents by a new object."""
        before, transport = self._channels.sctp, self._transport
        if transport is None:
            return
        if not new_dtls:
            transport.replace_association()
        dtls = None if before is None or new_dtls else before.transport
        self._channels.sctp = RTCSctpTransport(transport, ours.mid, dtls)
        if before is not None:
            before._set_state("closed")
            if new_dtls:
                before.transport._set_state("closed")

    def _needs_negotiation(self) -> bool:
        if self.signalingState != STABLE or self._over is not None:
            return False
        if self._fragments_to_replace:
            return True
        return self._channels.wait_for_section and not self._negotiation.has_data

    def _emit_negotiation_needed(self) -> None:
        answered = self._negotiation.signaling.current_local is not None
        if not self.emit("negotiationneeded") and answered and not self._fragments_to_replace:
            _log.warning(
                "%r: its channels open after another offer and answer, as the latest have no data section;"
                " handle negotiationneeded, or create a channel before the first offer",
                self,
            )

    # -- private: the connection ---------------------------------------------------------------------------------------

    async def _gather(self) -> None:
        if self._transport is None:
            return
        if not self._transport.gathered and self._ice_gathering_state != "gathering":
            self._gathering_changed("gathering")
        transport = self._transport
        await transport.gather()
        if transport is self._transport and transport.gathered:
            self._gathered()

    def _connect(self, *, is_offerer: bool) -> None:
        """Connect with the local and remote data sections, or apply their changes to the connection."""
        signaling, transport = self._negotiation.signaling, self._transport
        local, remote = signaling.local, signaling.remote
        if local is None or remote is None or transport is None:
            return
        ours, theirs = local.parsed.data, remote.parsed.data
        if ours is None or theirs is None or ours.transport is None or theirs.transport is None:
            return
        answer = theirs.transport if is_offerer else ours.transport
        is_dtls_client = (answer.setup == "active") != is_offerer
        changes = transport.changes(theirs)
        if not transport.started:
            # RFC 8445, 6.1.1: the peer of a lite agent is controlling.
            controlling = is_offerer or theirs.transport.ice_lite
            transport.connect(ours.transport, theirs, controlling=controlling, is_dtls_client=is_dtls_client)
        elif transport.is_prepared(ours.transport):
            transport.restart(theirs, new_dtls_client=is_dtls_client if changes.dtls else None)
        else:
            transport.update_remote(theirs)
        if changes.sctp:
            self._replace_sctp(ours, new_dtls=changes.dtls)
        transport.add_remote_candidates(
            theirs.transport.ice_ufrag,
            [*theirs.candidates, *remote.candidates],
            complete=theirs.end_of_candidates or remote.complete,
        )
        self._update_connection_state()

    def _data_refused(self) -> None:
        """Close the channels and leave their transport; a later negotiation may have a data section again."""
        transport, sctp = self._transport, self._channels.sctp
        self._channels.start_over("the data channel section was refused")
        self._channels.sctp = self._transport = None
        if sctp is not None:
            sctp._set_state("closed")
            sctp.transport._set_state("closed")
        if transport is not None:
            transport.disown()
            task = asyncio.create_task(transport.close(self._hurry))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        self._fragments_to_replace = frozenset()
        self._channels.connection_failed(None)
        self._failure = None
        if self._ice_gathering_state != "new":
            self._gathering_changed("new")
        if self._ice_connection_state != "new":
            self._ice_connection_state = "new"
            self.emit("iceconnectionstatechange")
        self._update_connection_state()

    def _ice_state_changed(self) -> None:
        transport = self._transport
        if self._closing is not None or self._over is not None or transport is None:
            return
        state = transport.ice_state
        if state.value != self._ice_connection_state and state is not IceState.NEW:
            self._ice_connection_state = state.value
            self._note_ice_failure(transport.ice.failure if state is IceState.FAILED else None)
            self.emit("iceconnectionstatechange")
            if self._channels.sctp is not None:
                self._channels.sctp.transport.iceTransport.emit("statechange")
        self._update_connection_state()

    def _note_ice_failure(self, reason: str | None) -> None:
        """Record why ICE has failed; None when it has not. A restart may still find a path, so nothing ends."""
        self._failure = reason
        self._channels.connection_failed(reason)
        if reason is not None:
            self._log_failure("ICE failed")

    def _local_candidate(self, username_fragment: str, candidate: IceCandidate | None) -> None:
        signaling = self._negotiation.signaling
        local = signaling.local_with(username_fragment)
        if local is None:
            return
        if candidate is None:
            if local is signaling.local:
                self._gathered()
            return
        data = local.parsed.data
        ours = RTCIceCandidate.from_ice(
            candidate,
            sdpMid=None if data is None else data.mid,
            sdpMLineIndex=local.parsed.data_index,
            usernameFragment=username_fragment,
        )
        self._candidates.emit(ours)

    def _emit_candidate(self, candidate: RTCIceCandidate | None) -> None:
        """Emit a candidate, unless its description was rolled back or the connection is closed."""
        fragment = None if candidate is None else candidate.usernameFragment
        if self._closing is None and (fragment is None or self._negotiation.signaling.local_with(fragment) is not None):
            self.emit("icecandidate", candidate)

    def _ice_server_failed(self, error: IceServerError) -> None:
        if self._closing is None:
            event = RTCPeerConnectionIceErrorEvent(error.host, error.port, error.url, error.code, error.text)
            self.emit("icecandidateerror", event)

    def _gathered(self) -> None:
        if self._ice_gathering_state != "complete" and self._closing is None:
            self._gathering_changed("complete")
            self._candidates.emit(None)

    def _gathering_changed(self, state: str) -> None:
        self._ice_gathering_state = state
        if self._channels.sctp is not None:
            self._channels.sctp.transport.iceTransport._set_gathering_state(state)
        self.emit("icegatheringstatechange")

    def _selected_pair_changed(self) -> None:
        if self._channels.sctp is not None:
            self._channels.sctp.transport.iceTransport.emit("selectedcandidatepairchange")

    def _stack_event(self, event: object) -> None:
        if self._closing is not None and isinstance(event, StackConnected):
            return
        if isinstance(event, DtlsConnected):
            sctp = self._channels.sctp
            if sctp is not None and sctp.transport.state == "new":  # the checks have carried the whole handshake
                self._dtls_changed("connecting")
            self._dtls_changed("connected")
        elif isinstance(event, DtlsFailed):
            self._dtls_changed("failed")
        elif isinstance(event, DtlsClosed):
            self._dtls_changed("closed")
        elif isinstance(event, StackConnected):
            if self._channels.sctp is not None:
                self._channels.sctp._set_state("connected")
        elif isinstance(event, PathMtuChanged):
            if self._channels.sctp is not None:
                self._channels.sctp.emit("mtuchange")
        elif isinstance(event, StackClosed) and self._closing is None:
            self._end(None if event.graceful else event.reason, by_peer=event.by_peer)

    def _dtls_changed(self, state: str) -> None:
        if self._closing is not None and state != "closed":
            return  # a handshake is completed only to tell the peer of the end
        if self._channels.sctp is not None:
            self._channels.sctp.transport._set_state(state)
        self._update_connection_state()

    def _fail(self, reason: str) -> None:
        self._end(reason)

    def _end(self, failure: str | None, *, by_peer: bool = False) -> None:
        """End the connection for another reason than a call of `close`."""
        if self._over is not None or self._closing is not None:
            return
        # A peer that leaves abruptly has not failed: a browser sends an ABORT when its tab is closed.
        self._over = "closed" if failure is None or by_peer else "failed"
        self._failure = failure
        if failure is not None and by_peer:
            _log.info("%r: the connection ended: %s", self, failure)
        elif failure is not None:
            self._log_failure("the connection ended")
        self._channels.end(failure)
        if self._channels.sctp is not None:
            self._channels.sctp._set_state("closed")
        self._dtls_changed("closed")
        if self._transport is not None:
            self._transport.abandon()
            self._teardown = asyncio.create_task(self._transport.close(self._hurry))

    def _update_connection_state(self) -> None:
        state = self._derive_connection_state()
        if state != self._connection_state:
            _log.debug("%r: now %s", self, state)
            self._connection_state = state
            self.emit("connectionstatechange")

    def _derive_connection_state(self) -> str:
        if self._closing is not None:
            return "closed"
        if self._over is not None:
            return self._over
        if self._ice_connection_state == "failed":
            return "failed"
        if self._transport is None or not self._transport.started:
            return "new"
        if self._ice_connection_state == "disconnected":
            return "disconnected"
        found = self._ice_connection_state in {"connected", "completed"}
        return "connected" if found and self._transport.dtls_connected else "connecting"

    async def _close(self) -> None:
        await asyncio.gather(*self._leaving)
        if self._teardown is not None:
            await self._teardown
        elif self._transport is not None:
            await self._transport.close(self._hurry)
        self._channels.end(self._failure)
        if self._channels.sctp is not None:
            self._channels.sctp.transport._set_state("closed")
            self._channels.sctp._set_state("closed")
        if self._ice_connection_state != "closed":
            self._ice_connection_state = "closed"
            self.emit("iceconnectionstatechange")
        self._update_connection_state()
        # No event follows, so all that refers to this object is released: it is freed without the garbage collector.
        self._release_listeners()
        self._operations.end()
        self._candidates.end()
