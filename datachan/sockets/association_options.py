"""The socket options about one association: its status, its paths and its streams (RFC 6458, sections 8.1 to 8.3).

Getters and setters have the form of those in `parameter_options`.
"""

from __future__ import annotations

import errno
from typing import Any, Final

from datachan.sctp import Association, AssociationOptions, PathState, PathStats
from datachan.sctp.wire.packet import COMMON_HEADER_LENGTH

from .ancillary import Address, PeerAddress
from .constants import PaddrState, PrPolicy, StatusState
from .option_values import (
    AddStreams,
    PaddrFlag,
    PaddrInfo,
    PaddrParams,
    PaddrThresholds,
    PrStatus,
    ResetFlag,
    ResetStreams,
    Status,
    StreamValue,
)
from .parameter_options import milliseconds, options_of, refuse_several
from .settings import LARGEST_PACKET
from .socket_association import SocketAssociation
from .socket_state import SocketState

_PADDR_STATES: Final = {
    PathState.UNCONFIRMED: PaddrState.SCTP_UNCONFIRMED,
    PathState.ACTIVE: PaddrState.SCTP_ACTIVE,
    PathState.POTENTIALLY_FAILED: PaddrState.SCTP_PF,
    PathState.INACTIVE: PaddrState.SCTP_INACTIVE,
}


def require_association(association: SocketAssociation | None) -> SocketAssociation:
    """Return an association.

    Raises:
        OSError: there is none.
    """
    if association is None:
        raise OSError(errno.EINVAL, "there is no association: this option is about one association")
    return association


def require_live(association: SocketAssociation | None) -> tuple[SocketAssociation, Association]:
    """Return an association, and the engine's association to read from.

    Raises:
        OSError: there is none, or it has ended.
    """
    association = require_association(association)
    live = association.to_read()
    if live is None:
        raise OSError(errno.EINVAL, "there is no association: it has ended")
    return association, live


# -- status ------------------------------------------------------------------------------------------------------------


def get_status(sock: SocketState, chosen: SocketAssociation | None, _: Address | None) -> Status:
    """Return the state of an association."""
    association, live = require_live(chosen)
    stats = live.stats()
    primary = next((path for path in stats.paths if path.primary), None)
    return Status(
        state=StatusState[f"SCTP_{live.state.name}"],
        rwnd=stats.peer_rwnd,
        unackdata=stats.unacknowledged_chunks,
        penddata=stats.unread_chunks,
        instrms=live.inbound_streams,
        outstrms=live.outbound_streams,
        fragmentation_point=live.max_fragment,
        primary=None if primary is None else _paddrinfo(association, primary),
        assoc_id=association.id,
    )


def get_ids(sock: SocketState, association: SocketAssociation | None, _: Address | None) -> list[int]:
    """Return the ids of the current associations of a one-to-many socket."""
    if sock._single:
        raise OSError(errno.EOPNOTSUPP, "a one-to-one socket has no list of associations")
    return [known.id for known in sock._associations()]


def get_number(sock: SocketState, association: SocketAssociation | None, address: Address | None) -> int:
    """Return the number of current associations of a one-to-many socket."""
    return len(get_ids(sock, association, address))


def get_pr_status(sock: SocketState, chosen: SocketAssociation | None, _: Address | None) -> dict[PrPolicy, PrStatus]:
    """Return the numbers of abandoned messages by policy."""
    total = require_live(chosen)[1].stats().abandoned
    return {
        PrPolicy.SCTP_PR_SCTP_TTL: PrStatus(total.lifetime_unsent, total.lifetime_sent),
        PrPolicy.SCTP_PR_SCTP_RTX: PrStatus(total.retransmissions_unsent, total.retransmissions_sent),
        PrPolicy.SCTP_PR_SCTP_PRIO: PrStatus(total.priority_unsent, total.priority_sent),
    }


# -- addresses of the peer ---------------------------------------------------------------------------------------------


