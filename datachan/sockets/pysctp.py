"""PySCTP's names for socket options: attributes and calls that set and get what `setsockopt` and `getsockopt` do."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Final

from .ancillary import Address, InitMsg, PrInfo, SndInfo
from .constants import PrPolicy
from .notifications import NOTIFICATIONS
from .options import (
    AssocParams,
    Event,
    PaddrInfo,
    PaddrParams,
    RtoInfo,
    SocketOption,
    Status,
)

_ALIASES: Final = {
    "dataio": "data_io",
    "sndrcvinfo": "data_io",
    "sendfailure": "send_failure",
    "peererror": "peer_error",
    "partialdelivery": "partial_delivery",
    "adaptationlayer": "adaptation_layer",
}


class EventSubscription:
    """The notifications a socket wants: an attribute for each, True or False.

    `association`, `address`, `send_failure`, `peer_error`, `shutdown`, `partial_delivery`, `adaptation_layer`,
    `authentication`, `sender_dry`, `stream_reset`, `assoc_reset`, `stream_change`; and `data_io`, whether messages come
    with a `RcvInfo`. Setting one is for associations to come and those that are.
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

    def __setattr__(self, name: str, value: object) -> None:
        name = _ALIASES.get(name, name)
        if name == "data_io":
            self._socket.setsockopt(SocketOption.SCTP_RECVRCVINFO, bool(value))
            return
        if name not in NOTIFICATIONS:
            raise AttributeError(f"there is no notification {name!r}; there is {', '.join(NOTIFICATIONS)}")
        self._socket.subscribe(NOTIFICATIONS[name], bool(value))

    def clear(self) -> None:
        """Want none of them, only data."""
        for kind in NOTIFICATIONS.values():
            self._socket.subscribe(kind, False)


class InitParams:
    """How associations are set up: the fields of `InitMsg` as attributes (SCTP_INITMSG)."""

    _socket: PySctpNames

    def __init__(self, socket: PySctpNames) -> None:
        object.__setattr__(self, "_socket", socket)

    def __getattr__(self, name: str) -> int:
        value: int = getattr(self._socket.getsockopt(SocketOption.SCTP_INITMSG), name)
        return value

    def __setattr__(self, name: str, value: int) -> None:
        self._socket.setsockopt(SocketOption.SCTP_INITMSG, InitMsg(**{name: value}))


def _option(option: SocketOption, meaning: str) -> Any:
    """An attribute that is a socket option."""

    def getter(self: PySctpNames) -> Any:
        return self.getsockopt(option)

    def setter(self: PySctpNames, value: object) -> None:
        self.setsockopt(option, value)

    return property(getter, setter, doc=meaning)


