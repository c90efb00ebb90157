"""What a peer connection can be told at its start: RTCConfiguration and what it is made of."""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from datachan.dtls.certificate import Certificate
from datachan.ice import IceServer
from datachan.ice.servers import server_addresses
from datachan.sctp.congestion import ALGORITHMS

from .errors import ArgumentError, InvalidAccessError

DEFAULT_MAX_MESSAGE_SIZE: Final = 64 * 1024 * 1024


class RTCIceTransportPolicy(enum.Enum):
    """Which candidates may be used."""

    ALL = "all"
    RELAY = "relay"


class RTCBundlePolicy(enum.Enum):
    """How media sections share a transport; with one data section it makes no difference."""

    BALANCED = "balanced"
    MAX_COMPAT = "max-compat"
    MAX_BUNDLE = "max-bundle"


@dataclass
class RTCIceServer:
    """A STUN or TURN server.

    Attributes:
        urls: one URL or a list: ``stun:host[:port]``, ``turn:host[:port][?transport=udp|tcp]``, ``turns:…``.
        username: for TURN.
        credential: the password, for TURN.
        credentialType: "password"; W3C has no other kind any more.
    """

    urls: str | list[str]
    username: str | None = None
    credential: str | None = None
    credentialType: str = "password"

    def to_ice(self) -> IceServer:
        """The server as the ICE layer has it.

        Raises:
            ArgumentError: there is no URL, its scheme is unknown, or a TURN server has no credentials.
        """
        urls = (self.urls,) if isinstance(self.urls, str) else tuple(self.urls)
        if not urls:
            raise ArgumentError("an ICE server needs at least one URL")
        server = IceServer(urls=urls, username=self.username, credential=self.credential)
        try:
            server_addresses([server])
        except ValueError as error:
            raise ArgumentError(str(error)) from None
        return server


@dataclass(frozen=True)
class RTCDtlsFingerprint:
    """The hash of a certificate.

    Attributes:
        algorithm: such as "sha-256".
        value: upper case hexadecimal digits, colons between the bytes.
    """

    algorithm: str
    value: str


class RTCCertificate:
    """A certificate and its private key, by which the peer recognizes us."""

    def __init__(self, certificate: Certificate) -> None:
        self._certificate = certificate

    @classmethod
    def generateCertificate(cls) -> RTCCertificate:
        """A new self-signed ECDSA P-256 certificate."""
        return cls(Certificate.generate(datetime.now(UTC)))

    @property
    def expires(self) -> datetime:
        """When it stops being valid."""
        return self._certificate.expires

    @property
    def certificate(self) -> Certificate:
        """The certificate as the DTLS layer has it; `to_pem` and `from_pem` there keep it across runs."""
        return self._certificate

    def getFingerprints(self) -> list[RTCDtlsFingerprint]:
        """Its hashes, as the description has them."""
        fingerprint = self._certificate.fingerprint("sha-256")
        return [RTCDtlsFingerprint(fingerprint.algorithm, fingerprint.value)]


