"""Is the peer there, and by which of its addresses? (RFC 9260, section 8, and path verification, section 5.4).

Errors are counted here, paths change their state here, and heartbeats are sent and answered for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .addresses import TransportAddress
from .errors import InvalidAddress, InvalidState
from .events import AssociationLost, PathMtuChanged, PathStatus, PathStatusChanged
from .path import Path
from .states import MAY_HEARTBEAT
from .tcb import Tcb
from .tx.send_queue import OutgoingMessage
from .wire.chunks import HeartbeatAckChunk, HeartbeatChunk

if TYPE_CHECKING:
    from .association import Association

_NONCE_LENGTH: Final = 8


# -- what the user wants --------------------------------------------------------------------------------------


def set_primary(association: Association, address: TransportAddress) -> None:
    """Have data go to this address while it can be reached."""
    tcb, path = _path_at(association, address)
    if not path.confirmed:
        raise InvalidAddress(f"{address[0]} is not yet known to be the peer's")
    tcb.paths.primary = path
    tcb.paths.wished = None
    choose(association, tcb)


def direct(association: Association, message: OutgoingMessage, address: TransportAddress) -> None:
    """Have a message go to this address while it can be reached."""
    tcb, message.path = _path_at(association, address)
    tcb.sender.directed = True


def set_parameters(
    association: Association,
    address: TransportAddress | None,
    now: float,
    heartbeat_interval: float | None,
    max_retrans: int | None,
) -> None:
    """Change how one path, or every one, is watched."""
    tcb = _established(association)
    for path in tcb.paths.all if address is None else [_path_at(association, address)[1]]:
        if max_retrans is not None:
            path.max_retrans = max_retrans
        if heartbeat_interval is not None:
            path.heartbeat_interval = heartbeat_interval
            if not path.heartbeat_nonce and association.state in MAY_HEARTBEAT:
                wait_for_heartbeat(association, path, now)


def request_heartbeat(association: Association, address: TransportAddress, now: float) -> None:
    """Send a HEARTBEAT at once."""
    _, path = _path_at(association, address)
    if association.state not in MAY_HEARTBEAT:
        raise InvalidState(f"the association is {association.state.value}; heartbeats are sent while it is established")
    send_heartbeat(association, path, now)


def _established(association: Association) -> Tcb:
    if association.tcb is None:
        raise InvalidState("there is no association yet, or no longer")
    return association.tcb


def _path_at(association: Association, address: TransportAddress) -> tuple[Tcb, Path]:
    tcb = _established(association)
    path = tcb.paths.at(address)
    if path is None:
        raise InvalidAddress(f"{address[0]} is not an address of the peer")
    return tcb, path


def path_to(association: Association, address: TransportAddress | None) -> Path | None:
    """The path to an address, or the current one; None when there is none."""
    tcb = association.tcb
    if tcb is None or address is None:
        return None if tcb is None else tcb.path
    return tcb.paths.at(address)


# -- errors, and where data goes ------------------------------------------------------------------------------


def begin(association: Association, tcb: Tcb, now: float) -> None:
    """The association is established: verify the addresses that are not, and watch the others.

    RFC 9260, 5.4: "These probing procedures are started when an association moves to the ESTABLISHED state and are
    ended when all paths are confirmed."
    """
    for path in tcb.paths.all:
        if not path.heartbeat_nonce:
            wait_for_heartbeat(association, path, now)


def t3_expired(association: Association, tcb: Tcb, now: float) -> None:
    """See to the paths whose T3-rtx has expired (section 6.3.3)."""
    for sender in list(tcb.sender.senders):
        path = sender.path
        if not path.t3_rtx.expire(now):
            continue
        alternate = tcb.paths.alternate(path)
        other = None if alternate is None else tcb.sender.sender_on(alternate)
        if tcb.sender.handle_t3_expired(sender, other, now):
            count_error(association, tcb, path)
            if association.tcb is not tcb:
                return
            ask_round_trip(association, path, now)


def count_error(association: Association, tcb: Tcb, path: Path, *, of_association: bool = True) -> None:
    """One retransmission or heartbeat went unanswered (sections 8.1 and 8.2)."""
    quick = path.potentially_failed
    if path.count_error():
        _tell(association, path, PathStatus.UNREACHABLE)
    elif path.potentially_failed and not quick:
        _tell(association, path, PathStatus.POTENTIALLY_FAILED)
    choose(association, tcb)
    if of_association:
        association.error_count += 1
        if association.error_count > association.options.association_max_retrans:
            association.close(AssociationLost("the peer does not answer any more", by_peer=False, cause_code=0))


def heard(association: Association, tcb: Tcb, path: Path) -> None:
    """The peer answered what was sent on a path."""
    association.error_count = 0
    if path.clear_errors():
        _tell(association, path, PathStatus.AVAILABLE)
        choose(association, tcb)


def data_acknowledged(association: Association, tcb: Tcb, now: float) -> None:
    """A SACK acknowledged something."""
    path = tcb.path
    if path.backed_off and now - path.question_sent_at >= (path.srtt or path.rto):
        ask_round_trip(association, path, now)
    # RFC 9260, 8.1: "The counter used for endpoint failure detection MUST be reset each time a DATA chunk sent to that
    # peer endpoint is acknowledged (by the reception of a SACK chunk)."
    association.error_count = 0
    if tcb.paths.single:
        heard(association, tcb, tcb.path)
        return
    for sender in tcb.sender.senders:
        if sender.flight.bytes_acked:
            heard(association, tcb, sender.path)


def choose(association: Association, tcb: Tcb) -> None:
    """Have new data go to the primary path, or to another one while that is out of order."""
    path = tcb.paths.choose(tcb.path)
    if path is tcb.path:
        return
    failed = tcb.sender.sender_on(tcb.path)
    tcb.path = path
    tcb.sender.use(path)
    if failed is not None and failed.path.rank > path.rank and failed.flight.has_lost:
        tcb.sender.hand_over_lost(failed, tcb.sender.current)


def make_primary(association: Association, tcb: Tcb, path: Path) -> None:
    """The peer wants data to go to this address of its own; it does so once that is verified."""
    if not path.confirmed:
        tcb.paths.wished = path
        return
    tcb.paths.wished = None
    if path is not tcb.paths.primary:
        tcb.paths.primary = path
        _tell(association, path, PathStatus.MADE_PRIMARY)
        choose(association, tcb)


def _tell(association: Association, path: Path, status: PathStatus) -> None:
    association.pending.append(PathStatusChanged(path.address, status))


# -- heartbeats -----------------------------------------------------------------------------------------------


def wait_for_heartbeat(association: Association, path: Path, now: float) -> None:
    """Wait until the next HEARTBEAT of a path is due.

    RFC 9260, 8.3: "it is RECOMMENDED that a HEARTBEAT chunk is sent once per RTO of that destination address plus the
    protocol parameter 'HB.interval', with jittering of +/- 50% of the RTO value". A path not yet verified, or which may
    have failed, is asked at once: with one unanswered HEARTBEAT after the other that is once per RTO.
    """
    path.heartbeat_nonce = b""
    if path.in_question:
        path.heartbeat.start(now, 0.0)
    elif path.heartbeat_interval > 0:
        jitter = int.from_bytes(association.entropy(2), "big") / 65536 - 0.5
        path.heartbeat.start(now, path.heartbeat_interval + path.rto * (1 + jitter))
    else:
        path.heartbeat.stop()


def heartbeats_expired(association: Association, tcb: Tcb, now: float) -> None:
    """See to the paths whose HEARTBEAT is due, or went unanswered."""
    for path in list(tcb.paths.all):
        if path.heartbeat.expire(now) and association.state in MAY_HEARTBEAT:
            _heartbeat_expired(association, tcb, path, now)
            if association.tcb is not tcb:
                return


def _heartbeat_expired(association: Association, tcb: Tcb, path: Path, now: float) -> None:
    if path.heartbeat_nonce:
        path.back_off()
        # RFC 9260, 8.1: "Unacknowledged HEARTBEAT chunks observed on paths different from the path currently used for
        # data transfer SHOULD NOT increment the association error counter".
        # RFC 9260, 5.4: "When probing UNCONFIRMED addresses, however, the association overall error count is not
        # incremented."
        count_error(association, tcb, path, of_association=path is tcb.path and path.confirmed)
        if association.tcb is tcb:
            wait_for_heartbeat(association, path, now)
        return
    if not path.in_question and path.last_sent is not None and now - path.last_sent < path.heartbeat_interval:
        wait_for_heartbeat(association, path, path.last_sent)
        return
    if not path.confirmed:
        later = association.probes.wait(now, path.rto)
        if later > 0:
            path.heartbeat.start(now, later)
            return
    send_heartbeat(association, path, now)


def send_heartbeat(association: Association, path: Path, now: float) -> None:
    """Send a HEARTBEAT on a path and wait an RTO for its answer."""
    path.heartbeat_nonce = association.entropy(_NONCE_LENGTH)
    path.heartbeat_sent_at = now
    path.heartbeat.start(now, path.rto)
    # RFC 9260, 5.4: "HEARTBEAT chunks including a 64-bit random nonce and a path indicator (to identify the address
    # that the HEARTBEAT chunk is sent to) within the Heartbeat Info parameter."
    association.writer.add_control(HeartbeatChunk(path.heartbeat_info).serialize(), path.address)


def ask_round_trip(association: Association, path: Path, now: float) -> None:
    """Measure a path whose RTO is backed off; that there is no answer means nothing.

    What is sent again cannot be measured, so that the RTO of a transfer that has nothing new to send would stay backed
    off. RFC 9260, 6.3.3: "once a new RTT measurement is obtained (which can happen only when new data has been sent and
    acknowledged, per rule C5, or for a measurement made from a HEARTBEAT chunk; see Section 8.3), the computation in
    rule C3 is performed, including the computation of RTO, which might result in "collapsing" RTO back down".
    """
    if association.state not in MAY_HEARTBEAT or not path.confirmed:
        return
    path.question = association.entropy(_NONCE_LENGTH)
    path.question_sent_at = now
    association.writer.add_control(HeartbeatChunk(path.question).serialize(), path.address)


def _round_trip_answered(path: Path, now: float) -> None:
    """The answer to `ask_round_trip`: what is outstanding was sent before, and need not wait any longer than that."""
    path.question = b""
    backed_off = path.backed_off
    path.observe_round_trip(now - path.question_sent_at)
    if backed_off and path.t3_rtx.running:
        path.t3_rtx.start(now, path.rto)


def heartbeat_acknowledged(association: Association, tcb: Tcb, chunk: HeartbeatAckChunk, now: float) -> None:
    """A HEARTBEAT ACK came; what it does not give back as it was sent says nothing."""
    for path in tcb.paths.all:
        if path.pmtu.acknowledged(chunk.info, now):
            # RFC 8899, 6.2.1.2: "A successful probe updates the association and path counters, but an unsuccessful
            # probe is discounted (assumed to be a result of choosing too large a PLPMTU)."
            path.observe_round_trip(now - path.pmtu.probe_sent_at)
            heard(association, tcb, path)
            return
        if path.question and chunk.info == path.question:
            _round_trip_answered(path, now)
            heard(association, tcb, path)
            return
        if path.heartbeat_nonce and chunk.info == path.heartbeat_info:
            path.observe_round_trip(now - path.heartbeat_sent_at)
            if not path.confirmed:
                path.confirmed = True
                _tell(association, path, PathStatus.CONFIRMED)
                if path is tcb.paths.wished:
                    make_primary(association, tcb, path)
            heard(association, tcb, path)
            choose(association, tcb)
            wait_for_heartbeat(association, path, now)
            return


def search_paths(association: Association, tcb: Tcb, now: float) -> None:
    """Follow what path MTU discovery found, and send the probes it wants."""
    for sender in tcb.sender.senders:
        path, pmtu = sender.path, sender.path.pmtu
        if pmtu.size != sender.packet_size:
            tcb.sender.packet_size_changed(sender)
            association.pending.append(PathMtuChanged(pmtu.size))
        if pmtu.due and path.confirmed and association.state in MAY_HEARTBEAT:
            nonce = association.entropy(8)
            association.writer.add_probe(tcb.peer_tag, nonce, pmtu.probe_size, path.address)
            pmtu.sent(nonce, path.rto, now)


class VerificationRate:
    """How many unverified addresses are probed at a time.

    RFC 9260, 5.4: "The number of packets containing HEARTBEAT chunks sent at each RTO SHOULD be limited by the
    'HB.Max.Burst' parameter."
    """

    __slots__ = ("_burst", "_left", "_until")

    def __init__(self, burst: int) -> None:
        self._burst = burst
        self._left = burst
        self._until = float("-inf")

    def wait(self, now: float, rto: float) -> float:
        """Seconds until another probe may be sent; 0.0 when it may, and is taken to be, sent now."""
        if now >= self._until:
            self._until = now + rto
            self._left = self._burst
        if not self._left:
            return self._until - now
        self._left -= 1
        return 0.0
