"""Test that the help of a command wraps its description and keeps examples and exit statuses on lines of their own."""

from __future__ import annotations

import argparse

import pytest

from datachan.cli import build_parser
from datachan.cli_help import add_command


def test_wraps_the_description_and_keeps_the_lines_of_examples(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "32")
    commands = argparse.ArgumentParser(prog="datachan").add_subparsers()
    parser = add_command(
        commands,
        "count",
        help="count",
        description="Count what is there, and say how much that is.",
        examples=["count one two", "count three"],
        exit_statuses={0: "done", 130: "interrupted"},
    )
    parser.print_help()
    _, _, shown = capsys.readouterr().out.partition("\n\n")
    assert shown.startswith("Count what is there, and say\nhow much that is.\n")
    assert shown.endswith(
        "\n\nexamples:\n  datachan count one two\n  datachan count three\n"
        "\nexit status:\n  0     done\n  130   interrupted\n"
    )


@pytest.mark.parametrize("command", ["send", "receive", "serve", "decode", "trace", "bench", "doctor"])
def test_each_command_shows_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args([command, "--help"])
    assert f"\nexamples:\n  datachan {command}" in capsys.readouterr().out
