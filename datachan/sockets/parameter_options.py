"""The socket options for parameters: of the protocol, of sending and of receiving (RFC 6458, section 8.1).

A getter takes (socket, association or None, address or None). A setter takes (socket, value, association id); the value
has passed `validation`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from datachan.sctp import AssociationOptions

from .ancillary import Address, InitMsg
from .constants import AssocId, Scheduler
from .notifications import NotificationsStoppedEvent, SenderDryEvent
from .option_values import AssocParams, EnableFlag, RtoInfo, SackInfo, Subscription, UdpEncaps
from .settings import with_init
from .socket_association import SocketAssociation
from .socket_state import SocketState

Getter = Callable[[SocketState, "SocketAssociation | None", "Address | None"], Any]
Setter = Callable[[SocketState, Any, int], None]

_UNLIMITED_BURST: Final = 1 << 16
"""Packets; the engine's value for SCTP_MAX_BURST 0."""

_SCHEDULERS: Final = {
    Scheduler.SCTP_SS_FCFS: "fcfs",
    Scheduler.SCTP_SS_RR: "round-robin",
    Scheduler.SCTP_SS_RR_PKT: "round-robin-per-packet",
    Scheduler.SCTP_SS_PRIO: "priority",
    Scheduler.SCTP_SS_FB: "fair-capacity",
    Scheduler.SCTP_SS_WFQ: "wfq",
}


# -- helpers -----------------------------------------------------------------------------------------------------------


def options_of(sock: SocketState, association: SocketAssociation | None) -> AssociationOptions:
    """Return the protocol parameters of an association, or of future ones."""
    if association is None:
        return sock._settings.options
    live = association.to_read()
    return association.settings.options if live is None else live.options


def refuse_several(assoc_id: int) -> None:
    """Reject an id that stands for several associations.

    Raises:
        OSError: the id stands for several associations.
    """
    if assoc_id in (AssocId.SCTP_CURRENT_ASSOC, AssocId.SCTP_ALL_ASSOC):
        raise OSError(errno.EINVAL, "this option is for one association, or for future associations")


def change_future(sock: SocketState, **changes: Any) -> None:
    """Change protocol parameters of future associations."""
    sock._change_future_options(replace(sock._settings.options, **changes))


def milliseconds(seconds: float | None) -> int:
    """Return a time in milliseconds; 0 for None."""
    return 0 if seconds is None else round(seconds * 1000)


def _nonzero(changes: dict[str, tuple[int, float]]) -> dict[str, float]:
    """Return the values to set by name, without those whose given value is 0, which stay unchanged.

    Args:
        changes: name -> (the given value, the value to set).
    """
    return {name: scaled for name, (given, scaled) in changes.items() if given}


# -- kinds of parameters -----------------------------------------------------------------------------------------------


def parameter(name: str) -> tuple[Getter, Setter]:
    """Return getter and setter of a field of `AssociationOptions`."""

    def get(sock: SocketState, association: SocketAssociation | None, _: Address | None) -> Any:
        return getattr(options_of(sock, association), name)

    def set_(sock: SocketState, value: Any, assoc_id: int) -> None:
        sock._change_options(assoc_id, {name: value})

    return get, set_


def setting(name: str) -> tuple[Getter, Setter]:
    """Return getter and setter of a field of `Settings`, which the engine does not know."""

    def get(sock: SocketState, association: SocketAssociation | None, _: Address | None) -> Any:
        return getattr(sock._settings if association is None else association.settings, name)

    def set_(sock: SocketState, value: Any, assoc_id: int) -> None:
        sock._change_settings(assoc_id, {name: value})

    return get, set_


def attribute(name: str, convert: Callable[[Any], Any]) -> tuple[Getter, Setter]:
    """Return getter and setter of an attribute of the socket."""

    def get(sock: SocketState, association: SocketAssociation | None, _: Address | None) -> Any:
        return getattr(sock, name)

    def set_(sock: SocketState, value: Any, assoc_id: int) -> None:
        setattr(sock, name, convert(value))

    return get, set_


