"""A TURN server for tests, sans-IO: it answers one client as a test wishes, and records what it was asked."""

from __future__ import annotations

from collections.abc import Callable

from datachan.ice_agent import stun
from datachan.ice_agent import turn_messages as turn
from datachan.ice_agent.turn import TurnClient
from datachan.ice_agent.turn_credentials import key_of
from datachan.ice_agent.turn_events import TurnEvent

USER, PASSWORD, REALM = "user", "secret", b"test"
RELAYED, MAPPED = ("192.0.2.200", 50_000), ("203.0.113.9", 4444)
KEY = key_of(USER, REALM, PASSWORD)
Answer = tuple[int, str]


class TurnServer:
    """Answers a client's messages.

    Attributes:
        asked: the method of each request that was answered.
        errors: for a method, the answers to its next requests: (code, reason), or None for success.
        silent: the methods that get no answer.
        nonce: requests with another one are refused as stale.
        relayed: the address of the next allocation.
        additional: its IPv6 address, if it has one.
        sent: what the client has relayed: (peer, datagram, by channel).
    """

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.errors: dict[int, list[Answer | None]] = {}
        self.silent: set[int] = set()
        self.nonce = b"one"
        self.relayed = RELAYED
        self.additional: tuple[str, int] | None = None
        self.lifetime = 600
        self.alternate: tuple[str, int] | None = None
        self.sent: list[tuple[tuple[str, int], bytes, bool]] = []
        self.channels: dict[int, tuple[str, int]] = {}
        self.permitted: list[str] = []

    def receive(self, message: bytes) -> bytes | None:
        if turn.is_channel_data(message):
            number = int.from_bytes(message[:2], "big")
            self.sent.append((self.channels[number], turn.channel_payload(message) or b"", True))
            return None
        request = stun.parse_untrusted(message)
        if request.method == turn.SEND:
            peer = request.address(turn.XOR_PEER_ADDRESS)
            assert peer is not None
            self.sent.append((peer, request.attributes[turn.DATA], False))
            return None
        if request.method in self.silent:
            return None
        return self._answer(request)

    def _answer(self, request: stun.Message) -> bytes:
        answer = stun.Message(request.method + stun.SUCCESS, request.transaction_id)
        if not request.is_signed_with(KEY):
            return self._challenge(answer, 401)
        if request.attributes[turn.NONCE] != self.nonce:
            return self._challenge(answer, 438)
        self.asked.append(request.method)
        if (planned := self.errors.get(request.method)) and (error := planned.pop(0)) is not None:
            answer.type = request.method + stun.ERROR
            answer.attributes[stun.ERROR_CODE] = stun.error_code(*error)
            if self.alternate is not None:
                host, port = self.alternate
                packed = bytes(map(int, host.split(".")))
                answer.attributes[turn.ALTERNATE_SERVER] = b"\0\1" + port.to_bytes(2, "big") + packed
            return stun.serialize(answer, KEY)
        peer = request.address(turn.XOR_PEER_ADDRESS)
        if request.method == turn.ALLOCATE:
            answer.attributes[turn.XOR_RELAYED_ADDRESS] = stun.xor_address(self.relayed, request.transaction_id)
            if self.additional is not None and turn.ADDITIONAL_ADDRESS_FAMILY in request.attributes:
                second = stun.xor_address(self.additional, request.transaction_id)
                answer.further.append((turn.XOR_RELAYED_ADDRESS, second))
            answer.attributes[stun.XOR_MAPPED_ADDRESS] = stun.xor_address(MAPPED, request.transaction_id)
        elif request.method == turn.CREATE_PERMISSION and peer is not None:
            self.permitted.append(peer[0])
        elif request.method == turn.CHANNEL_BIND and peer is not None:
            self.channels[int.from_bytes(request.attributes[turn.CHANNEL_NUMBER][:2], "big")] = peer
        answer.attributes[turn.LIFETIME] = self.lifetime.to_bytes(4, "big")
        return stun.serialize(answer, KEY)

    def _challenge(self, answer: stun.Message, code: int) -> bytes:
        answer.type = answer.method + stun.ERROR
        answer.attributes[stun.ERROR_CODE] = stun.error_code(code, "Unauthorized")
        answer.attributes[turn.REALM] = REALM
        answer.attributes[turn.NONCE] = self.nonce
        return stun.serialize(answer)

    @staticmethod
    def indication(peer: tuple[str, int], datagram: bytes) -> bytes:
        message = stun.Message(turn.DATA_METHOD + stun.INDICATION, b"i" * 12)
        message.attributes[turn.XOR_PEER_ADDRESS] = stun.xor_address(peer, message.transaction_id)
        message.attributes[turn.DATA] = datagram
        return stun.serialize(message)


class Session:
    """A client and a server on a virtual clock, with a round trip of no time."""

    def __init__(self, server: TurnServer | None = None, password: str = PASSWORD, **options: object) -> None:
        self.server = server or TurnServer()
        self.now = 0.0
        numbers = iter(range(1 << 20))

        def entropy(length: int) -> bytes:
            return next(numbers).to_bytes(length, "big")

        self.client = TurnClient(username=USER, password=password, entropy=entropy, **options)  # type: ignore[arg-type]
        self.events: list[TurnEvent] = []
        self.messages = 0

    def exchange(self, deliver: Callable[[bytes], bytes | None] | None = None) -> list[TurnEvent]:
        """Let both talk until they are silent, and return the client's new events."""
        new: list[TurnEvent] = []
        for _ in range(100):
            messages = self.client.datagrams_to_send(self.now)
            self.messages += len(messages)
            answers = [answer for one in messages if (answer := (deliver or self.server.receive)(one)) is not None]
            self.client.receive_datagrams(answers, self.now)
            new += self.client.events()
            if not messages:
                break
        self.events += new
        return new

    def start(self) -> list[TurnEvent]:
        self.client.start(self.now)
        return self.exchange()

    def advance(self, seconds: float) -> list[TurnEvent]:
        """Let time pass, with every timeout at its moment."""
        end = self.now + seconds
        new: list[TurnEvent] = []
        while (due := self.client.next_timeout()) is not None and due <= end:
            self.now = max(self.now, due)
            self.client.handle_timeout(self.now)
            new += self.exchange()
        self.now = end
        return new
