"""The configuration of a peer connection: RTCConfiguration and its parts."""

from __future__ import annotations

import enum
import ipaddress
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from datachan.ice import IceServer, TcpMux, UdpMux
from datachan.ice.interfaces import check_exclusions
from datachan.ice.network_options import NetworkOptions
from datachan.ice.servers import server_addresses
from datachan.ice.turn_connection import parse_proxy
from datachan.known_paths import KNOWN_PATHS
from datachan.log_rate import get_limited_logger
from datachan.sctp import PathHistory, ReceiveBudget
from datachan.sctp.congestion import ALGORITHMS

from .errors import ArgumentError, InvalidAccessError, InvalidModificationError
from .rtc_certificate import RTCCertificate

_log = get_limited_logger("datachan.peer")

DEFAULT_MAX_MESSAGE_SIZE: Final = 64 * 1024 * 1024
_CHANGEABLE: Final = frozenset({"iceServers", "iceTransportPolicy", "iceCandidatePoolSize"})


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
            ArgumentError: there is no URL, or a URL is malformed.
            InvalidAccessError: a TURN server has no credentials.
        """
        urls = (self.urls,) if isinstance(self.urls, str) else _items("urls", self.urls, str)
        if not urls:
            raise ArgumentError("an ICE server needs at least one URL")
        for name, value in (("username", self.username), ("credential", self.credential)):
            if not isinstance(value, (str, type(None))):
                raise ArgumentError(f"the {name} of an ICE server is a string, not {type(value).__name__}")
        if None in (self.username, self.credential) and any(
            url.lower().startswith(("turn:", "turns:")) for url in urls
        ):
            # W3C WebRTC, 4.4.1.6: an InvalidAccessError.
            raise InvalidAccessError(f"a TURN server needs a username and a credential: {', '.join(urls)}")
        server = IceServer(urls=urls, username=self.username, credential=self.credential)
        try:
            server_addresses([server])
        except ValueError as error:
            raise ArgumentError(str(error)) from None
        return server


@dataclass
class RTCConfiguration:
    """The configuration of a peer connection.

    Attributes:
        iceServers: the STUN and TURN servers. By default there are none, so no server is contacted.
        iceTransportPolicy: RELAY uses TURN only, so that the peer learns none of our addresses.
        bundlePolicy: accepted for compatibility; there is always one transport.
        certificates: certificates to use instead of a new one. All are checked, and the first is used, as in browsers:
            W3C lets the implementation choose.
        iceCandidatePoolSize: accepted for compatibility; gathering starts with setLocalDescription.
        alwaysNegotiateDataChannels: whether to offer a data section even before a channel is created.
        maxMessageSize: the longest message we accept, in bytes, announced as a=max-message-size; 0 for no limit. The
            default of 64 MiB is more than browsers send, and limits the memory one peer can make us use.
        maxChannels: the most data channels of both sides together, which is the number of SCTP streams. Each side may
            open half of them. A server for strangers sets it, because each open channel takes about 5 kB.
        receiveBudget: the memory for incomplete messages that several connections share. When it is used up, a
            connection that takes more than its share ends. None for no common bound.
        closeTimeout: how long `close` waits for acknowledgments without any progress, in seconds.
        iceTimeout: how long ICE looks for a path after the latest candidate, in seconds (RFC 8863).
        waitForCandidates: whether setLocalDescription waits for all candidates, for signaling that carries one
            description and no candidates after it. By default it returns with the host candidates.
        hostAddresses: the local addresses to gather instead of those of all interfaces.
        excludeInterfaces: the interfaces that give no candidates, by name ("docker0", "veth*") or kind: "loopback",
            "bridge", "vpn" and "link-local". What is left out is named in `failureReason`.
        announcedAddresses: addresses to signal instead of our own, for a host behind a 1:1 NAT, such as a server in a
            cloud. Host names are looked up. A family without one keeps its own addresses.
        udpMux: a `UdpMux`, the UDP port that this connection shares with others instead of opening its own.
        tcpMux: a `TcpMux`, the TCP port on which the peer may connect when its network blocks UDP (ICE-TCP, RFC 6544).
        iceTcp: whether to connect to TCP ports that the peer offers; at most eight, which the peer chooses.
        iceLite: whether to be a lite agent (RFC 8445, 2.5), which answers checks and sends none. Only for hosts with a
            public address, and without iceServers.
        proxy: an HTTP proxy, "http://user:password@host:port", for TURN over TCP and TLS.
        portRange: the first and the last local UDP port to use, for example those a firewall allows. Each connection
            uses one port for each local address; programs may share a range. None leaves the choice to the system.
        congestionControl: the algorithm: "adaptive", which is CUBIC with a model of the path and also fills links that
            lose packets without being congested, "cubic" (RFC 9438) or "newreno" (RFC 9260).
        pathHistory: what paths carried before, by the addresses of the selected pair. A transfer over a known path
            starts faster (Careful Resume, RFC 9959). All connections of the process share one by default. None starts
            every connection without it.
        pathMtuDiscovery: whether packets grow to the path MTU (RFC 8899), where the system can send them unfragmented.
            Without it, packets stay below 1,280 bytes, IP header included.
        snap: whether to exchange SCTP INITs in the descriptions, which saves two round trips (draft-hancke-tsvwg-snap).
            Peers that do not support it ignore it.
        sped: whether the ICE checks carry the DTLS handshake, which saves a round trip with peers that do the same
            (draft-hancke-webrtc-sped). Other peers ignore it.
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
    maxChannels: int = 65535
    receiveBudget: ReceiveBudget | None = None
    closeTimeout: float = 5.0
    iceTimeout: float = 39.5
    waitForCandidates: bool = False
    hostAddresses: Sequence[str] | None = None
    excludeInterfaces: Sequence[str] = ()
    announcedAddresses: Sequence[str] = ()
    udpMux: UdpMux | None = None
    tcpMux: TcpMux | None = None
    iceTcp: bool = True
    iceLite: bool = False
    proxy: str | None = None
    portRange: tuple[int, int] | None = None
    congestionControl: str = "adaptive"
    pathHistory: PathHistory | None = KNOWN_PATHS
    pathMtuDiscovery: bool = True
    snap: bool = True
    sped: bool = True
    trace: str | os.PathLike[str] | None = None


