"""Operate `datachan serve` as a real process: TLS, SIGTERM, JSON logs, and TURN with credentials that expire."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urljoin

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from datachan import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from datachan.signaling import SignalingClient
from datachan.signaling.turn_credentials import TurnSecret
from tests.examples.processes import run
from tests.interop.coturn import self_signed, until_it_answers
from tests.missing import missing
from tests.ports import free_port

from .client import LOOPBACK, PATIENCE, connected

PAGE = {"X-Datachan": "page"}


async def test_serves_https(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    async with run("-m", "datachan", "serve", "--port", "0", "--tls-cert", certificate, "--tls-key", key) as server:
        url = (await server.prints(r"(https://\S+)"))[1]
        async with SignalingClient(url, "kitchen", ssl=False) as client:
            assert client.peers == {}
        assert await server.interrupted() == 0


async def test_says_why_a_certificate_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "empty.pem"
    file.touch()
    async with run("-m", "datachan", "serve", "--port", "0", "--tls-cert", file, "--tls-key", file) as server:
        assert await server.ends() == 1
        assert "cannot be used" in server.printed


async def test_sigterm_lets_a_call_end_and_refuses_new_ones() -> None:
    async with (
        run("-m", "datachan", "serve", "--port", "0", "--drain", "20", "--log-format", "json", "-v") as server,
        aiohttp.ClientSession() as http,
        RTCPeerConnection(LOOPBACK) as pc,
    ):
        url = (await server.prints(r"(http://\S+)"))[1]
        async with http.get(f"{url}readyz") as response:
            assert response.status == 200
        channel = pc.createDataChannel("chat")
        await pc.setLocalDescription()
        offer = {"type": "offer", "sdp": pc.localDescription.sdp}
        async with http.post(f"{url}api/v1/peers/echo", json=offer) as response:
            assert response.headers["Location"].startswith("./echo/")
            await pc.setRemoteDescription(RTCSessionDescription((await response.json())["sdp"], "answer"))
        await channel.opened()
        server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            while True:
                async with http.get(f"{url}readyz") as response:
                    if response.status == 503:
                        break
        async with http.post(f"{url}api/v1/peers/echo", json=offer) as response:
            assert response.status == 503
        channel.send("still served")
        assert await anext(channel) == "still served"
        await pc.close()
        assert await server.ends() == 0
        records = [json.loads(line) for line in server.printed.splitlines() if line.startswith("{")]
        assert "echo: a caller has connected" in [record["message"] for record in records]


@contextlib.asynccontextmanager
async def coturn(secret: str, folder: Path, address: str = "127.0.0.1", *words: str) -> AsyncIterator[int]:
    """Run coturn with `use-auth-secret` and further words, and yield its port."""
    program = shutil.which("turnserver")
    if program is None:
        missing("coturn is not installed (apt install coturn)")
    port = free_port(address)
    process = await asyncio.create_subprocess_exec(
        program,
        *("-n", f"--listening-ip={address}", f"--relay-ip={address}", f"--listening-port={port}"),
        *("--realm=example.org", *words),
        *("--use-auth-secret", f"--static-auth-secret={secret}", "--no-cli", "--no-tls", "--no-dtls", "--fingerprint"),
        *("--allow-loopback-peers", f"--pidfile={folder}/pid", f"--userdb={folder}/db", "--log-file=stdout"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            await until_it_answers(port, address)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


@pytest.mark.parametrize(("secret", "relayed"), [("north", True), ("south", False)])
async def test_coturn_accepts_the_credentials_of_its_secret(secret: str, relayed: bool, tmp_path: Path) -> None:
    async with coturn("north", tmp_path) as port:
        turn = TurnSecret((f"turn:127.0.0.1:{port}?transport=udp",), secret).to_json(time.time())
        servers = [RTCIceServer(turn["urls"], turn["username"], turn["credential"])]
        async with RTCPeerConnection(RTCConfiguration(servers, hostAddresses=["127.0.0.1"])) as pc:
            pc.createDataChannel("chat")
            known = asyncio.get_running_loop().create_future()

            def gathered(candidate: object) -> None:
                if candidate is None and not known.done():
                    known.set_result(pc.localDescription.sdp)

            pc.on("icecandidate", gathered)
            pc.on("icecandidateerror", lambda error: known.done() or known.set_result(error.errorCode))
            await pc.setLocalDescription()
            async with asyncio.timeout(PATIENCE):
                result = await known
            assert (" typ relay " in str(result)) is relayed


async def call_echo(url: str, pc: RTCPeerConnection) -> str:
    """Call the echo peer, and return its answer."""
    channel = pc.createDataChannel("chat")
    await pc.setLocalDescription()
    offer = {"type": "offer", "sdp": pc.localDescription.sdp}
    async with aiohttp.ClientSession() as http, http.post(f"{url}api/v1/peers/echo", json=offer) as response:
        answer = (await response.json())["sdp"]
    await pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    await channel.opened()
    channel.send("hello")
    assert await anext(channel) == "hello"
    return str(answer)


def candidates(sdp: str) -> list[list[str]]:
    return [line.split() for line in sdp.splitlines() if line.startswith("a=candidate:")]


async def test_all_calls_of_the_echo_peer_share_the_udp_port() -> None:
    words = ("--port", "0", "--udp-port", "0", "--announce", "203.0.113.7")
    async with (
        run("-m", "datachan", "serve", *words) as server,
        RTCPeerConnection(LOOPBACK) as first,
        RTCPeerConnection(LOOPBACK) as second,
    ):
        url = (await server.prints(r"(http://\S+)"))[1]
        found = [candidates(await call_echo(url, pc)) for pc in (first, second)]
        assert len({fields[5] for answer in found for fields in answer if ":" not in fields[4]}) == 1
        assert all("203.0.113.7" in {fields[4] for fields in answer} for answer in found)


async def test_says_that_the_udp_port_is_in_use() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", 0))
        port = str(sock.getsockname()[1])
        async with run("-m", "datachan", "serve", "--port", "0", "--udp-port", port) as server:
            assert await server.ends() == 1
            assert f"UDP port {port} cannot be used" in server.printed


async def test_the_echo_peer_relays_through_the_turn_server_of_the_secret(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("north")
    async with coturn("north", tmp_path) as port, RTCPeerConnection(LOOPBACK) as pc:
        words = ("--turn", f"turn:127.0.0.1:{port}", "--turn-secret-file", tmp_path / "secret")
        async with run("-m", "datachan", "serve", "--port", "0", *words) as server:
            url = (await server.prints(r"(http://\S+)"))[1]
            assert "relay" in {fields[7] for fields in candidates(await call_echo(url, pc))}


async def figures(http: aiohttp.ClientSession, url: str) -> dict[str, float]:
    """Read the figures as Prometheus does."""
    async with http.get(url) as response:
        assert response.status == 200, await response.text()
        families = text_string_to_metric_families(await response.text())
        return {
            " ".join((sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items())))): sample.value
            for family in families
            for sample in family.samples
        }


async def test_shows_figures_to_this_machine_only() -> None:
    async with (
        run("-m", "datachan", "serve", "--host", "0.0.0.0", "--port", "0", "--metrics", "0") as server,
        aiohttp.ClientSession() as http,
        RTCPeerConnection(LOOPBACK) as pc,
    ):
        metrics = (await server.prints(r"(http://127\.0\.0\.1:\d+/metrics)"))[1]
        url = (await server.prints(r"ready: (http://\S+)"))[1]
        async with http.get(f"{url}metrics") as response:
            assert response.status == 404
        async with http.get(f"{url}api/v1/rooms/kitchen"), SignalingClient(url, "kitchen"):
            await call_echo(url, pc)
            found = await figures(http, metrics)
        assert found["datachan_connections path=host state=connected"] == 1
        assert found["datachan_messages_total direction=received"] == 1
        assert found["datachan_handshake_seconds_count"] == 1
        assert found["datachan_signaling_members"] == found["datachan_signaling_rooms"] == 1
        assert found["datachan_refused_requests_total reason=not-a-websocket"] == 1
        assert found["process_resident_memory_bytes"] > 0


async def test_says_why_figures_cannot_be_shown() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = str(sock.getsockname()[1])
        async with run("-m", "datachan", "serve", "--port", "0", "--metrics", port) as server:
            assert await server.ends() == 1
            assert f"cannot be shown on 127.0.0.1, port {port}" in server.printed


CHANNEL_SERVER = """
import asyncio
from datachan import RTCConfiguration
from datachan.server import serve

