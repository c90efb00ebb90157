"""The exceptions of the peer API, with W3C's names.

    PeerError
     ├── InvalidStateError          the object's state does not allow the call
     ├── InvalidAccessError         the object does not support the argument
     ├── InvalidModificationError   a description was changed after it was created
     ├── NotSupportedError          the algorithm is not supported
     ├── InternalError              a defect of datachan (aiortc's name)
     └── OperationError             the operation failed
          └── RTCError              the argument of an `error` event, with W3C's details
    ArgumentError                   an argument has a wrong type or is out of range
     └── MessageTooLargeError       the message is longer than the peer accepts

W3C raises TypeError where aiortc raises ValueError. `ArgumentError` is both, for programs of either kind.
A malformed description or candidate raises `datachan.sdp.SdpError`, a ValueError.
"""

from __future__ import annotations


class PeerError(Exception):
    """Base class of the exceptions about states and operations."""


class InvalidStateError(PeerError):
    """The object's state does not allow the call."""


class InvalidAccessError(PeerError):
    """The object does not support the operation or argument."""


class InvalidModificationError(PeerError):
    """The object cannot be modified in this way."""


class NotSupportedError(PeerError):
    """The algorithm is not supported."""


class InternalError(PeerError):
    """A defect of datachan, or a failure inside it."""


class OperationError(PeerError):
    """The operation failed; the message states the reason."""


class RTCError(OperationError):
    """The reason why a channel failed, as the argument of its `error` event.

    Attributes:
        errorDetail: W3C's RTCErrorDetailType: "sctp-failure" when the association ended, else "data-channel-failure".
        sctpCauseCode: the error cause code of the ABORT that ended the association (RFC 9260, 3.3.10), or None.
        sdpLineNumber: None; a malformed description raises `SdpError`, which has the number.
    """

    def __init__(
        self, message: str, errorDetail: str = "data-channel-failure", sctpCauseCode: int | None = None
    ) -> None:
        super().__init__(message)
        self.errorDetail = errorDetail
        self.sctpCauseCode = sctpCauseCode
        self.sdpLineNumber: int | None = None


class ArgumentError(TypeError, ValueError):
    """An argument has a wrong type or is out of range."""


class MessageTooLargeError(ArgumentError):
    """The message is longer than `RTCSctpTransport.maxMessageSize`; nothing was sent and the channel stays usable."""
