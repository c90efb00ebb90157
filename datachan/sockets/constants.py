"""The constants of RFC 6458, under its names and PySCTP's. Where systems differ, the numbers are Linux's."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final

UDP_ENCAPSULATION_PORT: Final = 9899
"""The UDP port registered for SCTP (RFC 6951, section 5.1)."""


class AssocId(IntEnum):
    """The association ids that mean no single association (RFC 6458, section 7.2)."""

    SCTP_FUTURE_ASSOC = 0
    SCTP_CURRENT_ASSOC = 1
    SCTP_ALL_ASSOC = 2


class SendFlag(IntFlag):
    """The flags of a send (RFC 6458, section 5.3.4)."""

    SCTP_UNORDERED = 0x01
    SCTP_ADDR_OVER = 0x02
    SCTP_ABORT = 0x04
    SCTP_SENDALL = 0x40
    SCTP_EOF = 0x200
    MSG_DONTWAIT = 0x10000


class NextFlag(IntFlag):
    """The flags of the next message, in `NxtInfo` (RFC 6458, section 5.3.6)."""

    SCTP_UNORDERED = 0x01
    SCTP_COMPLETE = 0x02
    SCTP_NOTIFICATION = 0x04


class MessageFlag(IntFlag):
    """The flags of a received message (RFC 6458, section 3.1.4)."""

    MSG_EOR = 0x80
    MSG_NOTIFICATION = 0x8000


class PrPolicy(IntEnum):
    """The policies by which a message is abandoned (RFC 6458, section 5.3.7; RFC 7496, section 4)."""

    SCTP_PR_SCTP_NONE = 0x0000
    SCTP_PR_SCTP_TTL = 0x0010
    SCTP_PR_SCTP_RTX = 0x0020
    SCTP_PR_SCTP_PRIO = 0x0030


class BindxAction(IntEnum):
    """The actions of `bindx` (RFC 6458, section 9.1)."""

    SCTP_BINDX_ADD_ADDR = 1
    SCTP_BINDX_REM_ADDR = 2


class AssocState(IntEnum):
    """The changes of an association, in `AssocChange` (RFC 6458, section 6.1.1)."""

    SCTP_COMM_UP = 0
    SCTP_COMM_LOST = 1
    SCTP_RESTART = 2
    SCTP_SHUTDOWN_COMP = 3
    SCTP_CANT_STR_ASSOC = 4


class AddrState(IntEnum):
    """The changes of a peer's address, in `PaddrChange` (RFC 6458, section 6.1.2; the last two are Linux's)."""

    SCTP_ADDR_AVAILABLE = 0
    SCTP_ADDR_UNREACHABLE = 1
    SCTP_ADDR_REMOVED = 2
    SCTP_ADDR_ADDED = 3
    SCTP_ADDR_MADE_PRIM = 4
    SCTP_ADDR_CONFIRMED = 5
    SCTP_ADDR_POTENTIALLY_FAILED = 6


class PaddrState(IntEnum):
    """The states of a peer's address, in `PaddrInfo` (RFC 6458, section 8.2.2)."""

    SCTP_INACTIVE = 0
    SCTP_PF = 1
    SCTP_ACTIVE = 2
    SCTP_UNCONFIRMED = 3


class StatusState(IntEnum):
    """The states of an association, in `Status` (RFC 6458, section 8.2.1)."""

    SCTP_EMPTY = 0
    SCTP_CLOSED = 1
    SCTP_COOKIE_WAIT = 2
    SCTP_COOKIE_ECHOED = 3
    SCTP_ESTABLISHED = 4
    SCTP_SHUTDOWN_PENDING = 5
    SCTP_SHUTDOWN_SENT = 6
    SCTP_SHUTDOWN_RECEIVED = 7
    SCTP_SHUTDOWN_ACK_SENT = 8
    SCTP_BOUND = 9
    SCTP_LISTEN = 10


class SendFailedFlag(IntFlag):
    """Whether any part of a failed message had been sent, in `SendFailedEvent` (RFC 6458, section 6.1.11)."""

    SCTP_DATA_UNSENT = 0
    SCTP_DATA_SENT = 1


class PartialDeliveryIndication(IntEnum):
    """The indications of `PartialDeliveryEvent` (RFC 6458, section 6.1.7)."""

    SCTP_PARTIAL_DELIVERY_ABORTED = 1


class AuthIndication(IntEnum):
    """The indications of `AuthenticationEvent` (RFC 6458, section 6.1.8)."""

    SCTP_AUTH_NEW_KEY = 0
    SCTP_AUTH_FREE_KEY = 1
    SCTP_AUTH_NO_AUTH = 2


