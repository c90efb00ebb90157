"""What each socket option does: read it, or have it act on the socket's settings and on associations that live.

The names of options and the classes of their values are in `options`. A getter takes (socket, association or None,
address or None), a setter (socket, value, association id).
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from datachan.sctp.errors import InvalidAddress, InvalidState, InvalidStream, UnknownKey
from datachan.sctp.options import AssociationOptions
from datachan.sctp.states import AssociationState
from datachan.sctp.stats import PathState as EnginePathState
from datachan.sctp.stats import PathStats
from datachan.sctp.wire.packet import COMMON_HEADER_LENGTH

from . import authopts
from .ancillary import Address, InitMsg
from .constants import AssocId, PathState, PrPolicy, Scheduler, StatusState
from .notifications import NOTIFICATIONS, NotificationsStoppedEvent, SenderDryEvent
from .options import (
    AddStreams,
    AssocParams,
    EnableFlag,
    Event,
    PaddrFlag,
    PaddrInfo,
    PaddrParams,
    PaddrThresholds,
    PrStatus,
    ResetFlag,
    ResetStreams,
    RtoInfo,
    SackInfo,
    SocketOption,
    Status,
    StreamValue,
    UdpEncaps,
)
from .settings import LARGEST_PACKET, with_init

if TYPE_CHECKING:
    from .association import SocketAssociation
    from .base import SctpSocket

Getter = Callable[["SctpSocket", "SocketAssociation | None", "Address | None"], Any]
Setter = Callable[["SctpSocket", Any, int], None]

_O = SocketOption
UNLIMITED_BURST: Final = 1 << 16
"""Packets; what SCTP_MAX_BURST means by 0."""

SCHEDULERS: Final = {
    Scheduler.SCTP_SS_FCFS: "fcfs",
    Scheduler.SCTP_SS_RR: "round-robin",
    Scheduler.SCTP_SS_RR_PKT: "round-robin-per-packet",
    Scheduler.SCTP_SS_PRIO: "priority",
    Scheduler.SCTP_SS_FB: "fair-capacity",
    Scheduler.SCTP_SS_WFQ: "wfq",
}

_PATH_STATES: Final = {
    EnginePathState.UNCONFIRMED: PathState.SCTP_UNCONFIRMED,
    EnginePathState.ACTIVE: PathState.SCTP_ACTIVE,
    EnginePathState.POTENTIALLY_FAILED: PathState.SCTP_PF,
    EnginePathState.INACTIVE: PathState.SCTP_INACTIVE,
}


def get(sock: SctpSocket, option: SocketOption, assoc_id: int, address: Address | None) -> Any:
    """The value of an option.

    Raises:
        OSError: there is no such option to read, or no such association.
    """
    getter = _GETTERS.get(option)
    if getter is None:
        raise OSError(errno.ENOPROTOOPT, f"{option} cannot be read")
    return getter(sock, sock._chosen(assoc_id), address)


def set_value(sock: SctpSocket, option: SocketOption, value: object, assoc_id: int) -> None:
    """Set an option.

    Raises:
        OSError: there is no such option to set, no such association, or the value has no sense.
    """
    setter = _SETTERS.get(option)
    if setter is None:
        raise OSError(errno.ENOPROTOOPT, f"{option} cannot be set")
    try:
        setter(sock, value, assoc_id)
    except (ValueError, InvalidAddress, InvalidStream, UnknownKey) as error:
        raise OSError(errno.EINVAL, str(error)) from None
    except InvalidState as error:
        raise OSError(errno.ENOTCONN, str(error)) from None


# -- helpers --------------------------------------------------------------------------------------------------


def _options(sock: SctpSocket, association: SocketAssociation | None) -> AssociationOptions:
    """The parameters in force."""
    if association is not None:
        live = association.look()
        return association.settings.options if live is None else live.options
    return sock._settings.options


def _one(sock: SctpSocket, assoc_id: int) -> SocketAssociation:
    """The association an option is about that needs one.

    Raises:
        OSError: there is none.
    """
    association = sock._chosen(assoc_id)
    if association is None:
        raise OSError(errno.EINVAL, "this option is about one association")
    return association


def _not_several(assoc_id: int) -> None:
    if assoc_id in (AssocId.SCTP_CURRENT_ASSOC, AssocId.SCTP_ALL_ASSOC):
        raise OSError(errno.EINVAL, "this option is for one association or for those to come")


def _change(sock: SctpSocket, assoc_id: int, **changes: Any) -> None:
    """Change protocol parameters, of associations to come and of those that live, as `assoc_id` says."""
    sock._change_options(assoc_id, changes)


def _milliseconds(seconds: float | None) -> int:
    return 0 if seconds is None else round(seconds * 1000)


def _nonzero(changes: dict[str, tuple[int, float]]) -> dict[str, float]:
    """Without those whose value is 0, which means: as it is. (value given, value to set)."""
    return {name: scaled for name, (given, scaled) in changes.items() if given}


# -- parameters -----------------------------------------------------------------------------------------------


def _get_rtoinfo(sock: SctpSocket, association: SocketAssociation | None, _: Address | None) -> RtoInfo:
    options = _options(sock, association)
    return RtoInfo(_milliseconds(options.rto_initial), _milliseconds(options.rto_max), _milliseconds(options.rto_min))


def _set_rtoinfo(sock: SctpSocket, value: RtoInfo, assoc_id: int) -> None:
    _not_several(assoc_id)
    before = _get_rtoinfo(sock, sock._chosen(assoc_id), None)
    low, high = value.min or before.min, value.max or before.max
    if not low <= (value.initial or before.initial) <= high:
        raise OSError(errno.EINVAL, f"the initial RTO must be between {low} and {high} ms")
    wanted = {
        "rto_initial": (value.initial, value.initial / 1000),
        "rto_max": (value.max, value.max / 1000),
        "rto_min": (value.min, value.min / 1000),
    }
    _change(sock, assoc_id, **_nonzero(wanted))


def _get_assocparams(sock: SctpSocket, association: SocketAssociation | None, _: Address | None) -> AssocParams:
    options = _options(sock, association)
    live = None if association is None else association.look()
    destinations = peer_rwnd = 0
    local_rwnd = options.receive_window
    if live is not None:
        stats = live.stats()
        destinations, peer_rwnd = len(stats.paths), stats.peer_rwnd
        local_rwnd = stats.advertised_rwnd
    life = _milliseconds(options.valid_cookie_life)
    return AssocParams(options.association_max_retrans, destinations, peer_rwnd, local_rwnd, life)


def _set_assocparams(sock: SctpSocket, value: AssocParams, assoc_id: int) -> None:
    _not_several(assoc_id)
    wanted = {
        "association_max_retrans": (value.assocmaxrxt, value.assocmaxrxt),
        "valid_cookie_life": (value.cookie_life, value.cookie_life / 1000),
    }
    _change(sock, assoc_id, **_nonzero(wanted))


def _get_initmsg(sock: SctpSocket, association: SocketAssociation | None, _: Address | None) -> InitMsg:
    options = sock._settings.options
    return InitMsg(
        options.outbound_streams,
        options.inbound_streams,
        options.max_init_retransmits,
        _milliseconds(options.max_init_timeout or options.rto_max),
    )


def _set_initmsg(sock: SctpSocket, value: InitMsg, assoc_id: int) -> None:
    """Effective for associations to come (RFC 6458, section 8.1.3)."""
    sock._change_future_options(with_init(sock._settings.options, value))


def _parameter(name: str) -> tuple[Getter, Setter]:
    """A number or flag that is one of the engine's parameters."""

    def getter(sock: SctpSocket, association: SocketAssociation | None, _: Address | None) -> Any:
        return getattr(_options(sock, association), name)

    def setter(sock: SctpSocket, value: Any, assoc_id: int) -> None:
        _change(sock, assoc_id, **{name: value})

    return getter, setter


