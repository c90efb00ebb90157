"""How long silence makes the pair in use doubtful, and then dead; it sends nothing and chooses no other pair.

A false alarm costs little and a missed one costs the user seconds, so both times begin short and grow only when they
prove too short: a doubt that the pair dispels doubles the time until the next doubt, and a pair that answers again soon
after it was left doubles the time until the next one is left. A Wi-Fi that pauses now and then causes few moves.

With an alternative, doubt comes sooner, because the shell then sends copies over it: a doubt does not move the
connection, but what was lost arrives.
"""

from __future__ import annotations

from typing import Final

from .options import AgentOptions
from .pairs import NEVER, CandidatePair

# A pair in doubt is dead when the answers to this many checks in a row are overdue. Where one packet in twenty is lost,
# so are four checks in a row in one doubt of ten thousand. The controlled agent leaves the decision to the other one
# unless twice as many are.
_FEW_UNANSWERED: Final = 4
# An answer is overdue after this many round trips.
_ROUND_TRIPS_TO_ANSWER: Final = 1.25
# The intervals of these checks in round trips, and in seconds at least; and the least time until the pair is dead.
_PROBES_IN_ROUND_TRIP: Final = 2
_PROBE_INTERVAL: Final = 0.03
_LEAST_DOUBT: Final = 0.1
# The same when data has gone unanswered before.
_PROBES_AFTER_SILENCE: Final = 4
_INTERVAL_AFTER_SILENCE: Final = 0.01
_LEAST_AFTER_SILENCE: Final = 0.06
# A peer acknowledges data within a round trip and a delay of its own, or later: then the time until doubt grows.
_ROUND_TRIPS_OF_SILENCE: Final = 1.5
_USUAL_DELAY: Final = 0.05
_LEAST_SILENCE: Final = 0.1
# The same with an alternative: an answer that is a quarter of a round trip and a message of a stream late is missed.
_ROUND_TRIPS_WITH_ALTERNATIVE: Final = 1.25
_DELAY_WITH_ALTERNATIVE: Final = 0.02
_LEAST_WITH_ALTERNATIVE: Final = 0.05
# Each answered period takes back this share of what earlier doubts have added.
_PATIENCE_KEPT: Final = 0.9
# Data that is sent within this many seconds of an answered period continues a stream. Its next period then begins with
# the latest sign of life, at most half a period ago.
_CONTINUES: Final = 0.02
# A pair at a new port of the peer's address replaces the old one sooner: it is nearly always the same path.
_ROUND_TRIPS_AFTER_REBINDING: Final = 1.25
_LEAST_AFTER_REBINDING: Final = 0.03
# A pair that answers within this many seconds of being left was left too soon.
_TOO_SOON: Final = 5.0
_MAX_CAUTION: Final = 16.0
# Moves this many seconds apart have nothing to do with one another.
_FORGOTTEN: Final = 60.0


