"""The watch over the pair in use: consent, silence, keepalives and alternatives; it chooses no pair and sends nothing.

The pair in use is checked at intervals, which also keeps consent (RFC 7675). Its alternatives are kept warm. When it
does not answer a check, it is in doubt: it and its alternatives are checked several times a round trip, and the agent
replaces it when it counts as dead, see `datachan.ice_agent.silence`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .events import AgentEvent, DoubtDispelled, PairDoubted, PeerAlive, PeerHeard, PeerSilent
from .options import AgentOptions
from .pairs import NEVER, CandidatePair, Checklist, PairState
from .selection import backups, best_alternative, independent_alternative, rebound_pair
from .silence import SilenceWatch

# All pairs are checked again at this interval, in seconds, while the peer does not answer on any.
_RECHECK_INTERVAL: Final = 5.0
_MAX_RETRIED: Final = 10
# The peer checks an alternative now and then. It does so in doubt if the pair in use was alive in this many seconds.
_JUST_ALIVE: Final = 1.0


class PathWatch:
    """Watches the pair in use and plans its checks and those of its alternatives.

    Args:
        options: times and bounds.
        checklist: all pairs.
        events: the list that the events about the pair in use and about the peer's silence are appended to.
        entropy: returns random bytes.

    Attributes:
        pair: the pair in use; None before the first, and after the path was lost.
    """

    def __init__(
        self,
        options: AgentOptions,
        checklist: Checklist,
        events: list[AgentEvent],
        entropy: Callable[[int], bytes],
    ) -> None:
        self._options = options
        self._checklist = checklist
        self._events = events
        self._entropy = entropy
        self._silence = SilenceWatch(options)
        self.pair: CandidatePair | None = None
        self._consent_until = NEVER
        self._recheck_at = self._retry_at = NEVER
        self._judged_at = -NEVER
        self._silent = self._has_doubted = False

    # -- the pair in use changes ---------------------------------------------------------------------------------------

    def use(self, pair: CandidatePair, now: float) -> bool:
        """Watch this pair from now on, and return whether the one before was silent."""
        left = self.pair
        silent = left is not None and self._silence.is_silent(left, now)
        self._silence.note_move(left, now, dead=silent)
        self.pair = pair
        self._has_doubted = False
        self._consent_until = now + self._options.consent_expiry
        self._recheck_at = NEVER
        self._retry_at = now + self._options.retry_interval if pair.relayed else NEVER
        if not self._options.lite:
            self._plan_consent_check(pair, now)
        return silent

    def leave(self, now: float) -> None:
        """Watch no pair, because the path is lost; all failed pairs are checked again at intervals."""
        self.pair = None
        self._consent_until = self._retry_at = NEVER
        self._silence.note_move(None, now, dead=False)
        self._silent = self._has_doubted = False
        self._recheck_at = now + _RECHECK_INTERVAL

    def stop_rechecking(self) -> None:
        """Check failed pairs no more."""
        self._recheck_at = NEVER

    # -- signs of life -------------------------------------------------------------------------------------------------

    def note_answer(self, pair: CandidatePair, now: float) -> None:
        """Renew consent if the pair in use has answered, and learn whether a doubt or a move came too soon."""
        if pair is self.pair:
            self._plan_consent_check(pair, now)
            self.renew_consent(now)
            self._events.append(PeerAlive())
            if self._has_doubted:
                self._has_doubted = False
                self._events.append(DoubtDispelled())
        self.note_life()
        self._silence.note_answer(pair, self.pair, now)

    def renew_consent(self, now: float) -> None:
        """Allow sending for another `AgentOptions.consent_expiry` seconds."""
        self._consent_until = now + self._options.consent_expiry

    def note_life(self) -> None:
        """Report that the peer is heard again if it was silent."""
        if self._silent:
            self._silent = False
            self._events.append(PeerHeard())

    @property
    def has_alternative(self) -> bool:
        """Whether another valid pair may get copies of what is sent on the pair in use, if that one is silent."""
        return self._silence.has_alternative

    @property
    def watches_sending(self) -> bool:
        """Whether `note_sending` should be called when data is next sent."""
        return self.pair is not None and self._silence.watches_sending

    def note_sending(self, now: float) -> float:
        """Note that data is sent, and return when the peer should have been heard, or the pair in use is in doubt."""
        if self.pair is None:
            return NEVER
        if self._silence.watches_sending:
            self._silence.note_sending(now, self.pair)
        return self._silence.sending_deadline(self.pair)

    def sending_was_answered(self, now: float) -> bool:
        """Return whether the timeout for sent data is due, and the peer was heard in time."""
        return self.pair is not None and self._silence.was_answered(self.pair, now)

    # -- doubt ---------------------------------------------------------------------------------------------------------

    def doubt(self, now: float) -> None:
        """Check the pair in use and its alternatives at once, unless that is being done."""
        pair = self.pair
        if pair is None or self._options.lite:
            return
        if not pair.unanswered:
            pair.next_check = min(pair.next_check, now)
        for other in backups(self._checklist, pair, self._options.max_backups):
            if not other.unanswered:
                other.next_check = min(other.next_check, now + self._options.pace)

    def note_check(self, pair: CandidatePair, now: float) -> None:
        """Check the pair in use because the peer checks another one and has become silent on this: it is in doubt."""
        current = self.pair
        if current is None or pair is current or current.unanswered or self._options.lite:
            return
        if self._silence.doubt_time(current) <= now - current.alive_at < _JUST_ALIVE:
            current.next_check = min(current.next_check, now)

    def probe_interval(self, pair: CandidatePair) -> float:
        """Return the time between the first checks of a pair that has answered before and does not now."""
        return self._silence.probe_interval(pair)

    def is_dead(self, now: float, *, controlling: bool) -> bool:
        """Return whether the pair in use has been silent for long enough to be replaced by one that answers."""
        pair = self.pair
        if pair is None:
            return False
        rebound = rebound_pair(self._checklist, pair) is not None
        return self._silence.is_dead(pair, now, controlling=controlling, rebound=rebound)

    # -- timeouts ------------------------------------------------------------------------------------------------------

    def next_timeout(self) -> float:
        """Return when a call is due; infinity while none is."""
        times = [self._recheck_at, self._retry_at]
        pair = self.pair
        if pair is not None:
            times += [self._consent_until, self._silence.sending_deadline(pair)]
            if pair.unanswered:
                times += self._doubt_times(pair)
        return min(times)

    def _doubt_times(self, pair: CandidatePair) -> list[float]:
        """Return the times at which an unanswered pair in use has to be judged."""
        alive = max(other.alive_at for other in self._checklist)
        doubt = self._silence.doubt_time(pair)
        times = [pair.first_unanswered + doubt] if self._recheck_at == NEVER else []
        dead_at = max(pair.first_unanswered, pair.heard_at) + doubt
        if dead_at > self._judged_at:
            times.append(dead_at)
        if rebound_pair(self._checklist, pair) is not None:
            times.append(pair.first_unanswered + self._silence.rebinding_time(pair))
        if not self._silent:
            times.append(max(alive + self._options.silence, pair.first_unanswered + self._options.probe_timeout))
        return times

    def watch_sending(self, now: float) -> None:
        """Doubt the pair in use if data was sent on it and nothing has come back; name a pair for copies of it."""
        pair = self.pair
        if pair is None or not self._silence.doubts_sending(pair, now):
            return
        # RFC 7675, 5.1 allows to send where an answer is at most 30 seconds old.
        alternative = independent_alternative(self._checklist, pair, now - self._options.consent_expiry)
        if alternative is not None:
            self._has_doubted = True
            # What was sent a round trip before the latest sign of life may be lost, too.
            unanswered = now - pair.alive_at + (pair.round_trip_time or 0.0)
            self._events.append(PairDoubted(alternative, unanswered))
        self.doubt(now)

    def consent_expired(self, now: float) -> bool:
        """Return whether the peer has answered no check for so long that nothing may be sent any longer."""
        # RFC 7675, 5.1: "Consent expires after 30 seconds."
        return self.pair is not None and now >= self._consent_until

    def replacement(self, now: float, *, controlling: bool) -> CandidatePair | None:
        """Return the pair to use instead of a dead one, if any answers; else look for one and report silence."""
        pair = self.pair
        if pair is None or not pair.unanswered:
            return None
        self._judged_at = now
        if self.is_dead(now, controlling=controlling):
            self.doubt(now)
            alternative = best_alternative(self._checklist, pair, pair.first_unanswered)
            if alternative is not None:
                return alternative
        if self._recheck_at == NEVER and now >= pair.first_unanswered + self._silence.doubt_time(pair):
            self.doubt(now)
            self._recheck_at = now
        alive = max(other.alive_at for other in self._checklist)
        unanswered_long = now >= pair.first_unanswered + self._options.probe_timeout
        if not self._silent and unanswered_long and now >= alive + self._options.silence:
            self._silent = True
            self._events.append(PeerSilent())
        return None

    def recheck(self, now: float) -> None:
        """Check failed pairs again: all while the peer does not answer, and direct ones while a relay is in use."""
        pair = self.pair
        if now >= self._recheck_at:
            self._recheck_at = NEVER
            if pair is None or pair.unanswered:
                self._recheck_at = now + _RECHECK_INTERVAL
                for other in self._checklist:
                    if other.state is PairState.FAILED:
                        other.check_anew(now)
        if now >= self._retry_at:
            self._retry_at = NEVER
            if pair is not None and pair.relayed:
                self._retry_at = now + self._options.retry_interval
                failed = [other for other in self._checklist if other.state is PairState.FAILED and not other.relayed]
                for other in sorted(failed, key=lambda other: -other.priority)[:_MAX_RETRIED]:
                    other.check_anew(now)

    def resume(self, now: float) -> None:
        """Give the peer time to answer after this process was stopped: answers may wait to be read."""
        pair = self.pair
        if pair is not None:
            self._consent_until = max(self._consent_until, now + self._options.grace)
            pair.next_check = now
            pair.unanswered, pair.first_unanswered = 0, NEVER

    # -- keepalives ----------------------------------------------------------------------------------------------------

    def keep_backups(self, now: float) -> None:
        """Plan the next checks of the alternatives; other valid pairs rest."""
        if self._options.lite:
            return
        current = self.pair
        kept = backups(self._checklist, current, self._options.max_backups)
        self._silence.has_alternative = current is not None and (
            independent_alternative(kept, current, now - self._options.consent_expiry) is not None
        )
        for pair in self._checklist:
            if pair is current or not pair.valid or pair.unanswered:
                continue
            if pair not in kept:
                pair.next_check = NEVER
            elif pair.next_check == NEVER:
                pair.next_check = now + self._options.backup_interval * self._jitter()

    def _plan_consent_check(self, pair: CandidatePair, now: float) -> None:
        pair.next_check = now + self._options.consent_interval * self._jitter()

    def _jitter(self) -> float:
        # RFC 7675, 5.1: "each interval MUST be randomized from between 0.8 and 1.2 times the basic period"
        return 0.8 + 0.4 * int.from_bytes(self._entropy(2), "big") / 65535
