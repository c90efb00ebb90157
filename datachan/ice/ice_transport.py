"""An ICE transport: finds a path to the peer and keeps it alive; it does not know what the path carries.

`datachan.ice_agent` decides; here are the sockets, allocations and timers that it needs, and the states of W3C.

When it gives up. The mDNS names of a browser may not resolve yet (Firefox answers for its names only once it has our
answer) or never, and a peer without candidates may still reach us. End-of-candidates says nothing about that. So the
end of the peer's candidates does not end the checks. Only `patience` does, counted from `start` or from the latest
candidate of the peer, and only while no pair is selected. Its default is the 39.5 seconds of RFC 8863.

FAILED is not the end. Checks of the peer are answered as long as the transport is open, and our own go on for a minute.
When one is answered, the transport is CONNECTED again.

An ICE restart is a transport of its own over the same links, see `datachan.ice.ice_links`. The one before stays in use
until the new one has a pair.

How long it takes. Host candidates exist at once, and checks begin with the first of them and the first of the peer's.
Servers are asked meanwhile, and hold up nothing. With reachable candidates, a pair is selected within two round trips
of the later `start`. COMPLETED follows once the pair is nominated and no better one is being checked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from collections.abc import Callable, Sequence
from typing import Final

from datachan.ice.gathering import Gatherer
from datachan.ice.ice_links import IceLinks
from datachan.ice.ice_states import IceError, IceState
from datachan.ice.ice_stats import IceStats, SelectedPair
from datachan.ice.link import SelectedLink
from datachan.ice.mdns import is_mdns_name
from datachan.ice.network_options import NetworkOptions
from datachan.ice.peer_names import PeerNames
from datachan.ice.reports import describe_kinds, pair_stats, selected_pair
from datachan.ice.resolver import MdnsResolver
from datachan.ice.server_errors import IceServerError
from datachan.ice.servers import IceServer, ServerAddress, server_addresses
from datachan.ice.turn_link import TurnLink
from datachan.ice.udp_mux import UdpMux
from datachan.ice_agent import (
    AgentEvent,
    AgentOptions,
    CandidatePair,
    ChecksDone,
    Credentials,
    DoubtDispelled,
    DtlsReceived,
    IceSession,
    LocalCandidate,
    PairDoubted,
    PairSelected,
    PathLost,
    PeerAlive,
    PeerHeard,
    PeerSilent,
    RemoteParameters,
)
from datachan.sdp import IceCandidate

_ICE_CHARS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
# RFC 8445, 5.3 requires 24 random bits in the fragment and 128 in the password; a character has 6.
_USERNAME_FRAGMENT_LENGTH: Final = 8
_PASSWORD_LENGTH: Final = 24
# Seconds in which checks from a new address may find a path to the peer's old candidates before signaling has to help.
_RESTART_GRACE: Final = 0.3
# The states without a path.
_LOST: Final = (IceState.DISCONNECTED, IceState.FAILED)
# Candidates of the peer that are kept, usable or not.
MAX_REMOTE_CANDIDATES: Final = 100


class IceTransport:
    """One ICE component: gathers candidates, checks pairs, and hands up the link of the selected one.

    Call `gather`, `set_remote` and `start`, in this order. Candidates of the peer may be added at any time; those added
    before `gather` decide whether loopback addresses are offered.

    Args:
        controlling: the role: the offerer controls (RFC 8445, 6.1.1); a conflict is resolved by the checks.
        servers: STUN and TURN servers, all of which are used.
        relay_only: whether to use relayed candidates only (RTCIceTransportPolicy "relay").
        loopback: whether to offer 127.0.0.1 and ::1; None offers them if there is no other address, or the peer has
            offered one before `gather`.
        host_addresses: the local addresses to use instead of those of all interfaces.
        ports: the first and the last port to bind to; None leaves ports to the system.
        fast_path: whether to use `datachan.udp` rather than asyncio's own datagram endpoints.
        gather_timeout: the limit for all STUN and TURN servers together, in seconds.
        patience: seconds from `start` (or the latest remote candidate) until ICE gives up (RFC 8863).
        mdns: resolves the peer's .local names; None uses one that all transports of the event loop share.
        agent_options: the times and bounds of the agent.
        network: shared ports, announced addresses, excluded interfaces, and a proxy.
        restarts: the transport whose ICE is restarted. Its links are used again, and its ports, addresses, network and
            agent options stay; servers and `relay_only` may differ.

    Attributes:
        on_state_change: called with each new state.
        on_local_candidate: called with each candidate as it is found, and with None when gathering is complete.
        on_server_error: called with each failure of a STUN or TURN server while candidates are gathered.
        on_selected_pair_change: called with each selected pair.
        on_peer_alive: called each time the peer has answered a consent check.
        on_restart_needed: called when the path was lost with our address, and another address that has appeared does
            not lead to the peer by itself: an ICE restart may.

    Raises:
        ValueError: a server's URL cannot be used.
    """

    on_state_change: Callable[[IceState], None] | None = None
    on_local_candidate: Callable[[IceCandidate | None], None] | None = None
    on_server_error: Callable[[IceServerError], None] | None = None
    on_selected_pair_change: Callable[[SelectedPair], None] | None = None
    on_peer_alive: Callable[[], None] | None = None
    on_restart_needed: Callable[[], None] | None = None

    # The state of a new transport.
    _state = IceState.NEW
    _failure: str | None = None
    _gathering: asyncio.Task[None] | None = None
    _starting: asyncio.Task[None] | None = None
    _closing: asyncio.Task[None] | None = None
    _deadline: asyncio.TimerHandle | None = None
    _remote_ended = False
    _sockets_open = False
    _checks_finished = False
    _is_restart = False
    _link: SelectedLink | None = None
    _links: IceLinks
    _session: IceSession

    def __init__(
        self,
        *,
        controlling: bool,
        servers: Sequence[IceServer] = (),
        relay_only: bool = False,
        loopback: bool | None = None,
        host_addresses: Sequence[str] | None = None,
        ports: tuple[int, int] | None = None,
        fast_path: bool = True,
        gather_timeout: float = 5.0,
        patience: float = 39.5,
        mdns: MdnsResolver | None = None,
        agent_options: AgentOptions | None = None,
        network: NetworkOptions | None = None,
        restarts: IceTransport | None = None,
    ) -> None:
        self._configured = server_addresses(servers)
        self._credentials = _new_credentials(None if network is None else network.udp_mux)
        self._options = agent_options or AgentOptions()
        self._patience, self._relay_only = patience, relay_only
        self._watches_addresses = host_addresses is None and not relay_only
        if restarts is not None:
            self._restart_links(restarts._links, alive=restarts._state not in _LOST)
        else:
            gatherer = Gatherer(
                servers=self._configured,
                relay_only=relay_only,
                loopback=loopback,
                peer_offers_loopback=self._peer_offers_loopback,
                host_addresses=host_addresses,
                ports=ports,
                fast_path=fast_path,
                timeout=gather_timeout,
                network=network or NetworkOptions(),
                credentials=(self.username_fragment, self.password),
            )
            self._links = IceLinks(self, gatherer, self._credentials, controlling=controlling, options=self._options)
            self._session = self._links.agent.current
        self._start_empty(mdns)

    def _restart_links(self, links: IceLinks, *, alive: bool) -> None:
        """Use the links of another transport, with a session of our own."""
        self._links, self._is_restart = links, True
        links.add(self)
        links.gatherer.restart(
            links.runner,
            self._configured,
            relay_only=self._relay_only,
            credentials=(self.username_fragment, self.password),
            trusts_relays=alive,
        )
        self._session = links.agent.prepare_restart(self._credentials, links.runner.now)

    def _start_empty(self, mdns: MdnsResolver | None) -> None:
        self._runner, self._gatherer = self._links.runner, self._links.gatherer
        self._names = PeerNames(mdns, self._use_remote_candidate)
        self._selected_or_over = asyncio.Event()
        self._can_check = asyncio.Event()  # set when there is a local candidate, or gathering has ended
        self._hosts_known = asyncio.Event()
        self._local_candidates: list[IceCandidate] = []
        self._servers: dict[IceCandidate, ServerAddress] = {}
        self._watching: set[asyncio.Task[None]] = set()
        self._remote: RemoteParameters | None = None
        self._remote_candidates: list[IceCandidate] = []

    # identity and state

    @property
    def username_fragment(self) -> str:
        """Our username fragment, for a=ice-ufrag."""
        return self._credentials.username_fragment

    @property
    def password(self) -> str:
        """Our password, for a=ice-pwd."""
        return self._credentials.password

    @property
    def is_controlling(self) -> bool:
        """Whether we are the controlling agent; a role conflict may change it."""
        return self._session.controlling

    def set_controlling(self, controlling: bool) -> None:
        """Choose the role. Raises IceError after `start`."""
        if self._starting is not None:
            raise IceError("the role is fixed once the checks have started")
        self._session.set_controlling(controlling)

    @property
    def state(self) -> IceState:
        """The state."""
        return self._state

    @property
    def has_heard_peer(self) -> bool:
        """Whether a check of the peer, or an answer to ours, has arrived."""
        return any(pair.proven for pair in self._session.pairs)

    @property
    def failure(self) -> str | None:
        """A sentence that lists what was tried, once the state is FAILED."""
        return self._failure

    # gathering

    async def gather_hosts(self) -> None:
        """Begin to gather, and return with the host candidates; the servers' candidates follow.

        Without servers, gathering is complete then.
        """
        gathering = self._begin_gathering()
        await self._hosts_known.wait()
        if gathering.done():
            await self.gather()

    async def gather(self) -> None:
        """Find the local candidates, within `gather_timeout`. A second call waits for the first."""
        gathering = self._begin_gathering()
        await asyncio.wait([gathering])
        if gathering.cancelled():
            raise IceError("the ICE transport was closed while it gathered candidates")
        gathering.result()

    def _begin_gathering(self) -> asyncio.Task[None]:
        if self._closing is not None:
            raise IceError("the ICE transport is closed")
        if self._gathering is None:
            self._gathering = asyncio.create_task(self._gather())
            self._gathering.add_done_callback(self._gathering_done)
        return self._gathering

    async def _gather(self) -> None:
        try:
            for candidate, server in self._gatherer.usable_again():
                self.candidate_found(candidate, server)
                self._session.add_local_candidate(candidate, self._runner.now)
            await self._gatherer.open_hosts(self._runner)
            self._sockets_open = True
            if self._watches_addresses:
                self._links.watch_addresses()
            if self._local_candidates:
                self._can_check.set()
            if self._configured:
                self._hosts_known.set()
            await self._gatherer.ask_servers(self._runner)
        finally:
            self._can_check.set()
            self._hosts_known.set()
        if self.on_local_candidate is not None:
            self.on_local_candidate(None)

    def _gathering_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(f"no candidates could be gathered ({error})")

    def server_failed(self, error: IceServerError) -> None:
        """Report the failure of a server."""
        if self.on_server_error is not None:
            self.on_server_error(error)

    def candidate_found(self, candidate: LocalCandidate, server: ServerAddress | None) -> None:
        """Signal a candidate of ours, and prepare its link for the peer's checks."""
        ours = candidate.candidate
        if server is not None:
            self._servers[ours] = server
        link = self._runner.links.get(candidate.base)
        if isinstance(link, TurnLink):
            for remote in self._remote_candidates:
                self._permit(link, remote)
        if not self.gathered:
            # Later ones cannot be signaled. The peer learns them from checks.
            self._local_candidates.append(ours)
            if self._sockets_open:
                self._can_check.set()
            if self.on_local_candidate is not None:
                self.on_local_candidate(ours)

    def addresses_appeared(self) -> None:
        """Ask for an ICE restart unless checks from the addresses that have just appeared find a path."""
        task = asyncio.create_task(self._watch_for_restart())
        self._watching.add(task)
        task.add_done_callback(self._watching.discard)

    async def _watch_for_restart(self) -> None:
        await asyncio.sleep(_RESTART_GRACE)
        if self._state in _LOST and self._session.selected is None and self.on_restart_needed is not None:
            self.on_restart_needed()

    def _peer_offers_loopback(self) -> bool:
        return any(_is_loopback(candidate.address) for candidate in self._remote_candidates)

    @property
    def local_candidates(self) -> list[IceCandidate]:
        """The local candidates found so far."""
        return self._local_candidates[:]

    @property
    def gathered(self) -> bool:
        """Whether gathering is complete."""
        return self._gathering is not None and self._gathering.done()

    @property
    def gathering_state(self) -> str:
        """The state of gathering: W3C's RTCIceGatheringState."""
        return "new" if self._gathering is None else "complete" if self.gathered else "gathering"

    # the peer

    @property
    def remote_candidates(self) -> list[IceCandidate]:
        """The candidates that the peer has signaled, as it wrote them."""
        return self._remote_candidates[:]

    @property
    def remote_username_fragment(self) -> str | None:
        """The peer's username fragment; None before `set_remote`."""
        return None if self._remote is None else self._remote.credentials.username_fragment

    def set_remote(
        self,
        username_fragment: str,
        password: str,
        *,
        lite: bool = False,
        ice2: bool = False,
        renomination: bool = False,
        sped: bool = False,
    ) -> None:
        """Set what the peer's description says about its agent, before `start`.

        Args:
            username_fragment: its a=ice-ufrag.
            password: its a=ice-pwd.
            lite: whether it has a=ice-lite.
            ice2: whether its a=ice-options has "ice2".
            renomination: whether its a=ice-options has "renomination".
            sped: whether its a=ice-options has "sped".
        """
        self._remote = RemoteParameters(
            credentials=Credentials(username_fragment, password),
            lite=lite,
            ice2=ice2,
            renomination=renomination,
            embeds=sped,
        )

    def add_remote_candidate(self, candidate: IceCandidate | None) -> None:
        """Add a candidate of the peer, or None for end-of-candidates; no candidate raises an exception.

        Candidates we cannot use (active TCP, other components, names except mDNS names) are listed, and not used.
        Needs a running event loop when the address is an mDNS name.
        """
        if self._closing is not None:
            return
        if candidate is None:
            self._remote_ended = True
            self._settle()
            return
        if len(self._remote_candidates) >= MAX_REMOTE_CANDIDATES or candidate in self._remote_candidates:
            return
        self._remote_candidates.append(candidate)
        if not candidate.usable:
            return
        if is_mdns_name(candidate.address):
            # draft-ietf-mmusic-mdns-ice-candidates, 3.2: a name is useless with relayed candidates only.
            if not self._relay_only:
                self._names.resolve(candidate)
        elif _is_address(candidate.address):
            self._use_remote_candidate(candidate, candidate.address)
        self._extend_deadline()

    def _use_remote_candidate(self, candidate: IceCandidate, address: str) -> None:
        if candidate.port == 0 or self._closing is not None:
            return
        if candidate.transport == "tcp":
            for local in self._gatherer.connect_by_tcp(self._runner):
                self._session.add_local_candidate(local, self._runner.now)
        self._session.add_remote_candidate(candidate, self._runner.now, address=address)
        for link in self._runner.links.values():
            if isinstance(link, TurnLink):
                self._permit(link, candidate)
        self._runner.run()

    @staticmethod
    def _permit(link: TurnLink, candidate: IceCandidate) -> None:
        """Create the TURN permission for the peer's checks now, not only with our first check.

        Without a permission the server drops the peer's first check, which is repeated later.
        """
        # draft-ietf-mmusic-mdns-ice-candidates, 3.3.2: the address behind a name must not be shown to the TURN server.
        if candidate.usable and candidate.transport == "udp" and _is_address(candidate.address):
            link.permit(candidate.address)

    # checking

    def restart(self, *, at_once: bool = False, forget_old: bool = False) -> None:
        """Begin the checks of an ICE restart, after `set_remote` and before `start`; our role is that of before.

        On a transport that is no restart, nothing happens.

        Args:
            at_once: whether to leave the transport before now, because it has no path. Otherwise it is left when this
                one has found a path.
            forget_old: whether to take no data of the session before any longer.
        """
        agent = self._links.agent
        if self._is_restart and self._remote is not None:
            agent.restart(self._remote, self._runner.now, at_once=at_once)
            if forget_old:
                agent.forget_old_session()
            self._runner.run()

    async def start(self) -> None:
        """Gather if necessary, check, and return once a pair is selected. Raises IceError if none was found.

        Canceling the caller does not stop the checks; `close` does.
        """
        if self._closing is not None:
            raise IceError("the ICE transport is closed")
        if self._remote is None:
            raise IceError("the peer's username fragment and password are not set")
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(self._started)
        await self._selected_or_over.wait()
        if self._state is IceState.FAILED:
            raise IceError(self._failure)
        if self._closing is not None:
            raise IceError("the ICE transport was closed while it looked for a path")

    async def _start(self) -> None:
        gathering = self._begin_gathering()
        await self._can_check.wait()
        if gathering.done():
            await self.gather()  # raises the exception of a gathering that failed
        self._set_state(IceState.CHECKING)
        if not self._local_candidates:
            self._fail("there is no local candidate to try")
            return
        self._extend_deadline()
        self._names.query_again()
        if self._remote is not None and not self._is_restart:
            self._session.set_remote(self._remote, self._runner.now)
        self._runner.run()
        if self._session.selected is not None and self._link is None:
            self._use_pair(self._session.selected)

    def _started(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(f"gathering failed ({error!r})")

    def _extend_deadline(self) -> None:
        if self._state is not IceState.CHECKING:
            return
        self._stop_deadline()
        self._deadline = asyncio.get_running_loop().call_later(self._patience, self._give_up)

    def _give_up(self) -> None:
        self._fail(f"no check was answered within {self._patience:g} seconds", self._advice())

    def _advice(self) -> str:
        """Return what may help a connection that lacks a relay; "" if there is one, or a TURN server has failed."""
        if any(server.is_turn for server in self._configured):
            return ""
        if self._configured:
            return ". UDP may be blocked: a TURN server over TCP may help (turn:…?transport=tcp)"
        return ". A firewall may block UDP, or the peers are on different networks: name a STUN or TURN server"

    def _fail(self, what: str, advice: str = "") -> None:
        """Enter FAILED, with a sentence about the reason, about what was tried, and about what may help."""
        if self._state in (IceState.FAILED, IceState.CLOSED):
            return
        self._failure = f"{what}; {self._tried()}{advice}"
        self._close_link()
        self._stop_trying()
        self._session.give_up(self._runner.now)
        self._set_state(IceState.FAILED)
        self._selected_or_over.set()

    def _tried(self) -> str:
        pairs = [pair for pair in self._session.pairs if pair.requests_sent]
        answered = sum(1 for pair in pairs if pair.responses_received)
        parts = [
            f"local candidates: {describe_kinds(self._local_candidates)}",
            f"remote candidates: {describe_kinds(self._remote_candidates)}",
            f"pairs checked: {len(pairs)}, answered: {answered}",
        ]
        if unresolved := self._names.unresolved:
            parts.append(f"not resolved: {', '.join(unresolved[:4])}")
        return "; ".join(parts + self._gatherer.problems[:4])

    def _stop_trying(self) -> None:
        self._stop_deadline()
        self._names.cancel()

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _settle(self) -> None:
        """Enter COMPLETED when connected, the checks are finished, and the peer has no more candidates (W3C)."""
        if self._checks_finished and self._remote_ended and self._state is IceState.CONNECTED:
            self._set_state(IceState.COMPLETED)

    def _set_state(self, state: IceState) -> None:
        if state is not self._state and self._state is not IceState.CLOSED:
            self._state = state
            if self.on_state_change is not None:
                self.on_state_change(state)

    # events of the agent

    def handle_agent_event(self, event: AgentEvent) -> None:
        """Follow an event of our session, which is in use."""
        if self._closing is not None:
            return
        if isinstance(event, PairSelected):
            self._use_pair(event.pair, replaces_silent=event.replaces_silent)
        elif isinstance(event, PairDoubted | DoubtDispelled):
            self._change_doubt(event)
        elif isinstance(event, ChecksDone):
            self._checks_finished = True
            self._settle()
        elif isinstance(event, PeerAlive):
            if self.on_peer_alive is not None:
                self.on_peer_alive()
        elif isinstance(event, PeerSilent | PeerHeard):
            self._change_liveness(isinstance(event, PeerHeard))
        elif isinstance(event, PathLost):
            self._lose_path(event)
        elif isinstance(event, DtlsReceived):
            self._links.receive_embedded(event.datagram)

    def _use_pair(self, pair: CandidatePair, *, replaces_silent: bool = False) -> None:
        """Send over this pair from now on."""
        if self._session.selected is not pair:  # the next event tells of a newer one
            return
        if self._state is IceState.NEW:  # a lite agent takes the peer's nomination before `start`
            return
        link = self._runner.links.get(pair.base)
        if link is None:
            return
        self._close_link()
        self._link = SelectedLink(link, pair.destination, self._links.traffic)
        self._runner.watch_sending(self._link)
        self._stop_trying()
        self._failure = None
        self._checks_finished = False
        if self.on_selected_pair_change is not None:
            self.on_selected_pair_change(selected_pair(pair, replaces_silent=replaces_silent))
        if self._state is not IceState.COMPLETED:
            self._set_state(IceState.CONNECTED)
        self._selected_or_over.set()

    def _change_doubt(self, event: PairDoubted | DoubtDispelled) -> None:
        """Send copies over an alternative while the pair in use is in doubt."""
        if self._link is None:
            return
        if isinstance(event, DoubtDispelled):
            self._link.stop_copies()
            return
        pair = event.alternative
        link = self._runner.links.get(pair.base)
        if link is not None:
            self._link.copy_over(link, pair.destination, event.unanswered)

    def _close_link(self) -> None:
        if self._link is not None:
            self._runner.stop_watching(self._link)
            self._link.close()
            self._link = None

    def _change_liveness(self, alive: bool) -> None:
        """Enter DISCONNECTED when the peer is silent for too long, and leave it when its packets arrive again."""
        if not alive and self._state in (IceState.CONNECTED, IceState.COMPLETED):
            self._set_state(IceState.DISCONNECTED)
        elif alive and self._state is IceState.DISCONNECTED:
            self._set_state(IceState.CONNECTED)
            self._settle()

    def _lose_path(self, event: PathLost) -> None:
        """Fail when consent is lost; when only our address has gone, another one may still be found."""
        if event.expired:
            self._fail(event.reason)
            return
        self._close_link()
        if self._state in (IceState.CONNECTED, IceState.COMPLETED):
            self._set_state(IceState.DISCONNECTED)
        self._stop_deadline()
        self._deadline = asyncio.get_running_loop().call_later(self._options.consent_expiry, self._fail, event.reason)

    # datagrams

    def set_receiver(self, receiver: Callable[[list[bytes]], None] | None) -> None:
        """Set the callback for each batch of datagrams of the peer, in order of arrival.

        Datagrams that arrive while there is none are kept, at most 256.
        """
        self._links.set_receiver(receiver)

    # DTLS in checks

    def embed(self, flight: Sequence[bytes]) -> None:
        """Attach a flight of DTLS to the checks until the peer has acknowledged it (SPED), if the options allow it."""
        self._session.embed(flight, self._runner.now)
        self._runner.run()

    def handshake_complete(self, *, last_flight_is_ours: bool) -> None:
        """Attach nothing more, once the peer has the last flight."""
        self._session.embedding.handshake_complete(self._runner.now, last_flight_is_ours=last_flight_is_ours)

    # the selected pair, and statistics

    @property
    def link(self) -> SelectedLink | None:
        """The link to send on: another one after each `on_selected_pair_change`; closed when the path is lost."""
        return self._link

    @property
    def selected_pair(self) -> SelectedPair | None:
        """The selected pair; None while there is none."""
        pair = self._session.selected
        return None if pair is None else selected_pair(pair)

    def discarded(self) -> tuple[int, int]:
        """Return the datagrams that could not be sent, and those received that were ignored, as in `stats`."""
        return self._links.discarded_on_send()[0], self._links.traffic.discarded_on_receive

    def stats(self) -> IceStats:
        """Return a snapshot of the statistics."""
        selected = self._session.selected
        discarded_on_send, bytes_discarded_on_send = self._links.discarded_on_send()
        traffic = self._links.traffic
        return IceStats(
            bytes_sent=traffic.bytes_sent,
            bytes_received=traffic.bytes_received,
            packets_sent=traffic.packets_sent,
            packets_received=traffic.packets_received,
            packets_discarded_on_send=discarded_on_send,
            bytes_discarded_on_send=bytes_discarded_on_send,
            packets_discarded_on_receive=traffic.discarded_on_receive,
            last_packet_sent=traffic.last_sent,
            last_packet_received=traffic.last_received,
            servers=dict(self._servers),
            local_candidates=tuple(self._local_candidates),
            remote_candidates=tuple(self._remote_candidates),
            pairs=tuple(pair_stats(pair, selected=pair is selected) for pair in self._session.pairs),
        )

    async def close(self) -> None:
        """Release everything: no task or timer is left, and no socket once all transports over the links are closed.

        A second call is harmless.
        """
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._stop_trying()
        self._close_link()
        tasks = [task for task in (self._starting, self._gathering) if task is not None]
        tasks += self._watching
        for task in tasks:
            task.cancel()
        self._links.agent.discard(self._session)
        # Before the first await, which asyncio.run may cancel at the end of a program: no socket is left to the
        # garbage collector.
        last = self._links.remove(self)
        if last:
            tasks += self._links.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._names.close()
        if last:
            await self._links.wait_closed()
        self._selected_or_over.set()
        self._set_state(IceState.CLOSED)
        self._release_callbacks()

    def _release_callbacks(self) -> None:
        """Release the callbacks, which usually refer to this transport: it is freed without the garbage collector."""
        self.on_state_change = self.on_local_candidate = self.on_server_error = None
        self.on_selected_pair_change = self.on_peer_alive = self.on_restart_needed = None


def _new_credentials(mux: UdpMux | None) -> Credentials:
    mark = "" if mux is None else mux.mark
    return Credentials(mark + _random_ice_chars(_USERNAME_FRAGMENT_LENGTH), _random_ice_chars(_PASSWORD_LENGTH))


def _random_ice_chars(length: int) -> str:
    return "".join(secrets.choice(_ICE_CHARS) for _ in range(length))


def _is_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (address.is_multicast or address.is_unspecified)


def _is_loopback(text: str) -> bool:
    return _is_address(text) and ipaddress.ip_address(text).is_loopback