def _setting(name: str) -> tuple[Getter, Setter]:
    """Something the sockets keep and the engine does not know."""

    def getter(sock: SctpSocket, association: SocketAssociation | None, _: Address | None) -> Any:
        return getattr(sock._settings if association is None else association.settings, name)

    def setter(sock: SctpSocket, value: Any, assoc_id: int) -> None:
        sock._change_settings(assoc_id, {name: value})

    return getter, setter


def _attribute(name: str, kind: Callable[[Any], Any]) -> tuple[Getter, Setter]:
    """Something of the socket itself."""

    def getter(sock: SctpSocket, association: SocketAssociation | None, _: Address | None) -> Any:
        return getattr(sock, name)

    def setter(sock: SctpSocket, value: Any, assoc_id: int) -> None:
        setattr(sock, name, kind(value))

    return getter, setter


def _get_nodelay(sock: SctpSocket, association: SocketAssociation | None, _: Address | None) -> bool:
    return not _options(sock, association).delay_small_packets


def _set_nodelay(sock: SctpSocket, value: object, assoc_id: int) -> None:
    _change(sock, assoc_id, delay_small_packets=not value)


def _set_rcvbuf(sock: SctpSocket, value: int, assoc_id: int) -> None:
    _change(sock, assoc_id, receive_window=value, max_receive_window=value)


