"""DTLS datagrams inside checks (SPED, draft-hancke-webrtc-sped): what to attach, and what the peer has attached.

ICE and DTLS then share their round trips: the first check carries the ClientHello, its answer or the peer's own check
the server's flight. Two attributes do it, both comprehension-optional: DTLS-IN-STUN has one datagram of the flight that
the peer still needs, and its ACK the CRC-32 of each datagram that has arrived. A peer that knows neither ignores both
and answers without them, and so do we from then on. The flight is also sent as usual once a pair is selected, so
nothing is lost by trying. This module does not read the datagrams.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from enum import Enum, auto
from typing import Final

from .stun import DTLS_IN_STUN, DTLS_IN_STUN_ACK, Message

# The longest check in bytes. It fits into every IPv6 path (1280, less IPv6, UDP and TURN's channel header), so that no
# check is fragmented.
MAX_CHECK: Final = 1228
# To an address that has proved nothing goes at most this much: a ClientHello, no certificate. A peer that names the
# addresses of a victim causes checks there in any case, which should stay small.
_MAX_UNPROVEN: Final = 512
# Datagrams of one flight that are kept, and datagrams that are acknowledged; a flight has three at most.
_MAX_FLIGHT: Final = 8
_MAX_ACKNOWLEDGED: Final = 16
_MAX_SENT: Final = 64
# RFC 7983, 7: the first byte of DTLS.
_DTLS: Final = range(20, 64)
# The seconds for which the last flight is repeated if the peer does not acknowledge it.
_LAST_FLIGHT_LIFE: Final = 10.0


class Support(Enum):
    """Whether the peer embeds DTLS, and whether that is still of use."""

    UNKNOWN = auto()
    YES = auto()
    NO = auto()
    """Also when the handshake is complete: nothing more is attached or taken."""


class Embedding:
    """The DTLS datagrams in the checks of one agent.

    Args:
        enabled: whether to embed at all.

    Attributes:
        support: whether the peer takes part.
        taken: the number of datagrams that were handed up.
        shared: whether the peer has ever taken part.
    """

    def __init__(self, *, enabled: bool) -> None:
        self.support = Support.UNKNOWN if enabled else Support.NO
        self.taken = 0
        self.shared = False
        self._flight: list[tuple[int, bytes]] = []
        self._sent: dict[int, None] = {}
        self._received: dict[int, None] = {}
        self._ends_at: float | None = None

    # what we attach

    def set_flight(self, datagrams: Sequence[bytes]) -> None:
        """Attach these datagrams from now on, in place of the flight before, which the peer has answered."""
        if self.support is not Support.NO:
            self._flight = [(zlib.crc32(one), one) for one in datagrams[:_MAX_FLIGHT]]

    def handshake_complete(self, now: float, *, last_flight_is_ours: bool) -> None:
        """Stop when the peer has acknowledged the last flight, or at once if that was the peer's."""
        if self.support is not Support.NO:
            self._ends_at = now + _LAST_FLIGHT_LIFE
            if not last_flight_is_ours:
                self._flight.clear()

    def stop(self) -> None:
        """Attach and take nothing any longer."""
        self.support = Support.NO
        self._flight.clear()
        self._sent.clear()
        self._received.clear()

    def attributes(self, room: int, now: float, *, proven: bool) -> dict[int, bytes]:
        """Return the attributes for a message that is sent now.

        Args:
            room: the bytes that the message has left for them.
            now: the time.
            proven: whether the peer has authenticated itself from the address that the message goes to.
        """
        if self._ends_at is not None and (now >= self._ends_at or not self._flight):
            # The peer learns from the absence of the attributes, or from our data, that we need nothing more.
            self.stop()
        if self.support is Support.NO:
            return {}
        acknowledged = b"".join(code.to_bytes(4, "big") for code in self._received)
        attributes = {DTLS_IN_STUN_ACK: acknowledged}
        room -= 4 + len(acknowledged)
        if self._flight:
            code, datagram = self._flight[0]
            self._flight = [*self._flight[1:], self._flight[0]]  # in turns, as each check has room for one
            if 4 + len(datagram) + -len(datagram) % 4 <= room and (proven or len(datagram) <= _MAX_UNPROVEN):
                attributes = {DTLS_IN_STUN: datagram} | attributes
                self._remember(self._sent, code, _MAX_SENT)
        return attributes if room >= 0 else {}

    # what the peer attaches

    def take_untrusted(self, message: Message, *, answers_ours: bool) -> bytes | None:
        """Return the datagram in an authentic message, unless it has arrived before.

        Args:
            message: the message.
            answers_ours: whether it answers a check of ours that had the attributes.
        """
        if self.support is Support.NO:
            return None
        datagram = message.attributes.get(DTLS_IN_STUN)
        acknowledged = message.attributes.get(DTLS_IN_STUN_ACK)
        if datagram is None and acknowledged is None:
            if self.support is Support.UNKNOWN and answers_ours:
                self.stop()
            return None
        code = zlib.crc32(datagram or b"")
        if datagram and code in self._sent:  # a peer that copies unknown attributes into its answer
            self.stop()
            return None
        self.support = Support.YES
        self.shared = True
        if acknowledged is not None:
            codes = {int.from_bytes(acknowledged[at : at + 4], "big") for at in range(0, len(acknowledged), 4)}
            self._flight = [one for one in self._flight if one[0] not in codes]
        if not datagram or datagram[0] not in _DTLS or code in self._received:
            return None
        self._remember(self._received, code, _MAX_ACKNOWLEDGED)
        self.taken += 1
        return datagram

    @staticmethod
    def _remember(codes: dict[int, None], code: int, most: int) -> None:
        codes.pop(code, None)
        codes[code] = None
        while len(codes) > most:
            del codes[next(iter(codes))]
