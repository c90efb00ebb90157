"""Two ICE transports on one host: they connect, carry datagrams, notice a lost path, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aioice import stun

from datachan.ice import CandidatePairStats, IceError, IceServer, IceState, IceTransport, ice_links
from datachan.ice.address_watch import OnChange
from datachan.ice.interfaces import usable_addresses
from datachan.ice.tcp_links import ActiveTcpLink
from datachan.ice_agent import AgentOptions, Base
from datachan.sdp import IceCandidate
from datachan.udp import UdpSocket
from tests.unit.ice_pair import DTLS, Pair, Watched, wired
from tests.unit.mdns_responder import Link
from tests.unit.timers import Timers

INTERFACE = next((one.address for one in usable_addresses().addresses), "")
MakePair = Callable[..., Pair]
LOCAL = {"host_addresses": ["127.0.0.1"]}


@pytest.fixture
async def make_pair() -> AsyncIterator[MakePair]:
    made: list[Pair] = []

    def make(**options: Any) -> Pair:
        made.append(Pair(**options))
        return made[-1]

    yield make
    for pair in made:
        await pair.close()


def nowhere(kind: str = "host") -> IceCandidate:
    """Return a candidate on this host at which no socket listens."""
    return IceCandidate(foundation="1", priority=2113937151, address="127.0.0.1", port=9, type=kind)


# connecting


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1", INTERFACE])
async def test_two_peers_connect_and_carry_datagrams_both_ways(
    make_pair: MakePair, address: str, fast_path: bool
) -> None:
    if not address:
        pytest.skip("this host has no interface besides loopback")
    pair = make_pair(host_addresses=[address], fast_path=fast_path)
    await pair.connect()
    there = [DTLS + bytes([index % 256]) * 1199 for index in range(50)]
    back = [DTLS + bytes([index]) * index for index in range(40)]

    pair.a.send(*there)
    pair.z.send(*back)

    await pair.z.until(lambda: len(pair.z.received) == 50)
    await pair.a.until(lambda: len(pair.a.received) == 40)
    assert pair.z.received == there
    assert pair.a.received == back
    assert pair.a.ice.selected_pair is not None
    assert pair.a.ice.selected_pair.local.address == address


async def test_both_ends_select_the_same_pair_of_many(make_pair: MakePair) -> None:
    pair = make_pair(loopback=True)
    await pair.connect()
    await pair.a.until(lambda: pair.a.ice.state is IceState.COMPLETED)
    await pair.z.until(lambda: pair.z.ice.state is IceState.COMPLETED)
    a, z = pair.a.ice.selected_pair, pair.z.ice.selected_pair
    assert a is not None
    assert z is not None
    assert (a.local.address, a.local.port) == (z.remote.address, z.remote.port)
    assert (a.remote.address, a.remote.port) == (z.local.address, z.local.port)


async def test_states_go_from_new_to_completed(make_pair: MakePair) -> None:
    pair = make_pair(**LOCAL)
    assert pair.a.ice.state is IceState.NEW
    assert pair.a.ice.link is None
    links: list[bool] = []
    pair.a.ice.on_selected_pair_change = lambda _: links.append(pair.a.link.writable)
    await pair.connect()
    assert links == [True]
    link = pair.a.link
    await pair.a.until(lambda: pair.a.ice.state is IceState.COMPLETED)
    assert pair.a.states == [IceState.CHECKING, IceState.CONNECTED, IceState.COMPLETED]
    await pair.a.ice.close()
    assert pair.a.states[-1] is IceState.CLOSED
    assert pair.a.ice.link is None
    assert not link.writable


async def test_without_end_of_candidates_it_stays_connected(make_pair: MakePair) -> None:
    pair = make_pair(**LOCAL)
    await pair.gather()
    pair.exchange_credentials()
    for candidate in pair.z.ice.local_candidates:
        pair.a.ice.add_remote_candidate(candidate)
    await pair.start()
    assert pair.a.ice.state is IceState.CONNECTED
    pair.a.ice.add_remote_candidate(None)
    await pair.a.until(lambda: pair.a.ice.state is IceState.COMPLETED)


@pytest.mark.parametrize("knows", ["a", "z"])
async def test_a_peer_without_candidates_is_reached_by_its_own_checks(make_pair: MakePair, knows: str) -> None:
    pair = make_pair(**LOCAL)
    await pair.gather()
    pair.exchange_credentials()
    one, other = (pair.a, pair.z) if knows == "a" else (pair.z, pair.a)
    for candidate in other.ice.local_candidates:
        one.ice.add_remote_candidate(candidate)
    other.ice.add_remote_candidate(None)
    await pair.start()
    selected = other.ice.selected_pair
    assert selected is not None
    assert selected.remote.type == "prflx"


async def test_candidates_may_trickle_in_while_it_checks(make_pair: MakePair) -> None:
    pair = make_pair(**LOCAL)
    pair.exchange_credentials()
    starting = asyncio.create_task(pair.start())
    await pair.a.until(lambda: pair.a.ice.state is IceState.CHECKING)
    await pair.z.until(lambda: pair.z.ice.state is IceState.CHECKING)
    pair.a.ice.add_remote_candidate(nowhere())
    pair.exchange_candidates()
    await starting


async def test_the_checks_resolve_a_role_conflict(make_pair: MakePair) -> None:
    pair = make_pair(**LOCAL)
    pair.z.ice.set_controlling(True)
    await pair.connect()
    assert pair.a.ice.is_controlling != pair.z.ice.is_controlling


async def test_the_role_is_fixed_once_checks_have_started(make_pair: MakePair) -> None:
    pair = make_pair(**LOCAL)
    await pair.connect()
    with pytest.raises(IceError, match="role"):
        pair.a.ice.set_controlling(False)


async def test_reports_local_candidates_as_they_are_found_and_their_end_last(make_pair: MakePair) -> None:
    pair = make_pair(host_addresses=["127.0.0.1", "::1"])
    reported: list[IceCandidate | None] = []
    pair.a.ice.on_local_candidate = reported.append
    assert not pair.a.ice.gathered
    await asyncio.gather(pair.a.ice.gather(), pair.a.ice.gather())
    assert reported == [*pair.a.ice.local_candidates, None]
    assert [candidate.address for candidate in pair.a.ice.local_candidates] == ["127.0.0.1", "::1"]
    assert pair.a.ice.gathered


# loopback


def addresses(ice: IceTransport) -> set[str]:
    return {candidate.address for candidate in ice.local_candidates}


async def test_loopback_is_not_offered_where_there_is_an_interface(make_pair: MakePair) -> None:
    if not INTERFACE:
        pytest.skip("this host has no interface besides loopback")
    pair = make_pair()
    await pair.gather()
    assert addresses(pair.a.ice).isdisjoint({"127.0.0.1", "::1"})


async def test_loopback_is_offered_when_requested_and_never_when_forbidden(make_pair: MakePair) -> None:
    pair, never = make_pair(loopback=True), make_pair(loopback=False)
    never.a.ice.add_remote_candidate(nowhere())
    await pair.gather()
    await never.gather()
    assert {"127.0.0.1", "::1"} <= addresses(pair.a.ice)
    assert addresses(never.a.ice).isdisjoint({"127.0.0.1", "::1"})


async def test_a_peer_that_offers_loopback_is_reached_there_and_on_the_interface(make_pair: MakePair) -> None:
    pair = make_pair()
    pair.a.ice.add_remote_candidate(nowhere())
    await pair.gather()
    assert {"127.0.0.1"} <= addresses(pair.a.ice)
    if INTERFACE:
        assert INTERFACE in addresses(pair.a.ice)


ONLY_LOOPBACK = """
import asyncio
from tests.unit.ice_pair import Pair

