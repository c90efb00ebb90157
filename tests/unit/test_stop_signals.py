"""Test the events of SIGINT and SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from datachan.stop_signals import StopSignals


@pytest.mark.parametrize(("number", "terminated"), [(signal.SIGTERM, True), (signal.SIGINT, False)])
async def test_the_first_signal_stops_and_the_second_hurries(number: signal.Signals, terminated: bool) -> None:
    with StopSignals() as signals:
        os.kill(os.getpid(), number)
        await asyncio.wait_for(signals.stopped.wait(), 10)
        assert signals.terminated is terminated
        assert not signals.hurried.is_set()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(signals.hurried.wait(), 10)
        assert signals.terminated is terminated
