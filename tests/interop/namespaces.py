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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.missing import missing

CLONE_NEWNET = 0x40000000

# Firefox asks the kernel for the default address and gathers nothing when there is no default route.
ONLY_LOOPBACK = """
    ip link set lo up
    ip route add default dev lo src 127.0.0.1
    ip -6 route add default dev lo
"""
# A network card with private addresses, whose other end is connected to nothing.
AS_A_USER = """
    ip link set lo up
    ip link add eth0 type veth peer name peer0
    ip addr add 192.0.2.2/24 dev eth0
    ip addr add fd00::2/64 dev eth0 nodad
    ip link set eth0 up
    ip link set peer0 up
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