class PySctpNames:
    """What a socket of PySCTP has besides its calls."""

    @abstractmethod
    def setsockopt(self, option: SocketOption, value: object, assoc_id: int = 0) -> None:
        """Set an option."""

    @abstractmethod
    def getsockopt(self, option: SocketOption, assoc_id: int = 0, address: Address | None = None) -> Any:
        """The value of an option."""

    nodelay = _option(SocketOption.SCTP_NODELAY, "Send small messages at once (SCTP_NODELAY).")
    adaptation = _option(SocketOption.SCTP_ADAPTATION_LAYER, "Adaptation Layer Indication (SCTP_ADAPTATION_LAYER).")
    disable_fragments = _option(SocketOption.SCTP_DISABLE_FRAGMENTS, "Refuse messages longer than a packet.")
    maxseg = _option(SocketOption.SCTP_MAXSEG, "Most bytes of a message in a packet; 0 for what fits (SCTP_MAXSEG).")
    autoclose = _option(SocketOption.SCTP_AUTOCLOSE, "Seconds an association may be idle; 0 for ever (SCTP_AUTOCLOSE).")
    sndbuf = _option(SocketOption.SO_SNDBUF, "Bytes that may wait to be sent, for each association (SO_SNDBUF).")
    rcvbuf = _option(SocketOption.SO_RCVBUF, "Bytes a peer may have under way, for each association (SO_RCVBUF).")

    @property
    def events(self) -> EventSubscription:
        """The notifications that are wanted."""
        return EventSubscription(self)

    @property
    def initparams(self) -> InitParams:
        """How associations are set up."""
        return InitParams(self)

    def subscribe(self, kind: type, on: bool = True, assoc_id: int | None = None) -> None:
        """Want notifications of a class, or do not (SCTP_EVENT).

        Args:
            kind: `AssocChange`, for example.
            on: whether they are wanted.
            assoc_id: of which association; None for those to come and those that are.
        """
        everybody = 2  # SCTP_ALL_ASSOC
        self.setsockopt(SocketOption.SCTP_EVENT, Event(kind, on), everybody if assoc_id is None else assoc_id)

    @property
    def ttl(self) -> int:
        """Milliseconds messages live that do not say it; 0 for ever."""
        info: PrInfo = self.getsockopt(SocketOption.SCTP_DEFAULT_PRINFO)
        return info.value if info.policy == PrPolicy.SCTP_PR_SCTP_TTL else 0

    @ttl.setter
    def ttl(self, value: int) -> None:
        policy = PrPolicy.SCTP_PR_SCTP_TTL if value else PrPolicy.SCTP_PR_SCTP_NONE
        self.setsockopt(SocketOption.SCTP_DEFAULT_PRINFO, PrInfo(policy, value))

    @property
    def streamid(self) -> int:
        """The stream of messages that do not say it."""
        info: SndInfo = self.getsockopt(SocketOption.SCTP_DEFAULT_SNDINFO)
        return info.sid

    @streamid.setter
    def streamid(self, value: int) -> None:
        info: SndInfo = self.getsockopt(SocketOption.SCTP_DEFAULT_SNDINFO)
        self.setsockopt(SocketOption.SCTP_DEFAULT_SNDINFO, SndInfo(value, info.flags, info.ppid, info.context))

    def get_status(self, assoc_id: int = 0) -> Status:
        """An association as it stands (SCTP_STATUS)."""
        status: Status = self.getsockopt(SocketOption.SCTP_STATUS, assoc_id)
        return status

    def get_paddrinfo(self, assoc_id: int, sockaddr: Address) -> PaddrInfo:
        """An address of the peer as it stands (SCTP_GET_PEER_ADDR_INFO)."""
        info: PaddrInfo = self.getsockopt(SocketOption.SCTP_GET_PEER_ADDR_INFO, assoc_id, sockaddr)
        return info

    def get_rtoinfo(self, assoc_id: int = 0) -> RtoInfo:
        """The bounds of the RTO (SCTP_RTOINFO)."""
        info: RtoInfo = self.getsockopt(SocketOption.SCTP_RTOINFO, assoc_id)
        return info

    def set_rtoinfo(self, info: RtoInfo, assoc_id: int = 0) -> None:
        """Change them."""
        self.setsockopt(SocketOption.SCTP_RTOINFO, info, assoc_id)

    def get_assocparams(self, assoc_id: int = 0) -> AssocParams:
        """Parameters of an association (SCTP_ASSOCINFO)."""
        parameters: AssocParams = self.getsockopt(SocketOption.SCTP_ASSOCINFO, assoc_id)
        return parameters

    def set_assocparams(self, parameters: AssocParams, assoc_id: int = 0) -> None:
        """Change them."""
        self.setsockopt(SocketOption.SCTP_ASSOCINFO, parameters, assoc_id)

    def get_paddrparams(self, assoc_id: int = 0, sockaddr: Address | None = None) -> PaddrParams:
        """How an address of the peer is watched (SCTP_PEER_ADDR_PARAMS)."""
        parameters: PaddrParams = self.getsockopt(SocketOption.SCTP_PEER_ADDR_PARAMS, assoc_id, sockaddr)
        return parameters

    def set_paddrparams(self, parameters: PaddrParams, assoc_id: int = 0) -> None:
        """Change that."""
        self.setsockopt(SocketOption.SCTP_PEER_ADDR_PARAMS, parameters, assoc_id)

    def set_primary(self, assoc_id: int, addr: Address) -> None:
        """Have data go to this address of the peer while it can be reached (SCTP_PRIMARY_ADDR)."""
        self.setsockopt(SocketOption.SCTP_PRIMARY_ADDR, addr, assoc_id)

    def set_peer_primary(self, assoc_id: int, addr: Address) -> None:
        """Ask the peer to send to this address of ours (SCTP_SET_PEER_PRIMARY_ADDR)."""
        self.setsockopt(SocketOption.SCTP_SET_PEER_PRIMARY_ADDR, addr, assoc_id)
