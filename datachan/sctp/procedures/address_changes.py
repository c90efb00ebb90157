"""Dynamic addresses: ASCONF and ASCONF-ACK for changes of our addresses and the peer's (RFC 5061, section 5).

`records/asconf` keeps the sequence numbers and the outstanding ASCONF.
"""

from __future__ import annotations

from typing import Final

from datachan.sctp.addresses import (
    MAX_ADDRESSES,
    WILDCARDS,
    TransportAddress,
    address_type,
    ip_of,
    is_unicast,
    leads_to_peer,
    normalize,
)
from datachan.sctp.core import Core
from datachan.sctp.errors import BadPacket, InvalidAddress, InvalidState
from datachan.sctp.events import AddressChange, LocalAddressChanged, PathStatus, PathStatusChanged
from datachan.sctp.records.asconf import MAX_WAITING, AddressChangeResult
from datachan.sctp.records.path import Path
from datachan.sctp.states import AssociationState
from datachan.sctp.tcb import Tcb
from datachan.sctp.wire import causes
from datachan.sctp.wire.causes import UNRECOGNIZED_PARAMETERS, ErrorCause, describe, parse_causes_untrusted
from datachan.sctp.wire.extensions import AsconfAckChunk, AsconfChunk
from datachan.sctp.wire.parameters import (
    ADD_IP_ADDRESS,
    DELETE_IP_ADDRESS,
    SET_PRIMARY_ADDRESS,
    AddIpAddress,
    AddressRequest,
    DeleteIpAddress,
    ErrorCauseIndication,
    Parameter,
    SetPrimaryAddress,
    UnknownParameter,
)

from . import paths

_S = AssociationState

_MAY_CHANGE: Final = frozenset({_S.ESTABLISHED, _S.SHUTDOWN_PENDING, _S.SHUTDOWN_RECEIVED, _S.SHUTDOWN_SENT})
"""RFC 5061, 5.1.1, C4: "Both ASCONF and ASCONF-ACK Chunks MUST NOT be sent in any SCTP state except ESTABLISHED,
SHUTDOWN-PENDING, SHUTDOWN-RECEIVED, and SHUTDOWN-SENT." """

MAX_REQUESTS: Final = 64
"""Requests of one ASCONF. The refusal of a request echoes it, and the answer must fit a chunk."""

_LONGEST_ECHO: Final = 512

_CHANGES: Final = {
    ADD_IP_ADDRESS: AddressChange.ADDED,
    DELETE_IP_ADDRESS: AddressChange.REMOVED,
    SET_PRIMARY_ADDRESS: AddressChange.MADE_PRIMARY,
}


# -- changes of our addresses ------------------------------------------------------------------------------------------


def request_change(core: Core, kind: int, ip: str) -> None:
    """Request that the peer changes the list of our addresses.

    Raises:
        InvalidState: there is no association, or the peer does not support it.
        InvalidAddress: the address cannot be added, deleted or be primary.
    """
    tcb = core.tcb
    if tcb is None or core.state not in _MAY_CHANGE:
        raise InvalidState(f"the association is {core.state.value}; addresses change while it is established")
    if not tcb.capabilities.dynamic_addresses or kind in tcb.asconf.unsupported:
        raise InvalidState("the peer does not support dynamic addresses")
    if len(tcb.asconf.waiting) >= MAX_WAITING:
        raise InvalidState(f"{MAX_WAITING} requests are waiting already")
    try:
        ip = normalize(ip)
    except ValueError as error:
        raise InvalidAddress(str(error)) from None
    if ip not in WILDCARDS:
        if not is_unicast(ip):
            raise InvalidAddress(f"{ip} is not the address of one host")
        remaining = _expected_addresses(core, tcb)
        if kind != ADD_IP_ADDRESS and ip not in remaining:
            raise InvalidAddress(f"{ip} is not an address of ours that the peer knows")
        if kind == DELETE_IP_ADDRESS and len(remaining) == 1:
            # RFC 5061, 5.3, F5: "An endpoint MUST NOT delete its last remaining IP address from an association."
            raise InvalidAddress(f"{ip} is the only address of ours that the peer knows")
    tcb.asconf.waiting.append((kind, ip))


def _expected_addresses(core: Core, tcb: Tcb) -> list[str]:
    """Return our addresses as they will be once all pending requests have succeeded."""
    expected = list(core.local_addresses)
    for kind, ip in tcb.asconf.pending():
        if kind == ADD_IP_ADDRESS and ip not in expected:
            expected.append(ip)
        elif kind == DELETE_IP_ADDRESS and ip in expected:
            expected.remove(ip)
    return expected


def source_addresses(core: Core) -> list[str]:
    """Return our addresses that packets may be sent from.

    RFC 5061, 5.3, F1: "the sender MUST NOT use the new IP address as a source for ANY SCTP packet except on carrying an
    ASCONF Chunk." F4: one being deleted "MUST NOT be used as a source address for any subsequent packets."
    """
    tcb = core.tcb
    leaving = [] if tcb is None else [ip for kind, ip in tcb.asconf.pending() if kind == DELETE_IP_ADDRESS]
    return [ip for ip in core.local_addresses if ip not in leaving]