def _get_disable_fragments(sock: SctpSocket, association: SocketAssociation | None, _: Address | None) -> bool:
    return not (sock._settings if association is None else association.settings).fragments


def _set_disable_fragments(sock: SctpSocket, value: object, assoc_id: int) -> None:
    sock._change_settings(assoc_id, {"fragments": not value})


def _set_maxseg(sock: SctpSocket, value: int, assoc_id: int) -> None:
    _not_several(assoc_id)
    _change(sock, assoc_id, max_fragment=0 if value > 65535 else value)


def _get_sack(sock: SctpSocket, association: SocketAssociation | None, _: Address | None) -> SackInfo:
    options = _options(sock, association)
    return SackInfo(_milliseconds(options.sack_delay), options.sack_frequency)


def _set_sack(sock: SctpSocket, value: SackInfo, assoc_id: int) -> None:
    wanted = {"sack_delay": (value.delay, value.delay / 1000), "sack_frequency": (value.freq, value.freq)}
    _change(sock, assoc_id, **_nonzero(wanted))


def _get_max_burst(sock: SctpSocket, association: SocketAssociation | None, _: Address | None) -> int:
    burst = _options(sock, association).max_burst
    return 0 if burst >= UNLIMITED_BURST else burst


def _set_max_burst(sock: SctpSocket, value: int, assoc_id: int) -> None:
    if value < 0:
        raise ValueError(f"the burst is {value}; it may not be less than 0")
    _change(sock, assoc_id, max_burst=value or UNLIMITED_BURST)


def _get_enable_reset(sock: SctpSocket, association: SocketAssociation | None, _: Address | None) -> EnableFlag:
    options = _options(sock, association)
    flags = EnableFlag(0)
    if options.allow_stream_reset:
        flags |= EnableFlag.SCTP_ENABLE_RESET_STREAM_REQ
    if options.allow_tsn_reset:
        flags |= EnableFlag.SCTP_ENABLE_RESET_ASSOC_REQ
    if options.allow_added_streams:
        flags |= EnableFlag.SCTP_ENABLE_CHANGE_ASSOC_REQ
    return flags


def _set_enable_reset(sock: SctpSocket, value: int, assoc_id: int) -> None:
    _change(
        sock,
        assoc_id,
        allow_stream_reset=bool(value & EnableFlag.SCTP_ENABLE_RESET_STREAM_REQ),
        allow_tsn_reset=bool(value & EnableFlag.SCTP_ENABLE_RESET_ASSOC_REQ),
        allow_added_streams=bool(value & EnableFlag.SCTP_ENABLE_CHANGE_ASSOC_REQ),
    )


# -- receiving ------------------------------------------------------------------------------------------------


def _get_interleave(sock: SctpSocket, association: SocketAssociation | None, _: Address | None) -> int:
    return sock._inbox.interleave


def _set_interleave(sock: SctpSocket, value: int, assoc_id: int) -> None:
    if value not in (0, 1, 2):
        raise ValueError(f"the level is {value}; it may be 0, 1 or 2")
    if value == 2 and not sock.recvrcvinfo:
        # RFC 6458, 8.1.20: "an implementation should return an error if an application attempts to set the level to 2
        # and has not subscribed to the sctp_data_io_event event, which is deprecated, or has enabled the
        # SCTP_RECVRCVINFO socket option."
        raise ValueError("level 2 needs SCTP_RECVRCVINFO, to tell the streams apart")
    if value < 2 and sock._settings.options.interleaving:
        raise ValueError("messages are interleaved (SCTP_INTERLEAVING_SUPPORTED), which needs level 2")
    sock._inbox.interleave = value


def _set_delivery_point(sock: SctpSocket, value: int, assoc_id: int) -> None:
    window = _options(sock, None).receive_window
    if not 0 <= value <= window:
        # RFC 6458, 8.1.21: "the call will fail if the user attempts to set this value larger than the socket receive
        # buffer size."
        raise ValueError(f"the partial delivery point is {value}; it may be 0 to {window}, the receive buffer")
    _change(sock, AssocId.SCTP_ALL_ASSOC, partial_delivery_point=value)


