"""Path MTU discovery (RFC 8899): sends the probes that `records/pmtu` requests, and applies their results."""

from __future__ import annotations

from typing import Final

from datachan.sctp.addresses import TransportAddress
from datachan.sctp.core import Core
from datachan.sctp.events import PathMtuChanged
from datachan.sctp.states import MAY_HEARTBEAT
from datachan.sctp.tcb import Tcb

from . import paths

_NONCE_LENGTH: Final = 8


def search(core: Core, tcb: Tcb, now: float) -> None:
    """Apply a changed PLPMTU of each path, and send the probes that are due."""
    for sender in tcb.sender.senders:
        path, pmtu = sender.path, sender.path.pmtu
        if pmtu.size != sender.packet_size:
            tcb.sender.packet_size_changed(sender)
            core.events.append(PathMtuChanged(pmtu.size))
        if pmtu.due and path.confirmed and core.state in MAY_HEARTBEAT:
            nonce = core.entropy(_NONCE_LENGTH)
            core.writer.add_probe(tcb, nonce, pmtu.probe_size, path.address)
            pmtu.probe_sent(nonce, path.rto, now)


def handle_probe_ack(core: Core, tcb: Tcb, nonce: bytes, now: float) -> bool:
    """Apply the acknowledgment of a probe; return False if its nonce belongs to no outstanding probe."""
    for path in tcb.paths.all:
        if path.pmtu.probe_acknowledged(nonce, now):
            # RFC 8899, 6.2.1.2: "A successful probe updates the association and path counters, but an unsuccessful
            # probe is discounted (assumed to be a result of choosing too large a PLPMTU)."
            path.observe_round_trip(now - path.pmtu.probe_sent_at)
            paths.clear_errors(core, tcb, path)
            return True
    return False


def handle_packet_too_long(core: Core, length: int, now: float, address: TransportAddress | None, link: int) -> None:
    """Apply the lower layer's report that a packet is too long for the first link."""
    path = paths.path_to(core, address)
    if path is not None:
        path.pmtu.packet_refused(length, now, link)


def dont_fragment(core: Core, address: TransportAddress | None) -> bool:
    """Return whether packets to this address must arrive in one piece or not at all."""
    path = paths.path_to(core, address)
    return path is not None and path.pmtu.dont_fragment
