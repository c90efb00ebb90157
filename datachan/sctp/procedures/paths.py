"""Failure detection and path verification (RFC 9260, sections 8.1 to 8.3 and 5.4).

Errors are counted here, paths change their state here, data moves to another path here, and heartbeats are sent here.
"""

from __future__ import annotations

from typing import Final

from datachan.sctp.addresses import TransportAddress
from datachan.sctp.core import Core
from datachan.sctp.errors import InvalidAddress, InvalidState
from datachan.sctp.events import PathStatus, PathStatusChanged
from datachan.sctp.records.path import Path
from datachan.sctp.states import MAY_HEARTBEAT
from datachan.sctp.tcb import Tcb
from datachan.sctp.tx.send_queue import OutgoingMessage
from datachan.sctp.wire.chunks import HeartbeatAckChunk, HeartbeatChunk

_NONCE_LENGTH: Final = 8


# -- the application's requests ----------------------------------------------------------------------------------------


def set_primary(core: Core, address: TransportAddress) -> None:
    """Make the path to this address the primary one."""
    tcb, path = _path_at(core, address)
    if not path.confirmed:
        raise InvalidAddress(f"{address[0]} is not yet known to be the peer's")
    tcb.paths.primary = path
    tcb.paths.next_primary = None
    choose_path(core, tcb)


def direct_message(core: Core, message: OutgoingMessage, address: TransportAddress) -> None:
    """Send this message to this address while the address is reachable."""
    tcb, message.path = _path_at(core, address)
    tcb.sender.directed = True


def set_path_parameters(
    core: Core,
    address: TransportAddress | None,
    now: float,
    heartbeat_interval: float | None,
    max_retrans: int | None,
) -> None:
    """Change the heartbeat interval and failure threshold of one path, or of all when `address` is None."""
    tcb = _present_tcb(core)
    for path in tcb.paths.all if address is None else [_path_at(core, address)[1]]:
        if max_retrans is not None:
            path.max_retrans = max_retrans
        if heartbeat_interval is not None:
            path.heartbeat_interval = heartbeat_interval
            if not path.heartbeat_nonce and core.state in MAY_HEARTBEAT:
                schedule_heartbeat(core, path, now)


def request_heartbeat(core: Core, address: TransportAddress, now: float) -> None:
    """Send a HEARTBEAT at once."""
    _, path = _path_at(core, address)
    if core.state not in MAY_HEARTBEAT:
        raise InvalidState(f"the association is {core.state.value}; heartbeats are sent while it is established")
    send_heartbeat(core, path, now)


def _present_tcb(core: Core) -> Tcb:
    if core.tcb is None:
        raise InvalidState("there is no association yet, or no longer")
    return core.tcb


def _path_at(core: Core, address: TransportAddress) -> tuple[Tcb, Path]:
    tcb = _present_tcb(core)
    path = tcb.paths.at(address)
    if path is None:
        raise InvalidAddress(f"{address[0]} is not an address of the peer")
    return tcb, path


def path_to(core: Core, address: TransportAddress | None) -> Path | None:
    """Return the path to an address, or the current path for None; None when there is no such path."""
    tcb = core.tcb
    if tcb is None or address is None:
        return None if tcb is None else tcb.path
    return tcb.paths.at(address)


# -- errors, and where data goes ---------------------------------------------------------------------------------------


def start_monitoring(core: Core, tcb: Tcb, now: float) -> None:
    """Schedule heartbeats on all paths of an established association, at once where an address is unverified.

    RFC 9260, 5.4: "These probing procedures are started when an association moves to the ESTABLISHED state and are
    ended when all paths are confirmed."
    """
    for path in tcb.paths.all:
        if not path.heartbeat_nonce:
            schedule_heartbeat(core, path, now)


def handle_t3_timeouts(core: Core, tcb: Tcb, now: float) -> None:
    """Retransmit and count an error on each path whose T3-rtx has expired (section 6.3.3)."""
    for sender in list(tcb.sender.senders):
        path = sender.path
        if not path.t3_rtx.expire(now):
            continue
        alternate = tcb.paths.alternate(path)
        other = None if alternate is None else tcb.sender.sender_on(alternate)
        if tcb.sender.handle_t3_expired(sender, other, now):
            count_error(core, tcb, path)
            if core.tcb is not tcb:
                return
            measure_round_trip(core, path, now)


def count_error(core: Core, tcb: Tcb, path: Path, *, of_association: bool = True) -> None:
    """Count one unanswered retransmission or heartbeat; end the association above the limit (sections 8.1 and 8.2)."""
    was_potentially_failed = path.potentially_failed
    if path.count_error():
        _report(core, path, PathStatus.UNREACHABLE)
    elif path.potentially_failed and not was_potentially_failed:
        _report(core, path, PathStatus.POTENTIALLY_FAILED)
    choose_path(core, tcb)
    if of_association:
        core.error_count += 1
        if core.error_count > core.options.association_max_retrans:
            core.give_up("the peer no longer answers")


