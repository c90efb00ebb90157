"""aioice's ICE agent, adapted: batches, several servers, data only from proven addresses, consent as in RFC 7675.

aioice checks and nominates. Some of its private names are used, and a test pins them: `_protocols`, to which gathering
adds; `_add_remote_candidate`, which takes an address besides the candidate's name; `_pair_remote_candidate`, which
pairs the peer's candidates with an allocation that arrives while checks run; `_check_list`, which is kept short;
`_early_checks` and `_early_checks_done`, checks that arrive before ours start; `_tie_breaker`, which a role conflict
changes.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Final, cast

from aioice import Candidate, Connection, TransportPolicy, stun
from aioice.ice import CandidatePair, StunProtocol, candidate_pair_priority

from datachan.ice.consent import Consent
from datachan.ice.ice_stats import PairCounters
from datachan.ice.link import TransportAddress
from datachan.ice.mdns import is_mdns_name
from datachan.ice.protocol import IceProtocol
from datachan.log_rate import get_limited_logger

# Candidates that are kept of a peer.
MAX_REMOTE_CANDIDATES: Final = 100
# Pairs that are checked. RFC 8445, 6.1.2.5: "The default limit of candidate pairs for the checklist set is 100".
MAX_PAIRS: Final = 100
# Checks of the peer that wait for the start of our own.
MAX_EARLY_CHECKS: Final = 100
# Role conflicts after which a pair has failed. Both sides may see one when their first checks cross.
MAX_ROLE_CONFLICTS: Final = 4
# Seconds between two checks that follow role conflicts: Ta, as aioice paces all others.
REPEAT_INTERVAL: Final = 0.02
# Seconds of silence on the selected pair after which a worse pair that the peer nominates is selected.
SILENCE_BEFORE_WORSE_PAIR: Final = 7.0
# Seconds in which the selected pair has to answer a check when the peer nominates a worse one.
PROBE_TIMEOUT: Final = 1.0


get_limited_logger("aioice.ice")

Gather = Callable[["Agent", list[str]], Awaitable[list[Candidate]]]


class Agent(Connection):
    """The agent of one component.

    Args:
        controlling: the role.
        relay_only: whether to use relayed candidates only.
        username_fragment, password: our ICE credentials.
        gather: a coroutine function that gets this agent and the addresses of the interfaces, and adds protocols.

    Attributes:
        pairs: the pairs checked so far, each with its counters.
        selected: the pair in use.
        consent: the consent to send on it.
        on_pair_selected: called with each selected pair.
        on_data: called with datagrams other than STUN from an authenticated address.
        on_data_refused: called with the number of datagrams from an address that has not authenticated itself.
        on_liveness_change: called with False when the peer has fallen silent, and with True when it sends again.
        on_consent_renewed: called when the peer has answered a consent check.
        on_consent_lost: called with the reason when nothing may be sent on the selected pair any longer.
        on_path_lost: called when the socket or allocation of the selected pair is closed.
    """

    on_pair_selected: Callable[[CandidatePair], None]
    on_data: Callable[[list[bytes]], None]
    on_data_refused: Callable[[int], None]
    on_liveness_change: Callable[[bool], None]
    on_consent_renewed: Callable[[], None]
    on_consent_lost: Callable[[str], None]
    on_path_lost: Callable[[], None]

    def __init__(
        self,
        *,
        controlling: bool,
        relay_only: bool,
        username_fragment: str,
        password: str,
        gather: Gather,
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
        self._last_heard = 0.0
        self._consent_task: asyncio.Task[None] | None = None
        self._probe: asyncio.TimerHandle | None = None
        self._role_conflicts: dict[CandidatePair, int] = {}
        self._next_repeat = 0.0

    # gathering

    async def get_component_candidates(
        self,
        component: int,
        addresses: list[str],
        timeout: int = 5,  # noqa: ASYNC109 (aioice's signature)
    ) -> list[Candidate]:
        """Gather with our gatherer; aioice passes the addresses of all interfaces except loopback."""
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
        """Add a candidate of the peer with the address to use, because the candidate may have a name instead."""
        if len(self.remote_candidates) < MAX_REMOTE_CANDIDATES:
            self._add_remote_candidate(candidate, address)
            for protocol in self.protocols:
                self._permit(protocol, candidate)

    @staticmethod
    def _permit(protocol: IceProtocol, candidate: Candidate) -> None:
        """Create the TURN permission for the peer's checks now, not only with our first check.

        Without a permission the server drops the peer's first check, which is repeated half a second later.
        """
        # draft-ietf-mmusic-mdns-ice-candidates, 3.3.2: the address behind a name must not be shown to the TURN server.
        if protocol.permit is not None and not is_mdns_name(candidate.host):
            protocol.permit(candidate.host)

    # checks

    def check_state(self, pair: CandidatePair, state: CandidatePair.State) -> None:
        """Record the pair, and let aioice set its state."""
        self.pairs.setdefault(pair, PairCounters())
        super().check_state(pair, state)

    def sort_check_list(self) -> None:
        """Sort the pairs, and drop those of lowest priority beyond `MAX_PAIRS`: unchecked ones first, then failed ones.

        RFC 8445, 6.1.2.5: "In order to limit the attacks described in Section 19.5.1, an ICE agent MUST limit the total
        number of connectivity checks the agent performs across all checklists in the checklist set."
        """
        super().sort_check_list()
        for state in (CandidatePair.State.FROZEN, CandidatePair.State.FAILED):
            for pair in self._check_list[::-1]:
                if len(self._check_list) <= MAX_PAIRS:
                    return
                if pair.state == state:
                    self._check_list.remove(pair)
                    self.pairs.pop(pair, None)

    async def check_start(self, pair: CandidatePair) -> None:
        """Run a check of aioice, and count and time it; after a role conflict, repeat it when its turn comes.

        RFC 8445, 7.2.5.1: "Once the agent has switched its role, the agent MUST add the candidate pair whose check
        generated the 487 error response to the triggered-check queue". aioice repeats the check at once, by
        calling this method again. Without a stop, a peer that answers each check with 487 would recurse without end.
        """
        if pair in self._role_conflicts:
            self._note_role_conflict(pair)
            return
        counters = self.pairs.setdefault(pair, PairCounters())
        self._role_conflicts[pair] = 0
        loop = asyncio.get_running_loop()
        try:
            while True:
                counters.requests_sent += 1
                started = loop.time()
                await super().check_start(pair)
                if pair.state != CandidatePair.State.WAITING:
                    break
                self._next_repeat = max(started, self._next_repeat) + REPEAT_INTERVAL
                await asyncio.sleep(self._next_repeat - loop.time())
        finally:
            del self._role_conflicts[pair]
        if pair.state == CandidatePair.State.SUCCEEDED:
            counters.count_answer(loop.time() - started)

    def _note_role_conflict(self, pair: CandidatePair) -> None:
        """Repeat a check with another tie-breaker after a 487; aioice has switched the role.

        RFC 8445, 7.2.5.1: "The agent MUST change the tiebreaker value." If the peer repeats it, the pair fails.
        """
        self._tie_breaker = secrets.randbits(64)
        self._role_conflicts[pair] += 1
        if self._role_conflicts[pair] < MAX_ROLE_CONFLICTS:
            self.check_state(pair, CandidatePair.State.WAITING)
        else:
            self.check_state(pair, CandidatePair.State.FAILED)
            self.check_complete(pair)

    def check_complete(self, pair: CandidatePair) -> None:
        """Let aioice complete a check, then decide whether to use the pair."""
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
            on_granted=self.on_consent_renewed,
            on_revoked=self._lose_consent,
            clock=clock,
        )
        self.on_pair_selected(pair)
        if self._consent_task is None:
            self._consent_task = asyncio.create_task(self._keep_consent())

    def request_received(self, message: stun.Message, addr: TransportAddress, protocol: StunProtocol) -> None:
        """Reject a check without PRIORITY, which aioice requires; record a proven address; let aioice answer."""
        ours = cast(IceProtocol, protocol)
        if message.message_method == stun.Method.BINDING and "PRIORITY" not in message.attributes:
            self.respond_error(message, addr, protocol, (400, "Bad Request"))
            return
        if self._is_authentic(message):
            if not self._early_checks_done and len(self._early_checks) >= MAX_EARLY_CHECKS:
                return
            ours.prove(addr, by_check=True)
            self._note_sign_of_life(addr, ours)
        super().request_received(message, addr, protocol)

    def _is_authentic(self, message: stun.Message) -> bool:
        username = str(message.attributes.get("USERNAME", ""))
        return username.startswith(self.local_username + ":") and message.check_message_integrity(
            self.local_password.encode()
        )

    def check_incoming(self, message: stun.Message, addr: TransportAddress, protocol: StunProtocol) -> None:
        """Let aioice handle a check of the peer; if our own check of that pair is in progress, repeat it at once.

        RFC 8445, 7.3.1.4: "Creating a new connectivity check enables validating In-Progress pairs as soon as possible,
        without having to wait for retransmissions of the Binding requests associated with the original
        connectivity-check transaction." aioice waits. Sending the same request once more has the effect of a new check.
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
        """Deliver datagrams from authenticated addresses, and drop others."""
        if address not in protocol.proven:
            self.on_data_refused(len(datagrams))
            return
        self._note_sign_of_life(address, protocol)
        self.on_data(datagrams)

    def data_received(self, data: bytes, component: int) -> None:
        """Drop a datagram that only looks like STUN; aioice would queue it, without a bound."""

    def _note_sign_of_life(self, address: TransportAddress, protocol: IceProtocol) -> None:
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
            now_alive = consent.is_peer_alive(now, self._last_heard)
            if now_alive != alive:
                alive = now_alive
                self.on_liveness_change(alive)

    def _lose_consent(self) -> None:
        self._stop_probe()
        consent = self.consent
        self.selected = None
        self.consent = None
        if consent is not None:
            consent.discard()
            self.on_consent_lost(consent.reason)

    # closing

    def protocol_lost(self, protocol: StunProtocol) -> None:
        """Report the loss of a socket or allocation, if the selected pair uses it."""
        if self.selected is not None and self.selected.protocol is protocol:
            self.selected = None
            self.consent = None
            self.on_path_lost()

    async def close(self) -> None:
        """Close everything; allocations are given back at the same time."""
        self.selected = None
        self._stop_probe()
        if self._consent_task is not None:
            self._consent_task.cancel()
            await asyncio.gather(self._consent_task, return_exceptions=True)
        for protocol in self.protocols:
            protocol.transport.close()
        await super().close()
