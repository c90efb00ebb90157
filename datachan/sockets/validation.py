"""The values that sockets accept: the type and the range of every argument, ancillary item and option, in tables.

A call checks its arguments before it changes or queues anything. A value that passes fits its field on the wire, so
that nothing fails later, when a packet is built or a callback runs. Relations between values, and between a value and
the state of a socket, are checked by the code that knows them.
"""

from __future__ import annotations

import errno
import math
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from enum import IntFlag
from ipaddress import ip_address
from typing import Any, Final

from datachan.sctp import AssociationOptions

from .ancillary import Address, Ancillary, AuthInfo, DstAddr, InitMsg, PrInfo, SndInfo
from .constants import BindxAction, PrPolicy, Scheduler, SendFlag
from .notifications import NOTIFICATIONS, NotificationsStoppedEvent
from .option_values import (
    AddStreams,
    AssocParams,
    AuthKey,
    EnableFlag,
    PaddrFlag,
    PaddrParams,
    PaddrThresholds,
    ResetFlag,
    ResetStreams,
    RtoInfo,
    SackInfo,
    SocketOption,
    StreamValue,
    Subscription,
    UdpEncaps,
)

Check = Callable[[str, object], None]
"""Takes what a value is called and the value; raises OSError (EINVAL) if the value is not acceptable."""

_MAX_ADDRESSES: Final = 16
_MAX_KEY: Final = 65_535
_MAX_SECONDS: Final = float(2**32)


def invalid(text: str) -> OSError:
    """Return the error for a value that is not acceptable."""
    return OSError(errno.EINVAL, text)


# -- checks ------------------------------------------------------------------------------------------------------------


def _anything(name: str, value: object) -> None:
    """Accept any value."""


def _integer(low: int, high: int) -> Check:
    """Return a check for an integer of a range."""

    def check(name: str, value: object) -> None:
        if not isinstance(value, int) or not low <= value <= high:
            raise invalid(f"{name} is {_shown(value)}; it must be an integer from {low} to {high}")

    return check


def _flags(*kinds: type[IntFlag]) -> Check:
    """Return a check for a combination of flags."""
    known = 0
    for kind in kinds:
        for flag in kind:
            known |= int(flag)

    def check(name: str, value: object) -> None:
        if not isinstance(value, int) or value < 0 or value & ~known:
            names = ", ".join(flag.name or "" for kind in kinds for flag in kind)
            raise invalid(f"{name} is {_shown(value)}; it must be a combination of {names}")

    return check


def _one_of(values: Iterable[Any]) -> Check:
    """Return a check for one of several values."""
    known = tuple(values)

    def check(name: str, value: object) -> None:
        if not isinstance(value, int | type) or value not in known:
            names = ", ".join(_name_of(each) for each in known)
            raise invalid(f"{name} is {_shown(value)}; it must be one of {names}")

    return check


def _boolean(name: str, value: object) -> None:
    """Accept a boolean, or an integer as C programs use it."""
    if not isinstance(value, int):
        raise invalid(f"{name} is {_shown(value)}; it must be True or False")


def _seconds(name: str, value: object) -> None:
    """Accept a time in seconds."""
    if not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value <= _MAX_SECONDS:
        raise invalid(f"{name} is {_shown(value)}; it must be a number of seconds, 0 or more")


def _text(name: str, value: object) -> None:
    """Accept a text that UTF-8 can encode."""
    if not isinstance(value, str) or not _encodable(value):
        raise invalid(f"{name} is {_shown(value)}; it must be a text")


def _ip_address(name: str, value: object) -> None:
    """Accept an IP address as text."""
    try:
        ip_address(value if isinstance(value, str) else "")
    except ValueError:
        raise invalid(f"{name} is {_shown(value)}; it must be an IP address") from None


def _key(name: str, value: object) -> None:
    """Accept a shared key."""
    if not isinstance(value, bytes) or len(value) > _MAX_KEY:
        raise invalid(f"{name} must be bytes, at most {_MAX_KEY} of them")


