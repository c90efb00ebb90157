"""Test server-reflexive and relayed candidates with coturn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from datachan import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCPeerConnectionIceErrorEvent
from datachan.ice import IceError, IceServer
from datachan.ice_agent import turn
from datachan.udp import UdpSocket
from tests.interop import coturn
from tests.interop.coturn import server
from tests.missing import missing
from tests.unit.ice_pair import DTLS, Pair

__all__ = ["server"]  # a fixture

pytestmark = pytest.mark.asyncio(loop_scope="module")
LOCAL = {"host_addresses": [coturn.HOST]}
MakePair = Callable[..., Pair]


@pytest_asyncio.fixture(loop_scope="module")
async def make_pair() -> AsyncIterator[MakePair]:
    made: list[Pair] = []

    def make(**options: Any) -> Pair:
        made.append(Pair(**options))
        return made[-1]

    yield make
    for pair in made:
        await pair.close()


async def carries_both_ways(pair: Pair) -> None:
    there = [DTLS + index.to_bytes(2, "big") * 599 for index in range(300)]
    back = [DTLS + bytes(index) for index in range(100)]
    # The socket buffers of a relay are small, so send short bursts, as a congestion window would.
    for start in range(0, 300, 30):
        pair.a.send(*there[start : start + 30])
        pair.z.send(*back[start // 3 : start // 3 + 10])
        await pair.z.until(lambda start=start: len(pair.z.received) == start + 30)
    await pair.a.until(lambda: len(pair.a.received) == 100)
    assert pair.z.received == there
    assert pair.a.received == back


async def test_a_stun_server_behind_a_translator_gives_a_server_reflexive_candidate(
    server: coturn.Coturn, make_pair: MakePair
) -> None:
    translator = coturn.Translator((coturn.HOST, server.port))
    pair = make_pair(**LOCAL, servers=[IceServer((f"stun:{coturn.HOST}:{translator.inside}",))])
    await pair.a.ice.gather()
    translator.close()
    host, reflexive = pair.a.ice.local_candidates
    assert (reflexive.type, reflexive.address, reflexive.port) == ("srflx", coturn.HOST, translator.outside)
    assert (reflexive.related_address, reflexive.related_port) == (host.address, host.port)
    assert reflexive.priority < host.priority


async def test_asks_all_stun_servers_and_omits_redundant_candidates(server: coturn.Coturn, make_pair: MakePair) -> None:
    translators = [coturn.Translator((coturn.HOST, server.port)) for _ in range(2)]
    urls = tuple(f"stun:{coturn.HOST}:{translator.inside}" for translator in translators)
    # A server that is asked directly sees the address of the host candidate, so its candidate is redundant.
    pair = make_pair(**LOCAL, servers=[IceServer(urls), server.stun()])
    await pair.a.ice.gather()
    for translator in translators:
        translator.close()
    found = [(candidate.type, candidate.port) for candidate in pair.a.ice.local_candidates[1:]]
    assert sorted(found) == sorted(("srflx", translator.outside) for translator in translators)


async def test_a_silent_server_costs_one_timeout_only(server: coturn.Coturn, make_pair: MakePair) -> None:
    silent = UdpSocket.bind(coturn.HOST)
    dead = tuple(f"stun:{coturn.HOST}:{silent.local_address[1]}" for _ in range(5))
    pair = make_pair(**LOCAL, servers=[IceServer(dead), server.turn()], gather_timeout=2.0)
    loop = asyncio.get_running_loop()
    started = loop.time()
    await pair.a.ice.gather()
    silent.close()
    assert loop.time() - started < 8  # rather than five times two
    assert [candidate.type for candidate in pair.a.ice.local_candidates] == ["host", "relay"]


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_two_peers_that_may_only_use_relays_connect_through_them(
    server: coturn.Coturn, make_pair: MakePair, transport: str, fast_path: bool
) -> None:
    pair = make_pair(servers=[server.turn(transport)], relay_only=True, fast_path=fast_path)
    await pair.connect()
    for side in (pair.a, pair.z):
        [candidate] = side.ice.local_candidates
        assert candidate.type == "relay"
        assert (candidate.related_address, candidate.related_port) == ("0.0.0.0", 9)
    await carries_both_ways(pair)


async def test_a_relay_over_tls_is_reached_with_a_certificate_the_system_trusts(
    server: coturn.Coturn, make_pair: MakePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(server.certificate))
    pair = make_pair(servers=[server.turns()], relay_only=True)
    await pair.connect()
    await carries_both_ways(pair)


async def test_a_relay_over_tls_with_an_untrusted_certificate_is_not_used(
    server: coturn.Coturn, make_pair: MakePair
) -> None:
    pair = make_pair(servers=[server.turns()], relay_only=True)
    pair.exchange_credentials()
    with pytest.raises(IceError, match="certificate verify failed"):
        await pair.a.ice.start()


async def test_checks_continue_over_the_first_relay_while_another_server_is_silent(
    server: coturn.Coturn, make_pair: MakePair
) -> None:
    silent = UdpSocket.bind(coturn.HOST)
    dead = IceServer((f"turn:{coturn.HOST}:{silent.local_address[1]}",), coturn.USER, coturn.PASSWORD)
    pair = make_pair(servers=[dead, server.turn()], relay_only=True, gather_timeout=60)
    pair.exchange_credentials()
    pair.a.ice.on_local_candidate = pair.z.ice.add_remote_candidate
    pair.z.ice.on_local_candidate = pair.a.ice.add_remote_candidate
    async with asyncio.timeout(10):
        await pair.start()
    assert not pair.a.ice.gathered
    silent.close()


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("candidate_first", [True, False])
async def test_the_first_check_of_the_peer_passes_a_relay_that_has_sent_no_check(
    server: coturn.Coturn, make_pair: MakePair, transport: str, candidate_first: bool
) -> None:
    relayed, direct = make_pair(servers=[server.turn(transport)], relay_only=True).a, make_pair(**LOCAL).z
    relayed.ice.set_remote(direct.ice.username_fragment, direct.ice.password)
    direct.ice.set_remote(relayed.ice.username_fragment, relayed.ice.password)
    await direct.ice.gather()
    [of_direct] = direct.ice.local_candidates
    if candidate_first:
        relayed.ice.add_remote_candidate(of_direct)
    await relayed.ice.gather()
    relayed.ice.add_remote_candidate(of_direct)
    await asyncio.sleep(0.2)  # the server answers the request for a permission
    [of_relayed] = relayed.ice.local_candidates
    direct.ice.add_remote_candidate(of_relayed)
    starting = asyncio.create_task(direct.ice.start())
    # The relayed side never starts checks. It answers, and the incoming check needs the permission.
    async with asyncio.timeout(10):
        while not any(stats.responses_received for stats in direct.ice.stats().pairs):
            await asyncio.sleep(0.01)
    await direct.ice.close()
    await asyncio.gather(starting, return_exceptions=True)


async def test_a_peer_behind_a_relay_connects_to_one_without(server: coturn.Coturn, make_pair: MakePair) -> None:
    relayed = make_pair(servers=[server.turn()], relay_only=True)
    direct = make_pair(**LOCAL)
    pair = Pair()
    await pair.close()
    pair.a, pair.z = relayed.a, direct.z
    await pair.connect()
    selected = direct.z.ice.selected_pair
    assert selected is not None
    assert selected.remote.type == "relay"
    await carries_both_ways(pair)


async def test_all_turn_servers_are_used(server: coturn.Coturn, make_pair: MakePair) -> None:
    pair = make_pair(servers=[server.turn("udp"), server.turn("tcp")], relay_only=True)
    await pair.a.ice.gather()
    first, second = pair.a.ice.local_candidates
    assert first.type == second.type == "relay"
    assert first.port != second.port
    assert first.priority != second.priority


async def test_the_failure_names_wrong_credentials(server: coturn.Coturn, make_pair: MakePair) -> None:
    pair = make_pair(servers=[server.turn(password="wrong")], relay_only=True)
    pair.exchange_credentials()
    with pytest.raises(IceError, match=r"no local candidate.*turn:.*401"):
        await pair.a.ice.start()


async def test_statistics_name_the_server_and_protocol_of_each_candidate(server: coturn.Coturn) -> None:
    given = server.turn("tcp")
    [url] = given.urls
    given_turn = RTCIceServer(url, given.username, given.credential)
    async with RTCPeerConnection(
        RTCConfiguration(iceServers=[given_turn], hostAddresses=[coturn.HOST], waitForCandidates=True)
    ) as pc:
        pc.createDataChannel("chat")
        await pc.setLocalDescription()
        report = await pc.getStats()
    candidates = {entry.candidateType: entry for entry in report.values() if entry.type == "local-candidate"}
    assert (candidates["relay"].url, candidates["relay"].relayProtocol) == (url, "tcp")
    assert (candidates["host"].url, candidates["host"].relayProtocol) == (None, None)


async def test_wrong_credentials_emit_an_icecandidateerror_with_the_code(server: coturn.Coturn) -> None:
    given = server.turn(password="wrong")
    [url] = given.urls
    given_turn = RTCIceServer(url, given.username, given.credential)
    async with RTCPeerConnection(
        RTCConfiguration(iceServers=[given_turn], hostAddresses=[coturn.HOST], waitForCandidates=True)
    ) as pc:
        errors: list[tuple[str, RTCPeerConnectionIceErrorEvent]] = []
        pc.on("icecandidateerror", lambda error: errors.append((pc.iceGatheringState, error)))
        pc.createDataChannel("chat")
        await pc.setLocalDescription()
    [(gathering, error)] = errors
    assert (gathering, error.url, error.errorCode, error.errorText) == ("gathering", url, 401, "Unauthorized")
    assert (error.address, error.port) == (None, None)


async def test_relay_only_without_a_turn_server_has_no_candidate(server: coturn.Coturn, make_pair: MakePair) -> None:
    pair = make_pair(servers=[server.stun()], relay_only=True)
    pair.exchange_credentials()
    with pytest.raises(IceError, match="no local candidate"):
        await pair.a.ice.start()


async def test_renews_channel_bindings_and_permissions_while_data_flows(
    server: coturn.Coturn, make_pair: MakePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "PERMISSION_REFRESH", 0.02)
    pair = make_pair(servers=[server.turn()], relay_only=True)
    await pair.connect()
    before = server.channel_bindings()
    async with asyncio.timeout(10):
        while server.channel_bindings() < before + 3:
            pair.a.send(DTLS)
            await asyncio.sleep(0.02)


async def test_closing_releases_the_allocation(server: coturn.Coturn, make_pair: MakePair) -> None:
    pair = make_pair(servers=[server.turn()], relay_only=True)
    await pair.connect()
    before = server.deletions()
    await pair.close()
    async with asyncio.timeout(30):
        while server.deletions() < before + 2:
            await asyncio.sleep(0.02)


async def test_a_dead_server_does_not_delay_closing(tmp_path: Path, make_pair: MakePair) -> None:
    if not coturn.installed():
        missing("coturn is not installed (apt install coturn)")
    async with coturn.running(tmp_path) as mortal:
        pair = make_pair(servers=[mortal.turn(), mortal.turn("tcp")], relay_only=True)
        await pair.connect()
        mortal.kill()
        loop = asyncio.get_running_loop()
        started = loop.time()
        await pair.close()
        assert loop.time() - started < 10