def extension(name: str) -> Getter:
    """Return a getter that reads whether an association has an extension, or would announce it.

    Args:
        name: the name of the extension in `Capabilities` and in `AssociationOptions`.
    """

    def get(sock: SocketState, association: SocketAssociation | None, _: Address | None) -> bool:
        agreed = None if association is None else association.extensions
        return bool(getattr(sock._settings.options if agreed is None else agreed, name))

    return get


# -- timers and setup --------------------------------------------------------------------------------------------------


def get_rtoinfo(sock: SocketState, association: SocketAssociation | None, _: Address | None) -> RtoInfo:
    """Return the bounds of the RTO."""
    options = options_of(sock, association)
    return RtoInfo(milliseconds(options.rto_initial), milliseconds(options.rto_max), milliseconds(options.rto_min))


def set_rtoinfo(sock: SocketState, value: RtoInfo, assoc_id: int) -> None:
    """Set the bounds of the RTO, which must stay in order."""
    refuse_several(assoc_id)
    before = get_rtoinfo(sock, sock._chosen(assoc_id), None)
    low, high = value.min or before.min, value.max or before.max
    if not low <= (value.initial or before.initial) <= high:
        raise OSError(errno.EINVAL, f"the initial RTO must be between {low} and {high} ms")
    changes = {
        "rto_initial": (value.initial, value.initial / 1000),
        "rto_max": (value.max, value.max / 1000),
        "rto_min": (value.min, value.min / 1000),
    }
    sock._change_options(assoc_id, _nonzero(changes))


def get_assocparams(sock: SocketState, association: SocketAssociation | None, _: Address | None) -> AssocParams:
    """Return the parameters of SCTP_ASSOCINFO."""
    options = options_of(sock, association)
    live = None if association is None else association.to_read()
    destinations = peer_rwnd = 0
    local_rwnd = options.receive_window
    if live is not None:
        stats = live.stats()
        destinations, peer_rwnd, local_rwnd = len(stats.paths), stats.peer_rwnd, stats.advertised_rwnd
    life = milliseconds(options.valid_cookie_life)
    return AssocParams(options.association_max_retrans, destinations, peer_rwnd, local_rwnd, life)


def set_assocparams(sock: SocketState, value: AssocParams, assoc_id: int) -> None:
    """Set the parameters of SCTP_ASSOCINFO that can be set."""
    refuse_several(assoc_id)
    changes = {
        "association_max_retrans": (value.assocmaxrxt, value.assocmaxrxt),
        "valid_cookie_life": (value.cookie_life, value.cookie_life / 1000),
    }
    sock._change_options(assoc_id, _nonzero(changes))


def get_initmsg(sock: SocketState, association: SocketAssociation | None, _: Address | None) -> InitMsg:
    """Return how future associations are set up."""
    options = sock._settings.options
    return InitMsg(
        options.outbound_streams,
        options.inbound_streams,
        options.max_init_retransmits,
        milliseconds(options.max_init_timeout or options.rto_max),
    )


def set_initmsg(sock: SocketState, value: InitMsg, assoc_id: int) -> None:
    """Set how future associations are set up (RFC 6458, section 8.1.3)."""
    sock._change_future_options(with_init(sock._settings.options, value))


def get_encaps(sock: SocketState, association: SocketAssociation | None, address: Address | None) -> UdpEncaps:
    """Return the UDP port of an address of the peer, or of peers to connect to."""
    if association is None or address is None:
        return UdpEncaps(None, sock._settings.remote_udp_port)
    return UdpEncaps(address, association.transport_address(address)[1])


def set_encaps(sock: SocketState, value: UdpEncaps, assoc_id: int) -> None:
    """Set the UDP port of peers to connect to; a connected peer's own packets determine its port."""
    if value.address is not None:
        raise ValueError("the UDP port can be set for future associations only: address must be None")
    sock._settings = replace(sock._settings, remote_udp_port=value.port)