def check_configuration(configuration: RTCConfiguration | dict[str, Any] | None) -> RTCConfiguration:
    """Return a copy of the configuration after checking its values.

    Raises:
        ArgumentError: a value has a wrong type or is out of range.
        InvalidAccessError: a certificate has expired.
    """
    if configuration is None:
        return RTCConfiguration(iceServers=[])
    if isinstance(configuration, Mapping):
        configuration = _from_mapping(configuration)
    if not isinstance(configuration, RTCConfiguration):
        raise ArgumentError(f"a configuration is an RTCConfiguration or a dictionary, not {configuration!r}")
    try:
        policy = RTCIceTransportPolicy(configuration.iceTransportPolicy)
        bundle = RTCBundlePolicy(configuration.bundlePolicy)
    except ValueError as error:
        raise ArgumentError(str(error)) from None
    servers = [_check_server(server) for server in _items("iceServers", configuration.iceServers or (), object)]
    certificates = _items("certificates", configuration.certificates or (), RTCCertificate)
    for certificate in certificates:
        certificate.check()
    _check_numbers(configuration)
    _check_host_addresses(configuration.hostAddresses)
    _check_network(configuration)
    if configuration.congestionControl not in ALGORITHMS:
        raise ArgumentError(f"congestionControl must be one of {', '.join(ALGORITHMS)}")
    if not isinstance(configuration.trace, (str, os.PathLike, type(None))):
        raise ArgumentError(f"trace is the path of a file or folder, not {configuration.trace!r}")
    return replace(
        configuration,
        iceServers=servers,
        iceTransportPolicy=policy,
        bundlePolicy=bundle,
        certificates=certificates,
        hostAddresses=None if configuration.hostAddresses is None else tuple(configuration.hostAddresses),
        excludeInterfaces=tuple(configuration.excludeInterfaces),
        announcedAddresses=tuple(configuration.announcedAddresses),
        portRange=_checked_port_range(configuration.portRange),
    )


def copied_configuration(configuration: RTCConfiguration) -> RTCConfiguration:
    """Return a copy of a checked configuration, which the caller may change."""
    return replace(configuration, iceServers=[replace(server) for server in configuration.iceServers or ()])


def changed_configuration(current: RTCConfiguration, given: RTCConfiguration | dict[str, Any]) -> RTCConfiguration:
    """Return the configuration that setConfiguration sets (W3C WebRTC, 4.4.1.6).

    Raises:
        ArgumentError: a value has a wrong type or is out of range.
        InvalidAccessError: a TURN server has no credentials.
        InvalidModificationError: a member differs that cannot be changed.
    """
    if not isinstance(given, Mapping):
        checked = check_configuration(given)
    else:
        # A dictionary states only some members; the others keep their values, except for W3C's defaults.
        kept = {one.name: getattr(current, one.name) for one in fields(current) if one.name not in _CHANGEABLE}
        checked = check_configuration({**kept, **given})
    if not checked.certificates:
        checked.certificates = current.certificates
    for one in fields(RTCConfiguration):
        if one.name not in _CHANGEABLE and getattr(checked, one.name) != getattr(current, one.name):
            raise InvalidModificationError(f"{one.name} cannot be changed")
    return checked


