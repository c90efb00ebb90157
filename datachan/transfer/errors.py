"""The exceptions of a file transfer, and which side decided.

    TransferError
     ├── TransferRefused     the peer declined the file, or does not have the requested file
     ├── TransferCancelled   the peer cancelled the transfer
     ├── TransferFailed      this side could not complete it: disk, channel, hash, or a peer that violates the protocol
     ├── TransferMisuse      a call that does not fit the state of the transfer, or an argument out of range
     └── BadControl          a text message is not a control message; never leaves the package

`TransferError.reason` is one sentence that may be shown to a person.
"""

from __future__ import annotations


class TransferError(Exception):
    """The root of all exceptions that `datachan.transfer` raises by design."""

    def __init__(self, reason: str) -> None:
        """Keep the reason as an attribute."""
        super().__init__(reason)
        self.reason = reason


class TransferRefused(TransferError):
    """The peer declined the offer or the request."""


class TransferCancelled(TransferError):
    """The peer canceled the transfer after it had been accepted."""


class TransferFailed(TransferError):
    """The transfer ended without success for a reason that this side found."""


class TransferMisuse(TransferError):
    """The caller made a call that the state of the transfer does not allow, or passed an argument out of range."""


class BadControl(TransferError):
    """A text message that cannot be read as a control message."""
