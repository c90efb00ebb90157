"""An ICE session: decides what follows from each check and which pair to use; it plans no order and watches no silence.

`check_schedule` says which pair is checked next, and `path_watch` when the one in use is silent. While a pair is
unanswered, it is checked at growing intervals. Once it has answered, it is the pair in use, or an
alternative that is kept warm, or it rests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from datachan.sdp import IceCandidate

from . import stun
from .candidates import (
    Base,
    LocalCandidate,
    TransportAddress,
    normal_address,
    scoped,
    without_scope,
)
from .check_schedule import CheckSchedule
from .checks import CheckResult, Checks, Entropy, IncomingCheck, Outcome
from .embedding import Embedding, Support
from .events import (
    AgentEvent,
    ChecksDone,
    DtlsReceived,
    PairSelected,
    PathLost,
    RoleSwitched,
)
from .options import AgentOptions, Credentials, RemoteParameters
from .own_candidates import OwnCandidates
from .pairs import NEVER, CandidatePair, Checklist, PairState, can_pair, set_priority
from .path_watch import PathWatch
from .peer_candidates import PeerCandidates
from .selection import Verdict, best_alternative, judge

# The checks at short intervals of a pair that has answered before and does not now. Then the interval is this, in
# seconds, or two round trips.
_FIRST_PROBES: Final = 4
_PROBE_INTERVAL: Final = 0.25
# The longest interval, in seconds, at which a valid pair is checked that waits for the peer's own check.
_UNUSED_INTERVAL: Final = 1.0
# Checks that the peer's checks trigger on a pair before one is answered.
_MAX_TRIGGERS: Final = 8
# Pairs that carry a new DTLS flight at once.
_MAX_CARRIERS: Final = 2
# A timer that is later than this, in seconds, means that the process was stopped.
_STOPPED: Final = 1.0
_MAX_RESPONSES: Final = 1024

DatagramToSend = tuple[Base, TransportAddress, bytes]


class IceSession:
    """What belongs to one pair of credentials, from gathering to the next ICE restart (RFC 8445, 4: "ICE Session").

    Args:
        credentials: our username fragment and password.
        controlling: the role at first; a conflict is resolved by the checks.
        entropy: a function that returns the requested number of random bytes.
        now: the time in monotonic seconds.
        options: times and bounds.

    Attributes:
        embedding: the DTLS datagrams that the checks carry.
    """

    def __init__(
        self,
        *,
        credentials: Credentials,
        controlling: bool,
        entropy: Entropy,
        now: float,
        options: AgentOptions,
    ) -> None:
        self._options = options
        self.embedding = Embedding(enabled=options.embeds)
        self._checks = Checks(
            credentials,
            controlling=controlling and not options.lite,
            lite=options.lite,
            entropy=entropy,
            embedding=self.embedding,
        )
        self._checklist = Checklist(options.max_pairs)
        self._schedule = CheckSchedule(self._checklist, options.pace, now)
        self._locals = OwnCandidates()
        self._remotes = PeerCandidates(options.max_remote_candidates, self._checklist)
        self._responses: list[DatagramToSend] = []
        self._events: list[AgentEvent] = []
        self._watch = PathWatch(options, self._checklist, self._events, entropy)
        self._nominations = 0
        self._insisted: CandidatePair | None = None
        self._insisted_since = NEVER
        self._lost = self._done = False
        self._checks_until = NEVER

    # -- what the shell tells ------------------------------------------------------------------------------------------

    @property
    def username_fragment(self) -> str:
        """Our username fragment, which the peer's checks name."""
        return self._checks.username_fragment

    @property
    def controlling(self) -> bool:
        """The role."""
        return self._checks.controlling

    def set_controlling(self, controlling: bool) -> None:
        """Choose the role, before the checks start."""
        if not self._options.lite and controlling is not self._checks.controlling:
            self._checks.controlling = controlling
            self._checklist.set_role(controlling=controlling)

    @property
    def remote(self) -> RemoteParameters | None:
        """The parameters of the peer."""
        return self._checks.remote

    @property
    def selected(self) -> CandidatePair | None:
        """The pair in use; None before the first, and after the path was lost."""
        return self._watch.pair

    @property
    def pairs(self) -> list[CandidatePair]:
        """All pairs, for statistics."""
        return list(self._checklist)

    def add_local_candidate(self, candidate: LocalCandidate, now: float) -> None:
        """Pair a candidate of ours with those of the peer. A base is used for checks once, by its first candidate."""
        if self._locals.add(candidate):
            for address, remote in self._remotes.all():
                self._pair(candidate, remote, address, now)

    def remove_base(self, base: Base, now: float) -> None:
        """Forget a link that is closed; move at once if data goes over it."""
        self._locals.remove_base(base)
        for pair in self._checklist.remove_base(base):
            self._checks.forget(pair)
        self._schedule.remove_base(base)
        if self.selected is not None and self.selected.base is base:
            self._watch.pair = None
            alternative = best_alternative(self._checklist, None, -NEVER)
            if alternative is not None:
                self._select(alternative, now)
            else:
                self._lose("the local socket or relay allocation was lost", now, expired=False)

    def has_base(self, base: Base) -> bool:
        """Return whether a link is used for checks."""
        return base in self._locals

    def set_remote(self, remote: RemoteParameters, now: float) -> None:
        """Set the peer's parameters; checks may begin."""
        self._checks.remote = remote
        if remote.lite:
            self.set_controlling(True)
        if not self.controlling and not any(pair.proven for pair in self._checklist):
            self._schedule.hold(now + self._options.peer_first)
        for pair in self._checklist:
            if pair.checked_by_peer and pair.state is PairState.WAITING:
                self._trigger(pair, now)

    def add_remote_candidate(self, candidate: IceCandidate, now: float, *, address: str | None = None) -> bool:
        """Pair a candidate of the peer with ours.

        Args:
            candidate: the candidate; its transport must be one that we have bases for, or it is of no use.
            now: the time.
            address: the IP address to use, if that of the candidate is a name.

        Returns:
            Whether the candidate was accepted; not if there are too many, or it is known.
        """
        where = (normal_address(address or candidate.address), candidate.port)
        learned = self._remotes.get(candidate.transport, where)
        if not self._remotes.add(candidate, where):
            return False
        for pair in self._checklist:
            if pair.remote is learned:
                pair.remote = candidate
                set_priority(pair, controlling=self.controlling)
        for local in self._locals.all():
            self._pair(local, candidate, where, now)
        if self._lost:
            self._checks_until = now + self._options.recovery
        return True

    def embed(self, flight: Sequence[bytes], now: float) -> None:
        """Attach a flight of DTLS to the checks, and check at once to carry it if there is no pair in use yet."""
        self.embedding.set_flight(flight)
        if self.selected is None and self.embedding.support is Support.YES:
            proven = sorted((pair for pair in self._checklist if pair.proven), key=lambda pair: -pair.heard_at)
            for pair in proven[:_MAX_CARRIERS]:
                self._trigger(pair, now)

    def give_up(self, now: float) -> None:
        """Stop checking after `AgentOptions.recovery`, unless the peer answers until then."""
        self._lost = True
        self._checks_until = now + self._options.recovery

    def accepts(self, base: Base, source: TransportAddress, now: float) -> bool:
        """Return whether the peer has authenticated itself from an address, so that its data is taken."""
        pair = self._checklist.get(base, source)
        if pair is None or not pair.proven:
            return False
        pair.heard_at = now
        self._watch.note_life()
        return True

    @property
    def has_alternative(self) -> bool:
        """Whether copies of what is sent may go over another pair, should the pair in use be silent."""
        return self._watch.has_alternative

    @property
    def watches_sending(self) -> bool:
        """Whether the shell should call `note_sending` when it next sends data."""
        return self._watch.watches_sending

    def note_sending(self, now: float) -> float:
        """Note that data is sent, and return when the peer should have been heard, or the pair in use is in doubt."""
        return self._watch.note_sending(now)

    def sending_was_answered(self, now: float) -> bool:
        """Return whether a timeout was due only to see that the peer has answered what was sent, as it usually has.

        `handle_timeout` finds the same at ten times the cost, which counts on a server with many busy connections.
        """
        return self._watch.sending_was_answered(now)

    def send_failed(self, base: Base, destination: TransportAddress, now: float) -> None:
        """Fail a pair because the system has refused its check; it is tried again when all pairs are.

        If data goes over the pair, its alternatives are checked, and the first that answers replaces it.
        """
        pair = self._checklist.get(base, destination)
        if pair is None:
            return
        if pair is self.selected:
            self._watch.doubt(now)
            pair.refused = True
        else:
            self._fail(pair)
            self._settle()

    # -- the machine ---------------------------------------------------------------------------------------------------

    def receive(self, message: stun.Message, base: Base, source: TransportAddress, now: float) -> None:
        """Process a Binding request that names this session, or a response to a check of it."""
        if base not in self._locals:
            return
        if message.message_class == stun.REQUEST:
            self._receive_check(message, base, source, now)
        elif message.message_class in (stun.SUCCESS, stun.ERROR):
            result = self._checks.result(message, base, source)
            if result is not None:
                self._receive_result(result, now)
        self._settle()

    def expects(self, message: stun.Message) -> bool:
        """Return whether a response may answer a check of this session."""
        return self._checks.expects(message.transaction_id)

    def handle_timeout(self, now: float) -> None:
        """Act on pairs that have not answered in time."""
        planned = self.next_timeout()
        if planned is None or planned > now:
            return
        if now - planned > _STOPPED:
            self._watch.resume(now)
        if now >= self._checks_until:
            self._stop_checks()
        self._watch.watch_sending(now)
        for pair in list(self._checklist):
            if self._is_overdue(pair, now):
                self._fail(pair)
        self._watch_selected(now)
        self._watch.recheck(now)
        self._settle()

    def next_timeout(self) -> float | None:
        """Return when to call `handle_timeout`; None while nothing is planned."""
        times = [self._checks_until, self._watch.next_timeout(), self._next_check_time()]
        in_use = self.selected
        if in_use is not None:
            life = self._options.check_life
            times += [pair.first_unanswered + life for pair in self._checklist if pair is not in_use]
        earliest = min(times)
        return None if earliest == NEVER else earliest

    def datagrams_to_send(self, now: float) -> list[DatagramToSend]:
        """Drain the responses to the peer's checks, and the check that is due; at most one per `AgentOptions.pace`."""
        datagrams = self.responses_to_send()
        pair = self._schedule.next_pair(now) if self._may_check else None
        if pair is not None:
            datagrams.append(self._check(pair, now))
        return datagrams

    def responses_to_send(self) -> list[DatagramToSend]:
        """Drain the responses to the peer's checks."""
        responses, self._responses = self._responses, []
        return responses

    @property
    def next_check_at(self) -> float:
        """The earliest time of the next check, because checks are paced."""
        return self._schedule.next_at

    def hold_checks(self, until: float) -> None:
        """Send no check before a time, because another session has just sent one."""
        self._schedule.hold(until)

    @property
    def has_events(self) -> bool:
        """Whether `events` has something to return."""
        return bool(self._events)

    def events(self) -> list[AgentEvent]:
        """Drain what happened."""
        events = self._events[:]
        self._events.clear()
        return events

    # -- pairs ---------------------------------------------------------------------------------------------------------

    def _pair(
        self,
        local: LocalCandidate,
        remote: IceCandidate,
        address: TransportAddress,
        now: float,
        *,
        learned: bool = False,
    ) -> CandidatePair | None:
        if not (learned or can_pair(local.base, remote, address[0])):
            return None
        pair = CandidatePair(local, remote, (scoped(address[0], local.base), address[1]))
        if not self._checklist.add(pair, controlling=self.controlling, keep=self.selected):
            return None
        if not self._options.lite:
            pair.next_check = now
        self._done = False
        return pair

    def _fail(self, pair: CandidatePair) -> None:
        pair.state = PairState.FAILED
        pair.next_check = pair.first_unanswered = NEVER
        pair.unanswered = 0
        pair.nominated = False
        self._schedule.withdraw(pair)

    def _is_overdue(self, pair: CandidatePair, now: float) -> bool:
        """Return whether an unanswered pair has failed: not the one in use, nor any while none is in use."""
        if self.selected is None or pair is self.selected or pair.state is PairState.FAILED:
            return False
        return now >= pair.first_unanswered + self._options.check_life

    # -- checks of ours ------------------------------------------------------------------------------------------------

    def _trigger(self, pair: CandidatePair, now: float) -> None:
        """Check a pair before all others; it starts with short intervals again."""
        pair.interval = 0.0
        if self._lost and self._checks_until == NEVER:
            self._checks_until = now + self._options.recovery
        if pair.state is PairState.FAILED:
            pair.check_anew(now)
        self._schedule.trigger(pair, now)

    def _next_check_time(self) -> float:
        return self._schedule.next_time() if self._may_check else NEVER

    @property
    def _may_check(self) -> bool:
        return self._checks.remote is not None and not self._options.lite

    def _check(self, pair: CandidatePair, now: float) -> DatagramToSend:
        self._schedule.note_sent(pair, now)
        pair.requests_sent += 1
        if pair is self.selected and not pair.unanswered:
            pair.consent_requests_sent += 1
        if pair.state is PairState.WAITING:
            pair.state = PairState.IN_PROGRESS
        if not pair.unanswered:
            pair.first_unanswered = now
        pair.unanswered += 1
        pair.next_check = now + self._interval_after(pair)
        request = self._checks.request(pair, now, nominate=self._nominates(pair), nomination=pair.nomination)
        return pair.base, pair.destination, request

    def _interval_after(self, pair: CandidatePair) -> float:
        """Return the time until the next check of a pair that has just been checked."""
        options = self._options
        if pair.base.transport == "tcp" and not pair.valid:
            return NEVER  # RFC 6544, 7.1: TCP retransmits by itself
        if pair.valid or (self._lost and pair.proven):
            if pair.unanswered < _FIRST_PROBES:
                return self._watch.probe_interval(pair)
            return max(_PROBE_INTERVAL, 2 * (pair.round_trip_time or 0.0))
        grown = pair.interval * options.growth if pair.interval else options.first_interval
        pair.interval = min(grown, options.longest_interval)
        return pair.interval

    def _nominates(self, pair: CandidatePair) -> bool:
        """Return whether a check of ours nominates its pair.

        Before a pair is in use, each check does, as in RFC 5245's aggressive nomination: it saves a round trip with
        peers that wait for the nomination. A peer that has signaled "ice2" is not nominated to so (RFC 8445, 8.1.1).
        """
        remote = self._checks.remote
        if remote is None or not self.controlling:
            return False
        if self.selected is not None:
            return pair is self.selected
        return not (remote.ice2 or remote.lite or remote.renomination)

    def _receive_result(self, result: CheckResult, now: float) -> None:
        pair = result.pair
        self._take_embedded(result.embedded)
        if self._checklist.get(pair.base, pair.destination) is not pair:
            return
        if result.bare_may_pass:
            self._trigger(pair, now)
        elif result.outcome is Outcome.SUCCESS:
            self._succeeded(pair, result, now)
        elif result.outcome is Outcome.ROLE_CONFLICT:
            self._conflicted(pair, result, now)
        elif result.outcome is Outcome.FORBIDDEN and pair is self.selected:
            # RFC 7675, 5.2: "receipt of a valid and authenticated STUN response with error code Forbidden (403)"
            self._fail(pair)
            self._lose("the peer has revoked its consent to receive", now)
        elif not pair.valid:
            self._fail(pair)

    def _succeeded(self, pair: CandidatePair, result: CheckResult, now: float) -> None:
        news = not pair.valid
        pair.note_answer(result.sent_at, now)
        pair.state = PairState.SUCCEEDED
        pair.proven = True
        pair.shown = self._locals.seen_as(pair, result.mapped)
        pair.role_conflicts = pair.triggers = 0
        pair.refused = False
        if result.nominated and self.controlling:
            pair.nominated = True
        if pair is not self.selected:
            pair.next_check = NEVER
        elif not pair.nominated and self.controlling:
            self._trigger(pair, now)
        self._watch.note_answer(pair, now)
        self._consider(pair, now, news=news)
        if self.selected is None:
            self._check_until_used(pair, now)
        else:
            pair.interval = 0.0
        self._watch.keep_backups(now)

    def _check_until_used(self, pair: CandidatePair, now: float) -> None:
        """Check a valid pair again while no pair is in use: its peer may act on checks only once it knows us."""
        grown = max(pair.interval, self._options.first_interval) * self._options.growth
        pair.interval = min(grown, _UNUSED_INTERVAL)
        pair.next_check = now + pair.interval

    def _conflicted(self, pair: CandidatePair, result: CheckResult, now: float) -> None:
        """Switch the role, and check again in turn (RFC 8445, 7.2.5.1); a peer that repeats it has the pair fail."""
        pair.role_conflicts += 1
        if self._checks.switch_role(was_controlling=result.was_controlling):
            self._role_switched()
        if pair.role_conflicts < self._options.max_role_conflicts:
            self._trigger(pair, now)
        elif not pair.valid:
            self._fail(pair)

    def _role_switched(self) -> None:
        self._checklist.set_role(controlling=self.controlling)
        for pair in self._checklist:
            pair.nominated, pair.nomination = False, 0
        self._events.append(RoleSwitched(self.controlling))

    # -- checks of the peer --------------------------------------------------------------------------------------------

    def _receive_check(self, request: stun.Message, base: Base, source: TransportAddress, now: float) -> None:
        response, check = self._checks.answer(request, source, now)
        if len(self._responses) < _MAX_RESPONSES:
            self._responses.append((base, source, response))
        if check is None:
            return
        self._take_embedded(check.embedded)
        if check.role_switched:
            self._role_switched()
        pair = self._checklist.get(base, source) or self._learn(check, base, source, now)
        if pair is None:
            return
        if self._options.peer_first and not pair.proven:
            self._schedule.release(now)
        pair.requests_received += 1
        pair.responses_sent += 1
        pair.proven = pair.checked_by_peer = True
        pair.heard_at = now
        self._watch.note_life()
        self._watch.note_check(pair, now)
        if check.nominates:
            self._note_nomination(pair, check.nomination)
            self._insists_on(pair, now)
        if self._options.lite:
            self._grant(pair, now)
        if pair.valid and check.nominates and pair is not self.selected and self._insists_on(pair, now):
            for other in self._checklist:
                other.nominated = other is pair
            self._select(pair, now)
        elif pair.valid:
            self._consider(pair, now, news=check.nominates)
        else:
            # RFC 8445, 7.3.1.4: "Creating a new connectivity check enables validating In-Progress pairs as soon as
            # possible, without having to wait for retransmissions of the Binding requests associated with the original
            # connectivity-check transaction." Where only the checks get through, two agents would do so without end.
            pair.triggers += 1
            if pair.triggers <= _MAX_TRIGGERS:
                self._trigger(pair, now)

    def _take_embedded(self, datagram: bytes | None) -> None:
        if datagram is not None:
            self._events.append(DtlsReceived(datagram))

    def _insists_on(self, pair: CandidatePair, now: float) -> bool:
        """Return whether the peer has nominated this pair only for a while.

        Both sides may see different priorities, because one knows the peer-reflexive candidate of the other by the
        priority of its check. What the controlling side repeats is what it uses.
        """
        if self._insisted is not pair:
            self._insisted, self._insisted_since = pair, now
        return now >= self._insisted_since + self._options.insistence

    def _note_nomination(self, pair: CandidatePair, nomination: int) -> None:
        """Record that the peer has nominated a pair; the latest of several nominations with a number counts alone."""
        if nomination < pair.nomination:
            return
        pair.nominated, pair.nomination = True, nomination
        if nomination:
            for other in self._checklist:
                if other is not pair and other.nomination <= nomination:
                    other.nominated = False

    def _learn(self, check: IncomingCheck, base: Base, source: TransportAddress, now: float) -> CandidatePair | None:
        """Add the peer-reflexive candidate that a check has come from, and its pair (RFC 8445, 7.3.1.3)."""
        source = (without_scope(source[0]), source[1])
        remote = self._remotes.get(base.transport, source)
        if remote is None:
            remote = self._remotes.learn(base, source, check.priority, now, keep=self.selected)
        if remote is None:
            return None
        pair = self._pair(self._locals.of(base), remote, source, now, learned=True)
        if pair is not None and self.selected is not None:
            self._note_rebinding(pair, self.selected, now)
            self._pair_directly(remote, source, now)
        return pair

    def note_stranger(self, base: Base, source: TransportAddress, now: float) -> bool:
        """Check a new port of the peer's address from which data has come: the NAT may have rebound.

        The data has proved nothing yet. A forged datagram costs one check, which goes to the peer's own address.

        Returns:
            Whether the address is being checked, so that `accepts` may soon be true for it.
        """
        current, known = self.selected, self._checklist.get(base, source)
        if known is not None:
            return known.carries_data and known.replaces is current
        if current is None or self._options.lite or base is not current.base or source[0] != current.destination[0]:
            return False
        if base.transport != "udp":
            return False
        source = (without_scope(source[0]), source[1])
        remote = self._remotes.learn(base, source, current.remote.priority, now, keep=current)
        if remote is None:
            return False
        pair = self._pair(self._locals.of(base), remote, source, now, learned=True)
        if pair is None:
            return False
        pair.carries_data = True
        self._note_rebinding(pair, current, now)
        self._trigger(pair, now)
        return True

    def is_checking(self, base: Base, source: TransportAddress) -> bool:
        """Return whether checks of an address have begun and have not failed."""
        pair = self._checklist.get(base, source)
        return pair is not None and pair.state is not PairState.FAILED

    def _note_rebinding(self, pair: CandidatePair, current: CandidatePair, now: float) -> None:
        """Doubt the pair in use when the peer comes over the same link by another port of the same address."""
        if pair.base is current.base and pair.destination[0] == current.destination[0]:
            pair.replaces, pair.learned_at = current, now
            self._watch.doubt(now)

    def _pair_directly(self, remote: IceCandidate, source: TransportAddress, now: float) -> None:
        """Also try without our relays an address that the peer has been given while a pair is in use."""
        for local in self._locals.all():
            if not local.base.relayed:
                self._pair(local, remote, source, now)

    def _grant(self, pair: CandidatePair, now: float) -> None:
        """Take a check of the peer for valid as a lite agent, which sends none of its own."""
        pair.state = PairState.SUCCEEDED
        pair.answered_at = now
        if pair is self.selected:
            self._watch.renew_consent(now)

    # -- which pair to use ---------------------------------------------------------------------------------------------

    def _consider(self, pair: CandidatePair, now: float, *, news: bool) -> None:
        verdict = judge(pair, self.selected, controlling=self.controlling, news=news)
        current = self.selected
        if (
            current is not None
            and pair.replaces is current
            and pair.carries_data
            and current.alive_at < pair.learned_at
        ):
            self._follow(pair, current, now)
        elif verdict is Verdict.SELECT:
            self._select(pair, now)
        elif verdict is Verdict.DOUBT:
            self._watch.doubt(now)
        elif current is not None and pair is not current and self._watch.is_dead(now, controlling=self.controlling):
            self._select(pair, now)

    def _follow(self, pair: CandidatePair, current: CandidatePair, now: float) -> None:
        """Use a pair that replaces the one in use behind a rebound NAT: to the peer, it is the same pair."""
        pair.nominated, pair.nomination = current.nominated, current.nomination
        current.nominated = False
        self._select(pair, now)

    def _select(self, pair: CandidatePair, now: float) -> None:
        moved = self.selected is not None
        silent = self._watch.use(pair, now)
        self._lost = self._done = False
        self._checks_until = NEVER
        if self.controlling:
            self._nominations += 1
            remote = self._checks.remote
            renomination = remote is not None and remote.renomination
            pair.nomination = self._nominations if renomination else 0
            if renomination or moved or not pair.nominated:
                pair.nominated = False
                self._trigger(pair, now)
        self._events.append(PairSelected(pair, silent))
        self._watch.keep_backups(now)

    # -- the pair in use is silent -------------------------------------------------------------------------------------

    def _watch_selected(self, now: float) -> None:
        """Stop sending when consent has expired, and leave a dead pair for one that answers."""
        if self._watch.consent_expired(now):
            self._lose(f"the peer has answered no check for {self._options.consent_expiry:g} seconds", now)
            return
        current = self.selected
        alternative = self._watch.replacement(now, controlling=self.controlling)
        if alternative is None or current is None:
            return
        if alternative.replaces is current:
            self._follow(alternative, current, now)
        else:
            self._select(alternative, now)

    def _lose(self, reason: str, now: float, *, expired: bool = True) -> None:
        """Stop sending data, and look for a pair that answers for a while."""
        # RFC 7675, 5.1: "All outstanding STUN consent transactions for a candidate pair MUST be discarded when consent
        # expires."
        lost = self.selected
        if lost is not None:
            self._checks.forget(lost)
        self._watch.leave(now)
        self._lost = True
        self._checks_until = now + self._options.recovery
        for pair in self._checklist:
            pair.nominated = False
            if pair.valid:
                pair.state = PairState.IN_PROGRESS
                pair.check_anew(now)
        self._events.append(PathLost(reason, expired))

    def _stop_checks(self) -> None:
        """Check no more until the peer does."""
        self._checks_until = NEVER
        self._watch.stop_rechecking()
        for pair in self._checklist:
            self._fail(pair)

    def _settle(self) -> None:
        """Report once that no better pair than the nominated one in use is still being checked."""
        pair = self.selected
        if self._done or pair is None or not pair.nominated:
            return
        pending = (PairState.WAITING, PairState.IN_PROGRESS)
        if not any(other.state in pending and other.priority > pair.priority for other in self._checklist):
            self._done = True
            self._events.append(ChecksDone())
