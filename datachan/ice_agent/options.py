"""What the application or a test may choose about an agent, and what signaling tells it about the peer; values only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """The times and bounds of an agent; times in seconds.

    Attributes:
        lite: whether to be a lite agent (RFC 8445, 2.5): answer checks, send none. For public servers.
        pace: Ta, the least time between two checks. RFC 8445, B.1 derives 5 ms as the shortest that NATs bear.
        first_interval: the time until the first check of a pair is repeated; libwebrtc repeats it after 48 ms.
        growth: the factor between two intervals of a pair.
        longest_interval: the longest of these intervals.
        check_life: the time after which an unanswered pair has failed, once another pair is in use.
        max_pairs: the number of pairs. RFC 8445, 6.1.2.5: "The default limit of candidate pairs for the checklist set
            is 100".
        max_remote_candidates: the number of candidates kept of the peer, peer-reflexive ones included.
        max_role_conflicts: the number of 487 responses after which a pair has failed. Both sides may see one when their
            first checks cross.
        consent_interval: the mean time between two consent checks (RFC 7675, 5.1).
        consent_expiry: the time without an answer after which nothing may be sent (RFC 7675, 5.1).
        silence: the time without a sign of life after which the peer counts as silent.
        probe_timeout: the time in which the pair in use has to answer once it is in doubt. Then another pair is used.
        sending_silence: the time without a sign of life after which the pair in use is in doubt while we send on it.
        insistence: the time for which the peer nominates one pair only, without numbers, until it is used although
            its priority is lower.
        backup_interval: the time between two checks of a pair kept as an alternative; less than a NAT's binding lives.
        max_backups: the number of such pairs.
        retry_interval: the time between two attempts on failed direct pairs, while the pair in use is relayed.
        recovery: the time for which checks go on after consent has expired.
        grace: the time that the peer has to answer after this process was stopped.
        old_session_life: the time for which the session before an ICE restart still answers checks and takes data.
        embeds: whether checks carry DTLS datagrams, if the peer takes part (SPED).
        peer_first: the longest time that a controlled agent waits for the peer's first check before it sends checks
            of its own. For servers, whose peers can reach them as soon as they have the answer.
    """

    lite: bool = False
    pace: float = 0.005
    first_interval: float = 0.05
    growth: float = 1.5
    longest_interval: float = 4.0
    check_life: float = 2.0
    max_pairs: int = 100
    max_remote_candidates: int = 100
    max_role_conflicts: int = 4
    consent_interval: float = 5.0
    consent_expiry: float = 30.0
    silence: float = 5.0
    probe_timeout: float = 1.0
    sending_silence: float = 0.5
    insistence: float = 2.0
    backup_interval: float = 15.0
    max_backups: int = 5
    retry_interval: float = 10.0
    recovery: float = 60.0
    grace: float = 3.0
    old_session_life: float = 10.0
    embeds: bool = False
    peer_first: float = 0.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """The username fragment and password of one side (RFC 8445, 5.3)."""

    username_fragment: str
    password: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteParameters:
    """What the peer's description says about its agent.

    Attributes:
        credentials: its a=ice-ufrag and a=ice-pwd.
        lite: whether it has a=ice-lite.
        ice2: whether its a=ice-options has "ice2": it follows RFC 8445, which has no aggressive nomination.
        renomination: whether its a=ice-options has "renomination": the latest nomination of ours wins.
        embeds: whether its a=ice-options has "sped": its checks carry DTLS. Towards others, ours do when theirs do.
    """

    credentials: Credentials
    lite: bool = False
    ice2: bool = False
    renomination: bool = False
    embeds: bool = False
