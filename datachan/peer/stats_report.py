"""getStats: the objects of W3C's webrtc-stats for data channels; every object is a snapshot."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from datachan.dtls.certificate import Fingerprint
from datachan.ice import CandidatePairStats, IceStats
from datachan.ice.servers import ServerAddress
from datachan.sctp import AssociationStats
from datachan.sdp import IceCandidate

from .channel_registry import ChannelRegistry
from .peer_transport import PeerTransport
from .rtc_certificate import RTCCertificate
from .rtc_data_channel import RTCDataChannel
from .transport_views import RTCSctpTransport


@dataclass
class RTCStats:
    """The members of all statistics.

    Attributes:
        timestamp: the time of the snapshot.
        type: W3C's RTCStatsType.
        id: the identifier of the object, the same in all snapshots.
    """

    timestamp: datetime
    type: str
    id: str


@dataclass
class RTCPeerConnectionStats(RTCStats):
    """Statistics of type "peer-connection"."""

    dataChannelsOpened: int = 0
    dataChannelsClosed: int = 0


@dataclass
class RTCTransportStats(RTCStats):
    """Statistics of type "transport": datagrams without STUN."""

    packetsSent: int = 0
    packetsReceived: int = 0
    bytesSent: int = 0
    bytesReceived: int = 0
    iceRole: str = "unknown"
    iceLocalUsernameFragment: str | None = None
    iceState: str | None = None
    dtlsState: str = "new"
    dtlsRole: str = "unknown"
    dtlsCipher: str | None = None
    tlsVersion: str | None = None
    selectedCandidatePairId: str | None = None
    selectedCandidatePairChanges: int = 0
    localCertificateId: str | None = None
    remoteCertificateId: str | None = None


@dataclass
class RTCSctpTransportStats(RTCStats):
    """Statistics of type "sctp-transport"; times in seconds, sizes in bytes."""

    transportId: str | None = None
    smoothedRoundTripTime: float | None = None
    congestionWindow: int | None = None
    receiverWindow: int | None = None
    mtu: int | None = None
    unackData: int | None = None


@dataclass
class RTCDataChannelStats(RTCStats):
    """Statistics of type "data-channel"."""

    label: str = ""
    protocol: str = ""
    dataChannelIdentifier: int | None = None
    state: str = "connecting"
    messagesSent: int = 0
    bytesSent: int = 0
    messagesReceived: int = 0
    bytesReceived: int = 0


@dataclass
class RTCIceCandidateStats(RTCStats):
    """Statistics of type "local-candidate" or "remote-candidate"."""

    transportId: str = ""
    address: str | None = None
    port: int | None = None
    protocol: str | None = None
    candidateType: str = "host"
    priority: int | None = None
    foundation: str | None = None
    relatedAddress: str | None = None
    relatedPort: int | None = None
    usernameFragment: str | None = None
    tcpType: str | None = None
    url: str | None = None
    relayProtocol: str | None = None


@dataclass
class RTCIceCandidatePairStats(RTCStats):
    """Statistics of type "candidate-pair"; times in seconds, bit rates in bits per second."""

    transportId: str = ""
    localCandidateId: str = ""
    remoteCandidateId: str = ""
    state: str = "waiting"
    nominated: bool = False
    requestsSent: int = 0
    requestsReceived: int = 0
    responsesSent: int = 0
    responsesReceived: int = 0
    consentRequestsSent: int = 0
    totalRoundTripTime: float = 0.0
    currentRoundTripTime: float | None = None
    packetsSent: int = 0
    packetsReceived: int = 0
    bytesSent: int = 0
    bytesReceived: int = 0
    packetsDiscardedOnSend: int = 0
    bytesDiscardedOnSend: int = 0
    lastPacketSentTimestamp: datetime | None = None
    lastPacketReceivedTimestamp: datetime | None = None
    availableOutgoingBitrate: float | None = None


@dataclass
class RTCCertificateStats(RTCStats):
    """Statistics of type "certificate"."""

    fingerprint: str = ""
    fingerprintAlgorithm: str = "sha-256"
    base64Certificate: str = ""
    issuerCertificateId: str | None = field(default=None)


class RTCStatsReport(dict[str, Any]):
    """The statistics by id."""

    def add(self, stats: RTCStats) -> str:
        """Add an object and return its id."""
        self[stats.id] = stats
        return stats.id


def collect_stats(
    certificate: RTCCertificate,
    channels: ChannelRegistry,
    transport: PeerTransport | None,
    sctp: RTCSctpTransport | None,
) -> RTCStatsReport:
    """Return a snapshot of all statistics."""
    now = datetime.fromtimestamp(time.time(), UTC)
    report = RTCStatsReport()
    report.add(RTCPeerConnectionStats(now, "peer-connection", "peer-connection", channels.opened, channels.closed))
    for channel in channels:
        report.add(_channel(now, channel))
    if transport is not None:
        _add_transport(report, now, certificate, transport, sctp)
    return report


def _channel(now: datetime, channel: RTCDataChannel) -> RTCStats:
    return RTCDataChannelStats(
        now,
        "data-channel",
        f"data-channel-{id(channel):x}",
        label=channel.label,
        protocol=channel.protocol,
        dataChannelIdentifier=channel.id,
        state=channel.readyState,
        messagesSent=channel.messages_sent,
        bytesSent=channel.bytes_sent,
        messagesReceived=channel.messages_received,
        bytesReceived=channel.bytes_received,
    )


def _add_transport(
    report: RTCStatsReport,
    now: datetime,
    certificate: RTCCertificate,
    transport: PeerTransport,
    sctp: RTCSctpTransport | None,
) -> None:
    association = None if transport.stack is None else transport.stack.association
    numbers = None if association is None else association.stats()
    ice = transport.ice.stats()
    _add_candidates(report, now, transport, ice)
    selected = None
    for pair in ice.pairs:
        pair_id = report.add(_pair(now, pair, ice, numbers))
        selected = pair_id if pair.selected else selected
    stats = _transport(now, transport, ice, "new" if sctp is None else sctp.transport.state)
    stats.selectedCandidatePairId = selected
    stats.localCertificateId = report.add(_certificate(now, "local", certificate.certificate.der))
    stats.remoteCertificateId = _remote_certificate(report, now, transport)
    report.add(stats)
    if numbers is not None:
        report.add(_sctp_transport(now, numbers))


def _transport(now: datetime, transport: PeerTransport, ice: IceStats, dtls_state: str) -> RTCTransportStats:
    dtls = transport.stack.dtls if transport.stack is not None and transport.dtls_connected else None
    return RTCTransportStats(
        now,
        "transport",
        "transport",
        packetsSent=ice.packets_sent,
        packetsReceived=ice.packets_received,
        bytesSent=ice.bytes_sent,
        bytesReceived=ice.bytes_received,
        iceRole="controlling" if transport.ice.is_controlling else "controlled",
        iceLocalUsernameFragment=transport.ice.username_fragment,
        iceState=transport.ice_state.value,
        dtlsState=dtls_state,
        dtlsRole={None: "unknown", True: "client", False: "server"}[transport.is_dtls_client],
        dtlsCipher=None if dtls is None else dtls.cipher,
        tlsVersion=None if dtls is None else dtls.version_code,
        selectedCandidatePairChanges=transport.selected_pair_changes,
    )


def _sctp_transport(now: datetime, numbers: AssociationStats) -> RTCSctpTransportStats:
    return RTCSctpTransportStats(
        now,
        "sctp-transport",
        "sctp-transport",
        transportId="transport",
        smoothedRoundTripTime=numbers.srtt,
        congestionWindow=numbers.cwnd,
        receiverWindow=numbers.peer_rwnd,
        mtu=numbers.mtu,
        unackData=numbers.unacknowledged_chunks,
    )


def _add_candidates(report: RTCStatsReport, now: datetime, transport: PeerTransport, ice: IceStats) -> None:
    """Add all candidates; peer-reflexive ones, which checks have found, are only part of pairs."""
    remote = None if transport.remote is None else transport.remote.transport
    sides = (
        ("local", transport.ice.username_fragment, (*ice.local_candidates, *(pair.local for pair in ice.pairs))),
        (
            "remote",
            None if remote is None else remote.ice_ufrag,
            (*ice.remote_candidates, *(pair.remote for pair in ice.pairs)),
        ),
    )
    for side, ufrag, candidates in sides:
        for candidate in candidates:
            if _candidate_id(side, candidate) not in report:
                server = ice.servers.get(candidate) if side == "local" else None
                report.add(_candidate(now, side, candidate, ufrag, server))


def _candidate_id(side: str, candidate: IceCandidate) -> str:
    return f"{side}-{candidate.type}-{candidate.transport}-{candidate.address}-{candidate.port}"


def _candidate(
    now: datetime, side: str, candidate: IceCandidate, ufrag: str | None, server: ServerAddress | None
) -> RTCStats:
    return RTCIceCandidateStats(
        now,
        f"{side}-candidate",
        _candidate_id(side, candidate),
        transportId="transport",
        address=candidate.address,
        port=candidate.port,
        protocol=candidate.transport,
        candidateType=candidate.type,
        priority=candidate.priority,
        foundation=candidate.foundation,
        relatedAddress=candidate.related_address,
        relatedPort=candidate.related_port,
        usernameFragment=candidate.username_fragment or ufrag,
        tcpType=candidate.tcp_type,
        url=None if server is None else server.url,
        relayProtocol=None if server is None or not server.is_turn else server.protocol,
    )


def _pair(now: datetime, pair: CandidatePairStats, ice: IceStats, numbers: AssociationStats | None) -> RTCStats:
    local, remote = _candidate_id("local", pair.local), _candidate_id("remote", pair.remote)
    # All datagrams count for the selected pair, also those that an earlier pair carried.
    return RTCIceCandidatePairStats(
        now,
        "candidate-pair",
        f"{local}-{remote}",
        transportId="transport",
        localCandidateId=local,
        remoteCandidateId=remote,
        state=pair.state,
        nominated=pair.nominated,
        requestsSent=pair.requests_sent,
        requestsReceived=pair.requests_received,
        responsesSent=pair.responses_sent,
        responsesReceived=pair.responses_received,
        consentRequestsSent=pair.consent_requests_sent,
        totalRoundTripTime=pair.total_round_trip_time,
        currentRoundTripTime=pair.current_round_trip_time,
        packetsSent=ice.packets_sent if pair.selected else 0,
        packetsReceived=ice.packets_received if pair.selected else 0,
        bytesSent=ice.bytes_sent if pair.selected else 0,
        bytesReceived=ice.bytes_received if pair.selected else 0,
        packetsDiscardedOnSend=ice.packets_discarded_on_send if pair.selected else 0,
        bytesDiscardedOnSend=ice.bytes_discarded_on_send if pair.selected else 0,
        lastPacketSentTimestamp=_wall_time(now, ice.last_packet_sent) if pair.selected else None,
        lastPacketReceivedTimestamp=_wall_time(now, ice.last_packet_received) if pair.selected else None,
        availableOutgoingBitrate=_bitrate(numbers) if pair.selected else None,
    )


def _wall_time(now: datetime, moment: float | None) -> datetime | None:
    """Return a time of the monotonic clock as the time of day; `now` is the current one."""
    return None if moment is None else now - timedelta(seconds=time.monotonic() - moment)


def _bitrate(numbers: AssociationStats | None) -> float | None:
    """Return the bits per second that congestion control allows; None before a round trip was measured."""
    return None if numbers is None or not numbers.srtt else 8 * numbers.cwnd / numbers.srtt


def _certificate(now: datetime, side: str, der: bytes) -> RTCStats:
    fingerprint = Fingerprint.of(der)
    return RTCCertificateStats(
        now,
        "certificate",
        f"certificate-{side}",
        fingerprint=fingerprint.value,
        fingerprintAlgorithm=fingerprint.algorithm,
        base64Certificate=base64.b64encode(der).decode(),
    )


def _remote_certificate(report: RTCStatsReport, now: datetime, transport: PeerTransport) -> str | None:
    der = None if transport.stack is None else transport.stack.dtls.remote_certificate_der
    return None if der is None else report.add(_certificate(now, "remote", der))