class StreamResetFlag(IntFlag):
    """The flags of `StreamResetEvent` (RFC 6525, section 6.1.1)."""

    SCTP_STREAM_RESET_INCOMING_SSN = 0x0001
    SCTP_STREAM_RESET_OUTGOING_SSN = 0x0002
    SCTP_STREAM_RESET_DENIED = 0x0004
    SCTP_STREAM_RESET_FAILED = 0x0008


class AssocResetFlag(IntFlag):
    """The flags of `AssocResetEvent` (RFC 6525, section 6.1.2)."""

    SCTP_ASSOC_RESET_DENIED = 0x0004
    SCTP_ASSOC_RESET_FAILED = 0x0008


class StreamChangeFlag(IntFlag):
    """The flags of `StreamChangeEvent` (RFC 6525, section 6.1.3)."""

    SCTP_STREAM_CHANGE_DENIED = 0x0004
    SCTP_STREAM_CHANGE_FAILED = 0x0008


class Scheduler(IntEnum):
    """The stream schedulers (RFC 8260, section 4.3.2)."""

    SCTP_SS_DEFAULT = 0
    SCTP_SS_FCFS = 1
    SCTP_SS_RR = 2
    SCTP_SS_RR_PKT = 3
    SCTP_SS_PRIO = 4
    SCTP_SS_FB = 5
    SCTP_SS_WFQ = 6


SCTP_FUTURE_ASSOC, SCTP_CURRENT_ASSOC, SCTP_ALL_ASSOC = AssocId
SCTP_UNORDERED, SCTP_ADDR_OVER, SCTP_ABORT, SCTP_SENDALL, SCTP_EOF, MSG_DONTWAIT = SendFlag
MSG_UNORDERED, MSG_ADDR_OVER, MSG_ABORT, MSG_SENDALL, MSG_EOF, _ = SendFlag
SCTP_COMPLETE, SCTP_NOTIFICATION = NextFlag.SCTP_COMPLETE, NextFlag.SCTP_NOTIFICATION
MSG_EOR, MSG_NOTIFICATION = MessageFlag
FLAG_EOR, FLAG_NOTIFICATION = MessageFlag
SCTP_PR_SCTP_NONE, SCTP_PR_SCTP_TTL, SCTP_PR_SCTP_RTX, SCTP_PR_SCTP_PRIO = PrPolicy
SCTP_BINDX_ADD_ADDR, SCTP_BINDX_REM_ADDR = BindxAction
BINDX_ADD, BINDX_REMOVE = BindxAction
SCTP_COMM_UP, SCTP_COMM_LOST, SCTP_RESTART, SCTP_SHUTDOWN_COMP, SCTP_CANT_STR_ASSOC = AssocState
(
    SCTP_ADDR_AVAILABLE,
    SCTP_ADDR_UNREACHABLE,
    SCTP_ADDR_REMOVED,
    SCTP_ADDR_ADDED,
    SCTP_ADDR_MADE_PRIM,
    SCTP_ADDR_CONFIRMED,
    SCTP_ADDR_POTENTIALLY_FAILED,
) = AddrState
SCTP_INACTIVE, SCTP_PF, SCTP_ACTIVE, SCTP_UNCONFIRMED = PaddrState
(
    SCTP_EMPTY,
    SCTP_CLOSED,
    SCTP_COOKIE_WAIT,
    SCTP_COOKIE_ECHOED,
    SCTP_ESTABLISHED,
    SCTP_SHUTDOWN_PENDING,
    SCTP_SHUTDOWN_SENT,
    SCTP_SHUTDOWN_RECEIVED,
    SCTP_SHUTDOWN_ACK_SENT,
    SCTP_BOUND,
    SCTP_LISTEN,
) = StatusState
SCTP_DATA_UNSENT, SCTP_DATA_SENT = SendFailedFlag.SCTP_DATA_UNSENT, SendFailedFlag.SCTP_DATA_SENT
SCTP_PARTIAL_DELIVERY_ABORTED: Final = PartialDeliveryIndication.SCTP_PARTIAL_DELIVERY_ABORTED
SCTP_AUTH_NEW_KEY, SCTP_AUTH_FREE_KEY, SCTP_AUTH_NO_AUTH = AuthIndication
(
    SCTP_STREAM_RESET_INCOMING_SSN,
    SCTP_STREAM_RESET_OUTGOING_SSN,
    SCTP_STREAM_RESET_DENIED,
    SCTP_STREAM_RESET_FAILED,
) = StreamResetFlag
SCTP_ASSOC_RESET_DENIED, SCTP_ASSOC_RESET_FAILED = AssocResetFlag
SCTP_STREAM_CHANGE_DENIED, SCTP_STREAM_CHANGE_FAILED = StreamChangeFlag
(
    SCTP_SS_DEFAULT,
    SCTP_SS_FCFS,
    SCTP_SS_RR,
    SCTP_SS_RR_PKT,
    SCTP_SS_PRIO,
    SCTP_SS_FB,
    SCTP_SS_WFQ,
) = Scheduler