def clear_errors(core: Core, tcb: Tcb, path: Path) -> None:
    """Clear the error counters because the peer acknowledged data or a heartbeat of a path."""
    core.error_count = 0
    if path.clear_errors():
        _report(core, path, PathStatus.AVAILABLE)
        choose_path(core, tcb)


def data_acknowledged(core: Core, tcb: Tcb, now: float) -> None:
    """Clear the error counters after a SACK or SHUTDOWN acknowledged data."""
    _measure_back_off(core, tcb.path, now)
    # RFC 9260, 8.1: "The counter used for endpoint failure detection MUST be reset each time a DATA chunk sent to that
    # peer endpoint is acknowledged (by the reception of a SACK chunk)."
    core.error_count = 0
    if tcb.paths.single:
        clear_errors(core, tcb, tcb.path)
        return
    for sender in tcb.sender.senders:
        if sender.flight.bytes_acked:
            clear_errors(core, tcb, sender.path)


def resume_path(core: Core, tcb: Tcb, path: Path, now: float) -> None:
    """Retransmit at once on a path whose T3-rtx an outage has backed off, as the peer's packets arrive again.

    The retransmission cannot be measured, so a HEARTBEAT measures the path: RFC 9260, 6.3.3 has its answer result in
    "collapsing" RTO back down".
    """
    if path.t3_rtx.running and (path.backed_off or path.unanswered) and _retransmit_one(tcb, path):
        path.t3_rtx.bring_forward(now, path.measured_rto)
        _measure_back_off(core, path, now)


def _retransmit_one(tcb: Tcb, path: Path) -> bool:
    """Retransmit one packet at once, if data waits for T3-rtx of a usable path; return whether it does."""
    sender = tcb.sender.sender_on(path)
    return sender is not None and (tcb.paths.single or path.rank == 0) and tcb.sender.resume(sender)


def choose_path(core: Core, tcb: Tcb) -> None:
    """Direct new data to the primary path, or to another path while the primary is not usable."""
    path = tcb.paths.choose(tcb.path)
    if path is tcb.path:
        return
    failed = tcb.sender.sender_on(tcb.path)
    tcb.path = path
    tcb.sender.set_current(path)
    if failed is not None and failed.path.rank > path.rank and failed.flight.has_lost:
        tcb.sender.move_lost(failed, tcb.sender.current)


def make_primary(core: Core, tcb: Tcb, path: Path) -> None:
    """Make a path the primary one at the peer's request, as soon as its address is verified."""
    if not path.confirmed:
        tcb.paths.next_primary = path
        return
    tcb.paths.next_primary = None
    if path is not tcb.paths.primary:
        tcb.paths.primary = path
        _report(core, path, PathStatus.MADE_PRIMARY)
        choose_path(core, tcb)


def _report(core: Core, path: Path, status: PathStatus) -> None:
    core.events.append(PathStatusChanged(path.address, status))


# -- heartbeats --------------------------------------------------------------------------------------------------------


def schedule_heartbeat(core: Core, path: Path, now: float) -> None:
    """Start the timer for the next HEARTBEAT of a path.

    RFC 9260, 8.3: "it is RECOMMENDED that a HEARTBEAT chunk is sent once per RTO of that destination address plus the
    protocol parameter 'HB.interval', with jittering of +/- 50% of the RTO value". A path that is unverified or may have
    failed gets its HEARTBEAT at once. As each one waits an RTO for its answer, that is one per RTO.

    With an interval of 0, heartbeats are off. Only unverified addresses are still probed, because section 5.4 forbids
    data to them before they are verified. After Path.Max.Retrans probes without an answer they are not probed any
    longer: the peer may have named the address of another host. See `probe_again`.
    """
    path.heartbeat_nonce = b""
    if not path.confirmed and not path.active:
        path.heartbeat.stop()
    elif not path.confirmed or (path.in_question and path.heartbeat_interval > 0):
        path.heartbeat.start(now, 0.0)
    elif path.heartbeat_interval > 0:
        jitter = int.from_bytes(core.entropy(2), "big") / 65536 - 0.5
        path.heartbeat.start(now, path.heartbeat_interval + path.rto * (1 + jitter))
    else:
        path.heartbeat.stop()


def probe_again(core: Core, path: Path, now: float) -> None:
    """Probe an unverified address again, because a packet came from it after its probes had ended."""
    if not path.active and not path.heartbeat.running and core.state in MAY_HEARTBEAT:
        send_heartbeat(core, path, now)


def handle_heartbeat_timeouts(core: Core, tcb: Tcb, now: float) -> None:
    """Send the HEARTBEATs that are due, and count those that were not answered."""
    for path in list(tcb.paths.all):
        if path.heartbeat.expire(now) and core.state in MAY_HEARTBEAT:
            _handle_heartbeat_timeout(core, tcb, path, now)
            if core.tcb is not tcb:
                return


