"""Follow the first page of docs/tutorial.md word for word: an empty environment, three commands, a received file."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import venv
from pathlib import Path

from tests.examples.processes import ROOT
from tests.examples.test_transfer_terminal import on_terminal

LINK = "http://192.0.2.7:8080/#/receive/7-marble-kitten"


def commands() -> list[str]:
    """Return the lines of the console block of the section."""
    section = (ROOT / "docs" / "tutorial.md").read_text().split("## A file in a minute")[1]
    block = re.search(r"^```console\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    assert block is not None
    return [line.removeprefix("$ ") for line in block[1].splitlines() if line.startswith("$ ")]


def built_wheel(folder: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-cache-dir"]
    subprocess.run([*pip, "--wheel-dir", folder, ROOT], check=True)
    return next(folder.glob("datachan-*.whl"))


async def test_three_commands_lead_to_a_received_file(tmp_path: Path) -> None:
    install, send, receive = commands()
    assert install == "pip install 'datachan[cli]'"
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    pip = [str(environment / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, f"{built_wheel(tmp_path)}[cli]"], check=True)
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    words = shlex.split(send)
    (here / words[-1]).write_bytes(b"a picture")
    program = [str(environment / "bin" / "datachan")]
    async with on_terminal("", *words[1:], program=program, folder=here) as sender:
        link = (await sender.shows(r"Or in a browser: +(http\S+/#/receive/\d+-[a-z]+-[a-z]+)\s"))[1]
        assert LINK in receive
        typed = shlex.split(receive.replace(LINK, link))
        async with on_terminal("", *typed[1:], program=program, folder=there) as receiver:
            await receiver.shows(r"Accept\? \[Y/n\] ")
            receiver.type("\n")
            await receiver.shows("stored and verified in")
            assert await receiver.ends() == 0
        await sender.shows("The receiver has stored and verified everything")
        assert await sender.ends() == 0
    assert (there / words[-1]).read_bytes() == b"a picture"