async def main():
    pair = Pair()
    await pair.connect()
    print(sorted({candidate.address for candidate in pair.a.ice.local_candidates}))
    await pair.close()

asyncio.run(main())
"""


async def test_two_peers_connect_on_a_host_with_only_loopback() -> None:
    unshare = shutil.which("unshare")
    possible = unshare and subprocess.run([unshare, "-n", "true"], capture_output=True, check=False).returncode == 0
    if not possible:
        if os.environ.get("DATACHAN_REQUIRE_PEERS") == "1":
            pytest.fail("network namespaces are required here")
        pytest.skip("making a network namespace needs unshare and the right to use it")
    found = await asyncio.to_thread(
        subprocess.run,
        ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$0" -X dev -c "$1"', sys.executable, ONLY_LOOPBACK],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.stdout.strip() == "['127.0.0.1', '::1']", found.stderr


# mDNS


@pytest.fixture
async def link() -> AsyncIterator[Link]:
    link = Link({"a-a.local": "127.0.0.1", "z-z.local": "127.0.0.1"})
    yield link
    link.close()


def named(candidate: IceCandidate, name: str) -> IceCandidate:
    return replace(candidate, address=name)


async def test_connects_to_a_peer_whose_mdns_name_resolves(make_pair: MakePair, link: Link) -> None:
    pair = make_pair(**LOCAL, mdns=link.resolver)
    await pair.gather()
    pair.exchange_credentials()
    [of_z] = pair.z.ice.local_candidates
    pair.a.ice.add_remote_candidate(named(of_z, "z-z.local"))
    pair.a.ice.add_remote_candidate(None)
    await pair.start()
    selected = pair.a.ice.selected_pair
    assert selected is not None
    # draft-ietf-mmusic-mdns-ice-candidates, 3.3.1: the address behind the name stays hidden.
    assert (selected.remote.address, selected.remote.type) == ("z-z.local", "host")


async def test_uses_a_name_that_resolves_after_checks_began_despite_end_of_candidates(
    make_pair: MakePair, link: Link
) -> None:
    link.responder.silent = True
    pair = make_pair(**LOCAL, mdns=link.resolver)
    await pair.gather()
    pair.exchange_credentials()
    [of_z] = pair.z.ice.local_candidates
    pair.a.ice.add_remote_candidate(named(of_z, "z-z.local"))
    pair.a.ice.add_remote_candidate(None)
    await link.responder.asked.wait()
    starting = asyncio.create_task(pair.start())
    await pair.a.until(lambda: pair.a.ice.state is IceState.CHECKING)
    link.responder.silent = False
    await starting


async def test_a_peer_whose_name_does_not_resolve_is_found_by_its_checks(make_pair: MakePair, link: Link) -> None:
    link.responder.silent = True
    pair = make_pair(**LOCAL, mdns=link.resolver)
    await pair.gather()
    pair.exchange_credentials()
    [of_a], [of_z] = pair.a.ice.local_candidates, pair.z.ice.local_candidates
    pair.a.ice.add_remote_candidate(named(of_z, "z-z.local"))
    pair.a.ice.add_remote_candidate(None)
    pair.z.ice.add_remote_candidate(of_a)
    await pair.start()
    assert pair.a.ice.selected_pair is not None


# failing with a reason


@pytest.mark.parametrize(
    ("servers", "ending"),
    [
        ([], r"answered: 0\. A firewall may block UDP, .*: name a STUN or TURN server"),
        ([IceServer(("stun:127.0.0.1:9",))], r"UDP may be blocked: a TURN server over TCP may help \(.*\)"),
        # The TURN server that was named is at fault.
        ([IceServer(("turn:127.0.0.1:9",), "ada", "secret")], r"turn:127\.0\.0\.1:9: .*Connection refused\)?"),
    ],
)
async def test_a_failure_for_lack_of_a_relay_says_what_may_help(servers: list[IceServer], ending: str) -> None:
    ice = IceTransport(controlling=True, **LOCAL, servers=servers, patience=0.3, gather_timeout=5)
    ice.set_remote("user", "x" * 24)
    ice.add_remote_candidate(nowhere())
    with pytest.raises(IceError, match=f"{ending}$"):
        await ice.start()
    await ice.close()


@pytest.mark.patient_loop
async def test_gives_up_after_the_timeout_and_reports_what_it_tried(make_pair: MakePair, link: Link) -> None:
    pair = make_pair(**LOCAL, patience=0.3, mdns=link.resolver)
    pair.exchange_credentials()
    for candidate in (
        nowhere(),
        named(nowhere(), "unknown.local"),
        replace(nowhere(), transport="tcp", tcp_type="active"),
    ):
        pair.a.ice.add_remote_candidate(candidate)
    pair.a.ice.add_remote_candidate(None)
    with pytest.raises(IceError) as caught:
        await pair.a.ice.start()
    sentence = str(caught.value)
    assert "no check was answered within 0.3 seconds" in sentence
    assert "local candidates: 1 host" in sentence
    assert "1 host (mDNS)" in sentence
    assert "1 host over tcp" in sentence
    assert "pairs checked: 1, answered: 0" in sentence
    assert "not resolved: unknown.local" in sentence
    assert pair.a.ice.failure == sentence
    assert pair.a.states == [IceState.CHECKING, IceState.FAILED]


@pytest.mark.patient_loop
async def test_each_new_candidate_restarts_the_timeout(make_pair: MakePair) -> None:
    pair = make_pair(**LOCAL, patience=0.4)
    pair.exchange_credentials()
    started = asyncio.get_running_loop().time()
    starting = asyncio.create_task(pair.a.ice.start())
    await pair.a.until(lambda: pair.a.ice.state is IceState.CHECKING)
    await asyncio.sleep(0.25)
    pair.a.ice.add_remote_candidate(nowhere())
    with pytest.raises(IceError):
        await starting
    assert asyncio.get_running_loop().time() - started > 0.6


async def test_fails_at_once_without_a_local_candidate(make_pair: MakePair) -> None:
    pair = make_pair(host_addresses=["203.0.113.9"])
    pair.exchange_credentials()
    with pytest.raises(IceError, match=r"no local candidate.*could not bind 203\.0\.113\.9"):
        await asyncio.wait_for(pair.a.ice.start(), 5)


@pytest.mark.patient_loop
async def test_does_not_connect_to_a_peer_with_another_password(make_pair: MakePair) -> None:
    pair = make_pair(**LOCAL, patience=0.5)
    await pair.gather()
    pair.exchange_credentials()
    pair.a.ice.set_remote(pair.z.ice.username_fragment, "x" * 24)
    pair.exchange_candidates()
    starts = await asyncio.gather(pair.a.ice.start(), pair.z.ice.start(), return_exceptions=True)
    assert [type(result) for result in starts] == [IceError, IceError]


async def test_start_needs_the_peers_credentials(make_pair: MakePair) -> None:
    with pytest.raises(IceError, match="username fragment"):
        await make_pair(**LOCAL).a.ice.start()


def test_an_unusable_server_url_raises_at_once() -> None:
    with pytest.raises(ValueError, match="stun:, stuns:, turn: or turns:"):
        IceTransport(controlling=True, servers=[IceServer(("http://example.com",))])


async def test_unusable_remote_candidates_are_ignored_and_bounded(make_pair: MakePair) -> None:
    pair = make_pair(**LOCAL)
    pair.exchange_credentials()
    await pair.gather()
    for candidate in (
        replace(nowhere(), address="example.com"),
        replace(nowhere(), address="224.0.0.1"),
        replace(nowhere(), address="0.0.0.0"),
        replace(nowhere(), address="fe80::1"),
        replace(nowhere(), component=2),
        replace(nowhere(), type="prflx"),
        replace(nowhere(), port=0),
        replace(nowhere(), transport="tcp"),
    ):
        pair.a.ice.add_remote_candidate(candidate)
    pair.exchange_candidates()
    for port in range(1000, 1300):
        pair.a.ice.add_remote_candidate(replace(nowhere(), port=port))
    assert len(pair.a.ice.remote_candidates) == 100
    await pair.start()


# proven addresses


@pytest.mark.patient_loop
async def test_drops_and_counts_datagrams_of_strangers(make_pair: MakePair) -> None:
    pair = make_pair(**LOCAL, agent_options=AgentOptions(check_life=0.2))
    await pair.connect()
    [of_a] = pair.a.ice.local_candidates
    strangers = UdpSocket.bind("127.0.0.2"), UdpSocket.bind("127.0.0.1")  # the second has the peer's address
    for stranger in strangers:
        stranger.send([DTLS + b"forged"] * 70, (of_a.address, of_a.port))
    pair.z.send(DTLS + b"true")
    await pair.a.until(lambda: bool(pair.a.received))
    assert pair.a.received == [DTLS + b"true"]
    # 64 datagrams of the second are kept for as long as its address is being checked.
    async with asyncio.timeout(10):
        while pair.a.ice.stats().packets_discarded_on_receive < 140:
            await asyncio.sleep(0.01)
    assert pair.a.received == [DTLS + b"true"]
    for stranger in strangers:
        stranger.close()


async def test_data_from_a_rebound_nat_waits_for_the_check_of_its_address(make_pair: MakePair) -> None:
    pair = make_pair(**LOCAL)
    wire = await wired(pair)
    await pair.start()
    wire.rebind("z")
    for number in range(5):
        pair.z.send(DTLS + bytes([number]))
    await pair.a.until(lambda: len(pair.a.received) == 5)
    assert pair.a.received == [DTLS + bytes([number]) for number in range(5)]
    wire.close()


MALFORMED_STUN = {
    "cut priority": stun.Message(stun.Method.BINDING, stun.Class.REQUEST, attributes={"PRIORITY": 1}),
    "no attributes": stun.Message(stun.Method.BINDING, stun.Class.REQUEST),
}


async def test_ignores_malformed_stun(make_pair: MakePair) -> None:
    pair = make_pair(**LOCAL)
    await pair.connect()
    [of_a] = pair.a.ice.local_candidates
    stranger = UdpSocket.bind("127.0.0.1")
    header = bytes.fromhex("00010004 2112a442") + bytes(12)
    bad_attributes = [
        header + bytes.fromhex("0024 0000"),  # PRIORITY without a value
        header[:3] + b"\x08" + header[4:] + bytes.fromhex("8029 0001 00000000"),  # ICE-CONTROLLED of one byte
        header + bytes.fromhex("0006 ffff"),
        header + bytes.fromhex("0009 0000"),
        bytes(MALFORMED_STUN["cut priority"]),
        bytes(MALFORMED_STUN["no attributes"]),
        b"\0",
        b"",
        b"\x03" * 19,
    ]
    stranger.send(bad_attributes, (of_a.address, of_a.port))
    pair.z.send(DTLS + b"still here")
    await pair.a.until(lambda: bool(pair.a.received))
    stranger.close()
    assert pair.a.received == [DTLS + b"still here"]


async def test_rejects_a_check_of_the_peer_without_priority(make_pair: MakePair) -> None:
    pair = make_pair(**LOCAL)
    await pair.connect()
    [of_a] = pair.a.ice.local_candidates
    check = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    check.attributes["USERNAME"] = f"{pair.a.ice.username_fragment}:{pair.z.ice.username_fragment}"
    check.add_message_integrity(pair.a.ice.password.encode())
    asker = UdpSocket.bind("127.0.0.1")
    answers: list[bytes] = []
    answered = asyncio.Event()
    asker.set_receiver(lambda datagrams, _: (answers.extend(datagrams), answered.set())[-1])
    asker.send([bytes(check)], (of_a.address, of_a.port))
    await asyncio.wait_for(answered.wait(), 5)
    asker.close()
    assert stun.parse_message(answers[0]).error_code == 400


async def test_keeps_early_datagrams_in_order_and_bounded(make_pair: MakePair) -> None:
    pair = make_pair(**LOCAL)
    await pair.connect()
    pair.a.ice.set_receiver(None)
    pair.z.send(*[DTLS + index.to_bytes(2, "big") for index in range(300)])
    marker = pair.a.ice.stats
    async with asyncio.timeout(5):
        while marker().packets_discarded_on_receive < 44:
            await asyncio.sleep(0.005)
    pair.a.listen()
    assert pair.a.received == [DTLS + index.to_bytes(2, "big") for index in range(256)]


async def test_datagrams_on_a_link_whose_path_is_gone_count_as_lost(make_pair: MakePair) -> None:
    pair = make_pair(**LOCAL)
    await pair.connect()
    link = pair.a.link
    await pair.a.ice.close()
    link.send_datagrams([DTLS, DTLS])
    stats = pair.a.ice.stats()
    assert (stats.packets_discarded_on_send, stats.bytes_discarded_on_send) == (2, 2 * len(DTLS))


# consent and changes of the path


# The times of RFC 7675 divided by fifteen.
HURRIED = AgentOptions(
    consent_interval=5 / 15, consent_expiry=30 / 15, silence=5 / 15, probe_timeout=1 / 15, sending_silence=1 / 15
)


@pytest.mark.patient_loop
async def test_a_path_that_comes_back_in_time_is_connected_again(
    make_pair: MakePair,
) -> None:
    pair = make_pair(**LOCAL, agent_options=HURRIED)
    wire = await wired(pair)
    await pair.start()
    wire.cut = True
    await pair.a.until(lambda: pair.a.ice.state is IceState.DISCONNECTED)
    assert pair.a.link.writable
    wire.cut = False
    await pair.a.until(lambda: pair.a.ice.state is IceState.CONNECTED)
    pair.a.send(DTLS + b"again")
    await pair.z.until(lambda: pair.z.received == [DTLS + b"again"])
    wire.close()


@pytest.mark.patient_loop
async def test_the_path_fails_and_nothing_is_sent_when_consent_expires(
    make_pair: MakePair,
) -> None:
    pair = make_pair(**LOCAL, agent_options=HURRIED)
    wire = await wired(pair)
    await pair.start()
    link = pair.a.link
    wire.cut = True
    await pair.a.until(lambda: pair.a.ice.state is IceState.FAILED)
    assert pair.a.states[-2:] == [IceState.DISCONNECTED, IceState.FAILED]
    assert "answered no check" in str(pair.a.ice.failure)
    assert pair.a.ice.link is None
    assert not link.writable
    sent = pair.a.ice.stats().packets_sent
    link.send_datagrams([DTLS])
    assert pair.a.ice.stats().packets_sent == sent
    wire.close()


@pytest.mark.patient_loop
async def test_consent_is_renewed_for_as_long_as_the_peer_answers(make_pair: MakePair) -> None:
    pair = make_pair(**LOCAL, agent_options=HURRIED)
    await pair.connect()
    async with asyncio.timeout(10):
        while (stats := selected(pair.a)).consent_requests_sent < 10:  # takes twice the lifetime of consent
            await asyncio.sleep(0.05)
    assert stats.responses_received >= 8
    assert IceState.FAILED not in pair.a.states


@pytest.mark.parametrize("side", ["a", "z"])
@pytest.mark.patient_loop
async def test_both_ends_follow_a_nat_that_gives_one_of_them_a_new_address(make_pair: MakePair, side: str) -> None:
    pair = make_pair(**LOCAL, agent_options=HURRIED)
    wire = await wired(pair)
    await pair.start()
    wire.rebind(side)
    other, new_port = (pair.z, wire.facing_z[1]) if side == "a" else (pair.a, wire.facing_a[1])
    async with asyncio.timeout(10):
        while (chosen := other.ice.selected_pair) is None or chosen.remote.port != new_port:
            await asyncio.sleep(0.01)
    pair.a.send(DTLS + b"from a")
    pair.z.send(DTLS + b"from z")
    await pair.z.until(lambda: pair.z.received == [DTLS + b"from a"])
    await pair.a.until(lambda: pair.a.received == [DTLS + b"from z"])
    await asyncio.sleep(2 * HURRIED.consent_expiry)  # either end would have failed by now
    assert IceState.FAILED not in pair.a.states + pair.z.states
    wire.close()


def selected(side: Watched) -> CandidatePairStats:
    [stats] = [stats for stats in side.ice.stats().pairs if stats.selected]
    return stats


async def test_statistics_count_the_pair_and_the_datagrams(make_pair: MakePair) -> None:
    pair = make_pair(**LOCAL)
    await pair.connect()
    pair.a.send(DTLS + b"123", DTLS + b"12345")
    await pair.z.until(lambda: len(pair.z.received) == 2)
    sent, received = pair.a.ice.stats(), pair.z.ice.stats()
    assert (sent.packets_sent, sent.bytes_sent) == (received.packets_received, received.bytes_received) == (2, 10)
    assert sent.local_candidates == tuple(pair.a.ice.local_candidates)
    assert sent.remote_candidates == tuple(pair.z.ice.local_candidates)
    pair_stats = selected(pair.a)
    assert pair_stats.nominated
    assert pair_stats.state == "succeeded"
    assert pair_stats.current_round_trip_time is not None
    assert 0 < pair_stats.current_round_trip_time < 5


# closing


async def test_closing_twice_or_before_any_call_is_harmless() -> None:
    ice = IceTransport(controlling=True)
    await ice.close()
    await ice.close()
    assert ice.state is IceState.CLOSED
    for call in (ice.gather, ice.start):
        with pytest.raises(IceError, match="closed"):
            await call()
    ice.add_remote_candidate(nowhere())
    ice.add_remote_candidate(None)


async def test_closing_while_it_checks_ends_start_with_an_error(make_pair: MakePair) -> None:
    pair = make_pair(**LOCAL)
    pair.exchange_credentials()
    pair.a.ice.add_remote_candidate(nowhere())
    starting = asyncio.create_task(pair.a.ice.start())
    await pair.a.until(lambda: pair.a.ice.state is IceState.CHECKING)
    await pair.a.ice.close()
    with pytest.raises(IceError, match="closed"):
        await starting


async def test_closing_while_it_gathers_leaves_no_socket(make_pair: MakePair) -> None:
    silent = UdpSocket.bind("127.0.0.1")  # a STUN server that never answers
    server = IceServer((f"stun:127.0.0.1:{silent.local_address[1]}",))
    pair = make_pair(**LOCAL, servers=[server])
    found = asyncio.Event()
    pair.a.ice.on_local_candidate = lambda _: found.set()
    gathering = asyncio.create_task(pair.a.ice.gather())
    await found.wait()
    await pair.a.ice.close()
    silent.close()
    with pytest.raises(IceError, match="closed"):
        await gathering


async def test_a_canceled_start_goes_on_until_close(make_pair: MakePair) -> None:
    pair = make_pair(**LOCAL)
    await pair.gather()
    pair.exchange_credentials()
    starting = asyncio.create_task(pair.a.ice.start())
    await pair.a.until(lambda: pair.a.ice.state is IceState.CHECKING)
    starting.cancel()
    await asyncio.wait([starting])
    pair.exchange_candidates()
    await pair.start()


async def test_a_close_that_is_canceled_leaves_no_socket_open() -> None:
    before = asyncio.all_tasks()
    ice = IceTransport(controlling=True, servers=[IceServer(("stun:192.0.2.1:3478",))], **LOCAL)
    await ice.gather_hosts()
    closing = asyncio.create_task(ice.close())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks = asyncio.all_tasks() - before
    for task in tasks:  # as asyncio.run does at the end of a program
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert closing.cancelled()
    assert [link.closed for link in ice._runner.links.values()] == [True]


@pytest.mark.patient_loop
async def test_asks_for_a_restart_when_a_new_address_does_not_lead_to_the_peer(
    make_pair: MakePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: list[OnChange] = []

    def watch(changed: OnChange) -> object:
        changes.append(changed)
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(ice_links, "watch_addresses", watch)
    pair = make_pair(loopback=True)
    await pair.connect()
    asked = asyncio.Event()
    pair.a.ice.on_restart_needed = asked.set
    vanished = frozenset(candidate.address for candidate in pair.a.ice.local_candidates)
    changes[0](frozenset(), vanished)
    assert pair.a.ice.state is IceState.DISCONNECTED
    changes[0](frozenset({"192.0.2.1"}), frozenset())
    await asyncio.wait_for(asked.wait(), 10)


async def test_close_waits_for_a_link_that_a_restart_has_closed_before() -> None:
    class Slow(ActiveTcpLink):
        over = asyncio.Event()

        async def wait_closed(self) -> None:
            await self.over.wait()

    ice = IceTransport(controlling=True, host_addresses=["127.0.0.1"])
    await ice.gather()
    base, slow = Base("127.0.0.1", 9, "tcp"), Slow("127.0.0.1")
    slow.discard([DTLS])
    ice._links.runner.add_link(base, slow)
    ice._links._close_unused_links()
    closing = asyncio.create_task(ice.close())
    done, _ = await asyncio.wait([closing], timeout=0.05)
    assert not done
    slow.over.set()
    await closing
    assert ice.stats().bytes_discarded_on_send == len(DTLS)


async def test_close_leaves_no_task_and_no_timer() -> None:
    before = asyncio.all_tasks()
    timers = Timers()
    pair = Pair(loopback=True)
    await pair.connect()
    assert timers.pending(), "consent has none?"
    await pair.close()
    assert asyncio.all_tasks() == before
    assert timers.pending() == []
