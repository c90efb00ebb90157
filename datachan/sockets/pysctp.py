"""PySCTP's names for socket options: attributes and calls in place of `setsockopt` and `getsockopt`."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Final

from .ancillary import Address, InitMsg, PrInfo, SndInfo
from .constants import AssocId, PrPolicy
from .notifications import NOTIFICATIONS
from .option_values import (
    AssocParams,
    PaddrInfo,
    PaddrParams,
    RtoInfo,
    SocketOption,
    Status,
    Subscription,
)

_O = SocketOption
_ALIASES: Final = {
    "dataio": "data_io",
    "sndrcvinfo": "data_io",
    "sendfailure": "send_failure",
    "peererror": "peer_error",
    "partialdelivery": "partial_delivery",
    "adaptationlayer": "adaptation_layer",
}


class EventSubscription:
    """The subscribed notifications of a socket: an attribute for each, True or False.

    `association`, `address`, `send_failure`, `peer_error`, `shutdown`, `partial_delivery`, `adaptation_layer`,
    `authentication`, `sender_dry`, `stream_reset`, `assoc_reset`, `stream_change`; and `data_io`, whether messages have
    a `RcvInfo`. Setting one applies to current and future associations.
    """

    _socket: PySctpNames

    def __init__(self, socket: PySctpNames) -> None:
        object.__setattr__(self, "_socket", socket)

    def __getattr__(self, name: str) -> bool:
        name = _ALIASES.get(name, name)
        if name == "data_io":
            return bool(self._socket.getsockopt(SocketOption.SCTP_RECVRCVINFO))
        if name not in NOTIFICATIONS:
            raise AttributeError(f"there is no notification {name!r}; there is {', '.join(NOTIFICATIONS)}")
        return NOTIFICATIONS[name] in self._socket.getsockopt(SocketOption.SCTP_EVENT)

    def __setattr__(self, name: str, value: bool) -> None:
        name = _ALIASES.get(name, name)
        if name == "data_io":
            self._socket.setsockopt(SocketOption.SCTP_RECVRCVINFO, value)
            return
        if name not in NOTIFICATIONS:
            raise AttributeError(f"there is no notification {name!r}; there is {', '.join(NOTIFICATIONS)}")
        self._socket.setsockopt(
            SocketOption.SCTP_EVENT, Subscription(NOTIFICATIONS[name], value), AssocId.SCTP_ALL_ASSOC
        )

    def clear(self) -> None:
        """Unsubscribe all notifications."""
        for kind in NOTIFICATIONS.values():
            self._socket.subscribe(kind, False)


class InitParams:
    """How future associations are set up: the fields of `InitMsg` as attributes (SCTP_INITMSG)."""

    _socket: PySctpNames

    def __init__(self, socket: PySctpNames) -> None:
        object.__setattr__(self, "_socket", socket)

    def __getattr__(self, name: str) -> int:
        value: int = getattr(self._socket.getsockopt(SocketOption.SCTP_INITMSG), name)
        return value

    def __setattr__(self, name: str, value: int) -> None:
        if name not in InitMsg.__dataclass_fields__:
            raise AttributeError(f"there is no parameter {name!r}; there is {', '.join(InitMsg.__dataclass_fields__)}")
        self._socket.setsockopt(SocketOption.SCTP_INITMSG, InitMsg(**{name: value}))


def _option(option: SocketOption, meaning: str) -> Any:
    """Return a property that gets and sets a socket option."""

    def getter(self: PySctpNames) -> Any:
        return self.getsockopt(option)

    def setter(self: PySctpNames, value: object) -> None:
        self.setsockopt(option, value)

    return property(getter, setter, doc=f"{meaning} ({option.name}).")


class PySctpNames:
    """The attributes and calls of PySCTP for socket options."""

    @abstractmethod
    def setsockopt(self, option: SocketOption, value: object, assoc_id: int = 0) -> None:
        """Set an option."""

    @abstractmethod
    def getsockopt(self, option: SocketOption, assoc_id: int = 0, address: Address | None = None) -> Any:
        """Return the value of an option."""

    nodelay = _option(_O.SCTP_NODELAY, "Whether small messages are sent at once")
    adaptation = _option(_O.SCTP_ADAPTATION_LAYER, "The Adaptation Layer Indication, 32 bits or None")
    disable_fragments = _option(_O.SCTP_DISABLE_FRAGMENTS, "Whether messages longer than a packet are refused")
    maxseg = _option(_O.SCTP_MAXSEG, "The most bytes of a message in a packet; 0 for no limit")
    autoclose = _option(_O.SCTP_AUTOCLOSE, "Seconds after which an idle association ends; 0 for never")
    sndbuf = _option(_O.SO_SNDBUF, "Bytes of each association that may wait to be sent; 0 for no limit")
    rcvbuf = _option(_O.SO_RCVBUF, "The receiver window of each association in bytes")

    @property
    def events(self) -> EventSubscription:
        """The subscribed notifications."""
        return EventSubscription(self)

    @property
    def initparams(self) -> InitParams:
        """How future associations are set up."""
        return InitParams(self)

    def subscribe(self, kind: type, on: bool = True, assoc_id: int | None = None) -> None:
        """Subscribe or unsubscribe one kind of notification (SCTP_EVENT).

        Args:
            kind: the class of the notification, `AssocChange` for example.
            on: True subscribes, False unsubscribes.
            assoc_id: the association; None means current and future ones.
        """
        chosen = AssocId.SCTP_ALL_ASSOC if assoc_id is None else assoc_id
        self.setsockopt(SocketOption.SCTP_EVENT, Subscription(kind, on), chosen)

    @property
    def ttl(self) -> int:
        """The default lifetime of messages in milliseconds; 0 for no limit."""
        info: PrInfo = self.getsockopt(SocketOption.SCTP_DEFAULT_PRINFO)
        return info.value if info.policy == PrPolicy.SCTP_PR_SCTP_TTL else 0

    @ttl.setter
    def ttl(self, value: int) -> None:
        policy = PrPolicy.SCTP_PR_SCTP_TTL if value else PrPolicy.SCTP_PR_SCTP_NONE
        self.setsockopt(SocketOption.SCTP_DEFAULT_PRINFO, PrInfo(policy, value))

    @property
    def streamid(self) -> int:
        """The default stream of messages."""
        info: SndInfo = self.getsockopt(SocketOption.SCTP_DEFAULT_SNDINFO)
        return info.sid

    @streamid.setter
    def streamid(self, value: int) -> None:
        info: SndInfo = self.getsockopt(SocketOption.SCTP_DEFAULT_SNDINFO)
        self.setsockopt(SocketOption.SCTP_DEFAULT_SNDINFO, SndInfo(value, info.flags, info.ppid, info.context))

    def get_status(self, assoc_id: int = 0) -> Status:
        """Return the state of an association (SCTP_STATUS)."""
        status: Status = self.getsockopt(SocketOption.SCTP_STATUS, assoc_id)
        return status

    def get_paddrinfo(self, assoc_id: int, sockaddr: Address) -> PaddrInfo:
        """Return the state of an address of the peer (SCTP_GET_PEER_ADDR_INFO)."""
        info: PaddrInfo = self.getsockopt(SocketOption.SCTP_GET_PEER_ADDR_INFO, assoc_id, sockaddr)
        return info

    def get_rtoinfo(self, assoc_id: int = 0) -> RtoInfo:
        """Return the bounds of the RTO (SCTP_RTOINFO)."""
        info: RtoInfo = self.getsockopt(SocketOption.SCTP_RTOINFO, assoc_id)
        return info

    def set_rtoinfo(self, info: RtoInfo, assoc_id: int = 0) -> None:
        """Set the bounds of the RTO (SCTP_RTOINFO)."""
        self.setsockopt(SocketOption.SCTP_RTOINFO, info, assoc_id)

    def get_assocparams(self, assoc_id: int = 0) -> AssocParams:
        """Return the parameters of an association (SCTP_ASSOCINFO)."""
        parameters: AssocParams = self.getsockopt(SocketOption.SCTP_ASSOCINFO, assoc_id)
        return parameters

    def set_assocparams(self, parameters: AssocParams, assoc_id: int = 0) -> None:
        """Set the parameters of an association (SCTP_ASSOCINFO)."""
        self.setsockopt(SocketOption.SCTP_ASSOCINFO, parameters, assoc_id)

    def get_paddrparams(self, assoc_id: int = 0, sockaddr: Address | None = None) -> PaddrParams:
        """Return how an address of the peer is monitored (SCTP_PEER_ADDR_PARAMS)."""
        parameters: PaddrParams = self.getsockopt(SocketOption.SCTP_PEER_ADDR_PARAMS, assoc_id, sockaddr)
        return parameters

    def set_paddrparams(self, parameters: PaddrParams, assoc_id: int = 0) -> None:
        """Set how an address of the peer is monitored (SCTP_PEER_ADDR_PARAMS)."""
        self.setsockopt(SocketOption.SCTP_PEER_ADDR_PARAMS, parameters, assoc_id)

    def set_primary(self, assoc_id: int, addr: Address) -> None:
        """Make an address of the peer the primary one; data is sent there while it is reachable (SCTP_PRIMARY_ADDR)."""
        self.setsockopt(SocketOption.SCTP_PRIMARY_ADDR, addr, assoc_id)

    def set_peer_primary(self, assoc_id: int, addr: Address) -> None:
        """Request that the peer sends to this address of ours (SCTP_SET_PEER_PRIMARY_ADDR)."""
        self.setsockopt(SocketOption.SCTP_SET_PEER_PRIMARY_ADDR, addr, assoc_id)
