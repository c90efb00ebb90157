"""The agent: one ICE session after the other over the same links, and what an ICE restart does; it checks no pair.

An ICE restart (RFC 8445, 9) begins a session with new credentials, over the links that exist. The session before stays
in use: its pair carries the data and keeps its consent until the new session has a pair. Then the old session only
answers checks and takes data for a while, because the peer may leave it later than we do. A check belongs to the
session whose username fragment it names, a response to the session that expects it. So checks and candidates of an old
session cannot disturb a new one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from datachan.sdp import IceCandidate

from . import stun
from .candidates import Base, LocalCandidate, TransportAddress
from .checks import Entropy
from .errors import BadPacket
from .events import AgentEvent, OldSessionEnded, Restarted
from .options import AgentOptions, Credentials, RemoteParameters
from .pairs import NEVER, CandidatePair
from .session import DatagramToSend, IceSession


class IceAgent:
    """An ICE agent for one component of one data stream.

    Args:
        credentials: our username fragment and password.
        controlling: the role at first; a conflict is resolved by the checks.
        entropy: a function that returns the requested number of random bytes.
        now: the time in monotonic seconds.
        options: times and bounds.

    Attributes:
        current: the session in use.
    """

    def __init__(
        self,
        *,
        credentials: Credentials,
        controlling: bool,
        entropy: Entropy,
        now: float,
        options: AgentOptions | None = None,
    ) -> None:
        self._options = AgentOptions() if options is None else options
        self._entropy = entropy
        self._events: list[AgentEvent] = []
        self.current = IceSession(
            credentials=credentials, controlling=controlling, entropy=entropy, now=now, options=self._options
        )
        self._prepared: IceSession | None = None
        self._next: IceSession | None = None
        self._old: IceSession | None = None
        self._old_until = NEVER

    # -- the session in use --------------------------------------------------------------------------------------------

    @property
    def controlling(self) -> bool:
        """The role."""
        return self.current.controlling

    def set_controlling(self, controlling: bool) -> None:
        """Choose the role, before the checks start."""
        self.current.set_controlling(controlling)

    @property
    def remote(self) -> RemoteParameters | None:
        """The parameters of the peer."""
        return self.current.remote

    def set_remote(self, remote: RemoteParameters, now: float) -> None:
        """Set the peer's parameters; checks may begin."""
        self.current.set_remote(remote, now)

    @property
    def selected(self) -> CandidatePair | None:
        """The pair in use; None before the first, and after the path was lost."""
        return self.current.selected

    @property
    def pairs(self) -> list[CandidatePair]:
        """All pairs, for statistics."""
        return self.current.pairs

    def embed(self, flight: Sequence[bytes], now: float) -> None:
        """Attach a flight of DTLS to the checks, and check at once to carry it if there is no pair in use yet."""
        self.current.embed(flight, now)

    def give_up(self, now: float) -> None:
        """Stop checking after `AgentOptions.recovery`, unless the peer answers until then."""
        self.current.give_up(now)

    # -- candidates and links ------------------------------------------------------------------------------------------

    def add_local_candidate(self, candidate: LocalCandidate, now: float) -> None:
        """Pair a candidate of ours with those of the peer. A base is used for checks once, by its first candidate."""
        for session in self._sessions():
            session.add_local_candidate(candidate, now)

    def remove_base(self, base: Base, now: float) -> None:
        """Forget a link that is closed; move at once if data goes over it."""
        for session in self._sessions():
            session.remove_base(base, now)

    def add_remote_candidate(
        self, candidate: IceCandidate, now: float, *, address: str | None = None, fragment: str | None = None
    ) -> bool:
        """Pair a candidate of the peer with ours.

        Args:
            candidate: the candidate; its transport must be one that we have bases for, or it is of no use.
            now: the time.
            address: the IP address to use, if that of the candidate is a name.
            fragment: the peer's username fragment that the candidate was signaled with; None means the session in use.
                Candidates of a session that has ended are ignored.

        Returns:
            Whether the candidate was accepted; not if there are too many, or it is known, or its session has ended.
        """
        for session in (self.current, self._next):
            if session is not None and (fragment is None or _remote_fragment(session) == fragment):
                return session.add_remote_candidate(candidate, now, address=address)
        return False

    @property
    def username_fragments(self) -> set[str]:
        """Our username fragments of all sessions that answer checks."""
        return {session.username_fragment for session in self._sessions()}

    def uses(self, base: Base) -> bool:
        """Return whether any session has a candidate of a link."""
        return any(session.has_base(base) for session in self._sessions())

    # -- an ICE restart ------------------------------------------------------------------------------------------------

    def prepare_restart(self, credentials: Credentials, now: float) -> IceSession:
        """Create the session of a description with new credentials; it answers checks, and sends none yet.

        Args:
            credentials: ours in the new session.
            now: the time.

        Returns:
            The session, without candidates: the shell adds those that it uses again. `restart` starts it, `discard`
            discards it.
        """
        # A new session shares no DTLS handshake with its checks: the association lives on.
        self._prepared = session = IceSession(
            credentials=credentials,
            controlling=self.current.controlling,
            entropy=self._entropy,
            now=now,
            options=replace(self._options, embeds=False),
        )
        return session

    def discard(self, session: IceSession) -> None:
        """Discard a session that is not in use: its description was withdrawn, or its restart has found no path."""
        if session is self._prepared:
            self._prepared = None
        elif session is self._next:
            self._next = None

    def restart(self, remote: RemoteParameters, now: float, *, at_once: bool = False) -> None:
        """Start the checks of the prepared session; nothing happens if there is none.

        Args:
            remote: the peer's parameters in the new session.
            now: the time.
            at_once: whether to leave the session in use now, because it has lost its path. Otherwise it is left when
                the new one has a pair.
        """
        session, self._prepared = self._prepared, None
        if session is None:
            return
        self._next = session
        # RFC 8445, 6.1.1: "an ICE agent MUST NOT redetermine the role as part of an ICE restart unless one or more of
        # the following criteria is fulfilled". Of these, the checks find a role conflict.
        session.set_controlling(self.current.controlling)
        session.set_remote(remote, now)
        if at_once or session.selected is not None:
            self._take_next(now)

    def forget_old_session(self) -> None:
        """Answer no checks and take no data of the session before the restart any longer."""
        if self._old is not None:
            self._old, self._old_until = None, NEVER
            self._events.append(OldSessionEnded())

    def _take_next(self, now: float) -> None:
        if self._next is None:
            return
        self._events += self.current.events()
        self.forget_old_session()
        self._old, self._old_until = self.current, now + self._options.old_session_life
        self.current, self._next = self._next, None
        self._events.append(Restarted(self.current.username_fragment))

    def _sessions(self) -> Sequence[IceSession]:
        """Return all sessions, those that send checks first."""
        if self._next is self._prepared is self._old is None:
            return (self.current,)
        return [one for one in (self.current, self._next, self._prepared, self._old) if one is not None]

    # -- data ----------------------------------------------------------------------------------------------------------

    def accepts(self, base: Base, source: TransportAddress, now: float) -> bool:
        """Return whether the peer has authenticated itself from an address, so that its data is taken."""
        return any(session.accepts(base, source, now) for session in self._sessions())

    def note_stranger(self, base: Base, source: TransportAddress, now: float) -> bool:
        """Check a new port of the peer's address from which data has come, see `IceSession.note_stranger`."""
        return self.current.note_stranger(base, source, now)

    def is_checking(self, base: Base, source: TransportAddress) -> bool:
        """Return whether checks of an address have begun and have not failed."""
        return self.current.is_checking(base, source)

    @property
    def has_alternative(self) -> bool:
        """Whether copies of what is sent may go over another pair, should the pair in use be silent."""
        return self.current.has_alternative

    @property
    def watches_sending(self) -> bool:
        """Whether the shell should call `note_sending` when it next sends data."""
        return self.current.watches_sending

    def note_sending(self, now: float) -> float:
        """Note that data is sent, and return when the peer should have been heard, or the pair in use is in doubt."""
        return self.current.note_sending(now)

    def sending_was_answered(self, now: float) -> bool:
        """Return whether a timeout was due only to see that the peer has answered what was sent, as it usually has."""
        return self._next is None and now < self._old_until and self.current.sending_was_answered(now)

    def send_failed(self, base: Base, destination: TransportAddress, now: float) -> None:
        """Fail a pair because the system has refused its check, see `IceSession.send_failed`."""
        for session in (self.current, self._next):
            if session is not None:
                session.send_failed(base, destination, now)

    # -- the machine ---------------------------------------------------------------------------------------------------

    def receive_datagrams(self, datagrams: Sequence[tuple[bytes, TransportAddress]], base: Base, now: float) -> None:
        """Process STUN messages that arrived on a link, each with its source address."""
        for datagram, source in datagrams:
            try:
                message = stun.parse_untrusted(datagram)
            except BadPacket:
                continue
            if message.method != stun.BINDING:
                continue
            session = self._session_of(message)
            session.receive(message, base, source, now)
            if session is self._old:
                session.events()  # it is not in use, so nothing follows from them
        self._follow(now)

    def _session_of(self, message: stun.Message) -> IceSession:
        """Return the session that a message belongs to; the one in use refuses what belongs to none."""
        if message.message_class == stun.REQUEST:
            fragment = message.recipient
            return next((one for one in self._sessions() if one.username_fragment == fragment), self.current)
        return next((one for one in self._sessions() if one.expects(message)), self.current)

    def handle_timeout(self, now: float) -> None:
        """Act on pairs that have not answered in time."""
        self.current.handle_timeout(now)
        if self._next is not None:
            self._next.handle_timeout(now)
            self._follow(now)
        if now >= self._old_until:
            self.forget_old_session()

    def _follow(self, now: float) -> None:
        """Use the session of a restart once it has a pair."""
        if self._next is not None and self._next.selected is not None:
            self._take_next(now)

    def next_timeout(self) -> float | None:
        """Return when to call `handle_timeout`; None while nothing is planned."""
        times = [self.current.next_timeout(), None if self._next is None else self._next.next_timeout()]
        earliest = min([self._old_until, *(one for one in times if one is not None)])
        return None if earliest == NEVER else earliest

    def datagrams_to_send(self, now: float) -> list[DatagramToSend]:
        """Drain the responses to the peer's checks, and the check that is due; at most one per `AgentOptions.pace`."""
        datagrams: list[DatagramToSend] = []
        sessions = self._sessions()
        for session in sessions:
            if session is self._old:
                datagrams += session.responses_to_send()
                continue
            before = session.next_check_at
            datagrams += session.datagrams_to_send(now)
            if session.next_check_at > before:
                for other in sessions:
                    other.hold_checks(now + self._options.pace)
        return datagrams

    @property
    def has_events(self) -> bool:
        """Whether `events` has something to return."""
        return bool(self._events) or self.current.has_events

    def events(self) -> list[AgentEvent]:
        """Drain what happened in the session in use, and that another one has taken its place."""
        events, self._events = self._events, []
        return events + self.current.events()


def _remote_fragment(session: IceSession) -> str | None:
    return None if session.remote is None else session.remote.credentials.username_fragment
