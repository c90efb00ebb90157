"""A real Prometheus reads the figures of both servers and answers the dashboard's queries; promtool checks them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from datachan import RTCPeerConnection
from tests.examples.processes import run
from tests.missing import missing
from tests.ports import free_port

from .client import LOOPBACK, PATIENCE, connected
from .test_deploy import DEPLOY, expressions
from .test_operations import CHANNEL_SERVER, call_echo

CONFIGURATION = """
global: {{scrape_interval: 1s}}
scrape_configs:
  - job_name: datachan
    static_configs: [{{targets: [{targets}]}}]
"""

VARIABLES = {"$__rate_interval": "1m", "$job": ".*", "$instance": ".*"}


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        missing(f"{name} is not installed (apt install prometheus)")
    return found


@contextlib.asynccontextmanager
async def prometheus(folder: Path, *urls: str) -> AsyncIterator[str]:
    """Run Prometheus, which reads these addresses, and yield its own."""
    targets = ", ".join(url.removeprefix("http://").removesuffix("/metrics") for url in urls)
    (folder / "prometheus.yml").write_text(CONFIGURATION.format(targets=targets))
    address = f"127.0.0.1:{free_port()}"
    process = await asyncio.create_subprocess_exec(
        program("prometheus"),
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address={address}",
        "--log.level=error",
        start_new_session=True,
    )
    try:
        yield f"http://{address}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def ask(http: aiohttp.ClientSession, url: str, query: str) -> list[dict[str, object]]:
    async with http.get(f"{url}/api/v1/query", params={"query": query}) as response:
        answer = await response.json()
    assert answer["status"] == "success", (query, answer)
    return answer["data"]["result"]


async def until_read(http: aiohttp.ClientSession, url: str, query: str) -> None:
    """Wait until a query has a result."""
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    if await ask(http, url, query):
                        return
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"no result: {query}") from None


async def test_prometheus_answers_every_query_of_the_dashboard(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(CHANNEL_SERVER)
    async with (
        run("-m", "datachan", "serve", "--port", "0", "--udp-port", "0", "--metrics", "0") as signaling,
        run(tmp_path / "program.py") as channels,
        aiohttp.ClientSession() as http,
        RTCPeerConnection(LOOPBACK) as pc,
    ):
        urls = [(await signaling.prints(r"(http://\S+/metrics)"))[1]]
        page = (await signaling.prints(r"ready: (http://\S+)"))[1]
        endpoint, metrics = (await channels.prints(r"(http://\S+) (http://\S+)")).groups()
        urls.append(metrics)
        for url in urls:
            await check(http, url)
        async with prometheus(tmp_path, *urls) as server:
            # Rates are found between a figure of now and one of before.
            await until_read(http, server, "count(datachan_connections_established_total == 0) == 2")
            async with connected(endpoint):
                await call_echo(page, pc)
                # Nothing was refused yet, so no reason has a series. Others begin with the connection: a rate of them
                # needs two figures, which are read one after the other.
                for query in expressions():
                    if "refused_requests" not in query:
                        for variable, value in VARIABLES.items():
                            query = query.replace(variable, value)
                        await until_read(http, server, query)


async def test_promtool_accepts_the_alerts() -> None:
    process = await asyncio.create_subprocess_exec(program("promtool"), "check", "rules", str(DEPLOY / "alerts.yml"))
    assert await process.wait() == 0


async def check(http: aiohttp.ClientSession, url: str) -> None:
    """Have promtool check names, types and help of the figures."""
    async with http.get(url) as response:
        text = await response.read()
    process = await asyncio.create_subprocess_exec(
        *(program("promtool"), "check", "metrics"), stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    _, complaints = await process.communicate(text)
    assert (process.returncode, complaints.decode()) == (0, "")
