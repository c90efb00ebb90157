"""The exceptions of a file transfer, and which side decided.

    TransferError
     ├── TransferRefused     one side declined the offer, or does not have what was requested
     ├── TransferCancelled   the peer stopped the transfer
     ├── TransferFailed      the transfer could not be completed: disk, channel, digest, a violation of the protocol
     └── TransferMisuse      an argument that no transfer can have

`TransferError.reason` is one sentence that may be shown to a person.
"""

from __future__ import annotations


class TransferError(Exception):
    """The root of all exceptions that `datachan.transfer` raises by design.

    Attributes:
        reason: What happened, for people.
        code: The code of docs/transfer-protocol.md, such as `no-space`; None if the channel closed before an end.
    """

    def __init__(self, reason: str, code: str | None = None) -> None:
        """Keep the reason and the code as attributes."""
        super().__init__(reason)
        self.reason = reason
        self.code = code


class TransferRefused(TransferError):
    """One side declined the offer, or the sender does not have what was requested."""


class TransferCancelled(TransferError):
    """The peer stopped the transfer. What was received is kept, and the next transfer goes on there."""


class TransferFailed(TransferError):
    """The transfer ended without success."""


class TransferMisuse(TransferError):
    """The caller passed an argument that no transfer can have."""
