"""What is received and not delivered, as the association sees it: chunks in, messages out, and bytes held.

The base of the two ways messages are fragmented: by consecutive TSNs (`reassembly`) and by fragment numbers
(`interleaved`).
"""

from __future__ import annotations

from collections.abc import Sequence

from datachan.sctp.errors import SctpError
from datachan.sctp.events import Event
from datachan.sctp.wire.chunks import UserDataChunk

OVERHEAD = 128
"""What holding one fragment or message costs besides its bytes: counted, so that tiny ones cannot outgrow the
window.
"""


class PeerViolation(SctpError):
    """The peer broke the protocol in a way that ends the association; the text goes into the ABORT."""


class Reassembly:
    """Everything received that the user does not have yet.

    Attributes:
        buffered: bytes held, overhead included.
        pieces: how many times the overhead is in that.
        max_message_size: longest message accepted, 0 for no limit. Of one that is handed up in parts, what is held
            counts.
        partial_delivery_point: so many bytes of a message whose turn it is are handed up although it goes on; 0 waits
            for whole messages.
    """

    __slots__ = ("buffered", "max_message_size", "partial_delivery_point", "pieces")

    def __init__(self, max_message_size: int = 0, partial_delivery_point: int = 0) -> None:
        self.buffered = 0
        self.pieces = 0
        self.max_message_size = max_message_size
        self.partial_delivery_point = partial_delivery_point

    def add(self, chunk: UserDataChunk, tsn: int, contiguous: bool, out: list[Event]) -> None:
        """Take in a fragment and append the messages it completes, in order, to `out`.

        Args:
            chunk: received for the first time.
            tsn: its unwrapped TSN.
            contiguous: nothing below this TSN is missing.
            out: receives the messages.

        Raises:
            PeerViolation: the fragments do not fit together, or the message exceeds `max_message_size`.
        """

    def forward(self, new_cumulative_tsn: int, skipped: Sequence[tuple[int, bool, int]], out: list[Event]) -> None:
        """The sender gave up on everything up to a TSN (RFC 3758, section 3.6).

        Args:
            new_cumulative_tsn: unwrapped.
            skipped: (stream id, unordered, number) of the last message given up per stream; the number is an SSN or
                a MID as on the wire.
            out: receives messages that were waiting for those.
        """

    def reset_streams(self, stream_ids: Sequence[int] | None) -> None:
        """The peer begins again with number 0 on these streams, or on all (RFC 6525, section 5.2.2)."""

    def being_assembled(self, cumulative_tsn: int) -> tuple[int, int]:
        """(bytes, pieces) that the receiver window does not count, of messages that are on their way to be whole.

        Else a message longer than the window could never arrive.
        """
        return 0, 0

    def check_invariants(self) -> None:
        """For tests: raise AssertionError when the books do not balance."""

    def _hold(self, size: int, pieces: int) -> None:
        self.buffered += size + OVERHEAD * pieces
        self.pieces += pieces

    def _check_size(self, size: int) -> None:
        if self.max_message_size and size > self.max_message_size:
            raise PeerViolation(f"a message exceeds the {self.max_message_size} bytes announced")
