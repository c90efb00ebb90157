"""Send at once what waits for a backed-off timer, because the path has shown that it works again.

Timers double with each expiration (RFC 9260, 6.3.3), so after an outage of 20 seconds some would wait 10 more. A sign
of life is a packet of the peer after a silence, or what the lower layer reports, such as an answered consent check of
ICE. Each timer is hastened once between two expirations. It goes on running, so that it still detects a peer that is
gone.
"""

from __future__ import annotations

from datachan.sctp.core import Core
from datachan.sctp.records.path import Path
from datachan.sctp.states import MAY_HEARTBEAT

from . import address_changes, confirmation, handshake, paths, shutdown


def revive(core: Core, path: Path | None, now: float) -> None:
    """Act on a sign of life.

    Args:
        core: the association.
        path: the path that works; None for the one that data is sent on.
        now: monotonic seconds.
    """
    tcb = core.tcb
    if core.t1.hasten():
        if core.unconfirmed and tcb is not None:
            confirmation.send_again(core, tcb)
        else:
            handshake.send_again(core, now)
    if tcb is None:
        return
    if path is None:
        path = tcb.path
    if core.t2.hasten():
        shutdown.send_again(core, tcb, path)
    if tcb.reconfig.timer.hasten():
        tcb.reconfig.send_again()
    if tcb.asconf.t4.hasten():
        address_changes.send_again(core, tcb, path)
    if path.heartbeat_nonce and path.backed_off and path.heartbeat.hasten() and core.state in MAY_HEARTBEAT:
        paths.send_heartbeat(core, path, now)
        path.heartbeat.bring_forward(now, path.measured_rto)
    paths.resume_path(core, tcb, path, now)
