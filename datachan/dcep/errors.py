"""What this package raises at its own caller, and why a control message is refused.

    DcepError
     ├── InvalidChannelOptions   the options contradict each other or are out of range
     ├── IdInUse                 a negotiated channel asks for an id that another channel has
     ├── NoFreeId                every stream the association has for our role is taken
     ├── ChannelNotOpen          the channel is closing or closed, or the association has ended
     └── BadDcepMessage          bytes from the network are no valid control message; never leaves this package

All but `BadDcepMessage` are the caller's mistake. What a peer does wrong closes the channel and becomes an event.
"""

from __future__ import annotations


class DcepError(Exception):
    """The root of everything `datachan.dcep` raises."""


class InvalidChannelOptions(DcepError):
    """The options of a channel contradict each other or are out of range."""


class IdInUse(DcepError):
    """Another channel has the id a negotiated channel asks for."""


class NoFreeId(DcepError):
    """No stream is left for a channel of our role."""


class ChannelNotOpen(DcepError):
    """The channel is closing or closed, or the association it would live on has ended."""


class BadDcepMessage(DcepError):
    """Bytes from the network that cannot be read as RFC 8832, section 5 has them.

    Raised by the functions named ``…_untrusted`` and by nothing else.
    """