def get_autoclose(sock: SocketState, association: SocketAssociation | None, _: Address | None) -> float:
    """Return the seconds after which an idle association is shut down."""
    return sock._get_autoclose()


def set_autoclose(sock: SocketState, value: float, assoc_id: int) -> None:
    """Set the seconds after which an idle association is shut down; 0 for never."""
    sock._set_autoclose(value)


# -- sending -----------------------------------------------------------------------------------------------------------


def get_nodelay(sock: SocketState, association: SocketAssociation | None, _: Address | None) -> bool:
    """Return whether small messages are sent at once."""
    return not options_of(sock, association).delay_small_packets


def set_nodelay(sock: SocketState, value: object, assoc_id: int) -> None:
    """Set whether small messages are sent at once."""
    sock._change_options(assoc_id, {"delay_small_packets": not value})


def get_disable_fragments(sock: SocketState, association: SocketAssociation | None, _: Address | None) -> bool:
    """Return whether messages longer than a packet are refused."""
    return not (sock._settings if association is None else association.settings).fragments


def set_disable_fragments(sock: SocketState, value: object, assoc_id: int) -> None:
    """Set whether messages longer than a packet are refused."""
    sock._change_settings(assoc_id, {"fragments": not value})


def set_maxseg(sock: SocketState, value: int, assoc_id: int) -> None:
    """Set the most user bytes of a message in a packet; no limit above the largest packet."""
    refuse_several(assoc_id)
    sock._change_options(assoc_id, {"max_fragment": 0 if value > 65535 else value})


def get_max_burst(sock: SocketState, association: SocketAssociation | None, _: Address | None) -> int:
    """Return the most packets in a burst; 0 for no limit."""
    burst = options_of(sock, association).max_burst
    return 0 if burst >= _UNLIMITED_BURST else burst


def set_max_burst(sock: SocketState, value: int, assoc_id: int) -> None:
    """Set the most packets in a burst; 0 for no limit."""
    sock._change_options(assoc_id, {"max_burst": value or _UNLIMITED_BURST})


def get_scheduler(sock: SocketState, association: SocketAssociation | None, _: Address | None) -> Scheduler:
    """Return the stream scheduler."""
    name = options_of(sock, association).scheduler
    return next(number for number, known in _SCHEDULERS.items() if known == name)


def set_scheduler(sock: SocketState, value: int, assoc_id: int) -> None:
    """Set the stream scheduler."""
    sock._change_options(assoc_id, {"scheduler": _SCHEDULERS.get(Scheduler(value), "round-robin")})


def set_pr_supported(sock: SocketState, value: object, assoc_id: int) -> None:
    """Set whether future associations announce partial reliability."""
    change_future(sock, partial_reliability=bool(value))


# -- receiving ---------------------------------------------------------------------------------------------------------


def set_rcvbuf(sock: SocketState, value: int, assoc_id: int) -> None:
    """Set the receiver window."""
    sock._change_options(assoc_id, {"receive_window": value, "max_receive_window": value})


def get_sack(sock: SocketState, association: SocketAssociation | None, _: Address | None) -> SackInfo:
    """Return when SACKs are sent."""
    options = options_of(sock, association)
    return SackInfo(milliseconds(options.sack_delay), options.sack_frequency)


def set_sack(sock: SocketState, value: SackInfo, assoc_id: int) -> None:
    """Set when SACKs are sent."""
    changes = {"sack_delay": (value.delay, value.delay / 1000), "sack_frequency": (value.freq, value.freq)}
    sock._change_options(assoc_id, _nonzero(changes))


def get_interleave(sock: SocketState, association: SocketAssociation | None, _: Address | None) -> int:
    """Return the level of interleaving in the receive queue."""
    return sock._queue.interleave


