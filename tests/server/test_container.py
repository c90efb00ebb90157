"""Pages reach a server that runs as its container does: another network, one open TCP and one open UDP port.

The settings and the user are those of deploy/Dockerfile. Its file system cannot be written, but for /tmp. nftables lets
nothing into its network or out of it that is not for these two ports.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shlex
import signal
import sys
import sysconfig
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.interop.browsers import Browser
from tests.interop.conftest import browser, situations
from tests.interop.test_page import PATIENCE, Tab

__all__ = ["browser"]  # a fixture

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("browser", situations("as-a-user"), indirect=True, scope="module"),
]

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
SERVER, CLIENT = "198.51.100.1", "198.51.100.2"

# This Python, its packages and the source take the place of /opt/datachan in the image.
CONTAINER = """
    mount --make-rprivate /
    mount -t tmpfs tmpfs /mnt
    mkdir /mnt/python /mnt/site /mnt/source
    mount --rbind {python} /mnt/python
    mount --rbind {site} /mnt/site
    mount --rbind {source} /mnt/source
    mount -t tmpfs -o size=64m,mode=1777 tmpfs /tmp
    mount -o remount,bind,ro /mnt
    mount -o remount,bind,ro /
    cd /
    ! touch /probe /mnt/probe /usr/probe 2>/dev/null
    echo entered
    read answer
    ip link set lo up
    ip addr add {server}/24 dev peer1
    ip link set peer1 addrgenmode none up
    nft -f - <<'RULES'
        table inet filter {{
            chain input {{
                type filter hook input priority 0; policy drop;
                iifname lo accept
                tcp dport {tcp} accept
                udp dport {udp} accept
                icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
            }}
            chain output {{
                type filter hook output priority 0; policy drop;
                oifname lo accept
                tcp sport {tcp} accept
                udp sport {udp} accept
                icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
            }}
        }}
RULES
    exec setpriv --reuid {user} --regid {group} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all \\
        env -i LD_LIBRARY_PATH=/mnt/python/lib PYTHONPATH=/mnt/source:/mnt/site {environment} \\
        /mnt/python/bin/python3 -m datachan {words}
"""


def image() -> dict[str, str]:
    """Return what the container is started with: its user, its settings, and its words."""
    user, group = re.search(r"^USER (\d+):(\d+)$", DOCKERFILE, re.MULTILINE).groups()
    (settings,) = re.findall(r"^ENV ([^\\\n]+(?:\\\n[^\\\n]+)*)$", DOCKERFILE, re.MULTILINE)
    environment = settings.replace("\\\n", " ").split()
    values = dict(one.split("=", 1) for one in environment)
    (words,) = re.findall(r"^CMD (\[.+\])$", DOCKERFILE, re.MULTILINE)
    return {
        "user": user,
        "group": group,
        "environment": shlex.join(environment),
        "words": shlex.join(json.loads(words)),
        "tcp": values["DATACHAN_PORT"],
        "udp": values["DATACHAN_UDP_PORT"],
    }


@contextlib.asynccontextmanager
async def container(**settings: str) -> AsyncIterator[tuple[str, Process]]:
    """Run the server in namespaces of its own, connected with the browser's network, and yield its address."""
    values = image()
    added = " ".join(shlex.quote(f"{name}={value}") for name, value in settings.items())
    values["environment"] += f" {added}"
    script = CONTAINER.format(
        python=sys.base_prefix, site=sysconfig.get_path("purelib"), source=ROOT, server=SERVER, **values
    )
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--net", "--mount", "sh", "-ec", script), stdin=PIPE, stdout=PIPE, stderr=STDOUT
    )
    try:
        await prints(process, "entered")
        await shell(
            f"ip link add eth1 type veth peer name peer1; ip link set peer1 netns {process.pid}; "
            f"ip addr add {CLIENT}/24 dev eth1; ip link set eth1 addrgenmode none up"
        )
        process.stdin.write(b"connected\n")
        await prints(process, "is ready")
        yield f"http://{SERVER}:{values['tcp']}/", process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def shell(commands: str) -> None:
    process = await asyncio.create_subprocess_exec("sh", "-ec", commands)
    assert await process.wait() == 0


async def prints(process: Process, text: str) -> str:
    """Wait for a line that contains a text, and return it."""
    printed = b""
    async with asyncio.timeout(PATIENCE):
        while line := await process.stdout.readline():
            printed += line
            if text in line.decode():
                return line.decode()
    raise AssertionError(f"ended without printing {text!r}:\n{printed.decode()}")


async def test_pages_reach_a_container_through_one_tcp_and_one_udp_port(browser: Browser) -> None:
    async with container(DATACHAN_ANNOUNCE=SERVER) as (url, process), browser.page() as a, browser.page() as b:
        ada, grace = Tab(a), Tab(b)
        await ada.join(url + "#kitchen", "Ada")
        await grace.join(url + "#kitchen", "Grace")
        await asyncio.gather(ada.connected(), grace.connected())
        await ada.say("from page to page")
        await grace.hears("Ada", "from page to page")
        # Both call the Python peer: two peers on one UDP port.
        for tab, text in ((ada, "one port"), (grace, "the same port")):
            await tab.call_python()
            await tab.say(text)
            await tab.hears("Python peer", text)
        assert a.logs == b.logs == []
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert re.search(r"^Uid:\t10001\t10001\t10001\t10001$", status, re.MULTILINE)
        assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
        assert re.search(r"^CapBnd:\t0+$", status, re.MULTILINE)
        # Calls end by themselves during the drain, and the container ends with them.
        process.send_signal(signal.SIGTERM)
        async with aiohttp.ClientSession() as http, asyncio.timeout(PATIENCE):
            while True:
                async with http.get(f"{url}readyz") as response:
                    if response.status == 503:
                        break
        await ada.say("still served")
        await ada.hears("Python peer", "still served")
        for tab in (ada, grace):
            await tab.click("#hang-up", "Hang up")
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 0
