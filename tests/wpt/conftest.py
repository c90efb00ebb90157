"""Fixtures for the tests of web-platform-tests: new connections that are closed at the end of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from datachan import RTCPeerConnection
from tests.pairs import configuration


@pytest.fixture
async def a() -> AsyncIterator[RTCPeerConnection]:
    async with RTCPeerConnection(configuration()) as connection:
        yield connection


@pytest.fixture
async def z() -> AsyncIterator[RTCPeerConnection]:
    async with RTCPeerConnection(configuration()) as connection:
        yield connection
