"""The Transmission Control Block: the state of an association that exists only once the peer is known.

RFC 9260, 1.3: "An internal data structure created by an SCTP endpoint for each of its existing SCTP associations". It
decides nothing; the procedures do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .addresses import TransportAddress
from .options import AssociationOptions
from .records.asconf import AddressConfiguration
from .records.capabilities import Capabilities
from .records.cookie import StateCookieContent
from .records.keys import Authenticator, KeyRing, make_authenticator
from .records.path import Path
from .records.paths import Paths
from .records.reconfiguration import Reconfiguration
from .rx.base import OVERHEAD, Reassembly
from .rx.data_tracker import DataTracker
from .rx.interleaved import InterleavedReassembly
from .rx.reassembly import ReassemblyQueue
from .rx.window import ReceiveWindow
from .timers import earliest
from .tx.retransmission import RetransmissionQueue
from .tx.send_queue import SendQueue
from .wire.chunks import DATA
from .wire.extensions import I_DATA
from .wire.packet import zero_checksum_header

TSN_BASE: Final = 1 << 32
"""Added to the 32-bit Initial TSNs, so that unwrapped TSNs stay positive."""


class Tcb:
    """One established (or nearly established) association.

    Attributes:
        header: the common header of our packets, whose checksum is zero (RFC 9653); empty if they need a checksum.
        peer_header: the same of the peer's packets.
        local_tag: the Verification Tag of the peer's packets.
        peer_tag: the Verification Tag of our packets.
        local_tie_tag, peer_tie_tag: the Tie-Tags of cookies that answer an INIT in this association (section 5.2.2).
        asconf: changes of addresses.
        auth: signs and checks chunks, if both sides announced authentication.
        capabilities: the negotiated extensions.
        adaptation: the peer's Adaptation Layer Indication, -1 without one.
        data_type: the chunk type that carries user data, DATA or I-DATA.
        inbound_streams, outbound_streams: the negotiated numbers of streams.
        paths: the paths to all addresses of the peer.
        path: the path that new data is sent on.
        sack_path: the path that SACKs go to; None for `path`.
        echo_path: the path that COOKIE ECHO is sent on.
        shutdown_path: the path that SHUTDOWN and SHUTDOWN ACK go to after a timeout; None for `path`.
        tracker: records the TSNs received, and decides when a SACK is sent.
        reassembly: holds fragments and messages received and not yet delivered.
        unconsumed: bytes delivered as events and not yet consumed, overhead included.
        unconsumed_messages: the number of those messages.
        window: the receiver window.
        advertised_a_rwnd: the a_rwnd last sent.
        sender: the data sender.
        reconfig: re-configuration of streams.
        cookie: the State Cookie to echo, on the side that sent the INIT.
    """

    __slots__ = (
        "_peer_a_rwnd",
        "adaptation",
        "advertised_a_rwnd",
        "asconf",
        "auth",
        "capabilities",
        "cookie",
        "data_type",
        "echo_path",
        "header",
        "inbound_streams",
        "local_tag",
        "local_tie_tag",
        "outbound_streams",
        "path",
        "paths",
        "peer_header",
        "peer_tag",
        "peer_tie_tag",
        "reassembly",
        "reconfig",
        "sack_path",
        "sender",
        "shutdown_path",
        "tracker",
        "unconsumed",
        "unconsumed_messages",
        "window",
    )

    def __init__(
        self,
        options: AssociationOptions,
        content: StateCookieContent,
        queue: SendQueue,
        keys: KeyRing,
        tie_tags: tuple[int, int],
        cookie: bytes = b"",
        confirmed: Sequence[str] = (),
    ) -> None:
        self.local_tag = content.local_tag
        self.peer_tag = content.peer_tag
        self.local_tie_tag, self.peer_tie_tag = tie_tags
        self.capabilities = Capabilities.from_bits(content.capabilities)
        self.header, self.peer_header = _headers(options, content, self.capabilities)
        self.adaptation = content.adaptation
        self.inbound_streams = content.inbound_streams
        self.outbound_streams = content.outbound_streams
        self.data_type = I_DATA if self.capabilities.interleaving else DATA
        self.auth: Authenticator | None = None
        self.paths = Paths(_make_paths(options, content, confirmed))
        self.path = self.paths.primary
        self.echo_path = self.path
        self.sack_path: Path | None = None
        self.shutdown_path: Path | None = None
        self._peer_a_rwnd = content.peer_a_rwnd
        self.unconsumed = self.unconsumed_messages = 0
        self.window = ReceiveWindow(options.receive_window, options.max_receive_window)
        self.advertised_a_rwnd = options.receive_window
        self.cookie = cookie
        self.sender = self._new_sender(options, content, queue)
        self.authenticate(options, content, keys)
        for path in self.paths.all:
            if path is not self.path:
                self.sender.add_path(path)
        self.reconfig = Reconfiguration(content.local_initial_tsn, content.peer_initial_tsn)
        self.asconf = AddressConfiguration(content.local_initial_tsn, content.peer_initial_tsn)
        self.start_receiving_at(options, content.peer_initial_tsn)

    def _new_sender(
        self, options: AssociationOptions, content: StateCookieContent, queue: SendQueue
    ) -> RetransmissionQueue:
        """Return the data sender, and set up the send queue for it."""
        queue.interleaving = self.capabilities.interleaving
        queue.peer_window = content.peer_a_rwnd
        return RetransmissionQueue(
            options,
            self.path,
            queue,
            content.local_initial_tsn + TSN_BASE,
            content.peer_a_rwnd,
            self.capabilities.partial_reliability,
            self.capabilities.interleaving,
        )

    def new_path(self, options: AssociationOptions, address: TransportAddress) -> Path:
        """Add a path to one more address of the peer, which is not verified yet, and return it."""
        path = Path(options, self._peer_a_rwnd, address)
        path.number = max([known.number for known in self.paths.all]) + 1
        path.confirmed = False
        self.paths.add(path)
        self.sender.add_path(path)
        return path

    def remove_path(self, path: Path, preferred: Path | None) -> None:
        """Remove the path to an address that the peer deleted; other paths remain.

        Args:
            path: the path to remove.
            preferred: the path that takes over what was sent on it, if no other is better.
        """
        self.paths.remove(path, preferred)
        if path is self.path:
            self.path = self.paths.primary
            self.sender.set_current(self.path)
        self.sender.remove_path(path)
        if path is self.sack_path:
            self.sack_path = None
        if path is self.shutdown_path:
            self.shutdown_path = None

    def authenticate(self, options: AssociationOptions, content: StateCookieContent, keys: KeyRing) -> None:
        """Sign and check chunks as both sides announced."""
        self.auth = authenticator_of(options, content, keys)
        if self.auth is not None:
            self.sender.reserve(self.auth.reserve, self.auth.signs(self.data_type))

    def adopt_sender(self, sender: RetransmissionQueue) -> None:
        """Use the DATA and the paths of an earlier attempt that a stale cookie ended."""
        self.sender = sender
        self.path = sender.current.path
        self.paths = Paths([path_sender.path for path_sender in sender.senders])
        self.paths.primary = self.echo_path = self.path

    def change_options(self, options: AssociationOptions) -> None:
        """Apply changed parameters; see `Association.change_options`."""
        self.sender.change_options(options)
        for path in self.paths.all:
            path.options = options
        self.window.limit = max(self.window.size, options.max_receive_window)
        self.reassembly.max_message_size = options.max_message_size
        self.reassembly.partial_delivery_point = options.partial_delivery_point

    def next_timeout(self) -> float | None:
        """Return when the earliest timer of the parts expires, in monotonic seconds, or None."""
        moment = earliest(self.tracker.sack_timer.expires_at, self.reconfig.timer.expires_at)
        moment = earliest(moment, self.asconf.t4.expires_at)
        for path in self.paths.all:
            moment = earliest(moment, earliest(path.t3_rtx.expires_at, path.heartbeat.expires_at))
        return earliest(moment, self.sender.next_timeout())

    def follow_peer(self, options: AssociationOptions, content: StateCookieContent) -> None:
        """Take tag and TSN of the peer from its handshake; nothing of the peer's has been received before."""
        self.take_peer_tag(options, content.peer_tag)
        self.start_receiving_at(options, content.peer_initial_tsn)
        self.reconfig.expect_peer_requests_from(content.peer_initial_tsn)

    def take_peer_tag(self, options: AssociationOptions, peer_tag: int) -> None:
        """Send with another tag of the peer from now on."""
        self.peer_tag = peer_tag
        if self.header:
            self.header = zero_checksum_header(options.local_port, options.remote_port, peer_tag)

    def start_receiving_at(self, options: AssociationOptions, peer_initial_tsn: int) -> None:
        """Expect DATA from this Initial TSN (32 bits) on."""
        self.tracker = DataTracker(peer_initial_tsn + TSN_BASE)
        self.reassembly = self._new_reassembly(options)

    def _new_reassembly(self, options: AssociationOptions) -> Reassembly:
        if self.capabilities.interleaving:
            return InterleavedReassembly(
                options.max_message_size, options.receive_window, options.partial_delivery_point
            )
        return ReassemblyQueue(options.max_message_size, options.partial_delivery_point)

    def restart_receiving_at(self, options: AssociationOptions, peer_tsn: int) -> None:
        """Expect DATA from this unwrapped TSN on (RFC 6525, section 5.2.4); incomplete messages are dropped."""
        self.tracker = DataTracker(peer_tsn)
        self.reassembly = self._new_reassembly(options)

    def check_invariants(self) -> None:
        """Raise AssertionError if the counters of the sender or the receiver are inconsistent; for tests."""
        self.tracker.check_invariants()
        self.reassembly.check_invariants()
        self.sender.outstanding.check_invariants()

    def held(self) -> int:
        """Return the bytes of received data that count against the receiver window, overhead included."""
        assembling, _ = self.reassembly.uncounted(self.tracker.cumulative_tsn)
        return self.reassembly.buffered - assembling + self.unconsumed

    def held_payload(self) -> int:
        """Return the bytes as the peer counts them, without overhead."""
        _, assembling = self.reassembly.uncounted(self.tracker.cumulative_tsn)
        return self.held() - OVERHEAD * (self.reassembly.pieces - assembling + self.unconsumed_messages)


