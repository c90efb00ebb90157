"""The time at which our candidates are emitted: after the application could send their description to the peer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from datachan.callbacks import ignore
from datachan.sdp import RTCIceCandidate

from .operations_chain import CALLER_TURNS


class CandidateEvents:
    """Emits candidates, and holds them while the application cannot know their description yet.

    Args:
        emit: emits one candidate as `icecandidate`, or None after the last one.
    """

    def __init__(self, emit: Callable[[RTCIceCandidate | None], None]) -> None:
        self._emit = emit
        self._held: list[list[RTCIceCandidate | None]] = []

    def emit(self, candidate: RTCIceCandidate | None) -> None:
        """Emit a candidate, or hold it until the call is complete that has created its description."""
        if self._held:
            self._held[-1].append(candidate)
        else:
            self._emit(candidate)

    def end(self) -> None:
        """Emit nothing any longer, and release the callback, which refers to the connection."""
        self._emit = ignore

    @contextmanager
    def held(self) -> Iterator[None]:
        """Delay candidate events until the body has ended and the calling coroutine has run again.

        In W3C's examples, the caller of `setLocalDescription()` sends the description when the call returns, and a
        callback sends each candidate. The peer refuses a candidate that arrives before its description.
        """
        candidates: list[RTCIceCandidate | None] = []
        self._held.append(candidates)
        try:
            yield
        finally:
            asyncio.get_running_loop().call_soon(self._release, candidates, CALLER_TURNS - 1)

    def _release(self, candidates: list[RTCIceCandidate | None], turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._release, candidates, turns - 1)
            return
        self._held = [others for others in self._held if others is not candidates]
        for candidate in candidates:
            self._emit(candidate)