class SilenceWatch:
    """Watches the pair in use.

    Args:
        options: the longest times.

    Attributes:
        has_alternative: whether copies of what was sent can go over another pair.
    """

    def __init__(self, options: AgentOptions) -> None:
        self._options = options
        self.has_alternative = False
        self._sending_since: float | None = None
        self._period_ended = -NEVER
        self._doubting = False
        self._patience = 1.0
        self._caution = 1.0
        self._left: CandidatePair | None = None
        self._left_at = -NEVER

    # sending without an answer

    @property
    def watches_sending(self) -> bool:
        """Whether `note_sending` should be called when data is next sent."""
        return self._sending_since is None

    def note_sending(self, now: float, pair: CandidatePair) -> None:
        """Note that data is sent on the pair: soon the peer should be heard."""
        self._sending_since = now
        if now <= self._period_ended + _CONTINUES:
            self._sending_since = min(now, max(pair.alive_at, now - self._silence(pair) / 2))

    def sending_deadline(self, pair: CandidatePair) -> float:
        """Return when the pair is in doubt because nothing has answered what was sent."""
        return NEVER if self._sending_since is None else self._sending_since + self._silence(pair)

    def _silence(self, pair: CandidatePair) -> float:
        longest = self._options.sending_silence
        if pair.round_trip_time is None:
            return longest
        if self.has_alternative:
            late = _ROUND_TRIPS_WITH_ALTERNATIVE * pair.round_trip_time + _DELAY_WITH_ALTERNATIVE
            usual = max(_LEAST_WITH_ALTERNATIVE, late)
        else:
            usual = max(_LEAST_SILENCE, _ROUND_TRIPS_OF_SILENCE * pair.round_trip_time + _USUAL_DELAY)
        return min(longest, self._patience * usual)

    def _note_answered_period(self, now: float) -> None:
        self._period_ended = now
        self._patience = max(1.0, _PATIENCE_KEPT * self._patience)

    def was_answered(self, pair: CandidatePair, now: float) -> bool:
        """Return whether the deadline has come and the peer was heard; then `note_sending` counts again."""
        since = self._sending_since
        if since is None or now < since + self._silence(pair) or pair.alive_at < since:
            return False
        self._sending_since = None
        self._note_answered_period(now)
        return True

    def doubts_sending(self, pair: CandidatePair, now: float) -> bool:
        """Return whether data was sent on the pair and nothing has come back in time; each time counts once."""
        since = self._sending_since
        if since is None or now < since + self._silence(pair):
            return False
        self._sending_since = None
        self._doubting = pair.alive_at < since
        if self._doubting:
            self._period_ended = -NEVER
        else:
            self._note_answered_period(now)
        return self._doubting

    # a pair in doubt

    def probe_interval(self, pair: CandidatePair) -> float:
        """Return the time between the first checks of the pair in doubt."""
        round_trip = pair.round_trip_time or 0.0
        if self._doubting:
            return max(_INTERVAL_AFTER_SILENCE, round_trip / _PROBES_AFTER_SILENCE)
        return max(_PROBE_INTERVAL, round_trip / _PROBES_IN_ROUND_TRIP)

    def doubt_time(self, pair: CandidatePair) -> float:
        """Return how long the pair may leave checks unanswered before it counts as dead."""
        if pair.round_trip_time is None:
            return self._options.probe_timeout
        least = _LEAST_AFTER_SILENCE if self._doubting else _LEAST_DOUBT
        last_check = (_FEW_UNANSWERED - 1) * self.probe_interval(pair)
        overdue = max(least, last_check + _ROUND_TRIPS_TO_ANSWER * pair.round_trip_time)
        return min(self._options.probe_timeout, self._caution * overdue)

    @staticmethod
    def rebinding_time(pair: CandidatePair) -> float:
        """Return `doubt_time` when the peer has come by another port of the same address."""
        return max(_LEAST_AFTER_REBINDING, _ROUND_TRIPS_AFTER_REBINDING * (pair.round_trip_time or 0.0))

    def is_dead(self, pair: CandidatePair, now: float, *, controlling: bool, rebound: bool) -> bool:
        """Return whether the pair in use has not answered for long enough to be replaced by one that does.

        Args:
            pair: the pair in use.
            now: the time.
            controlling: our role.
            rebound: whether a pair answers that is the same path behind a NAT that has rebound.
        """
        if pair.refused:
            return True
        if rebound and now >= pair.first_unanswered + self.rebinding_time(pair):
            return True
        patience = 1 if controlling else 2
        if pair.unanswered < patience * _FEW_UNANSWERED:
            return False
        # Data that still arrives shows one direction only, but an answer may be on its way. Data that arrived while the
        # first unanswered check was on its way shows nothing: both may have been sent before the path died.
        silent_since = max(pair.first_unanswered, pair.heard_at)
        return now >= min(
            silent_since + patience * self.doubt_time(pair), pair.first_unanswered + self._options.silence
        )

    def is_silent(self, pair: CandidatePair, now: float) -> bool:
        """Return whether the pair has been silent when it is left, so that data in flight on it is probably lost."""
        return bool(pair.unanswered) or now >= pair.alive_at + self._silence(pair)

    # what became of it

    def note_answer(self, pair: CandidatePair, current: CandidatePair | None, now: float) -> None:
        """Learn from an answer on a pair whether a doubt or a move came too soon."""
        if pair is current and self._doubting:
            self._doubting = False
            self._patience *= 2 if self._silence(pair) < self._options.sending_silence else 1
        if pair is self._left and now < self._left_at + _TOO_SOON:
            self._left = None
            self._caution = min(2 * self._caution, _MAX_CAUTION)

    def note_move(self, left: CandidatePair | None, now: float, *, dead: bool) -> None:
        """Note that another pair is in use, and whether the one before was left as dead."""
        self._sending_since = None
        self._period_ended = -NEVER
        self._doubting = False
        if left is not None:
            self._patience = 1.0
        if dead:
            if now > self._left_at + _FORGOTTEN:
                self._caution = 1.0
            self._left, self._left_at = left, now
