"""What a stack sends before there is a path."""

from __future__ import annotations

from collections.abc import Sequence

from datachan.peer.early_link import EarlyLink

HELLO, FINISHED, DATA = b"\x16hello", b"\x14finished", b"\x17data"


def test_embeds_the_latest_flight_and_keeps_it_for_the_first_path() -> None:
    flights: list[Sequence[bytes]] = []
    link = EarlyLink(flights.append)
    link.send_datagrams([HELLO])
    link.send_datagrams([FINISHED, FINISHED])
    assert flights == [[HELLO], [FINISHED, FINISHED]]
    assert link.take() == [FINISHED, FINISHED]
    assert link.take() == []


def test_takes_data_once_and_embeds_none() -> None:
    flights: list[Sequence[bytes]] = []
    link = EarlyLink(flights.append)
    assert link.writable
    link.send_datagrams([FINISHED, DATA])
    assert not link.writable
    assert flights == [[FINISHED]]
    assert link.take() == [FINISHED, DATA]