def _path(name: str, value: object) -> None:
    """Accept a path of a file or folder."""
    if not isinstance(value, str | os.PathLike):
        raise invalid(f"{name} is {_shown(value)}; it must be a path")


def _instance(kind: type) -> Check:
    """Return a check for an object of a class."""

    def check(name: str, value: object) -> None:
        if not isinstance(value, kind):
            raise invalid(f"{name} is {_shown(value)}; it must be of class {kind.__name__}")

    return check


def _optional(check: Check) -> Check:
    """Return a check that also accepts None."""

    def check_optional(name: str, value: object) -> None:
        if value is not None:
            check(name, value)

    return check_optional


def _tuple_of(check: Check, most: int) -> Check:
    """Return a check for a tuple or list."""

    def check_each(name: str, value: object) -> None:
        if not isinstance(value, tuple | list) or len(value) > most:
            raise invalid(f"{name} is {_shown(value)}; it must be a tuple of at most {most} values")
        for each in value:
            check(f"each of {name}", each)

    return check_each


def _record(kind: type, **fields: Check) -> Check:
    """Return a check for an object of a class and for each of its fields."""
    named = [(field, f"{kind.__name__}.{field}", check) for field, check in fields.items()]

    def check(name: str, value: object) -> None:
        if not isinstance(value, kind):
            raise invalid(f"{name} is {_shown(value)}; it must be of class {kind.__name__}")
        for field, full_name, check_field in named:
            check_field(full_name, getattr(value, field))

    return check


def _address(port: Check) -> Check:
    """Return a check for an address as getaddrinfo returns it: (host, port) or (host, port, flow, scope id)."""

    def check(name: str, value: object) -> None:
        if not isinstance(value, tuple | list) or len(value) not in (2, 4):
            raise invalid(f"{name} is {_shown(value)}; it must be (host, port) or (host, port, flow, scope id)")
        _host(f"the host of {name}", value[0])
        port(f"the port of {name}", value[1])
        for number in value[2:]:
            _U32(f"each number of {name}", number)

    return check


def _host(name: str, value: object) -> None:
    """Accept a host that a resolver can look up."""
    _text(name, value)
    if isinstance(value, str) and ("\0" in value or len(value) > 1024):
        raise invalid(f"{name} is {_shown(value)}; it must be a host name or an IP address")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _name_of(value: Any) -> str:
    """Return the name of an enum member or a class; other values as text."""
    return str(getattr(value, "name", getattr(value, "__name__", value)))


def _shown(value: object) -> str:
    """Return a value as a short text for an error."""
    try:
        text = repr(value)
    except Exception as error:  # the repr of any object may fail, an integer of 5000 digits for one
        text = f"<{type(value).__name__}: {error}>"
    return text if len(text) <= 80 else f"{text[:77]}..."


# -- tables ------------------------------------------------------------------------------------------------------------

_U8: Final = _integer(0, 0xFF)
_U16: Final = _integer(0, 0xFFFF)
_U32: Final = _integer(0, 0xFFFFFFFF)
_SIZE: Final = _integer(0, 2**31 - 1)
_PORT: Final = _integer(1, 0xFFFF)
_PEER: Final = _address(_PORT)
_ASSOC_ID: Final = _U32
_MILLISECONDS: Final = _U32

_PR_INFO: Final = _record(PrInfo, policy=_one_of(PrPolicy), value=_U32)
_INIT_MSG: Final = _record(
    InitMsg, num_ostreams=_U16, max_instreams=_U16, max_attempts=_U16, max_init_timeo=_MILLISECONDS
)
_SND_INFO: Final = _record(SndInfo, sid=_U16, flags=_flags(SendFlag), ppid=_U32, context=_anything, assoc_id=_ASSOC_ID)

_ANCILLARY: Final[dict[type, Check]] = {
    InitMsg: _INIT_MSG,
    SndInfo: _SND_INFO,
    PrInfo: _PR_INFO,
    AuthInfo: _record(AuthInfo, keynumber=_U16),
    DstAddr: _record(DstAddr, host=_ip_address),
}

