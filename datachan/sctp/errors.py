"""What this package raises at its own caller, and why a packet is refused.

    SctpError
     ├── InvalidState        the call does not fit the association's state
     ├── InvalidAddress      the address is not one of the peer's, or not one of ours
     ├── InvalidStream       the stream identifier is not one the association has
     ├── MessageTooLarge     the message is longer than the association was told to accept
     ├── SendBufferFull      the send buffer has no room for the message
     ├── UnknownKey          there is no such key for authentication
     └── BadPacket           bytes from the network are no valid packet; never leaves the engine

All but `BadPacket` are the caller's mistake. What a peer does wrong never raises: it becomes an ERROR or ABORT chunk
with the cause the RFC names, and an event.
"""

from __future__ import annotations


class SctpError(Exception):
    """The root of everything `datachan.sctp` raises."""


class InvalidState(SctpError):
    """The call does not fit the state the association is in."""


class InvalidAddress(SctpError):
    """The address is not one that the association has, or may have."""


class InvalidStream(SctpError):
    """The stream identifier is outside of what the association negotiated."""


class MessageTooLarge(SctpError):
    """The message is longer than the limit set in the options."""


class SendBufferFull(SctpError):
    """The send buffer has no room, and nothing in it may be given up for the message; try again when some has left."""


class UnknownKey(SctpError):
    """There is no shared key with this identifier, or it was deactivated."""


class BadPacket(SctpError):
    """Bytes from the network that cannot be read as RFC 9260, section 3 has them.

    Raised by the functions named ``…_untrusted`` and by nothing else.
    """
