"""Run the Python code of the documents unchanged, and follow their links within the repository."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from .processes import ROOT, run, serve

DOCUMENTS = (
    ROOT / "README.md",
    ROOT / "docs" / "tutorial.md",
    ROOT / "docs" / "sockets.md",
    ROOT / "docs" / "multihoming.md",
    ROOT / "docs" / "engine.md",
    ROOT / "docs" / "signaling.md",
    ROOT / "docs" / "captures.md",
    ROOT / "docs" / "transfer.md",
)
DEFAULT_SERVER = "http://127.0.0.1:8080"
# The beginning of a link to a file or folder of this repository; `blob/main/` or `tree/main/` follows.
REPOSITORY_FILES = "https://github.com/datachan/datachan/"


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


def test_the_first_program_of_the_readme_has_ten_lines() -> None:
    program = blocks(ROOT / "README.md")[0]
    assert len([line for line in program.splitlines() if line.strip()]) == 10


def links(document: Path) -> list[str]:
    return re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text())


@pytest.mark.parametrize(
    "document",
    [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))],
    ids=lambda path: path.name,
)
def test_links_between_the_documents_lead_somewhere(document: Path) -> None:
    for target in links(document):
        if target.startswith(REPOSITORY_FILES):
            folder = ROOT
            name = target.removeprefix(REPOSITORY_FILES).partition("/main/")[2]
        else:
            folder, name = document.parent, target
        if "://" not in name:
            assert name, target
            assert (folder / name).exists(), target


def test_links_of_the_readme_are_absolute_because_pypi_shows_it_too() -> None:
    for target in links(ROOT / "README.md"):
        assert target.startswith("https://"), target


def test_the_readme_has_a_place_for_the_results_of_the_interoperability_tests() -> None:
    before, begin, rest = (ROOT / "README.md").read_text().partition("<!-- interop:begin -->\n")
    inside, end, after = rest.partition("<!-- interop:end -->\n")
    assert all((before, begin, inside.strip(), end, after))