def _agreed(extension: str) -> Getter:
    """Whether an association has an extension, by its name in `Capabilities` and in the options, or would have it."""

    def get(sock: SctpSocket, association: SocketAssociation | None, _: Address | None) -> bool:
        agreed = None if association is None else association.agreed
        return bool(getattr(sock._settings.options if agreed is None else agreed, extension))

    return get


def _set_interleaving(sock: SctpSocket, value: object, assoc_id: int) -> None:
    _not_several(assoc_id)
    if value and sock._inbox.interleave < 2:
        # RFC 8260, 4.3.1: "Setting the interleaving level to at least 2 before enabling the negotiation of user message
        # interleaving should work on all platforms."
        raise PermissionError(errno.EPERM, "interleaving needs SCTP_FRAGMENT_INTERLEAVE to be 2 first")
    sock._change_future_options(replace(sock._settings.options, interleaving=bool(value)))


def _subscribed(sock: SctpSocket, association: SocketAssociation | None, _: Address | None) -> frozenset[type]:
    return (sock._settings if association is None else association.settings).subscribed


def _set_event(sock: SctpSocket, value: Event, assoc_id: int) -> None:
    if value.type not in NOTIFICATIONS.values():
        raise ValueError(f"{value.type} is no notification")

    def changed(subscribed: frozenset[type]) -> frozenset[type]:
        return subscribed | {value.type, NotificationsStoppedEvent} if value.on else subscribed - {value.type}

    for association in sock._change_subscriptions(assoc_id, changed):
        if value.type is SenderDryEvent and value.on:
            # RFC 6458, 6.1.9: "at the time when a user app subscribes to this event, if there is no data to be sent or
            # retransmit, the stack will immediately send up this notification."
            live = association.look()
            if live is not None and association.established and live.all_acknowledged:
                association.notify(SenderDryEvent(association.id))


# -- looking at associations ----------------------------------------------------------------------------------


def _path_info(association: SocketAssociation, path: PathStats) -> PaddrInfo:
    host = association.address[0] if path.address is None else path.address[0]
    return PaddrInfo(
        (host, association.address[1]),
        _PATH_STATES[path.state],
        path.cwnd,
        _milliseconds(path.srtt),
        _milliseconds(path.rto),
        path.mtu,
        association.id,
    )


def _get_status(sock: SctpSocket, association: SocketAssociation | None, _: Address | None) -> Status:
    live = None if association is None else association.look()
    if association is None or live is None:
        raise OSError(errno.EINVAL, "there is no association to ask about")
    stats = live.stats()
    primary = next((path for path in stats.paths if path.primary), None)
    return Status(
        state=_state_of(live.state),
        rwnd=stats.peer_rwnd,
        unackdata=stats.unacknowledged_chunks,
        penddata=stats.unread_chunks,
        instrms=live.inbound_streams,
        outstrms=live.outbound_streams,
        fragmentation_point=live.max_fragment,
        primary=None if primary is None else _path_info(association, primary),
        assoc_id=association.id,
    )


def _state_of(state: AssociationState) -> StatusState:
    return StatusState[f"SCTP_{state.name}"]


def _find_path(association: SocketAssociation, address: Address | None) -> PathStats:
    live = association.look()
    paths = () if live is None else live.stats().paths
    for path in paths:
        if (address is None and path.primary) or (
            address is not None and path.address and path.address[0] == address[0]
        ):
            return path
    raise OSError(errno.EINVAL, f"{address} is no address of the peer")


def _get_paddrinfo(sock: SctpSocket, association: SocketAssociation | None, address: Address | None) -> PaddrInfo:
    if association is None and address is not None:
        association = sock._at(address)
    if association is None:
        raise OSError(errno.EINVAL, "there is no association to ask about")
    return _path_info(association, _find_path(association, address))


def _get_paddrparams(sock: SctpSocket, association: SocketAssociation | None, address: Address | None) -> PaddrParams:
    if association is None:
        options = sock._settings.options
        interval, retrans, mtu = options.heartbeat_interval, options.path_max_retrans, options.first_packet_size
    else:
        options, path = association.settings.options, _find_path(association, address)
        interval, retrans, mtu = path.heartbeat_interval, path.max_retrans, path.mtu
    flags = PaddrFlag.SPP_HB_ENABLE if interval > 0 else PaddrFlag.SPP_HB_DISABLE
    flags |= PaddrFlag.SPP_PMTUD_ENABLE if options.path_mtu_discovery else PaddrFlag.SPP_PMTUD_DISABLE
    return PaddrParams(address, _milliseconds(interval), retrans, mtu - COMMON_HEADER_LENGTH, flags)


