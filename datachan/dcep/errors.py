"""The exceptions of this package: misuse by the caller, and malformed control messages.

    DcepError
     ├── InvalidChannelOptions   the options contradict each other or are out of range
     ├── IdInUse                 another channel has the id of a negotiated channel
     ├── NoFreeId                all streams of our role are in use
     ├── ChannelNotOpen          the channel is closing or closed, or the association has ended
     └── BadDcepMessage          bytes from the network are not a valid control message; never leaves this package

All but `BadDcepMessage` report mistakes of the caller. A mistake of the peer closes the channel and becomes an event.
"""

from __future__ import annotations


class DcepError(Exception):
    """Base class of the exceptions of `datachan.dcep`."""


class InvalidChannelOptions(DcepError):
    """The options of a channel contradict each other or are out of range."""


class IdInUse(DcepError):
    """Another channel has the id requested for a negotiated channel."""


class NoFreeId(DcepError):
    """No stream is left for a channel of our role."""


class ChannelNotOpen(DcepError):
    """The channel is closing or closed, or its association has ended."""


class BadDcepMessage(DcepError):
    """Bytes from the network are not a message of RFC 8832, section 5.

    Only functions whose name ends in ``_untrusted`` raise this.
    """
