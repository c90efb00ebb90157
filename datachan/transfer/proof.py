"""Knows how both sides prove the code to each other before anything else is said; knows no file, room or channel.

The receiver proves first, and the sender answers only to a right proof. So a stranger learns nothing without showing
its guess, and one wrong guess ends the code (docs/transfer-protocol.md, "One guess").
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from datachan.transfer.actions import Action, Ended, Outcome, Proven, Send
from datachan.transfer.messages import (
    BadMessage,
    Confirm,
    End,
    EndCode,
    Message,
    Pake,
    parse_message_untrusted,
    serialize_message,
)
from datachan.transfer.pake import BadShare, KeyExchange, Keys, Role

PROOF_TIMEOUT: Final = 30.0
"""Seconds from the opening of the channel until both sides have proved the code."""

_WRONG: Final = "the code is wrong: it is used up, and the sender has to start again"


class Proof:
    """One side of the proof on one connection.

    Args:
        role: This side.
        fingerprints: SHA-256 of the sender's and the receiver's certificate, 64 bytes, as this side's connection uses
            them.
        password: The normalized code; empty for a receiver that has a session.
        entropy: Returns the requested number of random bytes.
        verify: Whether this side's person compares words.
        session: For a receiver that connects again: the session id and the reconnect secret.
        secret_of: For a sender: returns the reconnect secret of a session id, or None.

    Attributes:
        session: For a sender: the session that the receiver has proved to belong to; None if it proved the code.
        guessed: A wrong proof was given for the code: it must not be used again.
        exposed: This side has given its proof for the code, and has not seen the peer's.
    """

    def __init__(
        self,
        role: Role,
        fingerprints: bytes,
        password: str,
        entropy: Callable[[int], bytes],
        *,
        verify: bool = False,
        session: tuple[str, str] | None = None,
        secret_of: Callable[[str], str | None] = lambda session: None,
    ) -> None:
        self._role = role
        self._fingerprints = fingerprints
        self._password = password
        self._entropy = entropy
        self._verify = verify
        self._session = session
        self._secret_of = secret_of
        self._by_code = session is None
        self._forbidden = False
        self.session: str | None = None
        self._exchange: KeyExchange | None = None
        self._keys: Keys | None = None
        self._over = False
        self.guessed = False
        self.exposed = False

    def forbid_code(self) -> None:
        """Admit only receivers that have a session: the code was guessed wrong before."""
        self._forbidden = True

    def start(self) -> list[Action]:
        """Begin: the receiver sends its share, the sender waits for it."""
        if self._role is Role.SENDER:
            return []
        session, password = self._session or (None, self._password)
        self._exchange = KeyExchange(self._role, password, self._entropy)
        return [self._send(Pake(self._exchange.share, session))]

    def receive_message(self, message: str | bytes) -> list[Action]:
        """Process a message of the peer. Never raises because of it."""
        if self._over:
            return []
        if not isinstance(message, str):
            return self.end(EndCode.PROTOCOL, "data came before the proof of the code")
        try:
            return self._receive(parse_message_untrusted(message))
        except (BadMessage, BadShare) as error:
            return self.end(EndCode.PROTOCOL, error.reason)

    def end(self, code: EndCode, reason: str) -> list[Action]:
        """End the proof, and tell the peer why. Does nothing once it is over."""
        if self._over:
            return []
        self._over = True
        return [self._send(End(code, reason)), Ended(Outcome.ENDED_HERE, code, reason)]

    def channel_closed(self) -> list[Action]:
        """End the proof because the channel has closed. Does nothing once it is over."""
        if self._over:
            return []
        self._over = True
        return [Ended(Outcome.BROKEN, reason="the connection closed before both sides had proved the code")]

    def _receive(self, message: Message | None) -> list[Action]:
        if message is None:
            return []
        if isinstance(message, End):
            self._over = True
            self.guessed = self._role is Role.RECEIVER and message.code is EndCode.WRONG_CODE
            return [Ended(Outcome.ENDED_BY_PEER, message.code, message.reason)]
        if isinstance(message, Pake) and self._keys is None:
            return self._receive_share(message)
        if isinstance(message, Confirm) and self._keys is not None:
            return self._receive_confirm(self._keys, message)
        return self.end(EndCode.PROTOCOL, "the code has to be proved first")

    def _receive_share(self, message: Pake) -> list[Action]:
        if self._role is Role.SENDER:
            password: str | None = self._password
            if message.session is not None:
                self._by_code = False
                self.session = message.session
                password = self._secret_of(message.session)
            elif self._forbidden:
                return self.end(EndCode.WRONG_CODE, _WRONG)
            if password is None:
                return self.end(EndCode.UNKNOWN_SESSION, "the sender does not know this session any more")
            self._exchange = KeyExchange(self._role, password, self._entropy)
        if self._exchange is None:
            return self.end(EndCode.PROTOCOL, "a share came too early")
        self._keys = self._exchange.finish_untrusted(message.share)
        if self._role is Role.SENDER:
            return [self._send(Pake(self._exchange.share))]
        self.exposed = self._by_code
        return [self._confirm(self._keys)]

    def _receive_confirm(self, keys: Keys, message: Confirm) -> list[Action]:
        other = Role.RECEIVER if self._role is Role.SENDER else Role.SENDER
        if not keys.confirms(other, self._fingerprints, message.mac):
            self.guessed = self._by_code
            if not self._by_code:
                return self.end(EndCode.PROTOCOL, "the session could not be proved")
            return self.end(EndCode.WRONG_CODE, _WRONG)
        self._over = True
        self.exposed = False
        proven = Proven(keys, tuple(keys.words(self._fingerprints)), message.verify)
        return [self._confirm(keys), proven] if self._role is Role.SENDER else [proven]

    def _confirm(self, keys: Keys) -> Action:
        return self._send(Confirm(keys.confirmation(self._role, self._fingerprints), self._verify))

    def _send(self, message: Message) -> Send:
        return Send(serialize_message(message))
