"""What a file transfer raises, and whose decision it was.

    TransferError
     ├── TransferRefused     the peer declined the file, or has not the one asked for
     ├── TransferCancelled   the peer broke the transfer off
     ├── TransferFailed      it could not be completed here: disk, channel, hash, or a peer that breaks the protocol
     ├── TransferMisuse      a call that does not fit the state of the transfer
     └── BadControl          a text message is no control message; never leaves the package

`TransferError.reason` is one sentence that may be shown to a person.
"""

from __future__ import annotations


class TransferError(Exception):
    """The root of everything `datachan.transfer` raises on purpose."""

    def __init__(self, reason: str) -> None:
        """Keep the reason where a program finds it without parsing."""
        super().__init__(reason)
        self.reason = reason


class TransferRefused(TransferError):
    """The peer declined the offer or the request."""


class TransferCancelled(TransferError):
    """The peer broke the transfer off after it had been accepted."""


class TransferFailed(TransferError):
    """The transfer ended without success for a reason that was found on this side."""


class TransferMisuse(TransferError):
    """The caller asked for something the state of the transfer does not allow."""


class BadControl(TransferError):
    """A text message that cannot be read as a control message."""