@dataclass
class RTCConfiguration:
    """How a peer connection is set up.

    Attributes:
        iceServers: STUN and TURN servers. There is no default: nothing outside is contacted unless asked for.
        iceTransportPolicy: RELAY uses TURN only, so that the peer learns no address of ours.
        bundlePolicy: accepted for compatibility; there is one transport in any case.
        certificates: one certificate to use instead of a new one.
        iceCandidatePoolSize: accepted for compatibility; gathering starts with setLocalDescription.
        alwaysNegotiateDataChannels: offer a data section even before a channel was created.
        maxMessageSize: longest message we accept, in bytes, and announce as a=max-message-size; 0 for no limit.
            64 MiB is more than any browser sends at a time by itself, and bounds what one peer can make us hold.
        closeTimeout: how long `close` waits for what was sent to be acknowledged, in seconds without any progress.
        iceTimeout: how long ICE looks for a path after the latest candidate, in seconds (RFC 8863).
        hostAddresses: gather exactly these local addresses instead of those of all interfaces.
        portRange: the first and the last local UDP port to use, such as a firewall lets through. Each connection takes
            one per local address; programs may share a range. None leaves the ports to the system.
        congestionControl: how what we send fits the path: "cubic" (RFC 9438), "newreno" (RFC 9260), or "bbr", which
            models the path and fills links that lose packets without being congested.
        pathMtuDiscovery: let packets grow to what the path takes, where the system can send them whole (RFC 8899);
            without it they stay below 1,280 bytes, IP header included.
        snap: show our SCTP INIT in the description, and take the peer's from its, which saves two round trips
            (draft-hancke-tsvwg-snap). Peers that do not know of it ignore it.
        trace: a pcapng file, or a folder for one, to capture every SCTP packet in, as it is outside DTLS. None leaves
            it to the environment variable DATACHAN_TRACE.
    """

    iceServers: list[RTCIceServer] | None = None
    iceTransportPolicy: RTCIceTransportPolicy = RTCIceTransportPolicy.ALL
    bundlePolicy: RTCBundlePolicy = RTCBundlePolicy.BALANCED
    certificates: Sequence[RTCCertificate] = field(default_factory=tuple)
    iceCandidatePoolSize: int = 0
    alwaysNegotiateDataChannels: bool = False
    maxMessageSize: int = DEFAULT_MAX_MESSAGE_SIZE
    closeTimeout: float = 5.0
    iceTimeout: float = 39.5
    hostAddresses: Sequence[str] | None = None
    portRange: tuple[int, int] | None = None
    congestionControl: str = "cubic"
    pathMtuDiscovery: bool = True
    snap: bool = True
    trace: str | os.PathLike[str] | None = None


def check_configuration(configuration: RTCConfiguration | dict[str, Any] | None) -> RTCConfiguration:
    """The configuration, a copy with its values checked.

    Raises:
        ArgumentError: a value is outside its range.
        InvalidAccessError: a certificate has expired.
    """
    if configuration is None:
        return RTCConfiguration()
    if not isinstance(configuration, RTCConfiguration):
        raise ArgumentError(f"the configuration must be an RTCConfiguration, not {type(configuration).__name__}")
    policy = configuration.iceTransportPolicy
    try:
        policy = RTCIceTransportPolicy(policy)
        bundle = RTCBundlePolicy(configuration.bundlePolicy)
    except ValueError as error:
        raise ArgumentError(str(error)) from None
    servers = [_check_server(server) for server in configuration.iceServers or ()]
    if min(configuration.maxMessageSize, configuration.closeTimeout, configuration.iceTimeout) < 0:
        raise ArgumentError("maxMessageSize, closeTimeout and iceTimeout cannot be negative")
    _check_port_range(configuration.portRange)
    if configuration.congestionControl not in ALGORITHMS:
        raise ArgumentError(f"congestionControl must be one of {', '.join(ALGORITHMS)}")
    for certificate in configuration.certificates:
        _check_certificate(certificate)
    return replace(
        configuration,
        iceServers=servers,
        iceTransportPolicy=policy,
        bundlePolicy=bundle,
        certificates=tuple(configuration.certificates),
    )


def _check_port_range(ports: tuple[int, int] | None) -> None:
    if ports is None:
        return
    if len(ports) != 2 or not all(isinstance(port, int) for port in ports) or not 0 < ports[0] <= ports[1] < 65536:
        raise ArgumentError("portRange is the first and the last port, from 1 to 65535")


def _check_server(server: RTCIceServer | Mapping[str, Any]) -> RTCIceServer:
    """A server, also as the dictionary that W3C has and signaling servers send."""
    if isinstance(server, Mapping):
        unknown = set(server) - {"urls", "username", "credential", "credentialType"}
        if unknown or "urls" not in server:
            raise ArgumentError("an ICE server has urls, and may have username and credential, and nothing else")
        server = RTCIceServer(**server)
    server.to_ice()
    return server


def _check_certificate(certificate: RTCCertificate) -> None:
    if certificate.expires <= datetime.now(UTC):
        raise InvalidAccessError("a certificate in the configuration has expired")
