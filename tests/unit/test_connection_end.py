"""What `close` waits for, and the repetition of the first flight."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from datachan.peer import hello_repetition
from datachan.peer.connection_end import ConnectionEnd
from datachan.peer.hello_repetition import HelloRepetition
from tests.unit.timers import Timers

LONG = 60.0


async def test_a_handshake_that_is_over_is_not_waited_for() -> None:
    end = ConnectionEnd()
    end.begin()
    end.note_handshake(over=False)
    end.note_handshake(over=True)
    asked: list[bool] = []

    def has_heard() -> bool:
        asked.append(True)
        return True

    await end.handshake_over(has_heard, asyncio.Event())
    assert len(asked) == 2
    assert not end.closed


async def test_a_peer_that_has_sent_nothing_is_waited_for_only_until_its_first_check_is_due() -> None:
    end, loop = ConnectionEnd(), asyncio.get_running_loop()
    end.begin()
    began = loop.time()
    await end.handshake_over(lambda: False, asyncio.Event())
    assert 0.24 <= loop.time() - began < 1.0


async def test_whoever_is_in_a_hurry_waits_for_neither() -> None:
    end, hurry = ConnectionEnd(), asyncio.Event()
    hurry.set()
    end.begin()
    await end.handshake_over(lambda: True, hurry)
    assert not await end.delivered(lambda: 1, hurry, LONG)


async def test_delivery_is_graceful_when_the_association_ends_meanwhile() -> None:
    end = ConnectionEnd()
    asyncio.get_running_loop().call_soon(end.note_closed)
    assert await end.delivered(lambda: 1, asyncio.Event(), LONG)
    assert end.closed


async def test_delivery_without_progress_ends_after_the_patience_and_with_progress_later() -> None:
    end = ConnectionEnd()
    left: Iterator[int] = iter([9, 5, 5, 5, 5])
    assert not await end.delivered(lambda: next(left), asyncio.Event(), 0.1)
    assert next(left) == 5, "it was asked at the start, after progress, and once more"


async def test_a_flight_is_repeated_until_the_peer_has_sent_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hello_repetition, "_FIRST", 0.001)
    sent: list[list[bytes]] = []
    heard = asyncio.Event()

    def repeat(flight: list[bytes]) -> bool:
        if len(sent) == 3:
            heard.set()
            return False
        sent.append(flight)
        return True

    repetition = HelloRepetition([b"hello"], repeat)
    async with asyncio.timeout(10):
        await heard.wait()
    repetition.stop()
    assert sent == [[b"hello"]] * 3


async def test_a_stopped_repetition_sends_nothing() -> None:
    timers = Timers()
    repetition = HelloRepetition([b"hello"], lambda _: pytest.fail("it was stopped"))
    assert len(timers.pending()) == 1
    repetition.stop()
    assert timers.pending() == []