def _packet_size(options: AssociationOptions, value: PaddrParams) -> dict[str, Any]:
    """What changes with path MTU discovery switched on or off.

    RFC 6458, 8.1.12: "If a positive value is provided and SPP_PMTUD_DISABLE is set in the spp_flags field, the given
    value is used as the Path MTU. If SPP_PMTUD_ENABLE is set in the spp_flags field, the spp_pathmtu field is ignored."
    """
    if value.flags & PaddrFlag.SPP_PMTUD_ENABLE:
        return {"path_mtu_discovery": True, "max_packet_size": LARGEST_PACKET}
    if value.flags & PaddrFlag.SPP_PMTUD_DISABLE:
        size = value.pathmtu + COMMON_HEADER_LENGTH if value.pathmtu else options.base_packet_size
        return {"path_mtu_discovery": False, "max_packet_size": size}
    if value.pathmtu:
        raise OSError(errno.EINVAL, "pathmtu is found out; SPP_PMTUD_DISABLE has it be what is given")
    return {}


def _set_paddrparams(sock: SctpSocket, value: PaddrParams, assoc_id: int) -> None:
    _not_several(assoc_id)
    interval: float | None = value.hbinterval / 1000 if value.hbinterval else None
    if value.flags & PaddrFlag.SPP_HB_DISABLE:
        interval = 0.0
    elif value.flags & PaddrFlag.SPP_HB_TIME_IS_ZERO:
        interval = 0.001
    association = sock._chosen(assoc_id)
    options = sock._settings.options if association is None else association.settings.options
    changes = _packet_size(options, value)
    if association is None:
        if interval is not None:
            changes["heartbeat_interval"] = interval
        if value.pathmaxrxt:
            changes["path_max_retrans"] = value.pathmaxrxt
        _change(sock, assoc_id, **changes)
        return
    if any(getattr(options, name) != wanted for name, wanted in changes.items()):
        raise OSError(errno.EOPNOTSUPP, "path MTU discovery and the packet size can be set for associations to come")
    live, now = association.live(), association.binding.now
    target = None if value.address is None else association.transport_address(value.address)
    live.set_path_parameters(target, now, heartbeat_interval=interval, max_retrans=value.pathmaxrxt or None)
    if value.flags & PaddrFlag.SPP_HB_DEMAND:
        if target is None:
            raise OSError(errno.EINVAL, "a heartbeat on demand goes to one address")
        live.request_heartbeat(target, now)


def _get_thresholds(sock: SctpSocket, association: SocketAssociation | None, _: Address | None) -> PaddrThresholds:
    options = _options(sock, association)
    return PaddrThresholds(options.path_max_retrans, options.potentially_failed_max_retrans)


def _set_thresholds(sock: SctpSocket, value: PaddrThresholds, assoc_id: int) -> None:
    _change(sock, assoc_id, potentially_failed_max_retrans=value.pathpfthld)
    if value.pathmaxrxt:
        _set_paddrparams(sock, PaddrParams(pathmaxrxt=value.pathmaxrxt), assoc_id)


def _get_primary(sock: SctpSocket, association: SocketAssociation | None, _: Address | None) -> Address:
    if association is None:
        raise OSError(errno.EINVAL, "there is no association to ask about")
    return _path_info(association, _find_path(association, None)).address


def _set_primary(sock: SctpSocket, value: Address, assoc_id: int) -> None:
    association = _one(sock, assoc_id)
    association.live().set_primary(association.transport_address(value))


def _get_encaps(sock: SctpSocket, association: SocketAssociation | None, address: Address | None) -> UdpEncaps:
    if association is None or address is None:
        return UdpEncaps(None, sock._settings.remote_udp_port)
    return UdpEncaps(address, association.transport_address(address)[1])


def _set_encaps(sock: SctpSocket, value: UdpEncaps, assoc_id: int) -> None:
    if value.address is not None or not 0 < value.port < 65536:
        raise ValueError(
            "the UDP port, 1 to 65535, can be set for associations to come; then the peer's packets tell it"
        )
    sock._settings = replace(sock._settings, remote_udp_port=value.port)


