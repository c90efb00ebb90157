"""SCTP as a sans-IO machine: RFC 9260 and its extensions, usable without the rest of datachan.

An `Association` connects two peers, an `Endpoint` serves any number of peers on one SCTP port. Neither opens a socket,
reads a clock or starts a task: datagrams and the time go in, datagrams and events come out. After any call, send what
`datagrams_to_send` returns, handle `events`, and call `handle_timeout` at the time `next_timeout` returns.

    >>> import os
    >>> from datachan.sctp import Association, AssociationOptions, MessageReceived
    >>> a = Association(AssociationOptions(), os.urandom)
    >>> z = Association(AssociationOptions(), os.urandom)
    >>> def exchange(now):
    ...     while packets := a.datagrams_to_send(now):
    ...         z.receive_datagrams(packets, now)
    ...         a.receive_datagrams(z.datagrams_to_send(now), now)

    >>> a.connect(now=0.0)
    >>> exchange(now=0.0)
    >>> a.state.value, z.state.value
    ('established', 'established')

    >>> a.send(1, b"hello", ppid=51, now=0.1)
    >>> exchange(now=0.1)
    >>> [event.data for event in z.events() if isinstance(event, MessageReceived)]
    [b'hello']

    >>> a.shutdown(now=0.2)
    >>> exchange(now=0.2)
    >>> a.state.value, z.state.value
    ('closed', 'closed')

Wrong calls raise the exceptions of `datachan.sctp.errors`. No input from the network raises anything.
"""

from __future__ import annotations

from .association import Association
from .endpoint import Endpoint
from .errors import (
    BadPacket,
    InvalidAddress,
    InvalidState,
    InvalidStream,
    MessageTooLarge,
    SctpError,
    SendBufferFull,
    UnknownKey,
)
from .events import (
    AdaptationIndicated,
    AddressChange,
    AssociationClosed,
    AssociationEstablished,
    AssociationLost,
    AssociationReset,
    AssociationRestarted,
    AuthenticationChanged,
    AuthenticationIndication,
    Event,
    IncomingStreamsReset,
    LocalAddressChanged,
    MessageReceived,
    OutgoingStreamsReset,
    PartialDeliveryAborted,
    PathMtuChanged,
    PathStatus,
    PathStatusChanged,
    ReconfigurationFailed,
    ReconfigurationKind,
    RemoteError,
    SenderDry,
    SendFailed,
    ShutdownReceived,
    StreamProgress,
    StreamResetFailed,
    StreamsAdded,
    StreamsNegotiated,
)
from .options import AssociationOptions, EndpointOptions, data_channel_options
from .path_history import PathHistory, PathName
from .receive_budget import ReceiveBudget
from .records.init import make_init, read_init_untrusted
from .states import AssociationState
from .stats import AssociationStats, PathState, PathStats

__all__ = [
    "AdaptationIndicated",
    "AddressChange",
    "Association",
    "AssociationClosed",
    "AssociationEstablished",
    "AssociationLost",
    "AssociationOptions",
    "AssociationReset",
    "AssociationRestarted",
    "AssociationState",
    "AssociationStats",
    "AuthenticationChanged",
    "AuthenticationIndication",
    "BadPacket",
    "Endpoint",
    "EndpointOptions",
    "Event",
    "IncomingStreamsReset",
    "InvalidAddress",
    "InvalidState",
    "InvalidStream",
    "LocalAddressChanged",
    "MessageReceived",
    "MessageTooLarge",
    "OutgoingStreamsReset",
    "PartialDeliveryAborted",
    "PathHistory",
    "PathMtuChanged",
    "PathName",
    "PathState",
    "PathStats",
    "PathStatus",
    "PathStatusChanged",
    "ReceiveBudget",
    "ReconfigurationFailed",
    "ReconfigurationKind",
    "RemoteError",
    "SctpError",
    "SendBufferFull",
    "SendFailed",
    "SenderDry",
    "ShutdownReceived",
    "StreamProgress",
    "StreamResetFailed",
    "StreamsAdded",
    "StreamsNegotiated",
    "UnknownKey",
    "data_channel_options",
    "make_init",
    "read_init_untrusted",
]