_SUBSCRIPTIONS: Final = (*NOTIFICATIONS.values(), NotificationsStoppedEvent)

_OPTIONS: Final[dict[SocketOption, Check]] = {
    SocketOption.SO_LINGER: _optional(_seconds),
    # RFC 9260, 3.3.2: "The Advertised Receiver Window Credit MUST NOT be smaller than 1500."
    SocketOption.SO_RCVBUF: _integer(1500, 2**31 - 1),
    SocketOption.SO_SNDBUF: _SIZE,
    SocketOption.SCTP_RTOINFO: _record(RtoInfo, initial=_MILLISECONDS, max=_MILLISECONDS, min=_MILLISECONDS),
    SocketOption.SCTP_ASSOCINFO: _record(
        AssocParams,
        assocmaxrxt=_U16,
        number_peer_destinations=_anything,
        peer_rwnd=_anything,
        local_rwnd=_anything,
        cookie_life=_MILLISECONDS,
    ),
    SocketOption.SCTP_INITMSG: _INIT_MSG,
    SocketOption.SCTP_NODELAY: _boolean,
    SocketOption.SCTP_AUTOCLOSE: _seconds,
    SocketOption.SCTP_PRIMARY_ADDR: _PEER,
    SocketOption.SCTP_ADAPTATION_LAYER: _optional(_U32),
    SocketOption.SCTP_DISABLE_FRAGMENTS: _boolean,
    SocketOption.SCTP_PEER_ADDR_PARAMS: _record(
        PaddrParams,
        address=_optional(_PEER),
        hbinterval=_MILLISECONDS,
        pathmaxrxt=_U16,
        pathmtu=_U16,
        flags=_flags(PaddrFlag),
    ),
    SocketOption.SCTP_PEER_ADDR_THLDS: _record(PaddrThresholds, pathmaxrxt=_U16, pathpfthld=_optional(_U16)),
    SocketOption.SCTP_MAXSEG: _SIZE,
    # RFC 9260, 6.2: "An implementation MUST NOT allow the maximum delay (protocol parameter 'SACK.Delay') to be
    # configured to be more than 500 ms."
    SocketOption.SCTP_DELAYED_SACK: _record(SackInfo, delay=_integer(0, 500), freq=_U32),
    SocketOption.SCTP_FRAGMENT_INTERLEAVE: _one_of((0, 1, 2)),
    SocketOption.SCTP_PARTIAL_DELIVERY_POINT: _SIZE,
    SocketOption.SCTP_MAX_BURST: _U32,
    SocketOption.SCTP_CONTEXT: _anything,
    SocketOption.SCTP_EVENT: _record(Subscription, type=_one_of(_SUBSCRIPTIONS), on=_boolean),
    SocketOption.SCTP_RECVRCVINFO: _boolean,
    SocketOption.SCTP_RECVNXTINFO: _boolean,
    SocketOption.SCTP_DEFAULT_SNDINFO: _SND_INFO,
    SocketOption.SCTP_DEFAULT_PRINFO: _PR_INFO,
    SocketOption.SCTP_RESET_STREAMS: _record(ResetStreams, flags=_flags(ResetFlag), streams=_tuple_of(_U16, 0xFFFF)),
    SocketOption.SCTP_RESET_ASSOC: _anything,
    SocketOption.SCTP_ADD_STREAMS: _record(AddStreams, instrms=_U16, outstrms=_U16),
    SocketOption.SCTP_ENABLE_STREAM_RESET: _flags(EnableFlag),
    SocketOption.SCTP_REMOTE_UDP_ENCAPS_PORT: _record(UdpEncaps, address=_optional(_PEER), port=_PORT),
    SocketOption.SCTP_PR_SUPPORTED: _boolean,
    SocketOption.SCTP_INTERLEAVING_SUPPORTED: _boolean,
    SocketOption.SCTP_STREAM_SCHEDULER: _one_of(Scheduler),
    SocketOption.SCTP_STREAM_SCHEDULER_VALUE: _record(StreamValue, stream_id=_U16, value=_U16),
    SocketOption.SCTP_AUTH_SUPPORTED: _boolean,
    SocketOption.SCTP_AUTH_CHUNK: _U8,
    SocketOption.SCTP_AUTH_KEY: _record(AuthKey, keynumber=_U16, key=_key),
    SocketOption.SCTP_AUTH_ACTIVE_KEY: _U16,
    SocketOption.SCTP_AUTH_DEACTIVATE_KEY: _U16,
    SocketOption.SCTP_AUTH_DELETE_KEY: _U16,
    SocketOption.SCTP_ASCONF_SUPPORTED: _boolean,
    SocketOption.SCTP_SET_PEER_PRIMARY_ADDR: _address(_U16),
}

