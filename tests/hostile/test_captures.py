"""Captures hold what DTLS encrypts: they never go into a file that another user made or can read."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from datachan.trace import open_tap

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch(mode=0o600)
    (tmp_path / "a.pcapng").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"."):
        open_tap(tmp_path / "a.pcapng", "test")
    assert (tmp_path / "elsewhere").read_bytes() == b""


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pcapng").touch()
    (tmp_path / "a.pcapng").chmod(0o644)
    with pytest.raises(PermissionError, match="chmod 600"):
        open_tap(tmp_path / "a.pcapng", "test")


def test_a_pipe_is_refused_and_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.pcapng", 0o600)
    with pytest.raises(OSError, match=r"."):
        open_tap(tmp_path / "a.pcapng", "test")


def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.pcapng").touch(mode=0o600)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(PermissionError, match="another user"):
        open_tap(tmp_path / "a.pcapng", "test")


def test_folders_and_files_that_are_made_are_private(tmp_path: Path) -> None:
    tap = open_tap(f"{tmp_path}/captures/", "test")
    assert tap is not None
    tap.close()
    assert (tmp_path / "captures").stat().st_mode & 0o777 == 0o700
    assert tap.path.stat().st_mode & 0o777 == 0o600
