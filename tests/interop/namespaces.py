"""Network namespaces for tests: the calling thread moves into one and comes back; knows nothing of WebRTC.

A browser behaves differently on a machine with a network card and on one with nothing but `lo`, and neither test may
depend on the machine it happens to run on, nor let a packet out of it. So a test enters a namespace of its own; sockets
and child processes made while inside belong to it, and whatever existed before keeps working outside.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

CLONE_NEWNET = 0x40000000

# Firefox asks the kernel for the default address and gathers nothing when there is no default route.
ONLY_LOOPBACK = """
    ip link set lo up
    ip route add default dev lo src 127.0.0.1
    ip -6 route add default dev lo
"""
# A network card as at home, whose other end is not plugged in anywhere.
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
    """This process may not make network namespaces; the text says what it lacks."""


def _call(name: str, *arguments: int) -> None:
    """Call a function of libc: `os.setns` and `os.unshare` came with Python 3.12 only."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


@contextmanager
def namespace(setup: str) -> Iterator[None]:
    """Put the calling thread into a new network namespace prepared by the shell commands in `setup`.

    Raises:
        NamespaceUnavailable: not on Linux, no `ip` command, or not allowed to.
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
