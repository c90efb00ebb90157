"""Test what an operator sees: figures of real connections, as text that Prometheus' own parser reads."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from datachan import RTCConfiguration, RTCPeerConnection
from datachan.ice import SelectedPair
from datachan.metrics import Distribution, Family, Metrics
from datachan.monitoring import (
    ConnectionMetrics,
    ListenAddress,
    LoopLag,
    MetricsListener,
    notify,
    process_figures,
    render,
)
from datachan.peer.connection_summary import path_type
from datachan.sdp import IceCandidate
from tests.pairs import Pair, channel_pair, pair, soon


async def values(metrics: Metrics) -> dict[str, dict[tuple[str, ...], object]]:
    return {one.name: one.values for one in await metrics.families()}


async def delivered(peers: Pair, *messages: str) -> None:
    for message in messages:
        peers.a_channel.send(message)
        assert await soon(anext(peers.z_channel)) == message


async def test_counts_messages_of_open_and_closed_channels_once() -> None:
    metrics = Metrics()
    connections = ConnectionMetrics(metrics, time.monotonic)
    async with pair() as peers:
        connections.watch(peers.z)
        await delivered(peers, "one", "three")
        assert (await values(metrics))["datachan_message_bytes_total"] == {("sent",): 0, ("received",): 8}
        peers.a_channel.close()
        await soon(peers.z_channel.closed())
        peers.a_channel, peers.z_channel = await channel_pair(peers.a, peers.z, "other")
        await delivered(peers, "two")
        found = await values(metrics)
        assert found["datachan_message_bytes_total"] == {("sent",): 0, ("received",): 11}
        assert found["datachan_messages_total"] == {("sent",): 0, ("received",): 3}
        assert found["datachan_connections"] == {("connected", "host"): 1}
        peers.z_channel.send("last words")
    found = await values(metrics)  # both are closed, and counted for the last time
    assert found["datachan_message_bytes_total"] == {("sent",): 10, ("received",): 11}
    assert found["datachan_connections"] == {}


async def test_shows_queues_and_unread_messages() -> None:
    metrics = Metrics()
    connections = ConnectionMetrics(metrics, time.monotonic)
    async with pair() as peers:
        connections.watch(peers.a)
        connections.watch(peers.z)
        peers.a_channel.send(bytes(3_000_000))
        assert (await values(metrics))["datachan_send_queue_bytes"][()] > 1_000_000
        await soon(anext(peers.z_channel))
        peers.a_channel.send("unread")
        async with asyncio.timeout(20):
            while not (await values(metrics))["datachan_unread_bytes"][()]:
                await asyncio.sleep(0)


async def test_counts_handshakes_and_failures() -> None:
    metrics = Metrics()
    connections = ConnectionMetrics(metrics, time.monotonic)
    configuration = RTCConfiguration(hostAddresses=["127.0.0.1"])
    async with RTCPeerConnection(configuration) as a, RTCPeerConnection(configuration) as z:
        connections.watch(a)
        await channel_pair(a, z)
    async with RTCPeerConnection(configuration) as never:
        connections.watch(never)
    found = await values(metrics)
    assert found["datachan_connections_established_total"] == {(): 1}
    assert found["datachan_connections_failed_total"] == {(): 1}
    handshake = found["datachan_handshake_seconds"][()]
    assert isinstance(handshake, Distribution)
    assert sum(handshake.counts) == 1
    assert 0 < handshake.total < 20


@pytest.mark.parametrize(
    ("local", "remote", "transport", "path"),
    [
        ("host", "host", "udp", "host"),
        ("host", "prflx", "udp", "prflx"),
        ("srflx", "prflx", "udp", "srflx"),
        ("host", "srflx", "tcp", "tcp"),
        ("host", "relay", "udp", "relay"),
    ],
)
def test_names_the_type_of_a_path(local: str, remote: str, transport: str, path: str) -> None:
    ours, theirs = (
        IceCandidate(foundation="1", transport=transport, priority=1, address="192.0.2.1", port=9, type=kind)
        for kind in (local, remote)
    )
    assert path_type(SelectedPair(ours, theirs)) == path
    assert path_type(None) == "none"


async def test_measures_how_late_the_event_loop_is() -> None:
    metrics = Metrics()
    lag = LoopLag(metrics)
    try:
        async with asyncio.timeout(20):
            while True:
                distribution = (await values(metrics))["datachan_event_loop_lag_seconds"][()]
                assert isinstance(distribution, Distribution)
                if distribution.total > 0.4:
                    break
                time.sleep(0.5)  # the event loop is late by this, less the time until its timer was due
                await asyncio.sleep(0)
    finally:
        lag.stop()


FAMILIES = [
    Family("datachan_offers_total", "counter", "Offers.", (), {(): 3.0}),
    Family("datachan_connections", "gauge", "Connections.", ("state",), {("connected",): 2.0}),
    Family("datachan_handshake_seconds", "histogram", "Time.", (), {(): Distribution((0.1, 1.0), (1, 2, 1), 8.6)}),
]


def test_renders_what_parsers_of_both_formats_read() -> None:
    text, content_type = render(FAMILIES)
    assert content_type.startswith("text/plain; version=0.0.4")
    found = {s.name: s for one in text_string_to_metric_families(text.decode()) for s in one.samples}
    assert found["datachan_offers_total"].value == 3
    assert found["datachan_connections"].labels == {"state": "connected"}
    assert found["datachan_handshake_seconds_sum"].value == 8.6
    text, content_type = render(FAMILIES, "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    buckets = [
        (s.labels["le"], s.value)
        for one in parse_openmetrics(text.decode())
        for s in one.samples
        if s.name == "datachan_handshake_seconds_bucket"
    ]
    assert buckets == [("0.1", 1), ("1.0", 3), ("+Inf", 4)]


@pytest.mark.parametrize(
    "accept", ["application/openmetrics-text; version=x", "text/plain; version=..", ";;;,,", "*/*"]
)
def test_answers_any_accept_header(accept: str) -> None:
    assert b"datachan_offers_total 3.0" in render(FAMILIES, accept)[0]


async def test_shows_the_figures_of_the_process() -> None:
    found = {one.name: one for one in await process_figures()}
    assert found["process_cpu_seconds_total"].kind == "counter"
    assert found["process_resident_memory_bytes"].values[()] > 1_000_000


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("9464", ListenAddress("127.0.0.1", 9464)),
        ("10.0.0.7:9464", ListenAddress("10.0.0.7", 9464)),
        ("[::1]:0", ListenAddress("::1", 0)),
    ],
)
def test_reads_an_address_to_listen_on(text: str, address: ListenAddress) -> None:
    assert ListenAddress.parse(text) == address


@pytest.mark.parametrize("text", ["", "x", "::1", "::1:9464", "1.2.3.4:", ":65536", "[x]:1", "host:-1", "٣"])
def test_refuses_what_is_not_an_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        ListenAddress.parse(text)


async def test_collects_at_most_once_a_second_and_answers_this_machine_only() -> None:
    asked = 0

    async def collect() -> list[Family]:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return FAMILIES

    listener = MetricsListener(ListenAddress("127.0.0.1", 0), collect)
    await listener.open()
    try:
        async with aiohttp.ClientSession() as http:

            async def ask(host: str = "localhost") -> int:
                async with http.get(listener.url, headers={"Host": host}) as response:
                    await response.read()
                    return response.status

            began = time.monotonic()
            assert await asyncio.gather(*(ask() for _ in range(10))) == [200] * 10
            assert asked <= 1 + (time.monotonic() - began)
            assert await ask("attacker.example") == 421
    finally:
        await listener.close()


@pytest.mark.parametrize("is_abstract", [False, True], ids=["path", "abstract"])
def test_tells_the_service_manager(is_abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"@{tmp_path}" if is_abstract else f"{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0", 1) if is_abstract else name)
        manager.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        notify("READY=1")
        assert manager.recv(100) == b"READY=1"


@pytest.mark.parametrize("name", ["", "vsock:2:3", "/without/listener"])
def test_goes_on_without_a_service_manager(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    notify("READY=1")