def start_next_request(core: Core, tcb: Tcb, now: float) -> None:
    """Send the waiting requests in one ASCONF, if none is outstanding."""
    asconf = tcb.asconf
    if not asconf.waiting or asconf.is_outstanding or core.state not in _MAY_CHANGE:
        return
    own = core.local_addresses
    wire = asconf.build(own[0] if own else _wildcard_for(tcb.path))
    _send(core, tcb, wire, tcb.path, now)


def _wildcard_for(path: Path) -> str:
    return "::" if path.address is not None and ":" in path.address[0] else "0.0.0.0"


def _send(core: Core, tcb: Tcb, wire: bytes, path: Path, now: float) -> None:
    tcb.asconf.path = path
    tcb.asconf.t4.start(now, path.rto)
    core.writer.add_control(wire, path.address)


def handle_t4_timeout(core: Core, tcb: Tcb, now: float) -> None:
    """Retransmit an unanswered ASCONF on another path (RFC 5061, 5.1, B1 to B5)."""
    asconf = tcb.asconf
    path = asconf.path or tcb.path
    path.back_off()
    paths.count_error(core, tcb, path)
    if core.tcb is tcb and core.state in _MAY_CHANGE:
        _send(core, tcb, asconf.wire, tcb.paths.alternate(path) or path, now)


def send_again(core: Core, tcb: Tcb, path: Path) -> None:
    """Send the unanswered ASCONF again, on this path, which works."""
    if core.state in _MAY_CHANGE:
        tcb.asconf.path = path
        core.writer.add_control(tcb.asconf.wire, path.address)


def handle_asconf_ack(core: Core, tcb: Tcb, ack: AsconfAckChunk) -> None:
    """Match an ASCONF-ACK with our outstanding ASCONF and apply its results."""
    asconf = tcb.asconf
    path = asconf.path
    results = asconf.take_ack(ack)
    if results is None:
        if asconf.is_illegal(ack.sequence_number):
            words = "an ASCONF-ACK answers a request that was not sent"
            core.abort(causes.illegal_asconf_ack(), f"the peer broke the protocol: {words}")
        return
    if path is not None:
        paths.clear_errors(core, tcb, path)
    for result in results:
        _conclude(core, tcb, result)


def handle_unsupported(core: Core, tcb: Tcb) -> None:
    """Give up all requests because the peer reported ASCONF as unrecognized.

    RFC 5061, 5.1, A9: "the sender of the ASCONF MUST NOT send any further ASCONF Chunks and MUST stop its T-4 timer."
    """
    for result in tcb.asconf.give_up():
        _conclude(core, tcb, result)


def _conclude(core: Core, tcb: Tcb, result: AddressChangeResult) -> None:
    own = core.local_addresses
    if result.accepted:
        if result.kind == ADD_IP_ADDRESS and result.ip not in own and result.ip not in WILDCARDS:
            own.append(result.ip)
        elif result.kind == DELETE_IP_ADDRESS and result.ip in own:
            own.remove(result.ip)
    found = _read_causes(result.causes)
    if any(cause.code == UNRECOGNIZED_PARAMETERS for cause in found):
        # RFC 5061, 5.3, F3a: "the endpoint MUST consider the operation failed and MUST NOT attempt to send any
        # subsequent Add or Delete requests to the peer." F3b says the same of Set Primary.
        primary = result.kind == SET_PRIMARY_ADDRESS
        tcb.asconf.unsupported |= {SET_PRIMARY_ADDRESS} if primary else {ADD_IP_ADDRESS, DELETE_IP_ADDRESS}
    reason = "; ".join([describe(cause) for cause in found[:4]]) or "the peer refused"
    core.events.append(
        LocalAddressChanged(result.ip, _CHANGES[result.kind], result.accepted, "" if result.accepted else reason)
    )


def _read_causes(data: bytes) -> list[ErrorCause]:
    try:
        return parse_causes_untrusted(data, 0, len(data))
    except BadPacket:
        return []


# -- changes of the peer's addresses -----------------------------------------------------------------------------------


