"""Test path MTU discovery over the kernel: two namespaces and a silent router between them, with links of any MTU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.interop.namespaces import NamespaceUnavailable, namespace, wait_for_ipv6
from tests.missing import missing

PEERS = {4: {"a": "10.1.0.2", "z": "10.2.0.2"}, 6: {"a": "fd01::2", "z": "fd02::2"}}
ROUTER = {4: {"a": "10.1.0.1", "z": "10.2.0.1"}, 6: {"a": "fd01::1", "z": "fd02::1"}}
# IP, UDP, DTLS.
OVERHEAD = {4: 20 + 8 + 37, 6: 40 + 8 + 37}
# The search ends below the MTU of the own link, to leave room for TURN's channel header.
ROOM = 4


def sh(command: str) -> None:
    subprocess.run(["sh", "-ec", command], check=True, capture_output=True, text=True)


class Far:
    """Run a peer program in a namespace of its own."""

    def __init__(self, role: str, address: str) -> None:
        command = ["unshare", "-n", sys.executable, "-m", "tests.interop.mtu_peer", role, address]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, value: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(value) + "\n")
        self.process.stdin.flush()

    def hears(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the peer program ended"
        return json.loads(line)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


def plug_in(peer: Far, name: str, family: int, mtu: int) -> None:
    """Connect the router to a peer with a cable."""
    inside, router, address = f"nsenter -t {peer.process.pid} -n", ROUTER[family][name], PEERS[family][name]
    length, nodad = (24, "") if family == 4 else (64, "nodad")
    sh(
        f"""
        ip link add r{name} type veth peer name {name}0
        ip link set {name}0 netns {peer.process.pid}
        ip link set r{name} mtu {mtu} up
        ip addr add {router}/{length} dev r{name} {nodad}
        {inside} ip link set lo up
        {inside} ip link set {name}0 mtu {mtu} up
        {inside} ip addr add {address}/{length} dev {name}0 {nodad}
        {inside} ip route add default via {router}
        """
    )


@contextmanager
def network(family: int, near: int, far: int) -> Iterator[tuple[Far, Far]]:
    """Build a router that never says "too big", with A on a link of MTU `near` and Z on a link of MTU `far`."""
    with ExitStack() as stack:
        try:
            stack.enter_context(namespace("ip link set lo up"))
            sh(
                """
                echo 1 > /proc/sys/net/ipv4/ip_forward
                echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
                """
            )
        except (NamespaceUnavailable, subprocess.CalledProcessError) as error:
            missing(str(error))
        peers = [Far(role, PEERS[family][name]) for role, name in (("offer", "a"), ("answer", "z"))]
        for peer in peers:
            stack.callback(peer.end)
        wait_for_namespaces(peers)
        plug_in(peers[0], "a", family, near)
        plug_in(peers[1], "z", family, far)
        for process in ("thread-self", *(peer.process.pid for peer in peers)):
            wait_for_ipv6(process)
        yield peers[0], peers[1]


def wait_for_namespaces(peers: list[Far]) -> None:
    """Wait until each process has left our namespace; the program itself waits for its first line."""
    ours = namespace_of("self")
    for peer in peers:
        while namespace_of(str(peer.process.pid)) == ours:
            assert peer.process.poll() is None


def namespace_of(process: str) -> str:

    return os.readlink(f"/proc/{process if process != 'self' else 'thread-self'}/ns/net")


def connect(a: Far, z: Far) -> None:
    for peer in (a, z):
        peer.tell("begin")
    z.tell(a.hears())
    a.tell(z.hears())
    assert a.hears() == {"opened": True}


def send(a: Far, messages: int = 200) -> dict[str, float]:
    a.tell({"messages": 100})
    result = a.hears()
    for _ in range(messages // 100 - 1):
        a.tell({"messages": 100})
        result = a.hears()
    return dict(result)


@pytest.mark.parametrize(
    ("family", "near", "far"), [(4, 1280, 1280), (6, 1280, 1280), (4, 9000, 1500), (6, 1500, 9000)]
)
def test_a_transfer_finds_the_mtu_of_the_narrowest_link(family: int, near: int, far: int) -> None:
    with network(family, near, far) as (a, z):
        connect(a, z)
        send(a)
        result = send(a, 300)
        expected = min(near - ROOM, far) - OVERHEAD[family] & ~3
        if near > far:
            assert result["mtu"] <= expected  # the search upwards may still be running
            assert result["mtu"] >= 1188
        else:
            assert result["mtu"] == max(expected, 1188)


@pytest.mark.parametrize("family", [4, 6])
def test_survives_a_link_whose_mtu_shrinks(family: int) -> None:
    with network(family, 9000, 9000) as (a, z):
        connect(a, z)
        assert send(a)["mtu"] == 9000 - ROOM - OVERHEAD[family] & ~3
        a.tell({"messages": 100})
        sh("ip link set rz mtu 1280")
        assert a.hears()["took"] < 20
        assert send(a)["mtu"] <= 1280 - OVERHEAD[family]
