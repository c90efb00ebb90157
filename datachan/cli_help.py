"""The help of a command: its description, then examples and exit statuses on lines of their own.

It knows nothing of what the commands do.
"""

from __future__ import annotations

import argparse
import shutil
import textwrap
from collections.abc import Mapping, Sequence

Commands = argparse._SubParsersAction


def add_command(
    commands: Commands[argparse.ArgumentParser],
    name: str,
    *,
    help: str,  # noqa: A002, the name that argparse gives it
    description: str,
    examples: Sequence[str] = (),
    exit_statuses: Mapping[int, str] | None = None,
    aliases: Sequence[str] = (),
) -> argparse.ArgumentParser:
    """Add a command to the command line and return its parser.

    Args:
        commands: The commands of the program.
        name: What the user types after `datachan`.
        help: One line for the list of commands.
        description: A paragraph for the command's own help. It is wrapped at the width of the terminal.
        examples: Command lines, without `datachan`.
        exit_statuses: What each exit status of the process means.
        aliases: Other names of the command.
    """
    width = shutil.get_terminal_size().columns - 2  # as argparse wraps the options
    blocks = []
    if examples:
        blocks.append("\n".join(["examples:", *(f"  datachan {example}" for example in examples)]))
    if exit_statuses:
        rows = [f"  {status:<5} {meaning}" for status, meaning in exit_statuses.items()]
        blocks.append("\n".join(["exit status:", *rows]))
    return commands.add_parser(
        name,
        aliases=aliases,
        help=help,
        description=textwrap.fill(description, width),
        epilog="\n\n".join(blocks) or None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