def _from_mapping(given: Mapping[str, Any]) -> RTCConfiguration:
    """Create a configuration from W3C's dictionary; unknown members are ignored, as in browsers."""
    known = {one.name for one in fields(RTCConfiguration)}
    if unknown := set(given) - known:
        _log.warning("unknown members of the configuration are ignored: %s", ", ".join(sorted(map(str, unknown))))
    return RTCConfiguration(**{name: value for name, value in given.items() if name in known})


def _items(name: str, values: Any, kind: type) -> tuple[Any, ...]:
    """Return the items of a sequence after checking their type; a single string is not a sequence of strings."""
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Sequence):
        raise ArgumentError(f"{name} is a list, not {values!r}")
    for value in values:
        if not isinstance(value, kind):
            raise ArgumentError(f"{name} is a list of {kind.__name__}, but one item is {value!r}")
    return tuple(values)


def _check_numbers(configuration: RTCConfiguration) -> None:
    for name, smallest, largest in (
        ("maxMessageSize", 0, 2**63 - 1),
        ("maxChannels", 1, 65535),
        ("iceCandidatePoolSize", 0, 255),
    ):
        value = getattr(configuration, name)
        if isinstance(value, bool) or not isinstance(value, int) or not smallest <= value <= largest:
            raise ArgumentError(f"{name} is a number from {smallest} to {largest}, not {value!r}")
    for name in ("closeTimeout", "iceTimeout"):
        value = getattr(configuration, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
            raise ArgumentError(f"{name} is a number of seconds, not {value!r}")
    for name in (
        "alwaysNegotiateDataChannels",
        "waitForCandidates",
        "iceTcp",
        "iceLite",
        "pathMtuDiscovery",
        "snap",
        "sped",
    ):
        if not isinstance(getattr(configuration, name), bool):
            raise ArgumentError(f"{name} is True or False, not {getattr(configuration, name)!r}")


def _check_host_addresses(addresses: Sequence[str] | None) -> None:
    if addresses is None:
        return
    for address in _items("hostAddresses", addresses, str):
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise ArgumentError(f"hostAddresses has IP addresses, but {address!r} is not one") from None


def _check_network(configuration: RTCConfiguration) -> None:
    """Check what the application chooses about our side of the network."""
    try:
        check_exclusions(configuration.excludeInterfaces)
        if configuration.proxy is not None:
            parse_proxy(configuration.proxy)
    except (ValueError, TypeError, AttributeError) as error:
        raise ArgumentError(f"excludeInterfaces or proxy: {error}") from None
    for address in _items("announcedAddresses", configuration.announcedAddresses, str):
        if not address or len(address) > 253:
            raise ArgumentError(f"announcedAddresses has addresses and host names, but {address!r} is neither")
    for name, kind in (("udpMux", UdpMux), ("tcpMux", TcpMux)):
        value = getattr(configuration, name)
        if value is not None and not isinstance(value, kind):
            raise ArgumentError(f"{name} is a {kind.__name__}, not {value!r}")
    if configuration.iceLite and configuration.iceServers:
        # RFC 8445, 5.2: "Lite implementations only utilize host candidates."
        raise ArgumentError("a lite agent has host candidates only: iceLite and iceServers exclude each other")


def network_options(configuration: RTCConfiguration) -> NetworkOptions:
    """Return what a checked configuration says about our side of the network."""
    return NetworkOptions(
        exclude_interfaces=configuration.excludeInterfaces,
        announced_addresses=configuration.announcedAddresses,
        udp_mux=configuration.udpMux,
        tcp_mux=configuration.tcpMux,
        connects_by_tcp=configuration.iceTcp,
        proxy=None if configuration.proxy is None else parse_proxy(configuration.proxy),
    )


def _checked_port_range(ports: Sequence[int] | None) -> tuple[int, int] | None:
    if ports is None:
        return None
    given = _items("portRange", ports, int)
    if len(given) != 2 or not 0 < given[0] <= given[1] < 65536:
        raise ArgumentError("portRange is the first and the last port, from 1 to 65535")
    return given[0], given[1]


def _check_server(given: Any) -> RTCIceServer:
    """Return a copy of a server, which may be given as the dictionary of W3C that signaling servers send."""
    if isinstance(given, Mapping):
        if "urls" not in given:
            raise ArgumentError("an ICE server needs urls")
        # Services send further members, such as url and ttl. Browsers ignore them.
        server = RTCIceServer(given["urls"], given.get("username"), given.get("credential"))
    elif hasattr(given, "urls"):
        server = RTCIceServer(given.urls, getattr(given, "username", None), getattr(given, "credential", None))
    else:
        raise ArgumentError(f"an ICE server is an RTCIceServer or a dictionary, not {given!r}")
    server.to_ice()
    return server
