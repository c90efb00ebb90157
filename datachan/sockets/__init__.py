"""SCTP sockets for asyncio over UDP: the API of RFC 6458 with PySCTP's names (RFC 6951).

`sctpsocket_tcp` is a one-to-one socket, `sctpsocket_udp` a one-to-many socket. What waits is a coroutine.
"""

from .ancillary import (
    AuthInfo,
    DstAddr,
    InitMsg,
    Message,
    NxtInfo,
    PrInfo,
    RcvInfo,
    SndInfo,
)
from .base import MSG_DONTWAIT
from .constants import *  # noqa: F403
from .notifications import (
    AdaptationEvent,
    AssocChange,
    AssocResetEvent,
    AuthenticationEvent,
    Notification,
    NotificationsStoppedEvent,
    PaddrChange,
    PartialDeliveryEvent,
    RemoteError,
    SenderDryEvent,
    SendFailed,
    ShutdownEvent,
    StreamChangeEvent,
    StreamResetEvent,
)
from .one_to_many import sctpsocket_udp
from .one_to_one import sctpsocket_tcp
from .settings import default_options

__all__ = [
    "MSG_DONTWAIT",
    "AdaptationEvent",
    "AssocChange",
    "AssocResetEvent",
    "AuthInfo",
    "AuthenticationEvent",
    "DstAddr",
    "InitMsg",
    "Message",
    "Notification",
    "NotificationsStoppedEvent",
    "NxtInfo",
    "PaddrChange",
    "PartialDeliveryEvent",
    "PrInfo",
    "RcvInfo",
    "RemoteError",
    "SendFailed",
    "SenderDryEvent",
    "ShutdownEvent",
    "SndInfo",
    "StreamChangeEvent",
    "StreamResetEvent",
    "default_options",
    "sctpsocket_tcp",
    "sctpsocket_udp",
]
