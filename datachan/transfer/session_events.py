"""The events of a whole transfer, from the code to its end, for programs and terminals; knows no terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from datachan.transfer.actions import Action
from datachan.transfer.codes import Code
from datachan.transfer.messages import EndCode


@dataclass(frozen=True, slots=True)
class CodeReady:
    """For the sender: receivers may come now."""

    code: Code


@dataclass(frozen=True, slots=True)
class Connecting:
    """For the receiver: the sender is there, and a connection to it is being set up."""


@dataclass(frozen=True, slots=True)
class NoSender:
    """For the receiver: no sender is in the room yet; the receiver waits."""


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection is up, and the code is proved.

    Attributes:
        receiver: The number of the receiver, from 1 on.
        again: The receiver was connected before.
        path: How the packets travel: `direct`, `relayed`, or empty if that is not known.
        words: The words to compare.
        verify: The other side's person compares them.
    """

    receiver: int
    again: bool
    path: str
    words: tuple[str, ...]
    verify: bool


@dataclass(frozen=True, slots=True)
class PathChanged:
    """The packets of a connection travel in another way now.

    Attributes:
        receiver: The number of the receiver.
        path: `direct` or `relayed`.
    """

    receiver: int
    path: str


@dataclass(frozen=True, slots=True)
class Happened:
    """An action of a machine that is of interest, for one receiver."""

    receiver: int
    action: Action


@dataclass(frozen=True, slots=True)
class Lost:
    """The connection to the other side is lost, or the other side has stopped; it may come back and go on.

    Attributes:
        receiver: The number of the receiver.
        reason: Why, as a sentence.
    """

    receiver: int
    reason: str


@dataclass(frozen=True, slots=True)
class WrongCode:
    """Another party used a wrong code. No other receiver is admitted."""


SessionEvent: TypeAlias = CodeReady | Connecting | NoSender | Connected | PathChanged | Happened | Lost | WrongCode


@dataclass(frozen=True, slots=True)
class ReceiverResult:
    """How the transfer to one receiver ended.

    Attributes:
        receiver: Its number.
        code: None if it is complete, otherwise why it ended.
        reason: Why, as a sentence.
        stored: Files that are in place there.
        missing: Files that could not be sent, with reasons.
    """

    receiver: int
    code: EndCode | None
    reason: str
    stored: int
    missing: Sequence[tuple[int, str]] = ()
