"""aioice's ICE agent, adapted: batches, several servers, data only from proven addresses, consent as RFC 7675 has it.

aioice does the checking and nominating. Of its private names three are used, all pinned by a test: `_protocols`, to
which gathering adds; `_add_remote_candidate`, which takes a resolved address apart from the candidate's name; and
`_pair_remote_candidate`, which pairs the peer's candidates with an allocation that comes while checks run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, cast

from aioice import Candidate, Connection, TransportPolicy, stun
from aioice.ice import CandidatePair, StunProtocol, candidate_pair_priority

from datachan.ice.consent import Consent
from datachan.ice.link import TransportAddress
from datachan.ice.mdns import is_mdns_name
from datachan.ice.protocol import IceProtocol
from datachan.ice.stats import PairCounters

# RFC 8445, 6.1.2.5 limits the pairs to check to 100 by default; so many candidates are kept of a peer.
MAX_REMOTE_CANDIDATES: Final = 100
# With nothing heard on the selected pair for so long, a worse pair that the peer nominates is taken.
SILENCE_BEFORE_WORSE_PAIR: Final = 7.0
# Seconds in which the selected pair has to answer a check when the peer nominates a worse one.
PROBE_TIMEOUT: Final = 1.0


class AgentObserver(Protocol):
    """Who is told what the agent finds."""

    def pair_selected(self, pair: CandidatePair) -> None:
        """A pair was nominated, or another one than before."""

    def data_received(self, datagrams: list[bytes]) -> None:
        """Datagrams that are not STUN came from a proven address."""

    def data_refused(self, count: int) -> None:
        """Datagrams that are not STUN came from an address that has proved nothing."""

    def liveness_changed(self, alive: bool) -> None:
        """The peer has gone quiet, or speaks again."""

    def consent_lost(self, reason: str) -> None:
        """Nothing may be sent any more on the selected pair."""

    def path_lost(self) -> None:
        """The socket or allocation under the selected pair is gone."""


Gather = Callable[["Agent", list[str]], Awaitable[list[Candidate]]]


class Agent(Connection):
    """One component's agent.

    Arguments:
        controlling: the role.
        relay_only: only relayed candidates are used.
        username_fragment, password: ours.
        gather: coroutine function that is given this agent and the interfaces' addresses, and adds protocols.
        observer: who is told what is found.
    """

    def __init__(
        self,
        *,
        controlling: bool,
        relay_only: bool,
        username_fragment: str,
        password: str,
        gather: Gather,
        observer: AgentObserver,
    ) -> None:
        super().__init__(
            ice_controlling=controlling,
            local_username=username_fragment,
            local_password=password,
            transport_policy=TransportPolicy.RELAY if relay_only else TransportPolicy.ALL,
        )
        self.pairs: dict[CandidatePair, PairCounters] = {}
        self.selected: CandidatePair | None = None
        self.consent: Consent | None = None
        self._gather = gather
        self._observer = observer
        self._last_heard = 0.0
        self._consent_task: asyncio.Task[None] | None = None
        self._probe: asyncio.TimerHandle | None = None

    # gathering

    async def get_component_candidates(
        self,
        component: int,
        addresses: list[str],
        timeout: int = 5,  # noqa: ASYNC109 (aioice's signature)
    ) -> list[Candidate]:
        """Gather our way; aioice calls this with the addresses of all interfaces but loopback."""
        return await self._gather(self, addresses)

    def make_protocol(self) -> IceProtocol:
        """Return a protocol for a new socket or allocation; `add_protocol` follows once it has its candidate."""
        return IceProtocol(self, self._datagrams_received)

    def add_protocol(self, protocol: IceProtocol) -> None:
        """Use a socket or allocation that has its `local_candidate`; checks may be running."""
        self._protocols.append(protocol)
        for candidate in self.remote_candidates:
            self._pair_remote_candidate(candidate)
            self._permit(protocol, candidate)
        self.sort_check_list()

    @property
    def protocols(self) -> list[IceProtocol]:
        """The sockets and allocations in use."""
        return cast(list[IceProtocol], self._protocols[:])

    def add_resolved_candidate(self, candidate: Candidate, address: str) -> None:
        """Add a candidate of the peer that is reached at an address; its own may be a name."""
        if len(self.remote_candidates) < MAX_REMOTE_CANDIDATES:
            self._add_remote_candidate(candidate, address)
            for protocol in self.protocols:
                self._permit(protocol, candidate)

    @staticmethod
    def _permit(protocol: IceProtocol, candidate: Candidate) -> None:
        """Have a TURN server let through the checks of a candidate of the peer, before our own check needs it.

        Without a permission the peer's first check is lost, and it comes again half a second later.
        """
        # draft-ietf-mmusic-mdns-ice-candidates, 3.3.2: the address behind a name must not be shown to the TURN server.
        if protocol.permit is not None and not is_mdns_name(candidate.host):
            protocol.permit(candidate.host)

    # checks

    def check_state(self, pair: CandidatePair, state: CandidatePair.State) -> None:
        """Note the pair, then as aioice."""
        self.pairs.setdefault(pair, PairCounters())
        super().check_state(pair, state)

    async def check_start(self, pair: CandidatePair) -> None:
        """Count and time a check, which is aioice's."""
        counters = self.pairs.setdefault(pair, PairCounters())
        counters.requests_sent += 1
        loop = asyncio.get_running_loop()
        started = loop.time()
        await super().check_start(pair)
        if pair.state == CandidatePair.State.SUCCEEDED:
            counters.count_answer(loop.time() - started)

    def check_complete(self, pair: CandidatePair) -> None:
        """As aioice, then see whether this is the pair to use."""
        super().check_complete(pair)
        if pair.state == CandidatePair.State.SUCCEEDED:
            cast(IceProtocol, pair.protocol).prove(pair.remote_addr)
            if pair.nominated:
                self._consider(pair)
            else:
                self._select_before_nomination(pair)

    def _select_before_nomination(self, pair: CandidatePair) -> None:
        """Select the first pair on which both sides' checks have succeeded.

        RFC 8445, 12.1: "An ICE agent MAY send data on any valid pair before selected pairs have been produced for the
        data stream." The peer may nominate seconds later: libdatachannel waits for two.
        """
        if self.selected is None and cast(IceProtocol, pair.protocol).proven.get(pair.remote_addr):
            self._select(pair)

    def _consider(self, pair: CandidatePair) -> None:
        """Select a nominated pair if it is better than the selected one, or if that one turns out to be dead.

        aioice nominates with each check, so that several pairs may be nominated; both ends then take the one of highest
        priority (RFC 5245, 8.1.1.2).
        """
        current = self.selected
        if current is None or self.consent is None or not current.nominated:
            if pair is not current:
                self._select(pair)
        elif pair is not current:
            last_sign = max(self._last_heard, self.consent.granted_at)
            silence = asyncio.get_running_loop().time() - last_sign
            if self._priority(pair) > self._priority(current) or silence > SILENCE_BEFORE_WORSE_PAIR:
                self._select(pair)
            else:
                self._probe_selected(pair)

    def _probe_selected(self, other: CandidatePair) -> None:
        """Check the selected pair now, and select `other` instead if no answer comes within `PROBE_TIMEOUT`.

        When a NAT gives the peer a new address, the peer's check nominates a new pair, and the selected one is dead.
        """
        if self._probe is None and self.consent is not None:
            loop = asyncio.get_running_loop()
            self.consent.check_now()
            self._probe = loop.call_later(PROBE_TIMEOUT, self._probe_ended, self.selected, other, loop.time())

    def _probe_ended(self, probed: CandidatePair | None, other: CandidatePair, started: float) -> None:
        self._probe = None
        if self.selected is not probed or self.consent is None:
            return
        if max(self._last_heard, self.consent.granted_at) <= started:
            self._select(other)

    def _stop_probe(self) -> None:
        if self._probe is not None:
            self._probe.cancel()
            self._probe = None

    def _priority(self, pair: CandidatePair) -> int:
        return candidate_pair_priority(pair.local_candidate, pair.remote_candidate, self.ice_controlling)

    def _select(self, pair: CandidatePair) -> None:
        clock = asyncio.get_running_loop().time
        self._stop_probe()
        if self.consent is not None:
            self.consent.discard()
        self.selected = pair
        self._last_heard = clock()
        self.consent = Consent(
            protocol=cast(IceProtocol, pair.protocol),
            address=pair.remote_addr,
            password=(self.remote_password or "").encode(),
            # Each consent check has USE-CANDIDATE: when a NAT gives us a new address, the peer sees a new pair, and it
            # sends there only if we nominate it.
            build_request=lambda: self.build_request(pair, nominate=True),
            counters=self.pairs.setdefault(pair, PairCounters()),
            on_revoked=self._lose_consent,
            clock=clock,
        )
        self._observer.pair_selected(pair)
        if self._consent_task is None:
            self._consent_task = asyncio.create_task(self._keep_consent())

    def request_received(self, message: stun.Message, addr: TransportAddress, protocol: StunProtocol) -> None:
        """Refuse what aioice would stumble over, note who has proved to be the peer, then as aioice."""
        ours = cast(IceProtocol, protocol)
        if message.message_method == stun.Method.BINDING and "PRIORITY" not in message.attributes:
            self.respond_error(message, addr, protocol, (400, "Bad Request"))
            return
        if self._is_authentic(message):
            ours.prove(addr, by_check=True)
            self._heard(addr, ours)
        super().request_received(message, addr, protocol)

    def _is_authentic(self, message: stun.Message) -> bool:
        username = str(message.attributes.get("USERNAME", ""))
        return username.startswith(self.local_username + ":") and message.check_message_integrity(
            self.local_password.encode()
        )

    def check_incoming(self, message: stun.Message, addr: TransportAddress, protocol: StunProtocol) -> None:
        """As aioice; and when our own check of that pair is under way, send it again at once.

        RFC 8445, 7.3.1.4: "Creating a new connectivity check enables validating In-Progress pairs as soon as possible,
        without having to wait for retransmissions of the Binding requests associated with the original
        connectivity-check transaction." aioice waits; sending the same request once more does as well as a new check.
        """
        known = any((pair.protocol, pair.remote_addr) == (protocol, addr) for pair in self.pairs)
        if not known and len(self.remote_candidates) >= MAX_REMOTE_CANDIDATES:
            return
        checked = [pair for pair in self.pairs if pair.protocol is protocol and pair.remote_addr == addr]
        in_progress = any(pair.state == CandidatePair.State.IN_PROGRESS for pair in checked)
        super().check_incoming(message, addr, protocol)
        if in_progress:
            cast(IceProtocol, protocol).repeat_request(addr)
        for pair in checked:
            if pair.state == CandidatePair.State.SUCCEEDED:
                self._select_before_nomination(pair)

    # data

    def _datagrams_received(self, datagrams: list[bytes], address: TransportAddress, protocol: IceProtocol) -> None:
        """Hand up what comes from where the peer has proved itself; drop the rest."""
        if address not in protocol.proven:
            self._observer.data_refused(len(datagrams))
            return
        self._heard(address, protocol)
        self._observer.data_received(datagrams)

    def data_received(self, data: bytes, component: int) -> None:
        """What looked like STUN and is not; the queue that aioice keeps for it would only grow."""

    def _heard(self, address: TransportAddress, protocol: IceProtocol) -> None:
        pair = self.selected
        if pair is not None and pair.protocol is protocol and pair.remote_addr == address:
            self._last_heard = asyncio.get_running_loop().time()

    # consent

    async def query_consent(self) -> None:
        """Do nothing: aioice would start this with the nomination, but consent is kept from the first valid pair on."""

    async def _keep_consent(self) -> None:
        """Keep consent fresh on the selected pair, until it is lost."""
        loop = asyncio.get_running_loop()
        alive = True
        while self.consent is not None:
            consent = self.consent
            planned = consent.next_wake_up(loop.time(), self._last_heard)
            await asyncio.sleep(planned - loop.time())
            now = loop.time()
            if self.consent is not consent:
                continue
            if consent.is_lost(now, late=now - planned):
                self._lose_consent()
                return
            consent.check_if_due(now)
            hears = consent.hears(now, self._last_heard)
            if hears != alive:
                alive = hears
                self._observer.liveness_changed(alive)

    def _lose_consent(self) -> None:
        self._stop_probe()
        consent = self.consent
        self.selected = None
        self.consent = None
        if consent is not None:
            consent.discard()
            self._observer.consent_lost(consent.reason)

    # the end

    def protocol_lost(self, protocol: StunProtocol) -> None:
        """A socket or allocation is gone."""
        if self.selected is not None and self.selected.protocol is protocol:
            self.selected = None
            self.consent = None
            self._observer.path_lost()

    async def close(self) -> None:
        """Close; allocations are given back side by side."""
        self.selected = None
        self._stop_probe()
        if self._consent_task is not None:
            self._consent_task.cancel()
            await asyncio.gather(self._consent_task, return_exceptions=True)
        for protocol in self.protocols:
            protocol.transport.close()
        await super().close()