def _paddrinfo(association: SocketAssociation, path: PathStats) -> PaddrInfo:
    host = association.address[0] if path.address is None else path.address[0]
    return PaddrInfo(
        (host, association.address[1]),
        _PADDR_STATES[path.state],
        path.cwnd,
        milliseconds(path.srtt),
        milliseconds(path.rto),
        path.mtu,
        association.id,
    )


def _find_path(association: SocketAssociation, address: Address | None) -> PathStats:
    """Return the path to an address of the peer, or the primary path."""
    live = association.to_read()
    target = None if address is None else association.transport_address(address)
    for path in () if live is None else live.stats().paths:
        if path.primary if target is None else path.address == target:
            return path
    raise OSError(errno.EINVAL, f"{'the primary address' if address is None else address[0]} is not known yet")


def get_paddrinfo(sock: SocketState, association: SocketAssociation | None, address: Address | None) -> PaddrInfo:
    """Return the state of an address of the peer."""
    if association is None and address is not None:
        association = sock._at(address)
    association = require_association(association)
    return _paddrinfo(association, _find_path(association, address))


def get_paddrparams(sock: SocketState, association: SocketAssociation | None, address: Address | None) -> PaddrParams:
    """Return how an address of the peer is monitored."""
    if association is None:
        options = sock._settings.options
        interval, retrans, mtu = options.heartbeat_interval, options.path_max_retrans, options.first_packet_size
    else:
        options, path = association.settings.options, _find_path(association, address)
        interval, retrans, mtu = path.heartbeat_interval, path.max_retrans, path.mtu
    flags = PaddrFlag.SPP_HB_ENABLE if interval > 0 else PaddrFlag.SPP_HB_DISABLE
    flags |= PaddrFlag.SPP_PMTUD_ENABLE if options.path_mtu_discovery else PaddrFlag.SPP_PMTUD_DISABLE
    return PaddrParams(address, milliseconds(interval), retrans, mtu - COMMON_HEADER_LENGTH, flags)


def _check_paddr_flags(flags: int) -> None:
    """Refuse flags that contradict one another."""
    # RFC 6458, 8.1.12: "Note that SPP_HB_ENABLE and SPP_HB_DISABLE are mutually exclusive; only one of these two should
    # be specified."
    for one, other in (
        (PaddrFlag.SPP_HB_ENABLE, PaddrFlag.SPP_HB_DISABLE),
        (PaddrFlag.SPP_PMTUD_ENABLE, PaddrFlag.SPP_PMTUD_DISABLE),
    ):
        if flags & one and flags & other:
            raise OSError(errno.EINVAL, f"{one.name} and {other.name} exclude one another")


def _packet_size(options: AssociationOptions, value: PaddrParams) -> dict[str, Any]:
    """Return the changes that switch path MTU discovery on or off.

    RFC 6458, 8.1.12: "If a positive value is provided and SPP_PMTUD_DISABLE is set in the spp_flags field, the given
    value is used as the Path MTU. If SPP_PMTUD_ENABLE is set in the spp_flags field, the spp_pathmtu field is ignored."
    """
    if value.flags & PaddrFlag.SPP_PMTUD_ENABLE:
        return {"path_mtu_discovery": True, "max_packet_size": LARGEST_PACKET}
    if value.flags & PaddrFlag.SPP_PMTUD_DISABLE:
        size = value.pathmtu + COMMON_HEADER_LENGTH if value.pathmtu else options.base_packet_size
        if size > LARGEST_PACKET:
            raise OSError(
                errno.EINVAL, f"pathmtu is {value.pathmtu}; UDP takes {LARGEST_PACKET - COMMON_HEADER_LENGTH}"
            )
        return {"path_mtu_discovery": False, "max_packet_size": size}
    if value.pathmtu:
        raise OSError(errno.EINVAL, "pathmtu is discovered; set SPP_PMTUD_DISABLE to use the given value")
    return {}