def handle_asconf(core: Core, tcb: Tcb, chunk: AsconfChunk, now: float) -> None:
    """Perform or refuse the requests of an authenticated ASCONF (RFC 5061, 5.2, E1 to E5)."""
    if core.state not in _MAY_CHANGE or not tcb.asconf.is_next(chunk.sequence_number):
        return
    if len(chunk.parameters) > MAX_REQUESTS:
        words = f"an ASCONF with {len(chunk.parameters)} requests"
        core.abort_for_violation(words)
        return
    responses: list[Parameter] = []
    refusing = False
    for parameter in chunk.parameters:
        if isinstance(parameter, AddIpAddress | DeleteIpAddress):
            # F11: "once a receiver begins failing any ADD or DELETE request, it must fail all subsequent ADD or DELETE
            # requests contained in that single ASCONF."
            code = causes.RESOURCE_SHORTAGE if refusing else _change(core, tcb, parameter, now)
            refusing = code == causes.RESOURCE_SHORTAGE
        elif isinstance(parameter, SetPrimaryAddress):
            code = _set_primary(core, tcb, parameter)
        elif isinstance(parameter, UnknownParameter):
            if parameter.report:
                responses.append(_not_recognized(parameter))
            continue
        else:
            continue
        if code:
            cause = causes.refused_request(code, parameter)
            responses.append(ErrorCauseIndication(parameter.correlation_id, cause.serialize()))
    tcb.asconf.answer(AsconfAckChunk(chunk.sequence_number, responses))


def send_answers(core: Core, tcb: Tcb) -> None:
    """Send the ASCONF-ACKs for all ASCONFs of the packet being read.

    RFC 5061, 5.2, E6: "The destination address of the SCTP packet containing the ASCONF-ACK Chunks MUST be the source
    address of the SCTP packet that held the ASCONF Chunks."
    """
    answers = tcb.asconf.answers
    room = core.writer.reply_room
    together: list[bytes] = []
    for wire in answers:
        # E7: an answer that does not fit is sent when the peer retransmits its ASCONF.
        if len(wire) <= room:
            together.append(wire)
            room -= len(wire)
    answers.clear()
    if together:
        core.writer.add_packet(tcb.peer_tag, b"".join(together), core.source, tcb.auth)


def _not_recognized(parameter: UnknownParameter) -> Parameter:
    # A parameter may have 64 kB; its beginning is enough to know it by.
    short = UnknownParameter(parameter.type, parameter.value[:_LONGEST_ECHO])
    cause = causes.unrecognized_parameters([short])
    return ErrorCauseIndication(int.from_bytes(parameter.value[:4].ljust(4, b"\0"), "big"), cause.serialize())


def _change(core: Core, tcb: Tcb, request: AddressRequest, now: float) -> int:
    """Add or delete an address of the peer; return the code of the error cause, or 0 on success."""
    ip = ip_of(request.address)
    if isinstance(request, AddIpAddress):
        return _add(core, tcb, ip, now)
    if ip in WILDCARDS:
        return _delete_all_but_source(core, tcb)
    path = tcb.paths.at((ip, 0))
    if path is None:
        return 0
    if tcb.paths.single:
        return causes.DELETE_LAST_ADDRESS
    if path is tcb.paths.at(core.source):
        return causes.DELETE_SOURCE_ADDRESS
    _remove(core, tcb, path)
    return 0


def _add(core: Core, tcb: Tcb, ip: str, now: float) -> int:
    source = core.source
    if source is None:
        return causes.NO_AUTHORIZATION
    address: TransportAddress = source if ip in WILDCARDS else (ip, source[1])
    if tcb.paths.at(address) is not None:
        return 0
    types = {address_type(known) for known in (*core.local_addresses, source[0])}
    if not leads_to_peer(address[0], source) or address_type(address[0]) not in types:
        return causes.UNRESOLVABLE_ADDRESS
    if len(tcb.paths.all) >= MAX_ADDRESSES:
        return causes.RESOURCE_SHORTAGE
    path = tcb.new_path(core.options, address)
    core.events.append(PathStatusChanged(address, PathStatus.ADDED))
    # RFC 5061, 5.3, F14: "All addresses added by the reception of an ASCONF Chunk MUST be put into the UNCONFIRMED
    # state and MUST have path verification performed on them".
    paths.schedule_heartbeat(core, path, now)
    return 0


def _delete_all_but_source(core: Core, tcb: Tcb) -> int:
    """Delete all addresses of the peer but one.

    RFC 5061, 4.2.2: "all addresses of the peer except the source address of the packet MUST be deleted."
    """
    kept = tcb.paths.at(core.source)
    if kept is None:
        return causes.DELETE_LAST_ADDRESS
    for path in list(tcb.paths.all):
        if path is not kept:
            _remove(core, tcb, path)
    return 0


def _remove(core: Core, tcb: Tcb, path: Path) -> None:
    # The packet cannot delete its own source address. So what is outstanding moves once, not with each request.
    tcb.remove_path(path, tcb.paths.at(core.source))
    core.events.append(PathStatusChanged(path.address, PathStatus.REMOVED))


def _set_primary(core: Core, tcb: Tcb, request: SetPrimaryAddress) -> int:
    """Make an address of the peer the primary one, as soon as it is verified.

    RFC 5061, 5.4: "The request to set an address as the primary path is an option the receiver SHOULD perform.".
    """
    ip = ip_of(request.address)
    path = tcb.paths.at(core.source if ip in WILDCARDS else (ip, 0))
    if path is None:
        return causes.UNRESOLVABLE_ADDRESS
    paths.make_primary(core, tcb, path)
    return 0
