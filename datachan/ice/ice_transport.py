"""An ICE transport over aioice: a path to the peer, found, kept alive and watched."""

from collections.abc import Callable, Sequence

from datachan.ice.servers import IceServer
from datachan.ice.states import IceState
from datachan.ice.stats import IceStats, SelectedPair
from datachan.ice.transport import DatagramTransport, Receiver, WritableCallback
from datachan.sdp import IceCandidate


class IceTransport(DatagramTransport):
    """One ICE component, gathered, checked and then used to carry datagrams.

    Order of calls: (`add_remote_candidate`s, when they are already known, so that their kind can be met), `gather`,
    `set_remote`, `start`. Candidates of the peer may be added at any time until `close`.

    Arguments:
        controlling: the offerer controls (RFC 8445, 6.1.1); a conflict repairs itself.
        servers: STUN and TURN servers, all of which are used.
        relay_only: RTCIceTransportPolicy "relay": no candidate but relayed ones.
        loopback: whether 127.0.0.1 and ::1 are offered; None: when there is no other address, or the peer offered one.
        host_addresses: exactly these local addresses instead of those of all interfaces.
        fast_path: batches through `datachan.udp`; False takes asyncio's own datagram endpoints.
        gather_timeout: seconds for all STUN and TURN servers together.
        patience: seconds from `start` (or the latest remote candidate) until ICE gives up (RFC 8863).
    """

    on_state_change: Callable[[IceState], None] | None
    on_local_candidate: Callable[[IceCandidate | None], None] | None  # None: there are no more
    on_selected_pair_change: Callable[[SelectedPair], None] | None

    def __init__(
        self,
        *,
        controlling: bool,
        servers: Sequence[IceServer] = (),
        relay_only: bool = False,
        loopback: bool | None = None,
        host_addresses: Sequence[str] | None = None,
        fast_path: bool = True,
        gather_timeout: float = 5.0,
        patience: float = 39.5,
    ) -> None: ...

    @property
    def username_fragment(self) -> str: ...
    @property
    def password(self) -> str: ...
    @property
    def is_controlling(self) -> bool: ...
    def set_controlling(self, controlling: bool) -> None:
        """Choose the role; only before `start`."""

    @property
    def state(self) -> IceState: ...
    @property
    def failure(self) -> str | None:
        """Once the state is FAILED: one sentence that says what was tried."""

    async def gather(self) -> None:
        """Find the local candidates; at most `gather_timeout`. A second call waits for the first."""

    @property
    def local_candidates(self) -> list[IceCandidate]: ...
    @property
    def remote_candidates(self) -> list[IceCandidate]: ...
    def set_remote(self, username_fragment: str, password: str, *, lite: bool = False) -> None: ...
    def add_remote_candidate(self, candidate: IceCandidate | None) -> None:
        """Add a candidate of the peer, or None for end-of-candidates; never raises on what a peer wrote."""

    async def start(self) -> None:
        """Gather if need be, check, and return once a pair is selected; raises IceError when none was found."""

    @property
    def selected_pair(self) -> SelectedPair | None: ...
    def stats(self) -> IceStats: ...
    def set_receiver(self, receiver: Receiver | None) -> None: ...
    def send_datagrams(self, datagrams: Sequence[bytes]) -> None: ...
    @property
    def writable(self) -> bool: ...
    def set_writable_callback(self, callback: WritableCallback | None) -> None: ...
    async def close(self) -> None: ...
