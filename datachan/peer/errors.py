"""What the peer API raises; it knows the names W3C gives them and nothing else.

    PeerError
     ├── InvalidStateError          the call does not fit the state
     ├── InvalidAccessError         the argument is not acceptable here
     ├── InvalidModificationError   a description was changed in a way that cannot be applied
     ├── InternalError              something that should not happen (aiortc's name)
     └── OperationError             it was tried and did not work; also what an `error` event carries
    ArgumentError                   an argument of a wrong type or outside its range
     └── MessageTooLargeError       longer than the peer accepts

W3C has TypeError where aiortc has ValueError: `ArgumentError` is both, so that either kind of program catches it.
A malformed description or candidate raises `datachan.sdp.SdpError`, a ValueError.
"""

from __future__ import annotations


class PeerError(Exception):
    """The root of what the peer API raises about states and operations."""


class InvalidStateError(PeerError):
    """The call does not fit the state the object is in."""


class InvalidAccessError(PeerError):
    """The object does not support the operation or argument."""


class InvalidModificationError(PeerError):
    """The object can not be modified in this way."""


class InternalError(PeerError):
    """Something that should not happen."""


class OperationError(PeerError):
    """The operation failed; the message says why."""


class ArgumentError(TypeError, ValueError):
    """An argument has the wrong type or is outside its range."""


class MessageTooLargeError(ArgumentError):
    """The message is longer than `RTCSctpTransport.maxMessageSize`; nothing was sent and the channel stays usable."""
