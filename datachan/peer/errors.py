"""The exceptions of the peer API, with W3C's names.

    PeerError
     ├── InvalidStateError          the object's state does not allow the call
     ├── InvalidAccessError         the object does not support the argument
     ├── InvalidModificationError   a description was changed after it was created
     ├── NotSupportedError          the algorithm is not supported
     ├── InternalError              something that should not happen (aiortc's name)
     └── OperationError             the operation failed; also the argument of an `error` event
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
    """Something that should not happen."""


class OperationError(PeerError):
    """The operation failed; the message states the reason."""


class ArgumentError(TypeError, ValueError):
    """An argument has a wrong type or is out of range."""


class MessageTooLargeError(ArgumentError):
    """The message is longer than `RTCSctpTransport.maxMessageSize`; nothing was sent and the channel stays usable."""