def set_paddrparams(sock: SocketState, value: PaddrParams, assoc_id: int) -> None:
    """Set how an address of the peer is monitored, or all addresses."""
    refuse_several(assoc_id)
    _check_paddr_flags(value.flags)
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
        sock._change_options(assoc_id, changes)
        return
    if any(getattr(options, name) != changed for name, changed in changes.items()):
        raise OSError(errno.EOPNOTSUPP, "path MTU discovery and the packet size can be set for future associations")
    live, now = association.live(), association.driver.now
    target = None if value.address is None else association.transport_address(value.address)
    if value.flags & PaddrFlag.SPP_HB_DEMAND and target is None:
        raise OSError(errno.EINVAL, "SPP_HB_DEMAND needs one address")
    live.set_path_parameters(target, now, heartbeat_interval=interval, max_retrans=value.pathmaxrxt or None)
    if value.flags & PaddrFlag.SPP_HB_DEMAND and target is not None:
        live.request_heartbeat(target, now)


def get_thresholds(sock: SocketState, association: SocketAssociation | None, _: Address | None) -> PaddrThresholds:
    """Return the numbers of errors that make an address of the peer fail."""
    options = options_of(sock, association)
    return PaddrThresholds(options.path_max_retrans, options.potentially_failed_max_retrans)


def set_thresholds(sock: SocketState, value: PaddrThresholds, assoc_id: int) -> None:
    """Set the numbers of errors that make an address of the peer fail."""
    if value.pathmaxrxt:
        set_paddrparams(sock, PaddrParams(pathmaxrxt=value.pathmaxrxt), assoc_id)
    sock._change_options(assoc_id, {"potentially_failed_max_retrans": value.pathpfthld})


def get_primary(sock: SocketState, association: SocketAssociation | None, _: Address | None) -> PeerAddress:
    """Return the primary address of the peer."""
    association = require_association(association)
    return _paddrinfo(association, _find_path(association, None)).address


def set_primary(sock: SocketState, value: Address, assoc_id: int) -> None:
    """Set the primary address of the peer."""
    association = require_association(sock._chosen(assoc_id))
    association.live().set_primary(association.transport_address(value))


# -- streams -----------------------------------------------------------------------------------------------------------


def set_reset_streams(sock: SocketState, value: ResetStreams, assoc_id: int) -> None:
    """Reset streams in one direction or in both."""
    association = require_association(sock._chosen(assoc_id))
    live, now = association.live(), association.driver.now
    if value.flags & ResetFlag.SCTP_STREAM_RESET_OUTGOING:
        live.reset_streams(value.streams or range(live.outbound_streams), now)
    if value.flags & ResetFlag.SCTP_STREAM_RESET_INCOMING:
        live.request_stream_resets(value.streams, now)


def set_reset_assoc(sock: SocketState, value: object, assoc_id: int) -> None:
    """Reset the TSNs and SSNs of both directions; the value is not used."""
    association = require_association(sock._chosen(assoc_id))
    association.live().reset_tsns(association.driver.now)


def set_add_streams(sock: SocketState, value: AddStreams, assoc_id: int) -> None:
    """Add streams in one direction or in both."""
    association = require_association(sock._chosen(assoc_id))
    association.live().add_streams(association.driver.now, outgoing=value.outstrms, incoming=value.instrms)


def set_stream_value(sock: SocketState, value: StreamValue, assoc_id: int) -> None:
    """Set the priority or the weight of a stream.

    RFC 8260, 4.3.2: with SCTP_SS_PRIO "The higher the assigned value, the lower the priority." In the engine a higher
    value means a higher priority, so the value is reversed; weights are passed on as they are.
    """
    association = require_association(sock._chosen(assoc_id))
    live = association.live()
    weighed = live.options.scheduler == "wfq"
    live.set_stream_priority(value.stream_id, value.value if weighed else 65535 - value.value)
