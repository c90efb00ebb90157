"""What both machines of a transfer do alike: take messages, agree on a hash, and end; knows neither side's messages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from datachan.transfer.actions import Action, Ended, Outcome, Send
from datachan.transfer.digests import Hash
from datachan.transfer.messages import (
    BadMessage,
    End,
    EndCode,
    Message,
    clean_reason,
    parse_message_untrusted,
    serialize_message,
)


class TransferMachine(ABC):
    """One side of an offer on one connection.

    Attributes:
        hash: The hash that both sides have agreed on; None before.
        BROKEN: Why a transfer whose channel has closed is not complete.
    """

    BROKEN: ClassVar[str]

    def __init__(self) -> None:
        self.hash: Hash | None = None

    def end(self, code: EndCode, reason: str, missing: int | None = None) -> list[Action]:
        """End the transfer, and tell the peer why. Does nothing once it has ended.

        Args:
            code: The kind of end.
            reason: For people.
            missing: The bytes that the disk lacks, with `NO_SPACE`.
        """
        if self.is_over:
            return []
        reason = clean_reason(reason)
        message = serialize_message(End(code, reason, missing))
        return [Send(message), *self._ended(Outcome.ENDED_HERE, code, reason, missing)]

    def channel_closed(self) -> list[Action]:
        """End the transfer because the channel has closed. Does nothing once it has ended."""
        return [] if self.is_over else self._ended(Outcome.BROKEN, None, self.BROKEN)

    def receive_message(self, message: str | bytes) -> list[Action]:
        """Process a message of the peer. Never raises because of it."""
        if self.is_over:
            return []
        try:
            if not isinstance(message, str):
                return self._receive_data(message)
            parsed = parse_message_untrusted(message)
            if isinstance(parsed, End):
                return self._ended(Outcome.ENDED_BY_PEER, parsed.code, parsed.reason, parsed.missing)
            return [] if parsed is None else self._receive(parsed)
        except BadMessage as error:
            return self.end(EndCode.PROTOCOL, error.reason)

    @property
    @abstractmethod
    def is_over(self) -> bool:
        """Whether the transfer has ended."""

    @abstractmethod
    def _receive(self, message: Message) -> list[Action]:
        """Process a control message. Raises BadMessage."""

    @abstractmethod
    def _receive_data(self, data: bytes) -> list[Action]:
        """Process bytes of the stream. Raises BadMessage."""

    @abstractmethod
    def _enter_end(self) -> None:
        """Enter the last state, and drop what waits."""

    def _ended(
        self, outcome: Outcome, code: EndCode | None = None, reason: str = "", missing: int | None = None
    ) -> list[Action]:
        self._enter_end()
        return [Ended(outcome, code, reason, missing)]

    def _function(self) -> Hash:
        if self.hash is None:
            raise BadMessage("no hash is agreed")
        return self.hash