def _handle_heartbeat_timeout(core: Core, tcb: Tcb, path: Path, now: float) -> None:
    if path.heartbeat_nonce:
        path.back_off()
        # RFC 9260, 8.1: "Unacknowledged HEARTBEAT chunks observed on paths different from the path currently used for
        # data transfer SHOULD NOT increment the association error counter".
        # RFC 9260, 5.4: "When probing UNCONFIRMED addresses, however, the association overall error count is not
        # incremented."
        count_error(core, tcb, path, of_association=path is tcb.path and path.confirmed)
        if core.tcb is tcb:
            schedule_heartbeat(core, path, now)
        return
    if not path.in_question and path.last_sent is not None and now - path.last_sent < path.heartbeat_interval:
        schedule_heartbeat(core, path, path.last_sent)
        return
    if not path.confirmed:
        later = core.verification_rate.wait(now, path.rto)
        if later > 0:
            path.heartbeat.start(now, later)
            return
    send_heartbeat(core, path, now)


def send_heartbeat(core: Core, path: Path, now: float) -> None:
    """Send a HEARTBEAT on a path and wait an RTO for its answer."""
    path.heartbeat_nonce = core.entropy(_NONCE_LENGTH)
    path.heartbeat_sent_at = now
    path.heartbeat.start(now, path.rto)
    # RFC 9260, 5.4: "HEARTBEAT chunks including a 64-bit random nonce and a path indicator (to identify the address
    # that the HEARTBEAT chunk is sent to) within the Heartbeat Info parameter."
    core.writer.add_control(HeartbeatChunk(path.heartbeat_info).serialize(), path.address)


def measure_round_trip(core: Core, path: Path, now: float) -> None:
    """Send a HEARTBEAT that only measures a path whose RTO is backed off. A missing answer is not an error.

    Retransmissions cannot be measured, so the RTO of a transfer without new data would stay backed off. RFC 9260,
    6.3.3: "once a new RTT measurement is obtained (which can happen only when new data has been sent and acknowledged,
    per rule C5, or for a measurement made from a HEARTBEAT chunk; see Section 8.3), the computation in rule C3 is
    performed, including the computation of RTO, which might result in "collapsing" RTO back down".
    """
    if core.state not in MAY_HEARTBEAT or not path.confirmed or path.heartbeat_interval <= 0:
        return
    path.earlier_measurement = (path.measurement_nonce, path.measurement_sent_at)
    path.measurement_nonce = core.entropy(_NONCE_LENGTH)
    path.measurement_sent_at = now
    core.writer.add_control(HeartbeatChunk(path.measurement_nonce).serialize(), path.address)


def _measure_back_off(core: Core, path: Path, now: float) -> None:
    """Measure a path whose RTO is backed off, once per round trip."""
    if path.backed_off and now - path.measurement_sent_at >= (path.srtt or path.rto):
        measure_round_trip(core, path, now)


def _finish_measurement(tcb: Tcb, path: Path, now: float) -> None:
    """Apply the answer to `measure_round_trip`; restart T3-rtx, because all outstanding data was sent before it."""
    path.measurement_nonce = b""
    path.earlier_measurement = (b"", 0.0)
    _observe_answer(tcb, path, now - path.measurement_sent_at, now)


def _observe_answer(tcb: Tcb, path: Path, round_trip: float, now: float) -> None:
    """Apply a round trip measured by a HEARTBEAT. If the path was backed off, it works again: retransmit at once."""
    backed_off = path.backed_off
    path.observe_round_trip(round_trip)
    if backed_off and path.t3_rtx.running:
        _retransmit_one(tcb, path)
        path.t3_rtx.start(now, path.rto)


def handle_heartbeat_ack(core: Core, tcb: Tcb, chunk: HeartbeatAckChunk, now: float) -> None:
    """Match a HEARTBEAT ACK with an outstanding HEARTBEAT.

    A HEARTBEAT ACK whose information differs from what was sent is ignored.
    """
    for path in tcb.paths.all:
        earlier, sent_at = path.earlier_measurement
        if earlier and chunk.info == earlier:
            # A SACK in front of it has caused another HEARTBEAT.
            path.measurement_nonce, path.measurement_sent_at = earlier, sent_at
        if path.measurement_nonce and chunk.info == path.measurement_nonce:
            _finish_measurement(tcb, path, now)
            clear_errors(core, tcb, path)
            return
        if path.heartbeat_nonce and chunk.info == path.heartbeat_info:
            _observe_answer(tcb, path, now - path.heartbeat_sent_at, now)
            if not path.confirmed:
                path.confirmed = True
                _report(core, path, PathStatus.CONFIRMED)
                if path is tcb.paths.next_primary:
                    make_primary(core, tcb, path)
            clear_errors(core, tcb, path)
            choose_path(core, tcb)
            schedule_heartbeat(core, path, now)
            return
