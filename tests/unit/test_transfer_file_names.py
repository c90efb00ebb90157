"""The file names that a peer may choose."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from datachan.transfer.file_names import FALLBACK_NAME, MAX_NAME_BYTES, printable, safe_name


@pytest.mark.parametrize(
    ("wished", "given_name"),
    [
        ("report.pdf", "report.pdf"),
        ("Überraschung für Zoë.txt", "Überraschung für Zoë.txt"),
        ("../../etc/passwd", "passwd"),
        ("/etc/shadow", "shadow"),
        ("..\\..\\windows\\system.ini", "system.ini"),
        ("C:\\autoexec.bat", "autoexec.bat"),
        ("C:evil.txt", "C_evil.txt"),
        ("a.txt:stream", "a.txt_stream"),
        ("folder/", "folder"),
        ("..", FALLBACK_NAME),
        ("a/..", "a"),
        ("", FALLBACK_NAME),
        ("///", FALLBACK_NAME),
        ("\x00\x01", FALLBACK_NAME),
        (".bashrc", "bashrc"),
        (" . .hidden. . ", "hidden"),
        ("trailing.", "trailing"),
        ("line\nbreak\r.txt", "linebreak.txt"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("byte\ufefforder", "byteorder"),
        ("lone\ud800surrogate", "lonesurrogate"),
        ("nul", "_nul"),
        ("Con.txt", "_Con.txt"),
        ("com1.tar.gz", "_com1.tar.gz"),
        ("COM¹", "_COM¹"),
        ("lpt9 .txt", "_lpt9 .txt"),
        ("console.txt", "console.txt"),
        ("-rf", "_-rf"),
        ('what?"<*>|.txt', "what______.txt"),
        ("re\u0301sume\u0301.txt", "résumé.txt"),
        ("👩\u200d🔧.png", "👩\u200d🔧.png"),
    ],
)
def test_gives_a_plain_name_in_the_folder(wished: str, given_name: str) -> None:
    assert safe_name(wished) == given_name


def test_shortens_a_long_name_but_keeps_its_extension() -> None:
    name = safe_name("ü" * 300 + ".jpeg")
    assert name.endswith("ü.jpeg")
    assert MAX_NAME_BYTES - 1 <= len(name.encode()) <= MAX_NAME_BYTES


def test_shortens_a_long_name_without_a_sensible_extension() -> None:
    assert safe_name("a." + "b" * 500) == "a." + "b" * (MAX_NAME_BYTES - 2)


@given(st.text(max_size=600) | st.text(alphabet="./\\ :conNUL1-\u200d\u0301\u202eé\n", max_size=300))
@example("a" * 198 + " .b")
@example("-" * 200)
@example("con" + " " * 300 + ".txt")
@example("x" * 199 + "\u0301")
def test_any_text_becomes_one_harmless_component(wished: str) -> None:
    name = safe_name(wished)
    assert 0 < len(name.encode()) <= MAX_NAME_BYTES
    assert not set(name) & set('/\\:<>"|?*\0')
    assert name.strip() == name
    assert name[0] not in ".-"
    assert name[-1] != "."
    assert unicodedata.is_normalized("NFC", name)
    assert printable(name) == name
    assert safe_name(name) == name
