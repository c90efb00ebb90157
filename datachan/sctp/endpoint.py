"""One SCTP port and all its associations as one sans-IO machine (RFC 9260, sections 5.1, 5.2 and 8.4).

It finds the association of a packet: by Verification Tag, which stays the same when a NAT gives the peer another UDP
port (RFC 6951, section 5.4), or by the peer's address when the packet has no tag of ours. A packet of no association is
answered without being remembered: an INIT by an INIT ACK that carries all state in its cookie, any other by the rules
of section 8.4. The rate of these answers is limited. It decides nothing inside an association.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from datachan.fair_budget import FairBudget

from . import admission
from .addresses import TransportAddress, is_unicast, usable_addresses
from .association import Association, AssociationState
from .deadlines import Deadlines
from .errors import BadPacket, InvalidState
from .events import Event
from .options import AssociationOptions, EndpointOptions
from .records.cookie import CookieSealer, StateCookieContent
from .records.init import LONGEST_PRESERVATIVE
from .records.keys import RANDOM_LENGTH
from .wire import causes
from .wire.chunks import INIT, SHUTDOWN_ACK, AbortChunk, Chunk, CookieEchoChunk, InitChunk
from .wire.packet import Packet, serialize_packet

FIRST_ID: Final = 3
"""The first association id: RFC 6458, section 7.2 reserves the three below it."""

MAX_SPENT: Final = 65536
"""The most Verification Tags remembered of associations that ended, while their State Cookies may be fresh."""

COOKIE_SECRET_LIFE: Final = 300.0
"""Seconds after which cookies are sealed with a new secret. The previous secret still opens cookies, so this must not
be less than the life of a cookie."""

_S = AssociationState
_CONNECTING: Final = frozenset({_S.COOKIE_WAIT, _S.COOKIE_ECHOED})

PeerKey = tuple[str, int, int]


class Entry:
    """One association of an endpoint.

    Attributes:
        id: the association id.
        association: the machine.
        accepted: it no longer counts against the backlog.
        tag: our Verification Tag in the index.
        peers: the (IP address, UDP port, SCTP port) of the peer in the index.
        last_used: when user data was last sent or received, for `autoclose`.
        traffic: `Association.user_data_moved` at that time.
    """

    __slots__ = ("accepted", "association", "id", "last_used", "peers", "tag", "traffic")

    def __init__(self, assoc_id: int, association: Association, *, accepted: bool, now: float) -> None:
        self.id = assoc_id
        self.association = association
        self.accepted = accepted
        self.tag = 0
        self.peers: tuple[PeerKey, ...] = ()
        self.last_used = now
        self.traffic = 0


class Endpoint:
    """One SCTP port with any number of associations.

    After any call drain `packets_to_send` and `events`, then arm one timer with `next_timeout`.

    Args:
        options: the parameters of new associations; `remote_port` is replaced by each peer's. May be replaced.
        entropy: returns the requested number of random bytes.
        limits: the limits of the resources that unknown peers can use.

    Attributes:
        backlog: the maximum number of associations that wait to be accepted by the application; 0 refuses all.
        autoclose: seconds without user data after which an association is shut down; 0 for never.
        packets_discarded: for statistics; packets of no association, and unreadable packets.
    """

    def __init__(
        self, options: AssociationOptions, entropy: Callable[[int], bytes], limits: EndpointOptions | None = None
    ) -> None:
        self.options = options
        self.limits = limits if limits is not None else EndpointOptions()
        self.backlog = 0
        self.autoclose = 0.0
        self.packets_discarded = 0
        self._entropy = entropy
        self._sealer = CookieSealer(entropy(32))
        self._sealed_since: float | None = None
        self._entries: dict[int, Entry] = {}
        self._by_tag: dict[int, Entry] = {}
        self._by_peer: dict[PeerKey, Entry] = {}
        self._by_host: dict[tuple[str, int], Entry] = {}
        self._by_address: dict[TransportAddress, Entry] = {}  # kept only while we have several addresses
        self._next_id = FIRST_ID
        self._waiting = 0
        self._deadlines = Deadlines()
        self._sending: dict[int, Entry] = {}  # may have packets
        self._with_events: dict[int, Entry] = {}  # may have events
        self._called: Entry | None = None  # the association being called, to know it if the call raises
        self._drained: list[tuple[int, Event]] = []  # drained from associations, not from here
        self._answers: list[tuple[TransportAddress, bytes]] = []  # to packets of no association
        # Two budgets: packets out of the blue, however many there are, leave the budget for INITs untouched.
        self._init_answers = FairBudget(self.limits.init_rate, self.limits.init_burst, entropy(32))
        self._stray_answers = FairBudget(self.limits.stray_rate, self.limits.stray_burst, entropy(32))
        self._now = 0.0
        self._spent: dict[int, float] = {}  # our former tags, and when they were last in use

    # -- the application's calls ---------------------------------------------------------------------------------------

    @property
    def unanswered(self) -> int:
        """For statistics: packets of unknown peers that were not answered because of the rate limits."""
        return self._init_answers.refused + self._stray_answers.refused

    def __len__(self) -> int:
        return len(self._entries)

    def ids(self) -> list[int]:
        """Return the ids of all associations, the oldest first."""
        return list(self._entries)

    def association(self, assoc_id: int) -> Association | None:
        """Return an association for calls; the endpoint then returns its packets and events."""
        entry = self._entries.get(assoc_id)
        if entry is None:
            return None
        self._touch(entry)
        return entry.association

    def peek(self, assoc_id: int) -> Association | None:
        """Return an association for reading only."""
        entry = self._entries.get(assoc_id)
        return None if entry is None else entry.association

    def id_of(self, ip: str, remote_port: int) -> int | None:
        """Return the id of the association with a peer at this IP address and SCTP port, the first of several."""
        entry = self._by_host.get((ip, remote_port))
        return None if entry is None else entry.id

    def sources_for(self, target: TransportAddress) -> list[str]:
        """Return our addresses that packets to `target` may be sent from (RFC 5061, section 5.3); empty for all."""
        entry = self._by_address.get(target)
        return [] if entry is None else entry.association.source_addresses()

    def connect(
        self,
        addresses: Sequence[TransportAddress],
        now: float,
        *,
        remote_port: int,
        options: AssociationOptions | None = None,
    ) -> int:
        """Set up an association with a peer.

        Args:
            addresses: the addresses to try, at least one.
            now: monotonic seconds.
            remote_port: the peer's SCTP port.
            options: the parameters of the association; None for those of the endpoint.

        Returns:
            The id of the association.

        Raises:
            InvalidState: there is an association with the peer already, or there are too many associations.
        """
        if len(self._entries) >= self.limits.max_associations:
            raise InvalidState(f"there are {len(self._entries)} associations; there may not be more (max_associations)")
        if any((ip, udp_port, remote_port) in self._by_peer for ip, udp_port in addresses):
            raise InvalidState("there is an association with this peer already")
        chosen = options if options is not None else self.options
        association = Association(replace(chosen, remote_port=remote_port), self._entropy, self._sealer)
        entry = self._add(association, accepted=True, now=now)
        association.connect(now, addresses)
        self._touch(entry)
        return entry.id

    def accept(self, assoc_id: int) -> None:
        """Accept an association that a peer set up; it no longer counts against the backlog."""
        entry = self._entries.get(assoc_id)
        if entry is not None and not entry.accepted:
            entry.accepted = True
            self._waiting -= 1

    def set_autoclose(self, seconds: float) -> None:
        """Shut down every association that has no user data for this many seconds; 0 for never."""
        self.autoclose = seconds
        for entry in self._entries.values():
            self._schedule(entry)

    def remove_failed(self) -> int | None:
        """Remove the association whose code raised an exception in the last call; the others continue.

        Returns:
            The id of the association; None if the exception was not raised by one.
        """
        failed, self._called = self._called, None
        if failed is None or failed.id not in self._entries:
            return None
        self._remove(failed)
        # The call ended halfway: any of the others may have packets or events left, or have lost its deadline.
        self._sending = dict(self._entries)
        self._with_events = dict(self._entries)
        return failed.id

    # -- the machine ---------------------------------------------------------------------------------------------------

    def receive_datagrams(self, datagrams: Sequence[bytes], now: float, source: TransportAddress) -> None:
        """Process packets received together from one address. No content of theirs raises an exception."""
        self._now = now
        batch: list[bytes] = []
        current: Entry | None = None
        for datagram in datagrams:
            tag = int.from_bytes(datagram[4:8], "big")
            entry = self._by_tag.get(tag) if tag else None
            if entry is not current and current is not None:
                self._receive(current, batch, now, source)
                batch = []
                entry = self._by_tag.get(tag) if tag else None
            current = entry
            if entry is None:
                self._receive_unassociated(datagram, now, source)
            else:
                batch.append(datagram)
        if current is not None:
            self._receive(current, batch, now, source)

    def handle_timeout(self, now: float) -> None:
        """Handle the timeouts that are due by `now`."""
        self._now = now
        for assoc_id in self._deadlines.due(now):
            entry = self._entries.get(assoc_id)
            if entry is None:
                continue
            self._called = entry
            if self.autoclose > 0:
                self._close_if_idle(entry, now)
            moment = entry.association.next_timeout()
            if moment is not None and moment <= now:
                entry.association.handle_timeout(now)
                self._touch(entry)
            else:
                self._schedule(entry)
        self._called = None

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` should be called, in monotonic seconds, or None."""
        for entry in self._sending.values():
            self._called = entry
            self._schedule(entry)
        self._called = None
        return self._deadlines.earliest()

    def dont_fragment(self, destination: TransportAddress, packet: bytes) -> bool:
        """Return whether one of `packets_to_send` must arrive in one piece; else it may also be fragmented."""
        entry = self._sender_of(destination, packet)
        return entry is not None and entry.association.dont_fragment_to(destination)

    def packet_too_long(self, destination: TransportAddress, packet: bytes, now: float, link: int = 0) -> None:
        """Report that one of `packets_to_send` was not sent because it is too long for the first link.

        Args:
            destination: the destination of the packet.
            packet: the packet.
            now: monotonic seconds.
            link: the longest packet that the link carries, in bytes; 0 if unknown.
        """
        entry = self._sender_of(destination, packet)
        if entry is not None:
            entry.association.packet_too_long(len(packet), now, destination, link)
            self._touch(entry)

    def _sender_of(self, destination: TransportAddress, packet: bytes) -> Entry | None:
        return self._by_peer.get((destination[0], destination[1], int.from_bytes(packet[2:4], "big")))

    def packets_to_send(self, now: float) -> list[tuple[TransportAddress, list[bytes]]]:
        """Return the packets to send now, in runs with the same destination."""
        runs: list[tuple[TransportAddress, list[bytes]]] = []
        for address, packet in self._answers:
            if runs and runs[-1][0] == address:
                runs[-1][1].append(packet)
            else:
                runs.append((address, [packet]))
        self._answers.clear()
        if not self._sending:
            return runs
        sending = self._sending
        self._sending = {}
        for entry in sending.values():
            self._called = entry
            for destination, packets in entry.association.packets_to_send(now):
                if destination is not None:
                    runs.append((destination, packets))
            if self.autoclose > 0:
                self._note_traffic(entry, now)
            self._with_events[entry.id] = entry
            self._schedule(entry)
        self._called = None
        return runs

    def events(self) -> list[tuple[int, Event]]:
        """Return the events since the last call, each with its association id."""
        if not self._with_events:
            return []
        drained = self._drained
        with_events = self._with_events
        self._with_events = {}
        for entry in with_events.values():
            self._called = entry
            assoc_id = entry.id
            drained.extend([(assoc_id, event) for event in entry.association.events()])
            if entry.association.state is _S.CLOSED:
                if entry.id in self._sending:  # its last packets have not left
                    self._with_events[entry.id] = entry
                else:
                    self._remove(entry)
        self._called = None
        self._drained = []
        return drained

    # -- packets of associations ---------------------------------------------------------------------------------------

    def _receive(self, entry: Entry, datagrams: list[bytes], now: float, source: TransportAddress) -> None:
        self._called = entry
        entry.association.receive_datagrams(datagrams, now, source)
        self._finish_receiving(entry, now)

    def _receive_packet(
        self,
        entry: Entry,
        packet: Packet,
        size: int,
        now: float,
        source: TransportAddress,
        cookie: StateCookieContent | None = None,
    ) -> None:
        """Give an association a packet that was parsed to find it."""
        self._called = entry
        entry.association.receive_packet(packet, size, now, source, cookie)
        self._finish_receiving(entry, now)

    def _finish_receiving(self, entry: Entry, now: float) -> None:
        self._index(entry)
        if self.autoclose > 0:
            self._note_traffic(entry, now)
        self._touch(entry)
        self._called = None

    def _receive_unassociated(self, datagram: bytes, now: float, source: TransportAddress) -> None:
        """Process a packet with no tag of ours."""
        try:
            packet = admission.parse_stranger_untrusted(datagram)
        except BadPacket:
            self.packets_discarded += 1
            return
        # RFC 9260, 8.4: "If the OOTB packet is to or from a non-unicast address, a receiver SHOULD silently discard the
        # packet."
        if packet.destination_port != self.options.local_port or not is_unicast(source[0]):
            self.packets_discarded += 1
            return
        first = packet.chunks[0]
        if packet.verification_tag == 0 or first.type == INIT:
            init = admission.lone_init(packet)
            if init is None:
                self.packets_discarded += 1
            else:
                self._receive_init(packet, init, len(datagram), now, source)
        elif isinstance(first, CookieEchoChunk):
            self._receive_cookie(packet, first, len(datagram), now, source)
        else:
            self._receive_out_of_the_blue(packet, len(datagram), now, source)

    def _receive_init(self, packet: Packet, init: InitChunk, size: int, now: float, source: TransportAddress) -> None:
        if not self._init_answers.take(source[0], now):
            return
        entry = self._holder_of(init, packet.source_port, source)
        if entry is not None:
            self._receive_packet(entry, packet, size, now, source)
            return
        if self.backlog == 0:
            # RFC 9260, 8.4, rule 3: "If, for whatever reason, the INIT chunk cannot be processed normally and an ABORT
            # chunk has to be sent in response, the Verification Tag of the packet containing the ABORT chunk MUST be
            # the Initiate Tag of the received INIT chunk".
            self._answer(packet, init.initiate_tag, AbortChunk([]), source)
        elif self._full():
            self._answer(packet, init.initiate_tag, AbortChunk([causes.out_of_resource()]), source)
        else:
            self._rotate_secret(now)
            answer = admission.answer_init(
                self.options,
                self._sealer,
                init,
                local_tag=self._new_tag(),
                local_initial_tsn=int.from_bytes(self._entropy(4), "big"),
                tie_tags=(0, 0),
                ports=(packet.source_port, packet.destination_port),
                now=now,
                source=source,
                local_random=self._entropy(RANDOM_LENGTH) if self.options.authentication else b"",
            )
            self._answer(packet, init.initiate_tag, answer, source)

    def _holder_of(self, init: InitChunk, remote_port: int, source: TransportAddress) -> Entry | None:
        """Return the association with the sender of an INIT, if there is one.

        RFC 9260, 5.1.2, D: "An INIT or INIT ACK chunk MUST be treated as belonging to an already established
        association (or one in the process of being established) if the use of any of the valid address parameters
        contained within the chunk would identify an existing TCB."
        """
        for ip, udp_port in usable_addresses(init.parameters, source, self.options.local_addresses):
            entry = self._by_peer.get((ip, udp_port, remote_port))
            if entry is not None:
                return entry
        return None

    def _receive_cookie(
        self, packet: Packet, echo: CookieEchoChunk, size: int, now: float, source: TransportAddress
    ) -> None:
        """Set up an association from a State Cookie, or pass the cookie to the one that restarts (section 5.2.4, A)."""
        content = self._sealer.open(echo.cookie)
        if content is None or not admission.cookie_fits(content, packet):
            self.packets_discarded += 1
            return
        stale = admission.stale_cookie_error(content, now)
        entry = self._by_peer.get((source[0], source[1], packet.source_port))
        if entry is not None:
            self._receive_packet(entry, packet, size, now, source, content)
        elif stale is not None:
            if self._stray_answers.take(source[0], now):
                self._answer(packet, content.peer_tag, stale, source)
        elif self.backlog == 0:
            if self._stray_answers.take(source[0], now):
                self._answer(packet, content.peer_tag, AbortChunk([]), source)
        elif content.local_tag in self._spent or self._full():
            # A copy of a cookie that was used. It would set up again an association that is over.
            self.packets_discarded += 1
        else:
            # Only now is there something to remember.
            options = replace(self.options, remote_port=packet.source_port)
            entry = self._add(Association(options, self._entropy, self._sealer), accepted=False, now=now)
            self._receive_packet(entry, packet, size, now, source, content)

    def _receive_out_of_the_blue(self, packet: Packet, size: int, now: float, source: TransportAddress) -> None:
        entry = self._by_peer.get((source[0], source[1], packet.source_port))
        # RFC 9260, 8.5.1, E: "If the receiver is in COOKIE-ECHOED or COOKIE-WAIT state, the procedures in Section 8.4
        # SHOULD be followed; in other words, it is treated as an OOTB packet."
        late = packet.chunks[0].type == SHUTDOWN_ACK
        if entry is not None and not (late and entry.association.state in _CONNECTING):
            # A wrong tag, or that of the peer itself in an ABORT or SHUTDOWN COMPLETE with the T bit.
            self._receive_packet(entry, packet, size, now, source)
            return
        answer = admission.answer_out_of_the_blue(packet)
        self.packets_discarded += 1
        if answer is not None and self._stray_answers.take(source[0], now):
            self._answer(packet, packet.verification_tag, answer, source)

    # -- packets of no association -------------------------------------------------------------------------------------

    def _answer(self, packet: Packet, tag: int, chunk: Chunk, source: TransportAddress) -> None:
        answer = serialize_packet(packet.destination_port, packet.source_port, tag, [chunk.serialize()])
        self._answers.append((source, answer))

    def _rotate_secret(self, now: float) -> None:
        if self._sealed_since is None:
            self._sealed_since = now
        elif now - self._sealed_since >= COOKIE_SECRET_LIFE:
            self._sealer.rotate(self._entropy(32))
            self._sealed_since = now

    def _full(self) -> bool:
        return self._waiting >= self.backlog or len(self._entries) >= self.limits.max_associations

    def _new_tag(self) -> int:
        """Return a random Verification Tag that no association has."""
        tag = 0
        while tag == 0 or tag in self._by_tag or tag in self._spent:
            tag = int.from_bytes(self._entropy(4), "big")
        return tag

    # -- the index -----------------------------------------------------------------------------------------------------

    def _add(self, association: Association, *, accepted: bool, now: float) -> Entry:
        entry = Entry(self._next_id, association, accepted=accepted, now=now)
        self._next_id += 1
        self._entries[entry.id] = entry
        if not accepted:
            self._waiting += 1
        return entry

    def _touch(self, entry: Entry) -> None:
        """Record that an association was called, or is about to be: it may have packets and events."""
        self._sending[entry.id] = entry
        self._with_events[entry.id] = entry
        self._index(entry)

    def _schedule(self, entry: Entry) -> None:
        self._deadlines.set_earlier(entry.id, entry.association.next_timeout())
        if self.autoclose > 0 and entry.association.state is _S.ESTABLISHED:
            self._deadlines.set_earlier(entry.id, entry.last_used + self.autoclose)

    def _index(self, entry: Entry) -> None:
        """Index the association by its current tag and peer addresses."""
        association = entry.association
        if association.state is _S.CLOSED:
            self._unindex(entry)
            return
        tag = association.local_tag
        if tag != entry.tag:
            self._forget_tag(entry)
            entry.tag = tag
            self._by_tag[tag] = entry
        addresses = association.peer_addresses()
        if len(addresses) == len(entry.peers) and all(
            address[0] == peer[0] and address[1] == peer[1]
            for address, peer in zip(addresses, entry.peers, strict=True)
        ):
            return
        self._forget_peers(entry)
        remote_port = association.options.remote_port
        entry.peers = tuple([(ip, udp_port, remote_port) for ip, udp_port in addresses])
        for peer in entry.peers:
            self._by_peer.setdefault(peer, entry)
            self._by_host.setdefault((peer[0], remote_port), entry)
        if association.options.local_addresses:
            for address in addresses:
                self._by_address.setdefault(address, entry)

    def _unindex(self, entry: Entry) -> None:
        self._forget_tag(entry)
        self._forget_peers(entry)

    def _forget_peers(self, entry: Entry) -> None:
        for peer in entry.peers:
            if self._by_peer.get(peer) is entry:
                del self._by_peer[peer]
            host = (peer[0], peer[2])
            if self._by_host.get(host) is entry:
                del self._by_host[host]
            if self._by_address.get((peer[0], peer[1])) is entry:
                del self._by_address[(peer[0], peer[1])]
        entry.peers = ()

    def _forget_tag(self, entry: Entry) -> None:
        """Remove the tag from the index, and remember it, so that a replayed cookie sets up no association."""
        tag = entry.tag
        if tag == 0 or self._by_tag.get(tag) is not entry:
            return
        del self._by_tag[tag]
        entry.tag = 0
        spent = self._spent
        spent[tag] = self._now
        oldest = next(iter(spent))
        longest_life = self.options.valid_cookie_life + LONGEST_PRESERVATIVE
        while len(spent) > MAX_SPENT or spent[oldest] + longest_life < self._now:
            del spent[oldest]
            oldest = next(iter(spent))

    def _remove(self, entry: Entry) -> None:
        """Remove an association that has ended, after its last packets and events were drained."""
        self._unindex(entry)
        del self._entries[entry.id]
        self._deadlines.remove(entry.id)
        if not entry.accepted:
            self._waiting -= 1

    # -- autoclose -----------------------------------------------------------------------------------------------------

    def _note_traffic(self, entry: Entry, now: float) -> None:
        traffic = entry.association.user_data_moved
        if traffic != entry.traffic:
            entry.traffic = traffic
            entry.last_used = now

    def _close_if_idle(self, entry: Entry, now: float) -> None:
        self._note_traffic(entry, now)
        if now >= entry.last_used + self.autoclose and entry.association.state is _S.ESTABLISHED:
            entry.association.shutdown(now)
            self._touch(entry)