def _headers(
    options: AssociationOptions, content: StateCookieContent, capabilities: Capabilities
) -> tuple[bytes, bytes]:
    """Return `Tcb.header` and `Tcb.peer_header`."""
    local_port, remote_port = options.local_port, options.remote_port
    header = zero_checksum_header(local_port, remote_port, content.peer_tag)
    peer_header = zero_checksum_header(remote_port, local_port, content.local_tag)
    return header if capabilities.zero_checksum else b"", peer_header if options.zero_checksum else b""


def _make_paths(options: AssociationOptions, content: StateCookieContent, confirmed: Sequence[str]) -> list[Path]:
    """Return one path for each address, or a single path without an address."""
    if not content.peer_addresses:
        return [Path(options, content.peer_a_rwnd)]
    paths = [Path(options, content.peer_a_rwnd, address) for address in content.peer_addresses]
    for number, path in enumerate(paths):
        path.number = number
        path.confirmed = path.address is not None and path.address[0] in confirmed
    return paths


def authenticator_of(options: AssociationOptions, content: StateCookieContent, keys: KeyRing) -> Authenticator | None:
    """Return the authenticator that both sides agreed on, or None."""
    if not content.peer_key_vector:
        return None
    return make_authenticator(keys, content.local_random, options.listed_chunks, content.peer_key_vector)
