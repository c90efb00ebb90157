"""The stacks that can be measured on this machine, and the reason for each that cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import ifaddr

from tests.stacks.process import ROOT, Contender

# -P keeps the current folder out of sys.path, so that PYTHONPATH can put another build first.
_PYTHON_PEER: Final = ("-P", "-m", "tests.stacks.peers.python_peer")
_NODE_PEER: Final = Path(__file__).parent / "peers" / "node_peer.js"
_NODE_MODULES: Final = ROOT / "tests" / "interop" / "stacks" / "node_modules"
NODE_STACKS: Final = ("node-datachannel", "@roamhq/wrtc", "werift")


def datachan(name: str, folder: Path | None = None, **options: object) -> Contender:
    """Return datachan itself, from another folder if one is given."""
    return Contender(name, [sys.executable, *_PYTHON_PEER, "datachan"], options, _python_path(folder))


def others(wrtc_python: str, node_modules: str) -> tuple[list[Contender], dict[str, str]]:
    """Return the other stacks that can be measured, and for each of the rest the command that installs it.

    Args:
        wrtc_python: the Python that has wrtc.
        node_modules: the folder with the stacks for Node.
    """
    found: list[Contender] = []
    missing: dict[str, str] = {}
    if _has_module(wrtc_python, "webrtc"):
        found.append(Contender("wrtc", [wrtc_python, *_PYTHON_PEER, "wrtc"], environment=_python_path()))
    else:
        missing["wrtc"] = "pip install wrtc, or --wrtc-python PYTHON that has it"
    node = shutil.which("node")
    for stack in NODE_STACKS:
        if node and (Path(node_modules) / stack).is_dir():
            environment = {"NODE_PATH": str(Path(node_modules).absolute())}
            found.append(Contender(stack, [node, "--expose-gc", str(_NODE_PEER), stack], environment=environment))
        else:
            missing[stack] = f"npm install --prefix DIRECTORY {stack}, then --node-modules DIRECTORY/node_modules"
    if find_spec("aiortc"):
        found.append(Contender("aiortc", [sys.executable, *_PYTHON_PEER, "aiortc"], environment=_python_path()))
    else:
        missing["aiortc"] = "pip install aiortc"
    return found, missing


def _python_path(folder: Path | None = None) -> dict[str, str]:
    """Return the environment that finds this folder's modules, after those of another folder if one is given."""
    folders = [str(ROOT)] if folder is None else [str(folder), str(ROOT)]
    return {"PYTHONPATH": os.pathsep.join(folders)}


def _has_module(python: str, module: str) -> bool:
    """Return whether that Python can import the module. A library that cannot be loaded here counts as missing."""
    command = [python, "-c", f"import {module}"]
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def default_node_modules() -> str:
    """Return the default folder of the stacks for Node: that of `make peers`, unless NODE_PATH is set."""
    return os.environ.get("NODE_PATH", str(_NODE_MODULES))


def host_address() -> str:
    """Return an address of this machine that every stack uses; some ignore 127.0.0.1."""
    for adapter in ifaddr.get_adapters():
        for address in adapter.ips:
            if isinstance(address.ip, str) and not address.ip.startswith("127."):
                return address.ip
    return "127.0.0.1"
