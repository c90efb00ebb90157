"""A TURN client (RFC 8656), sans-IO: one allocation on one server, its permissions and channels, and data through it.

It knows the messages between us and the server, over any transport. It does not know ICE, nor who connects.

The allocation is requested by `start`. Each address of a peer that is named with `permit` gets a permission at once, so
that the peer's first check passes (RFC 8656, 9). STUN goes to a peer in Send indications, which need no answer of the
server first. The first datagram that is not STUN makes the client bind a channel, whose header is 32 bytes shorter.

A server may lose the allocation (it restarts, or its sessions expire while this host sleeps). It then answers 437, or
400 to a channel. The client asks with a Refresh whether the allocation exists, and requests another one if not.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from . import turn_messages as turn
from .candidates import TransportAddress
from .errors import BadPacket
from .requests import Requests
from .stun import (
    ERROR,
    INDICATION,
    REQUEST,
    SUCCESS,
    TRANSACTION_ID_LENGTH,
    XOR_MAPPED_ADDRESS,
    Message,
    parse_untrusted,
    read_xor_address,
    serialize,
    xor_address,
)
from .turn_credentials import LongTermCredentials
from .turn_events import (
    Allocated,
    AllocationLost,
    DataReceived,
    PeerRefused,
    Redirected,
    TurnClosed,
    TurnEvent,
    TurnFailed,
)

# RFC 8656, 9: "The Permission Lifetime MUST be 300 seconds (= 5 minutes)." A channel lasts ten, but binding it again
# renews the permission, too.
PERMISSION_REFRESH: Final = 240.0
# RFC 8656, 3.2: the default lifetime of an allocation is 10 minutes; it is refreshed a minute before it ends.
_DEFAULT_LIFETIME: Final = 600
_REFRESH_MARGIN: Final = 60.0
_SHORTEST_REFRESH: Final = 1.0
# Addresses that get a permission: as many as candidates of the peer are taken, and a margin for peer-reflexive ones.
MAX_PEERS: Final = 128
# Datagrams to one peer that wait for its permission: more than the first flights of ICE and DTLS.
MAX_PENDING: Final = 64
# Messages that the shell has not taken yet, because the connection to the server accepts no more.
MAX_UNSENT: Final = 4096
# A server that always answers 438, or another realm each time, is given up after this many answers to one request.
_MAX_CHALLENGES: Final = 4
# An allocation that is lost again and again is requested again at most this often.
MAX_REALLOCATIONS: Final = 8

_UNAUTHORIZED: Final = 401
_TRY_ALTERNATE: Final = 300
_BAD_REQUEST: Final = 400
_MISMATCH: Final = 437
_STALE_NONCE: Final = 438
_NOT_UNDERSTOOD: Final = 420
_FAMILY_NOT_SUPPORTED: Final = 440
_SERVER_ERROR: Final = 500
_INSUFFICIENT_CAPACITY: Final = 508
# An allocation of both families that is refused with one of these is asked for again with IPv4 alone. RFC 8656, 7.2,
# has a server without IPv6 give the IPv4 address; coturn with `external-ip`, as in most clouds, refuses with 440.
_ONE_FAMILY_MAY_DO: Final = frozenset(
    {_BAD_REQUEST, _NOT_UNDERSTOOD, _FAMILY_NOT_SUPPORTED, _SERVER_ERROR, _INSUFFICIENT_CAPACITY}
)
# RFC 8489, 9.2.5 takes these without MESSAGE-INTEGRITY; they come before the server knows us, or knows us no more.
_UNSIGNED_ERRORS: Final = frozenset({_TRY_ALTERNATE, _UNAUTHORIZED, _STALE_NONCE})


@dataclass(slots=True)
class _Ask:
    """A request as it was meant, so that it can be repeated with other credentials."""

    method: int
    attributes: dict[int, bytes]
    host: str = ""
    channel: int = 0
    challenges: int = 0
    signed: bool = False


@dataclass(slots=True)
class _Peer:
    """What the server does for one address of a peer."""

    permitted: bool = False
    refused: bool = False
    refresh_at: float | None = None
    waiting: list[tuple[bytes, TransportAddress]] = field(default_factory=list)


@dataclass(slots=True)
class _Channel:
    """A channel to one transport address of a peer.

    Attributes:
        bound: whether the server has confirmed it.
        refresh_at: when to bind it again; None while a request is in progress or the server has refused it.
    """

    number: int
    bound: bool = False
    refresh_at: float | None = None


class TurnClient:
    """One allocation on one TURN server.

    Args:
        username: the user name.
        password: the password.
        entropy: returns the requested number of random bytes.
        family: the family of the relayed address, `IPV4` or `IPV6`.
        reliable: whether the connection to the server is a stream (TCP, TLS).

    Attributes:
        discarded: the number of datagrams without room, permission or allocation.
        discarded_bytes: the number of bytes in them.
    """

    has_more: Final = True
    bundles: Final = False

    def __init__(
        self,
        *,
        username: str,
        password: str,
        entropy: Callable[[int], bytes],
        family: int = turn.IPV4,
        reliable: bool = False,
    ) -> None:
        self._credentials = LongTermCredentials(username, password)
        self._entropy = entropy
        self._family = family
        self._families = {family}
        self._both = family == turn.IPV4
        self._requests: Requests[_Ask] = Requests(reliable=reliable)
        self._relayed: TransportAddress | None = None
        self._refresh_at: float | None = None
        self._refreshing = False
        self._reallocations = 0
        self._closing = False
        self._ended = False
        self._peers: dict[str, _Peer] = {}
        self._channels: dict[TransportAddress, _Channel] = {}
        self._by_number: dict[int, TransportAddress] = {}
        self._next_channel = turn.FIRST_CHANNEL
        self._to_send: list[bytes] = []
        self._events: list[TurnEvent] = []
        self.discarded = 0
        self.discarded_bytes = 0

    # calls of the shell

    def start(self, now: float) -> None:
        """Request the allocation."""
        self._ask(self._allocation(), now)

    def permit(self, host: str, now: float) -> None:
        """Request that the server relays datagrams from an address; one of another family is ignored."""
        if self._ended or host in self._peers or not self._is_ours(host) or len(self._peers) >= MAX_PEERS:
            return
        self._peers[host] = _Peer()
        if self._relayed is not None:
            self._request_permission(host, now)

    def send(self, datagrams: Sequence[bytes], peer: TransportAddress, now: float) -> None:
        """Relay datagrams to a peer. Some may wait for its permission, which is requested if it was not yet."""
        if len(self._to_send) > MAX_UNSENT or self._closing:
            self._discard(datagrams)
            return
        channel = self._channels.get(peer)
        if channel is not None and channel.bound:
            head = channel.number.to_bytes(2, "big")
            self._to_send += [head + len(one).to_bytes(2, "big") + one for one in datagrams]
            return
        self.permit(peer[0], now)
        known = self._peers.get(peer[0])
        if known is None or known.refused or self._ended:
            self._discard(datagrams)
        elif not known.permitted:
            room = MAX_PENDING - len(known.waiting)
            known.waiting += [(one, peer) for one in datagrams[:room]]
            self._discard(datagrams[room:])
        else:
            self._indicate(datagrams, peer, now)

    def close(self, now: float) -> None:
        """Release the allocation: a Refresh with lifetime 0 is sent once, and `TurnClosed` follows its answer."""
        if self._ended or self._closing:
            return
        self._closing = True
        self._requests.clear()
        self._refresh_at = None
        for known in self._peers.values():
            known.refresh_at = None
            self._discard([one for one, _ in known.waiting])
            known.waiting.clear()
        for channel in self._channels.values():
            channel.refresh_at = None
        if self._relayed is None:
            self._end(TurnClosed())
        else:
            self._ask(_Ask(turn.REFRESH, {turn.LIFETIME: bytes(4)}), now)

    def connection_failed(self, reason: str) -> None:
        """End because the connection to the server is lost, or an ICMP error says that it cannot be reached.

        Once there is an allocation, an ICMP error may pass: then the shell does not call this.
        """
        self._end(TurnClosed() if self._closing else TurnFailed(turn.UNREACHABLE, reason))

    @property
    def relayed_address(self) -> TransportAddress | None:
        """The address of the allocation; None while there is none."""
        return self._relayed

    # the machine contract

    def receive_datagrams(self, datagrams: Sequence[bytes], now: float) -> None:
        """Process messages of the server, each whole."""
        payloads: list[bytes] = []
        peer: TransportAddress | None = None
        for message in datagrams:
            source: TransportAddress | None = None
            payload: bytes | None = None
            if turn.is_channel_data(message):
                source = self._by_number.get(int.from_bytes(message[:2], "big"))
                payload = turn.channel_payload(message)
            else:
                source, payload = self._receive_stun(message, now)
            if source is None or payload is None:
                continue
            if source != peer:
                self._deliver(payloads, peer)
                payloads, peer = [], source
            payloads.append(payload)
        self._deliver(payloads, peer)

    def handle_timeout(self, now: float) -> None:
        """Repeat requests, and refresh what is due."""
        if self._ended:
            return
        again, given_up = self._requests.handle_timeout(now)
        self._to_send += [request.data for request in again]
        for request in given_up:
            self._unanswered(request.purpose, now)
        if self._refresh_at is not None and self._refresh_at <= now:
            self._refresh(now)
        for host, known in self._peers.items():
            if known.refresh_at is not None and known.refresh_at <= now:
                self._request_permission(host, now)
        for address, channel in self._channels.items():
            if channel.refresh_at is not None and channel.refresh_at <= now:
                self._bind(address, channel, now)

    def next_timeout(self) -> float | None:
        """Return when to call `handle_timeout`; None for never."""
        due = [self._requests.next_timeout(), self._refresh_at]
        due += [known.refresh_at for known in self._peers.values()]
        due += [channel.refresh_at for channel in self._channels.values()]
        return min((one for one in due if one is not None), default=None)

    def datagrams_to_send(self, now: float) -> list[bytes]:
        """Drain the messages for the server; a stream carries each as `padded` returns it."""
        messages, self._to_send = self._to_send, []
        return messages

    def events(self) -> list[TurnEvent]:
        """Drain the events."""
        events, self._events = self._events, []
        return events

    # requests

    def _allocation(self) -> _Ask:
        return _Ask(turn.ALLOCATE, turn.allocation_attributes(self._family, both=self._both))

    def _ask(self, ask: _Ask, now: float) -> None:
        transaction_id = self._entropy(TRANSACTION_ID_LENGTH)
        message = Message(ask.method + REQUEST, transaction_id, dict(ask.attributes))
        if ask.host:
            # A permission is for an address; its port is ignored (RFC 8656, 10.1).
            peer = self._by_number.get(ask.channel, (ask.host, 0))
            message.attributes[turn.XOR_PEER_ADDRESS] = xor_address(peer, transaction_id)
        ask.signed = self._credentials.challenged
        data = self._credentials.sign(message)
        if self._requests.start(transaction_id, data, ask, now):
            self._to_send.append(data)

    def _request_permission(self, host: str, now: float) -> None:
        self._peers[host].refresh_at = None
        self._ask(_Ask(turn.CREATE_PERMISSION, {}, host), now)

    def _refresh(self, now: float) -> None:
        self._refresh_at = None
        if not self._refreshing:
            self._refreshing = True
            self._ask(_Ask(turn.REFRESH, {turn.LIFETIME: _DEFAULT_LIFETIME.to_bytes(4, "big")}), now)

    def _bind(self, address: TransportAddress, channel: _Channel, now: float) -> None:
        channel.refresh_at = None
        number = channel.number.to_bytes(2, "big") + bytes(2)
        self._ask(_Ask(turn.CHANNEL_BIND, {turn.CHANNEL_NUMBER: number}, address[0], channel.number), now)

    def _indicate(self, datagrams: Sequence[bytes], peer: TransportAddress, now: float) -> None:
        """Send datagrams in indications; bind a channel if they carry more than checks."""
        for one in datagrams:
            transaction_id = self._entropy(TRANSACTION_ID_LENGTH)
            attributes = {turn.XOR_PEER_ADDRESS: xor_address(peer, transaction_id), turn.DATA: one}
            self._to_send.append(serialize(Message(turn.SEND + INDICATION, transaction_id, attributes)))
        full = self._next_channel > turn.LAST_CHANNEL or len(self._channels) >= MAX_PEERS
        if peer not in self._channels and not full and any(one[:1] > b"\3" for one in datagrams):
            channel = self._channels[peer] = _Channel(self._next_channel)
            self._by_number[channel.number] = peer
            self._next_channel += 1
            self._bind(peer, channel, now)

    # what the server sends

    def _receive_stun(self, datagram: bytes, now: float) -> tuple[TransportAddress | None, bytes | None]:
        """Process a STUN message; return the peer and its datagram if it is a Data indication."""
        try:
            message = parse_untrusted(datagram)
        except BadPacket:
            return None, None
        if message.type == turn.DATA_METHOD + INDICATION:
            peer = read_xor_address(message.attributes.get(turn.XOR_PEER_ADDRESS, b""), message.transaction_id)
            # RFC 8656, 11.4: "The client SHOULD also check that the XOR-PEER-ADDRESS attribute value contains an IP
            # address with which the client believes there is an active permission and discard the Data indication
            # otherwise."
            return (peer, message.attributes.get(turn.DATA)) if peer and peer[0] in self._peers else (None, None)
        request = self._requests.find(message.transaction_id)
        if request is None or message.message_class not in (SUCCESS, ERROR) or self._ended:
            return None, None
        ask = request.purpose
        if message.method != ask.method or not self._is_authentic(message, ask):
            return None, None
        self._requests.finish(message.transaction_id, now)
        if message.message_class == SUCCESS:
            self._succeeded(ask, message, now)
        else:
            self._refused(ask, message, now)
        return None, None

    def _is_authentic(self, message: Message, ask: _Ask) -> bool:
        if not ask.signed:
            return True
        if message.message_class == ERROR and message.error_code in _UNSIGNED_ERRORS:
            return True
        return self._credentials.is_authentic(message)

    def _succeeded(self, ask: _Ask, answer: Message, now: float) -> None:
        if ask.method == turn.ALLOCATE:
            self._allocated(answer, now)
        elif self._closing:
            self._end(TurnClosed())
        elif ask.method == turn.REFRESH:
            self._refreshing = False
            self._schedule_refresh(answer, now)
        elif ask.method == turn.CREATE_PERMISSION:
            self._permitted(ask.host, now)
        elif ask.method == turn.CHANNEL_BIND and (address := self._by_number.get(ask.channel)) is not None:
            channel = self._channels[address]
            channel.bound = True
            channel.refresh_at = now + PERMISSION_REFRESH

    def _allocated(self, answer: Message, now: float) -> None:
        relayed = answer.address(turn.XOR_RELAYED_ADDRESS)
        if relayed is None:
            self._end(TurnFailed(turn.UNREACHABLE, "the server's answer has no relayed address"))
            return
        self._relayed = relayed
        additional = self._additional_address(answer)
        self._families = {self._family} if additional is None else {turn.IPV4, turn.IPV6}
        self._schedule_refresh(answer, now)
        self._events.append(Allocated(relayed, answer.address(XOR_MAPPED_ADDRESS), additional))
        for host in self._peers:
            self._request_permission(host, now)

    def _additional_address(self, answer: Message) -> TransportAddress | None:
        """Return the address of the other family; coturn writes 0.0.0.0 and port 0 if it has none."""
        for attribute, value in answer.further:
            address = read_xor_address(value, answer.transaction_id) if attribute == turn.XOR_RELAYED_ADDRESS else None
            if address is not None and address[1] and ipaddress.ip_address(address[0]).version != self._family:
                return address
        return None

    def _schedule_refresh(self, answer: Message, now: float) -> None:
        lifetime = float(answer.number(turn.LIFETIME) or _DEFAULT_LIFETIME)
        self._refresh_at = now + max(_SHORTEST_REFRESH, lifetime - _REFRESH_MARGIN, lifetime / 2)

    def _permitted(self, host: str, now: float) -> None:
        known = self._peers[host]
        known.permitted = True
        known.refresh_at = now + PERMISSION_REFRESH
        waiting, known.waiting = known.waiting, []
        for one, peer in waiting:
            self._indicate([one], peer, now)

    def _refused(self, ask: _Ask, answer: Message, now: float) -> None:
        code, reason = answer.error_code or _BAD_REQUEST, answer.reason
        if code in (_UNAUTHORIZED, _STALE_NONCE) and self._accept_challenge(ask, answer):
            self._ask(ask, now)
        elif ask.method == turn.ALLOCATE and self._both and code in _ONE_FAMILY_MAY_DO:
            self._both = False
            self._ask(self._allocation(), now)
        elif ask.method == turn.ALLOCATE:
            server = turn.read_plain_address(answer.attributes.get(turn.ALTERNATE_SERVER, b""))
            redirected = code == _TRY_ALTERNATE and server is not None
            self._end(Redirected(server) if redirected and server else TurnFailed(code, reason or "refused"))
        elif self._closing:
            self._end(TurnClosed())
        elif ask.method == turn.REFRESH:
            self._lost(code, reason, now)
        else:
            self._refused_peer(ask, code, reason, now)

    def _accept_challenge(self, ask: _Ask, answer: Message) -> bool:
        """Take over realm and nonce; return whether the request is worth another attempt with them."""
        ask.challenges += 1
        # RFC 8489, 9.2.5: a 401 with a new nonce after a signed request means that the credentials are wrong.
        same_realm = answer.attributes.get(turn.REALM, self._credentials.realm) == self._credentials.realm
        wrong = answer.error_code == _UNAUTHORIZED and ask.signed and same_realm
        if wrong or ask.challenges > _MAX_CHALLENGES:
            return False
        return self._credentials.accept_challenge_untrusted(answer)

    def _refused_peer(self, ask: _Ask, code: int, reason: str, now: float) -> None:
        if code in (_MISMATCH, _BAD_REQUEST):  # the allocation may be gone: a Refresh tells
            self._refresh(now)
        known = self._peers[ask.host]
        if ask.method == turn.CHANNEL_BIND:  # indications carry the data, if the permission lasts
            if (address := self._by_number.get(ask.channel)) is not None:
                self._channels[address].bound = False
            return
        known.refused = code != _MISMATCH
        known.permitted = False
        self._discard([one for one, _ in known.waiting])
        known.waiting.clear()
        if known.refused:
            self._events.append(PeerRefused(ask.host, code, reason))

    def _unanswered(self, ask: _Ask, now: float) -> None:
        if self._closing:
            self._end(TurnClosed())
        elif ask.method in (turn.ALLOCATE, turn.REFRESH):
            self._end(TurnFailed(turn.UNREACHABLE, "the server does not answer"))
        elif ask.method == turn.CREATE_PERMISSION:
            known = self._peers[ask.host]
            self._discard([one for one, _ in known.waiting])
            known.waiting.clear()
            known.refresh_at = now
        elif (address := self._by_number.get(ask.channel)) is not None:
            self._channels[address].refresh_at = now

    def _lost(self, code: int, reason: str, now: float) -> None:
        """Request another allocation in place of one that the server no longer has."""
        self._reallocations += 1
        if self._reallocations > MAX_REALLOCATIONS:
            self._end(TurnFailed(code, f"the allocation was lost {self._reallocations} times: {reason}"))
            return
        self._relayed = None
        self._refresh_at = None
        self._refreshing = False
        self._requests.clear()
        self._channels.clear()
        self._by_number.clear()
        for known in self._peers.values():
            known.permitted = known.refused = False
            known.refresh_at = None
        self._events.append(AllocationLost(code, reason))
        self._ask(self._allocation(), now)

    def _end(self, event: TurnEvent) -> None:
        if self._ended:
            return
        self._ended = True
        self._relayed = None
        self._refresh_at = None
        self._requests.clear()
        for known in self._peers.values():
            self._discard([one for one, _ in known.waiting])
        self._peers.clear()
        self._channels.clear()
        self._by_number.clear()
        self._events.append(event)

    def _deliver(self, payloads: list[bytes], peer: TransportAddress | None) -> None:
        if payloads and peer is not None:
            self._events.append(DataReceived(peer, payloads))

    def _discard(self, datagrams: Sequence[bytes]) -> None:
        self.discarded += len(datagrams)
        self.discarded_bytes += sum(map(len, datagrams))

    def _is_ours(self, host: str) -> bool:
        """Return whether an address is of the allocation's families, and one that packets can be relayed to."""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return address.version in self._families and not (address.is_multicast or address.is_unspecified)
