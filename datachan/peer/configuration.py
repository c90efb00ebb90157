"""The configuration of a peer connection: RTCConfiguration and its parts."""

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
    """The candidates that may be used."""

    ALL = "all"
    RELAY = "relay"


class RTCBundlePolicy(enum.Enum):
    """The sharing of a transport between media sections; irrelevant with a single data section."""

    BALANCED = "balanced"
    MAX_COMPAT = "max-compat"
    MAX_BUNDLE = "max-bundle"


@dataclass
class RTCIceServer:
    """A STUN or TURN server.

    Attributes:
        urls: one URL or a list: ``stun:host[:port]``, ``turn:host[:port][?transport=udp|tcp]``, ``turns:…``.
        username: the user name for TURN.
        credential: the password, for TURN.
        credentialType: "password", the only type of W3C.
    """

    urls: str | list[str]
    username: str | None = None
    credential: str | None = None
    credentialType: str = "password"

    def to_ice(self) -> IceServer:
        """Return the server as an `IceServer`.

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
        algorithm: the hash function, such as "sha-256".
        value: the bytes in upper-case hexadecimal, with colons between them.
    """

    algorithm: str
    value: str


class RTCCertificate:
    """A certificate and its private key, by which the peer authenticates us."""

    def __init__(self, certificate: Certificate) -> None:
        self._certificate = certificate

    @classmethod
    def generateCertificate(cls) -> RTCCertificate:
        """Create a self-signed ECDSA P-256 certificate."""
        return cls(Certificate.generate(datetime.now(UTC)))

    @property
    def expires(self) -> datetime:
        """The time at which the certificate expires."""
        return self._certificate.expires

    @property
    def certificate(self) -> Certificate:
        """The certificate of the DTLS layer, with `to_pem` and `from_pem` to store it."""
        return self._certificate

    def getFingerprints(self) -> list[RTCDtlsFingerprint]:
        """Return the fingerprints as in the description."""
        fingerprint = self._certificate.fingerprint("sha-256")
        return [RTCDtlsFingerprint(fingerprint.algorithm, fingerprint.value)]


@dataclass
class RTCConfiguration:
    """The configuration of a peer connection.

    Attributes:
        iceServers: the STUN and TURN servers. By default there are none, so no server is contacted.
        iceTransportPolicy: RELAY uses TURN only, so that the peer learns none of our addresses.
        bundlePolicy: accepted for compatibility; there is always one transport.
        certificates: a certificate to use instead of a new one.
        iceCandidatePoolSize: accepted for compatibility; gathering starts with setLocalDescription.
        alwaysNegotiateDataChannels: whether to offer a data section even before a channel is created.
        maxMessageSize: the longest message we accept, in bytes, announced as a=max-message-size; 0 for no limit. The
            default of 64 MiB is more than browsers send, and limits the memory one peer can make us use.
        closeTimeout: how long `close` waits for acknowledgments without any progress, in seconds.
        iceTimeout: how long ICE looks for a path after the latest candidate, in seconds (RFC 8863).
        hostAddresses: the local addresses to gather instead of those of all interfaces.
        portRange: the first and the last local UDP port to use, for example those a firewall allows. Each connection
            uses one port for each local address; programs may share a range. None leaves the choice to the system.
        congestionControl: the algorithm: "cubic" (RFC 9438), "newreno" (RFC 9260), or "bbr", which models the path and
            keeps links full that lose packets without being congested.
        pathMtuDiscovery: whether packets grow to the path MTU (RFC 8899), where the system can send them unfragmented.
            Without it, packets stay below 1,280 bytes, IP header included.
        snap: whether to exchange SCTP INITs in the descriptions, which saves two round trips (draft-hancke-tsvwg-snap).
            Peers that do not support it ignore it.
        trace: a pcapng file, or a folder for one, for a capture of every SCTP packet without DTLS. None reads the
            environment variable DATACHAN_TRACE.
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
    """Return a copy of the configuration after checking its values.

    Raises:
        ArgumentError: a value has a wrong type or is out of range.
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
    """Return a server, which may be given as the dictionary of W3C that signaling servers send."""
    if isinstance(server, Mapping):
        unknown = set(server) - {"urls", "username", "credential", "credentialType"}
        if unknown or "urls" not in server:
            raise ArgumentError(
                "an ICE server must have urls, and may have username and credential, but no other members"
            )
        server = RTCIceServer(**server)
    server.to_ice()
    return server


def _check_certificate(certificate: RTCCertificate) -> None:
    if certificate.expires <= datetime.now(UTC):
        raise InvalidAccessError("a certificate in the configuration has expired")