# -- streams --------------------------------------------------------------------------------------------------


def _set_reset_streams(sock: SctpSocket, value: ResetStreams, assoc_id: int) -> None:
    association = _one(sock, assoc_id)
    live, now = association.live(), association.binding.now
    if value.flags & ResetFlag.SCTP_STREAM_RESET_OUTGOING:
        live.reset_streams(value.streams or range(live.outbound_streams), now)
    if value.flags & ResetFlag.SCTP_STREAM_RESET_INCOMING:
        live.request_stream_resets(value.streams, now)


def _set_reset_assoc(sock: SctpSocket, value: object, assoc_id: int) -> None:
    association = _one(sock, assoc_id)
    association.live().reset_tsns(association.binding.now)


def _set_add_streams(sock: SctpSocket, value: AddStreams, assoc_id: int) -> None:
    association = _one(sock, assoc_id)
    association.live().add_streams(association.binding.now, outgoing=value.outstrms, incoming=value.instrms)


def _get_scheduler(sock: SctpSocket, association: SocketAssociation | None, _: Address | None) -> Scheduler:
    name = _options(sock, association).scheduler
    return next(number for number, known in SCHEDULERS.items() if known == name)


def _set_scheduler(sock: SctpSocket, value: int, assoc_id: int) -> None:
    chosen = Scheduler(value)
    _change(sock, assoc_id, scheduler=SCHEDULERS.get(chosen, "round-robin"))


def _set_stream_value(sock: SctpSocket, value: StreamValue, assoc_id: int) -> None:
    """RFC 8260, 4.3.2: with SCTP_SS_PRIO "The higher the assigned value, the lower the priority." The engine has it the
    other way round, and its weights as they are.
    """
    association = _one(sock, assoc_id)
    live = association.live()
    weighed = live.options.scheduler == "wfq"
    live.set_stream_priority(value.stream_id, value.value if weighed else 65535 - value.value)


# -- partial reliability --------------------------------------------------------------------------------------


def _set_pr_supported(sock: SctpSocket, value: object, assoc_id: int) -> None:
    sock._change_future_options(replace(sock._settings.options, partial_reliability=bool(value)))


def _get_pr_status(
    sock: SctpSocket, association: SocketAssociation | None, _: Address | None
) -> dict[PrPolicy, PrStatus]:
    live = None if association is None else association.look()
    if live is None:
        raise OSError(errno.EINVAL, "there is no association to ask about")
    total = live.stats().abandoned
    return {
        PrPolicy.SCTP_PR_SCTP_TTL: PrStatus(total.lifetime_unsent, total.lifetime_sent),
        PrPolicy.SCTP_PR_SCTP_RTX: PrStatus(total.retransmissions_unsent, total.retransmissions_sent),
        PrPolicy.SCTP_PR_SCTP_PRIO: PrStatus(total.priority_unsent, total.priority_sent),
    }


def _get_autoclose(sock: SctpSocket, association: SocketAssociation | None, _: Address | None) -> float:
    return sock._get_autoclose()


def _set_autoclose(sock: SctpSocket, value: float, assoc_id: int) -> None:
    if value < 0:
        raise ValueError(f"the time is {value}; it may not be less than 0")
    sock._set_autoclose(value)


def _get_ids(sock: SctpSocket, association: SocketAssociation | None, _: Address | None) -> list[int]:
    if sock._single:
        raise OSError(errno.EOPNOTSUPP, "a one-to-one socket has no list of associations")
    return [known.id for known in sock._associations()]


def _get_number(sock: SctpSocket, association: SocketAssociation | None, address: Address | None) -> int:
    return len(_get_ids(sock, association, address))


def _linger(value: object) -> float | None:
    if value is not None and (not isinstance(value, int | float) or value < 0):
        raise ValueError(f"the time is {value}; it is seconds, 0 to abort, or None to wait")
    return value