async def handler(connection):
    connection.create_channel("news")
    await connection.closed()

async def main():
    local = RTCConfiguration(hostAddresses=["127.0.0.1"])
    async with serve(handler, port=0, grace=20, metrics="0", configuration=local) as server:
        print(server.url, server.metrics_url, flush=True)
        await server.until_stopped()
    print("drained")

asyncio.run(main())
"""


async def test_a_channel_server_tells_its_health_and_drains_on_sigterm(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(CHANNEL_SERVER)
    async with run(tmp_path / "program.py") as server, aiohttp.ClientSession() as http:
        url, metrics = (await server.prints(r"(http://\S+) (http://\S+)")).groups()
        ready, healthy = urljoin(url, "/readyz"), urljoin(url, "/healthz")
        async with connected(url) as (client, _):
            for path in (ready, healthy):
                async with http.get(path) as response:
                    assert (response.status, await response.json()) == (200, {"status": "ok"})
            found = await figures(http, metrics)
            assert found["datachan_connections path=host state=connected"] == found["datachan_offers_total"] == 1
            assert found["datachan_draining"] == 0
            server.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(PATIENCE):
                while True:
                    async with http.get(ready) as response:
                        if response.status == 503:
                            break
            async with http.get(healthy) as response:
                assert response.status == 200
            async with http.delete(client.session) as response:
                assert response.status == 200
        assert await server.ends() == 0
        assert "drained" in server.printed


async def test_a_second_signal_ends_a_draining_server() -> None:
    async with run("-m", "datachan", "serve", "--port", "0", "--drain", "600") as server:
        url = (await server.prints(r"(http://\S+)"))[1]
        async with RTCPeerConnection(LOOPBACK) as pc, aiohttp.ClientSession() as http:
            await call_echo(url, pc)
            server.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(PATIENCE):
                while True:
                    async with http.get(f"{url}readyz") as response:
                        if response.status == 503:
                            break
            server.process.send_signal(signal.SIGTERM)
            assert await server.ends() == 0


async def test_the_page_gets_credentials_that_expire_and_others_none(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("north")
    words = ("--port", "0", "--turn", "turn:192.0.2.1", "--turn-secret-file", tmp_path / "secret")
    async with run("-m", "datachan", "serve", *words) as server, aiohttp.ClientSession() as http:
        url = (await server.prints(r"(http://\S+)"))[1]
        async with http.get(f"{url}config.json", headers=PAGE) as response:
            (given,) = (await response.json())["iceServers"]
            assert given["urls"] == ["turn:192.0.2.1"]
            assert 0 < int(given["username"].partition(":")[0]) - time.time() <= 3600
        async with http.get(f"{url}config.json") as response:
            assert (await response.json())["iceServers"] == []
        # Other users of the machine see the words of every process, so the secret is not among them.
        assert b"north" not in Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
