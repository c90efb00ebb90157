"""Compile datachan in a directory of its own, so that both builds can be measured in one run."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

from tests.stacks.process import ROOT

FOLDER: Final = ROOT / "build" / "bench"
_PARTS: Final = ("datachan", "web", "pyproject.toml", "README.md", "LICENSE")
_BINARIES: Final = (".so", ".pyd")


def compiled() -> Path:
    """Return the directory of the compiled package, and build it if the sources have changed.

    Raises:
        RuntimeError: the build failed; it needs a C compiler and Python's headers.
    """
    target = FOLDER / "compiled"
    stamp = target / "sources.sha256"
    digest = _digest()
    if stamp.exists() and stamp.read_text() == digest:
        return target
    print("compiling the engine, which takes a minute …", file=sys.stderr, flush=True)
    shutil.rmtree(target, ignore_errors=True)
    _unpack(_build_wheel(), target)
    stamp.write_text(digest)
    return target


def is_interpreted() -> bool:
    """Return whether the package in the working tree is interpreted."""
    return not any(path.suffix in _BINARIES for path in (ROOT / "datachan").rglob("*"))


def _digest() -> str:
    """Return an identifier of these sources, this Python and its compiler."""
    digest = hashlib.sha256(sys.version.encode())
    for path in [ROOT / "pyproject.toml", *sorted((ROOT / "datachan").rglob("*.py"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _build_wheel() -> Path:
    """Build from a copy, because mypyc puts its libraries beside the sources."""
    sources, wheels = FOLDER / "sources", FOLDER / "wheels"
    for folder in (sources, wheels):
        shutil.rmtree(folder, ignore_errors=True)
    sources.mkdir(parents=True)
    for part in _PARTS:
        path = ROOT / part
        if path.is_dir():
            shutil.copytree(path, sources / part, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.pyd"))
        else:
            shutil.copy(path, sources / part)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), str(sources)]
    environment = {**os.environ, "HATCH_BUILD_HOOKS_ENABLE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    built = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = list(wheels.glob("*.whl"))
    shutil.rmtree(sources)
    if built.returncode or not found:
        raise RuntimeError(f"the engine could not be compiled: {(built.stderr or built.stdout).strip()[-300:]}")
    return found[0]


def _unpack(wheel: Path, target: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    wheel.unlink()
