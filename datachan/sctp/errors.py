"""The exceptions of this package, drawn as a tree.

    SctpError
     ├── InvalidState        the call does not fit the association's state
     ├── InvalidAddress      the address is not one of the peer's, or not one of ours
     ├── InvalidStream       the association has no such stream
     ├── MessageTooLarge     the message exceeds a limit
     ├── SendBufferFull      the send buffer has no room for the message
     ├── UnknownKey          the shared key does not exist or was deactivated
     └── BadPacket           bytes from the network are not a valid packet; never leaves the engine

All but `BadPacket` are the caller's mistakes. A mistake of the peer never raises an exception: it becomes an ERROR or
ABORT chunk with the cause that the RFC names, and an event.
"""

from __future__ import annotations


class SctpError(Exception):
    """The base of all exceptions of `datachan.sctp`."""


class InvalidState(SctpError):
    """The call does not fit the state the association is in."""


class InvalidAddress(SctpError):
    """The association does not have this address, or cannot have it."""


class InvalidStream(SctpError):
    """The stream identifier is outside the negotiated range."""


class MessageTooLarge(SctpError):
    """The message is longer than the limit set in the options."""


class SendBufferFull(SctpError):
    """The send buffer has no room for the message, and nothing in it may be abandoned; send again later."""


class UnknownKey(SctpError):
    """There is no shared key with this identifier, or it was deactivated."""


class BadPacket(SctpError):
    """Bytes from the network that are not a packet or chunk of RFC 9260, section 3.

    Raised by the functions named ``…_untrusted`` and by nothing else.
    """
