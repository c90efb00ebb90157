"""Copies of datagrams while a path is in doubt, and the selected link that sends them."""

from __future__ import annotations

from typing import Any, cast

from datachan.ice import link as link_module
from datachan.ice.copies import Copies
from datachan.ice.link import DatagramLink, SelectedLink
from datachan.ice.traffic import Traffic
from tests.interpreted import only_interpreted

THERE, ELSEWHERE = ("198.51.100.2", 5000), ("198.51.100.3", 5000)


def numbered(first: int, count: int) -> list[bytes]:
    return [number.to_bytes(2, "big") for number in range(first, first + count)]


def test_what_was_sent_since_a_time_is_sent_again_and_so_is_what_follows_until_it_stops() -> None:
    copies, sent = Copies(), list[bytes]()
    copies.note([b"old"], 1.0)
    copies.note([b"first", b"second"], 2.0)
    copies.note([b"third"], 3.0)
    assert sent == []
    copies.start(sent.extend, 1.5)
    assert sent == [b"first", b"second", b"third"]
    copies.note([b"fourth"], 4.0)
    copies.stop()
    copies.note([b"fifth"], 5.0)
    assert sent == [b"first", b"second", b"third", b"fourth"]


def test_a_full_window_causes_ten_copies_at_once_and_forty_in_all() -> None:
    copies, sent = Copies(), list[bytes]()
    for start in range(0, 1000, 100):
        copies.note(numbered(start, 100), 1.0)
    copies.start(sent.extend, 0.0)
    assert sent == numbered(990, 10)
    for start in range(1000, 2000, 100):
        copies.note(numbered(start, 100), 2.0)
    assert len(sent) == 40


class FakeLink:
    """Records what is sent, or refuses it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.sent: list[tuple[bytes, Any]] = []
        self.closed = False
        self.on_writable = self.on_too_long = None
        self.error = error

    def send(self, datagrams: list[bytes], address: object = None) -> None:
        if self.error is not None:
            raise self.error
        self.sent += [(datagram, address) for datagram in datagrams]


pytestmark = only_interpreted(link_module)


def test_a_selected_link_copies_to_the_alternative_while_it_is_told_to() -> None:
    first, second, traffic = FakeLink(), FakeLink(), Traffic()
    link = SelectedLink(cast(DatagramLink, first), THERE, traffic)
    link.send_datagrams([b"not kept"])
    link.keep_copies(True)
    link.send_datagrams([b"one"])
    link.copy_over(cast(DatagramLink, second), ELSEWHERE, 10.0)
    link.send_datagrams([b"two"])
    link.keep_copies(True)
    link.stop_copies()
    link.send_datagrams([b"three"])
    assert second.sent == [(b"one", ELSEWHERE), (b"two", ELSEWHERE)]
    assert [datagram for datagram, _ in first.sent] == [b"not kept", b"one", b"two", b"three"]
    assert traffic.packets_sent == 6


def test_an_alternative_that_refuses_copies_disturbs_nothing() -> None:
    for error in (BufferError("full"), OSError("unreachable")):
        first, second = FakeLink(), FakeLink(error)
        link = SelectedLink(cast(DatagramLink, first), THERE, Traffic())
        link.keep_copies(True)
        link.copy_over(cast(DatagramLink, second), ELSEWHERE, 10.0)
        link.send_datagrams([b"one"])
        second.error, second.closed = None, True
        link.send_datagrams([b"two"])
        assert second.sent == []
        assert len(first.sent) == 2


def test_nothing_is_copied_without_an_alternative_or_after_the_link_was_left() -> None:
    first, second = FakeLink(), FakeLink()
    link = SelectedLink(cast(DatagramLink, first), THERE, Traffic())
    link.copy_over(cast(DatagramLink, second), ELSEWHERE, 10.0)
    link.stop_copies()
    link.send_datagrams([b"one"])
    link.keep_copies(True)
    link.copy_over(cast(DatagramLink, second), ELSEWHERE, 10.0)
    link.close()
    link.send_datagrams([b"two"])
    assert second.sent == []
