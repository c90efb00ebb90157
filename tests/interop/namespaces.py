"""Run tests in network namespaces: the calling thread enters one and returns; know nothing of WebRTC.

A browser behaves differently on a machine with a network card and on one with `lo` alone. A test must not depend on the
network of its machine, nor send a packet into it, so it enters a namespace of its own. Sockets and child processes made
inside belong to the namespace, and existing sockets keep working outside.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.missing import missing

CLONE_NEWNET = 0x40000000
# linux/ipv6_route.h, and the scope of a link-local address in /proc/net/if_inet6.
RTF_LOCAL = 0x80000000
LINK_LOCAL_SCOPE = "20"

# Firefox asks the kernel for the default address and gathers nothing when there is no default route.
ONLY_LOOPBACK = """
    ip link set lo up
    ip route add default dev lo src 127.0.0.1
    ip -6 route add default dev lo
"""
# A network card with private addresses, whose other end is connected to nothing. Without IPv6 link-local addresses
# (addrgenmode none): Linux adds them a second later, and then Chromium aborts the requests that are on their way.
AS_A_USER = """
    ip link set lo up
    ip link add eth0 type veth peer name peer0
    ip addr add 192.0.2.2/24 dev eth0
    ip addr add fd00::2/64 dev eth0 nodad
    ip link set eth0 addrgenmode none up
    ip link set peer0 addrgenmode none up
    ip route add default via 192.0.2.1
    ip -6 route add default via fd00::1
"""


class NamespaceUnavailable(Exception):
    """This process cannot make network namespaces; the message says why."""


def _call(name: str, *arguments: int) -> None:
    """Call a function of libc, because `os.setns` and `os.unshare` need Python 3.12."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def wait_for_ipv6(process: int | str = "thread-self") -> None:
    """Wait until the IPv6 addresses in a process's namespace can be used.

    `ip address add` returns before Linux has installed the address's local route: it does so in a work queue, with
    `nodad` too. A datagram sent meanwhile is dropped for want of a route, without an error to its sender. On a busy
    host that happened in 10 of 633 new namespaces.

    Raises:
        TimeoutError: an address cannot be used after 30 seconds.
    """
    if not Path(f"/proc/{process}/net/if_inet6").exists():  # a kernel without IPv6
        return
    deadline = time.monotonic() + 30
    while missing_addresses := _addresses(process) - _local_routes(process):
        if time.monotonic() > deadline:
            raise TimeoutError(f"IPv6 addresses without a local route: {missing_addresses}")
        time.sleep(0.002)


def wait_for_links() -> None:
    """Wait until each link of the calling thread's namespace that has a carrier is reported as running.

    Linux learns of a carrier in a work queue, up to a second late (`linkwatch`), and of a bridge only after that of its
    port. Until then nothing uses the addresses of the link.

    Raises:
        TimeoutError: a link with a carrier is down after 30 seconds.
    """
    deadline = time.monotonic() + 30
    while late := _links_not_running():
        if time.monotonic() > deadline:
            raise TimeoutError(f"links with a carrier that are not running: {late}")
        time.sleep(0.002)


def _links_not_running() -> list[str]:
    """Return the links that have a carrier (LOWER_UP) and are not yet in the state that follows from it."""
    shown = subprocess.run(["ip", "-o", "link", "show"], capture_output=True, text=True, check=True).stdout
    return [
        line.split(": ")[1]
        for line in shown.splitlines()
        if "LOWER_UP" in line and not ("state UP" in line or "state UNKNOWN" in line)
    ]


def _addresses(process: int | str) -> set[str]:
    """Return the addresses in /proc/net/if_inet6, without the link-local ones that Linux makes by itself."""
    lines = Path(f"/proc/{process}/net/if_inet6").read_text().splitlines()
    return {address for address, _, _, scope, _, _ in map(str.split, lines) if scope != LINK_LOCAL_SCOPE}


def _local_routes(process: int | str) -> set[str]:
    """Return the addresses that have a local route in /proc/net/ipv6_route."""
    lines = Path(f"/proc/{process}/net/ipv6_route").read_text().splitlines()
    return {fields[0] for fields in map(str.split, lines) if int(fields[8], 16) & RTF_LOCAL}


@contextmanager
def namespace(setup: str) -> Iterator[None]:
    """Move the calling thread into a new network namespace, prepared by the shell commands in `setup`.

    Raises:
        NamespaceUnavailable: this is not Linux, there is no `ip` command, or the process lacks the right.
    """
    if not (shutil.which("ip") and os.path.exists("/proc/thread-self/ns/net")):
        raise NamespaceUnavailable("network namespaces need Linux and the ip command (apt install iproute2)")
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            _call("unshare", CLONE_NEWNET)
        except OSError as error:
            raise NamespaceUnavailable(f"network namespaces need root: {error.strerror}") from error
        try:
            done = subprocess.run(["sh", "-ec", setup], capture_output=True, text=True, check=False)
            if done.returncode:
                raise NamespaceUnavailable(f"cannot set up a network namespace: {done.stderr.strip()}")
            wait_for_ipv6()
            wait_for_links()
            yield
        finally:
            _call("setns", home, CLONE_NEWNET)
    finally:
        os.close(home)


@contextmanager
def network(setup: str) -> Iterator[None]:
    """Enter a namespace as `namespace` does; where none can be made, skip the test as if a peer were missing."""
    with ExitStack() as stack:
        try:
            stack.enter_context(namespace(setup))
        except NamespaceUnavailable as error:
            missing(str(error))
        yield
