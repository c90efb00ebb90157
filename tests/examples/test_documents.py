"""The Python code in README and tutorial, run as it stands there."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from .processes import ROOT, run, serve

DOCUMENTS = (ROOT / "README.md", ROOT / "docs" / "tutorial.md", ROOT / "docs" / "sockets.md")
DEFAULT_SERVER = "http://127.0.0.1:8080"


def blocks(document: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE)


async def outcome(script: Path) -> tuple[int, str]:
    async with run(script) as program:
        program.end_input()
        return await program.ends(), program.printed


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(code, id=f"{document.stem}-{number}")
        for document in DOCUMENTS
        for number, code in enumerate(blocks(document), 1)
    ],
)
async def test_code_in_the_documents_works_when_pasted(code: str, tmp_path: Path) -> None:
    script = tmp_path / "pasted.py"
    script.write_text(code)
    if DEFAULT_SERVER not in code:
        results = [await outcome(script)]
    else:  # two members of a room, through a server on a port of its own
        async with serve() as server:
            script.write_text(code.replace(DEFAULT_SERVER, server))
            results = await asyncio.gather(outcome(script), outcome(script))
    for exit_code, printed in results:
        assert exit_code == 0, printed
        assert printed


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_there_is_code_to_run(document: Path) -> None:
    assert blocks(document)


@pytest.mark.parametrize(
    "document", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name
)
def test_links_between_the_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target
