"""Test the page's transfer modules against the Python side, and that the vendored files are the recorded ones."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from datachan.transfer.codes import BadCode, parse_code, word_list
from datachan.transfer.messages import Entry, Kind
from datachan.transfer.names import stored_paths
from tests.missing import missing

ROOT = Path(__file__).parents[2]
VENDOR = ROOT / "web" / "vendor"

PATHS = [
    "a.txt",
    "A.TXT",
    "../../etc/passwd",
    "/absolute/file",
    ".hidden/.inside",
    "con",
    "folder/NUL.txt",
    "-rf",
    'a<b>:"c|d?e*',
    "evil\u202egnp.exe",
    "trailing. . ",
    "e\u0301",
    "\u00e9",
    "back\\slash",
    "x" * 300 + ".jpeg",
    "a.txt",
    "..",
    "a/../b",
    "\x00\x07bell",
]
CODES = [
    "7-marble-kitten",
    " 7 MARB kitt ",
    "0-marble-kitten",
    "7-marble",
    "7-mar-kitten",
    "10000-zoo-zoo",
    "7-act-zoo",
]


@pytest.fixture(scope="module")
def page() -> Any:
    node = shutil.which("node")
    if node is None:
        missing("node is not installed (apt install nodejs)")
    vectors = json.loads((ROOT / "tests/data/transfer/pake.json").read_text())["vectors"]
    given = json.dumps({"vectors": vectors, "paths": PATHS, "codes": CODES})
    command = [
        str(node),
        "--disable-warning=MODULE_TYPELESS_PACKAGE_JSON",
        str(ROOT / "tests/interop/transfer_modules.mjs"),
    ]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=True, timeout=60)
    return {**json.loads(done.stdout), "vectors": vectors}


def test_agrees_with_the_vectors_of_the_key_exchange(page):
    assert len(page["exchanges"]) == len(page["vectors"]) > 0
    for found, vector in zip(page["exchanges"], page["vectors"], strict=True):
        assert found.pop("other_key") == vector["key"]
        assert found == {name: vector[name] for name in found}


def test_refuses_shares_outside_of_the_group(page):
    assert page["refused"] == [None, None, None]


def test_refuses_a_server_that_swaps_fingerprints(page):
    assert page["proofs"] == ["proved", "wrong-code"]


def test_has_the_words_of_the_python_side(page):
    assert page["words"] == list(word_list())


def test_reads_codes_as_the_python_side_does(page):
    expected = []
    for text in CODES:
        try:
            expected.append(str(parse_code(text)))
        except BadCode:
            expected.append(None)
    assert page["codes"] == expected


def test_stores_names_as_the_python_side_does(page):
    expected = stored_paths([Entry(path, Kind.FILE, 1) for path in PATHS])
    assert [tuple(path) for path in page["paths"]] == expected


def test_bounds_what_a_member_of_a_room_offers_and_takes_only_what_was_requested(page):
    assert page["offers"] == [None, "too-large", None, "protocol"]


def test_a_page_answers_a_request_that_it_has_nothing(page):
    assert page["requested"] == "not-found"


def test_vendored_files_are_the_recorded_ones():
    recorded = dict(reversed(line.split("  ")) for line in (VENDOR / "SHA256SUMS").read_text().splitlines())
    present = {path.relative_to(VENDOR).as_posix() for path in VENDOR.rglob("*.js")}
    assert present == set(recorded)
    for name, digest in recorded.items():
        assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == digest, name
