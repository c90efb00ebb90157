"""The states of an association and what may be done in each: the diagram of RFC 9260, section 4 as a table.

All rules that depend on the state alone are here.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class AssociationState(Enum):
    """RFC 9260, section 4, Figure 3."""

    CLOSED = "closed"
    COOKIE_WAIT = "cookie-wait"
    COOKIE_ECHOED = "cookie-echoed"
    ESTABLISHED = "established"
    SHUTDOWN_PENDING = "shutdown-pending"
    SHUTDOWN_SENT = "shutdown-sent"
    SHUTDOWN_RECEIVED = "shutdown-received"
    SHUTDOWN_ACK_SENT = "shutdown-ack-sent"

    # The hash of Enum is a Python function, and the sets below are searched several times for each packet.
    __hash__ = object.__hash__


_S = AssociationState

TRANSITIONS: Final[dict[AssociationState, frozenset[AssociationState]]] = {
    _S.CLOSED: frozenset({_S.COOKIE_WAIT, _S.ESTABLISHED}),
    _S.COOKIE_WAIT: frozenset({_S.COOKIE_ECHOED, _S.ESTABLISHED, _S.CLOSED}),
    _S.COOKIE_ECHOED: frozenset({_S.ESTABLISHED, _S.COOKIE_WAIT, _S.CLOSED}),
    _S.ESTABLISHED: frozenset({_S.SHUTDOWN_PENDING, _S.SHUTDOWN_RECEIVED, _S.CLOSED}),
    _S.SHUTDOWN_PENDING: frozenset({_S.SHUTDOWN_SENT, _S.SHUTDOWN_RECEIVED, _S.ESTABLISHED, _S.CLOSED}),
    _S.SHUTDOWN_SENT: frozenset({_S.SHUTDOWN_ACK_SENT, _S.ESTABLISHED, _S.CLOSED}),
    _S.SHUTDOWN_RECEIVED: frozenset({_S.SHUTDOWN_ACK_SENT, _S.ESTABLISHED, _S.CLOSED}),
    _S.SHUTDOWN_ACK_SENT: frozenset({_S.CLOSED}),
}
"""The states that may follow each state. COOKIE-ECHOED returns to COOKIE-WAIT on a stale cookie; the shutdown states
return to ESTABLISHED when the peer restarts."""

# RFC 9260, 6: "Data transmission MUST only happen in the ESTABLISHED, SHUTDOWN-PENDING, and SHUTDOWN-RECEIVED states."
MAY_SEND_DATA: Final = frozenset({_S.ESTABLISHED, _S.SHUTDOWN_PENDING, _S.SHUTDOWN_RECEIVED})

# RFC 9260, 6: "DATA chunks MUST only be received according to the rules below in ESTABLISHED, SHUTDOWN-PENDING, and
# SHUTDOWN-SENT states."
MAY_RECEIVE_DATA: Final = frozenset({_S.ESTABLISHED, _S.SHUTDOWN_PENDING, _S.SHUTDOWN_SENT})

# RFC 9260, 6: "A SACK chunk MUST be processed in ESTABLISHED, SHUTDOWN-PENDING, and SHUTDOWN-RECEIVED states.  An
# incoming SACK chunk MAY be processed in COOKIE-ECHOED."
MAY_RECEIVE_SACK: Final = frozenset({_S.COOKIE_ECHOED, _S.ESTABLISHED, _S.SHUTDOWN_PENDING, _S.SHUTDOWN_RECEIVED})

# RFC 9260, 9.2: "An endpoint SHOULD reject any new data request from its upper layer if it is in the
# SHUTDOWN-PENDING, SHUTDOWN-SENT, SHUTDOWN-RECEIVED, or SHUTDOWN-ACK-SENT state."
SHUTTING_DOWN: Final = frozenset({_S.SHUTDOWN_PENDING, _S.SHUTDOWN_SENT, _S.SHUTDOWN_RECEIVED, _S.SHUTDOWN_ACK_SENT})

# RFC 9260, 8.3: heartbeats may begin "upon reaching the ESTABLISHED state" and are "discontinued after sending either
# a SHUTDOWN chunk or SHUTDOWN ACK chunk."
MAY_HEARTBEAT: Final = frozenset({_S.ESTABLISHED, _S.SHUTDOWN_PENDING, _S.SHUTDOWN_RECEIVED})

# RFC 9260, 8.3: a HEARTBEAT is answered "after entering the COOKIE-ECHOED state (sender of the INIT chunk) or the
# ESTABLISHED state (receiver of the INIT chunk), up until reaching the SHUTDOWN-SENT state".
MAY_ANSWER_HEARTBEAT: Final = frozenset({_S.COOKIE_ECHOED, _S.ESTABLISHED, _S.SHUTDOWN_PENDING, _S.SHUTDOWN_RECEIVED})