def set_interleave(sock: SocketState, value: int, assoc_id: int) -> None:
    """Set the level of interleaving in the receive queue."""
    if value == 2 and not sock._recvrcvinfo:
        # RFC 6458, 8.1.20: "an implementation should return an error if an application attempts to set the level to 2
        # and has not subscribed to the sctp_data_io_event event, which is deprecated, or has enabled the
        # SCTP_RECVRCVINFO socket option."
        raise ValueError("level 2 needs SCTP_RECVRCVINFO, which tells the streams apart")
    if value < 2 and sock._settings.options.interleaving:
        raise ValueError("SCTP_INTERLEAVING_SUPPORTED is on, which needs level 2")
    sock._queue.interleave = value


def set_delivery_point(sock: SocketState, value: int, assoc_id: int) -> None:
    """Set the size from which messages are delivered in parts; 0 delivers complete messages only."""
    window = sock._settings.options.receive_window
    if value > window:
        # RFC 6458, 8.1.21: "the call will fail if the user attempts to set this value larger than the socket receive
        # buffer size."
        raise ValueError(f"the partial delivery point is {value}; it may be 0 to {window}, the receive buffer")
    sock._change_options(AssocId.SCTP_ALL_ASSOC, {"partial_delivery_point": value})


def set_interleaving(sock: SocketState, value: object, assoc_id: int) -> None:
    """Set whether future associations announce user message interleaving."""
    refuse_several(assoc_id)
    if value and sock._queue.interleave < 2:
        # RFC 8260, 4.3.1: "Setting the interleaving level to at least 2 before enabling the negotiation of user message
        # interleaving should work on all platforms."
        raise PermissionError(errno.EPERM, "set SCTP_FRAGMENT_INTERLEAVE to 2 before interleaving is turned on")
    change_future(sock, interleaving=bool(value))


def get_subscribed(sock: SocketState, association: SocketAssociation | None, _: Address | None) -> frozenset[type]:
    """Return the classes of the subscribed notifications."""
    return (sock._settings if association is None else association.settings).subscribed


def set_event(sock: SocketState, value: Subscription, assoc_id: int) -> None:
    """Subscribe or unsubscribe one kind of notification."""

    def changed(subscribed: frozenset[type]) -> frozenset[type]:
        return subscribed | {value.type, NotificationsStoppedEvent} if value.on else subscribed - {value.type}

    for association in sock._change_subscriptions(assoc_id, changed):
        if value.type is SenderDryEvent and value.on:
            # RFC 6458, 6.1.9: "at the time when a user app subscribes to this event, if there is no data to be sent or
            # retransmit, the stack will immediately send up this notification."
            live = association.to_read()
            if live is not None and association.established and live.all_acknowledged:
                association.notify(SenderDryEvent(association.id))


# -- requests of the peer ----------------------------------------------------------------------------------------------


def get_enable_reset(sock: SocketState, association: SocketAssociation | None, _: Address | None) -> EnableFlag:
    """Return the requests for stream changes that the peer may make."""
    options = options_of(sock, association)
    flags = EnableFlag(0)
    if options.allow_stream_reset:
        flags |= EnableFlag.SCTP_ENABLE_RESET_STREAM_REQ
    if options.allow_tsn_reset:
        flags |= EnableFlag.SCTP_ENABLE_RESET_ASSOC_REQ
    if options.allow_added_streams:
        flags |= EnableFlag.SCTP_ENABLE_CHANGE_ASSOC_REQ
    return flags


def set_enable_reset(sock: SocketState, value: int, assoc_id: int) -> None:
    """Set the requests for stream changes that the peer may make."""
    changes = {
        "allow_stream_reset": bool(value & EnableFlag.SCTP_ENABLE_RESET_STREAM_REQ),
        "allow_tsn_reset": bool(value & EnableFlag.SCTP_ENABLE_RESET_ASSOC_REQ),
        "allow_added_streams": bool(value & EnableFlag.SCTP_ENABLE_CHANGE_ASSOC_REQ),
    }
    sock._change_options(assoc_id, changes)