_PAIRS: Final[dict[SocketOption, tuple[Getter, Setter]]] = {
    _O.SO_LINGER: _attribute("linger", _linger),
    _O.SO_RCVBUF: (_parameter("receive_window")[0], _set_rcvbuf),
    _O.SO_SNDBUF: _parameter("send_buffer"),
    _O.SCTP_RTOINFO: (_get_rtoinfo, _set_rtoinfo),
    _O.SCTP_ASSOCINFO: (_get_assocparams, _set_assocparams),
    _O.SCTP_INITMSG: (_get_initmsg, _set_initmsg),
    _O.SCTP_NODELAY: (_get_nodelay, _set_nodelay),
    _O.SCTP_AUTOCLOSE: (_get_autoclose, _set_autoclose),
    _O.SCTP_PRIMARY_ADDR: (_get_primary, _set_primary),
    _O.SCTP_ADAPTATION_LAYER: _parameter("adaptation_indication"),
    _O.SCTP_DISABLE_FRAGMENTS: (_get_disable_fragments, _set_disable_fragments),
    _O.SCTP_PEER_ADDR_PARAMS: (_get_paddrparams, _set_paddrparams),
    _O.SCTP_PEER_ADDR_THLDS: (_get_thresholds, _set_thresholds),
    _O.SCTP_MAXSEG: (_parameter("max_fragment")[0], _set_maxseg),
    _O.SCTP_DELAYED_SACK: (_get_sack, _set_sack),
    _O.SCTP_FRAGMENT_INTERLEAVE: (_get_interleave, _set_interleave),
    _O.SCTP_PARTIAL_DELIVERY_POINT: (_parameter("partial_delivery_point")[0], _set_delivery_point),
    _O.SCTP_MAX_BURST: (_get_max_burst, _set_max_burst),
    _O.SCTP_CONTEXT: _setting("context"),
    _O.SCTP_EVENT: (_subscribed, _set_event),
    _O.SCTP_RECVRCVINFO: _attribute("recvrcvinfo", bool),
    _O.SCTP_RECVNXTINFO: _attribute("recvnxtinfo", bool),
    _O.SCTP_DEFAULT_SNDINFO: _setting("sndinfo"),
    _O.SCTP_DEFAULT_PRINFO: _setting("prinfo"),
    _O.SCTP_ENABLE_STREAM_RESET: (_get_enable_reset, _set_enable_reset),
    _O.SCTP_REMOTE_UDP_ENCAPS_PORT: (_get_encaps, _set_encaps),
    _O.SCTP_PR_SUPPORTED: (_agreed("partial_reliability"), _set_pr_supported),
    _O.SCTP_INTERLEAVING_SUPPORTED: (_agreed("interleaving"), _set_interleaving),
    _O.SCTP_STREAM_SCHEDULER: (_get_scheduler, _set_scheduler),
    _O.SCTP_AUTH_SUPPORTED: (_agreed("authentication"), authopts.set_supported),
    _O.SCTP_AUTH_ACTIVE_KEY: (authopts.get_active, authopts.set_active),
    _O.SCTP_ASCONF_SUPPORTED: (_agreed("dynamic_addresses"), authopts.set_asconf),
}
_GETTERS: Final[dict[SocketOption, Getter]] = {
    **{option: getter for option, (getter, _) in _PAIRS.items()},
    _O.SCTP_STATUS: _get_status,
    _O.SCTP_GET_PEER_ADDR_INFO: _get_paddrinfo,
    _O.SCTP_GET_ASSOC_NUMBER: _get_number,
    _O.SCTP_GET_ASSOC_ID_LIST: _get_ids,
    _O.SCTP_PR_ASSOC_STATUS: _get_pr_status,
    _O.SCTP_HMAC_IDENT: authopts.get_hmacs,
    _O.SCTP_PEER_AUTH_CHUNKS: authopts.get_peer_chunks,
    _O.SCTP_LOCAL_AUTH_CHUNKS: authopts.get_local_chunks,
}
_SETTERS: Final[dict[SocketOption, Setter]] = {
    **{option: setter for option, (_, setter) in _PAIRS.items()},
    _O.SCTP_RESET_STREAMS: _set_reset_streams,
    _O.SCTP_RESET_ASSOC: _set_reset_assoc,
    _O.SCTP_ADD_STREAMS: _set_add_streams,
    _O.SCTP_STREAM_SCHEDULER_VALUE: _set_stream_value,
    _O.SCTP_AUTH_CHUNK: authopts.set_chunk,
    _O.SCTP_AUTH_KEY: authopts.set_key,
    _O.SCTP_AUTH_DEACTIVATE_KEY: authopts.deactivate,
    _O.SCTP_AUTH_DELETE_KEY: authopts.delete,
    _O.SCTP_SET_PEER_PRIMARY_ADDR: authopts.set_peer_primary,
}