_ARGUMENTS: Final[dict[str, Check]] = {
    "family": _one_of((socket.AF_INET, socket.AF_INET6)),
    "udp_port": _optional(_U16),
    "remote_udp_port": _PORT,
    "options": _optional(_instance(AssociationOptions)),
    "trace": _optional(_path),
    "action": _one_of(BindxAction),
    "assoc_id": _ASSOC_ID,
    "backlog": _SIZE,
    "how": _one_of((socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR)),
    "maxlen": _integer(1, 2**63 - 1),
    "option": _instance(SocketOption),
    "reason": _text,
    "to": _optional(_PEER),
    "address": _optional(_PEER),
    "timetolive": _optional(_MILLISECONDS),
    "stream": _optional(_U16),
    "ppid": _optional(_U32),
    "flags": _flags(SendFlag),
}

SETTABLE: Final = frozenset(_OPTIONS)
"""The options that `setsockopt` takes."""


def check_option(option: SocketOption, value: object) -> None:
    """Check the value of an option that is about to be set.

    Raises:
        OSError: the option cannot be set, or the value is not acceptable.
    """
    check = _OPTIONS.get(option)
    if check is None:
        raise OSError(errno.ENOPROTOOPT, f"{option.name} cannot be set")
    check(option.name, value)


def check_arguments(**arguments: object) -> None:
    """Check the arguments of a call, each by its name.

    Raises:
        OSError: one of them is not acceptable.
    """
    for name, value in arguments.items():
        _ARGUMENTS[name](name, value)


def check_ancillary(items: Iterable[Ancillary]) -> list[Ancillary]:
    """Return the ancillary items of a send as a list, after checking each of them.

    Raises:
        OSError: an item is not acceptable.
    """
    if not isinstance(items, Iterable):
        raise invalid(f"the ancillary data is {_shown(items)}; it must be a list of items")
    checked = list(items)
    for item in checked:
        check = _ANCILLARY.get(type(item))
        if check is None:
            names = ", ".join(kind.__name__ for kind in _ANCILLARY)
            raise invalid(f"an ancillary item is {_shown(item)}; it must be one of {names}")
        check(type(item).__name__, item)
    return checked


def check_addresses(addresses: Sequence[Address], *, own: bool = False) -> int:
    """Check addresses that must have the same port, and return that port.

    Args:
        addresses: one or several of them.
        own: whether they are addresses to bind to; their port may be 0, and then the others decide.

    Raises:
        OSError: an address is not acceptable, there is none or too many, or the ports differ.
    """
    _tuple_of(_address(_U16 if own else _PORT), _MAX_ADDRESSES)("the list of addresses", addresses)
    ports = {address[1] for address in addresses} - ({0} if own else set())
    if not addresses or len(ports) > 1:
        raise invalid("the list must hold at least one address, and all of them must have the same port")
    return ports.pop() if ports else 0


def check_data(data: object) -> bytes:
    """Return the data of a message as bytes.

    Raises:
        OSError: the data is not an object like bytes.
    """
    if isinstance(data, bytes):
        return data
    try:
        return bytes(memoryview(data))  # type: ignore[arg-type]
    except (TypeError, ValueError, BufferError):
        raise invalid(f"a message is {_shown(data)}; it must be bytes or an object like bytes") from None
