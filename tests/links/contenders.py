"""Which stacks can be measured on this machine, and which not, and why."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import ifaddr

from datachan.sctp.congestion import ALGORITHMS
from tests.links.measure import Contender

_PYTHON_PEER: Final = ("-m", "tests.links.peers.python_peer")
_NODE_PEER: Final = Path(__file__).parent / "peers" / "node_datachannel.js"


def contenders(wrtc_python: str, node_modules: str) -> tuple[list[Contender], dict[str, str]]:
    """All that can be measured, and why the others cannot.

    Arguments:
        wrtc_python: the Python that has wrtc.
        node_modules: the folder that has node-datachannel.
    """
    found = [
        Contender(f"datachan/{algorithm}", [sys.executable, *_PYTHON_PEER, "datachan"], {"controller": algorithm})
        for algorithm in ALGORITHMS
    ]
    missing: dict[str, str] = {}
    if _has_module(wrtc_python, "webrtc"):
        found.append(Contender("wrtc", [wrtc_python, *_PYTHON_PEER, "wrtc"]))
    else:
        missing["wrtc"] = "pip install wrtc, or --wrtc-python PYTHON that has it"
    node = shutil.which("node")
    if node and (Path(node_modules) / "node-datachannel").is_dir():
        environment = {"NODE_PATH": str(Path(node_modules).absolute())}
        found.append(Contender("node-datachannel", [node, str(_NODE_PEER)], environment=environment))
    else:
        missing["node-datachannel"] = (
            "npm install --prefix DIRECTORY node-datachannel, then --node-modules DIRECTORY/node_modules"
        )
    if find_spec("aiortc"):
        found.append(Contender("aiortc", [sys.executable, *_PYTHON_PEER, "aiortc"]))
    else:
        missing["aiortc"] = "pip install aiortc"
    return found, missing


def _has_module(python: str, module: str) -> bool:
    """Whether that Python can import it; libraries that cannot be loaded here count as missing, too."""
    command = [python, "-c", f"import {module}"]
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def default_node_modules() -> str:
    """Where node-datachannel is looked for unless told."""
    return os.environ.get("NODE_PATH", "node_modules")


def host_address() -> str:
    """An address of this machine that every stack uses: some pass over 127.0.0.1."""
    for adapter in ifaddr.get_adapters():
        for address in adapter.ips:
            if isinstance(address.ip, str) and not address.ip.startswith("127."):
                return address.ip
    return "127.0.0.1"
