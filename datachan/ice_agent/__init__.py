"""An agent of Interactive Connectivity Establishment (RFC 8445), sans-IO: it opens no socket and reads no clock.

The agent pairs our candidates with the peer's, checks the pairs, decides which of them carries data now, keeps it and
its alternatives alive, and moves to another one when it dies or a better one appears. It does not carry the data.

How a shell feeds it. A shell owns the links: sockets, allocations on TURN servers, TCP connections. For each link it
makes one `Base`, and for each address under which the link can be reached, one `LocalCandidate`:

- `add_local_candidate(candidate, now)` when a candidate is known; checks from it may begin at once. A server-reflexive
  candidate has the base of its host candidate, a relayed one has a base of its own. An announced address (NAT 1:1) is a
  host candidate whose address differs from its base's. The shell signals `candidate.candidate` to the peer itself.
- `remove_base(base, now)` when the link is closed or its address has vanished: pairs on it end at once.
- `set_remote(parameters, now)` and `add_remote_candidate(candidate, now)` for what the peer has signaled, in any order.
  Checks of the peer that arrive before are answered, and acted upon later. The end of candidates says nothing to the
  agent: a peer without candidates may still reach us.
- `prepare_restart(credentials, now)` when a description with new credentials is made, and `restart(remote, now)` when
  the peer's new credentials are known. The pair in use stays in use until the new session has one.
- `receive_datagrams([(datagram, source), ...], base, now)` for STUN that arrived on a link, and nothing else: the shell
  separates it from data by its first byte (RFC 7983), so that data never passes the agent. For data,
  the shell calls `accepts(base, source, now)`: whether the peer has proved that it sends from there. If not,
  `note_stranger(base, source, now)` says whether it is worth to keep the data until it has. When the shell sends data
  while `watches_sending` is true, it calls `note_sending(now)`. While `has_alternative` is true, it keeps what it
  sends for a moment, and sends copies of it over another pair after `PairDoubted`.
- `handle_timeout(now)` at `next_timeout()`; `send_failed(base, destination, now)` when the system has refused a
  datagram, or an ICMP error has come back.

What it hands out, to be drained after every call:

- `datagrams_to_send(now)`: `(base, destination, datagram)` triples. A link of active TCP opens a connection to the
  destination if it has none, and sends the datagram once it is open. A relayed link binds channels as it likes.
- `events()`: frozen values, see `datachan.ice_agent.events`.

A link is told apart by its base only. The agent does not know interfaces, servers, TURN or framing; a server-reflexive
address is learned by the shell's own requests. TCP bases are checked without retransmission (RFC 6544, 7.1).
"""

from __future__ import annotations

from .agent import IceAgent
from .candidates import (
    ACTIVE,
    DISCARD_PORT,
    HOST,
    PASSIVE,
    PRFLX,
    RELAY,
    SRFLX,
    Base,
    LocalCandidate,
    TransportAddress,
    candidate_foundation,
    candidate_priority,
    interleave_families,
    make_candidate,
    pair_priority,
)
from .errors import BadPacket
from .events import (
    AgentEvent,
    ChecksDone,
    DoubtDispelled,
    DtlsReceived,
    OldSessionEnded,
    PairDoubted,
    PairSelected,
    PathLost,
    PeerAlive,
    PeerHeard,
    PeerSilent,
    Restarted,
    RoleSwitched,
)
from .options import AgentOptions, Credentials, RemoteParameters
from .pairs import CandidatePair, PairState
from .session import DatagramToSend, IceSession

__all__ = [
    "ACTIVE",
    "DISCARD_PORT",
    "HOST",
    "PASSIVE",
    "PRFLX",
    "RELAY",
    "SRFLX",
    "AgentEvent",
    "AgentOptions",
    "BadPacket",
    "Base",
    "CandidatePair",
    "ChecksDone",
    "Credentials",
    "DatagramToSend",
    "DoubtDispelled",
    "DtlsReceived",
    "IceAgent",
    "IceSession",
    "LocalCandidate",
    "OldSessionEnded",
    "PairDoubted",
    "PairSelected",
    "PairState",
    "PathLost",
    "PeerAlive",
    "PeerHeard",
    "PeerSilent",
    "RemoteParameters",
    "Restarted",
    "RoleSwitched",
    "TransportAddress",
    "candidate_foundation",
    "candidate_priority",
    "interleave_families",
    "make_candidate",
    "pair_priority",
]
