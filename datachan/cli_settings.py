"""Settings of `datachan serve` from a file and from the environment, as words of its command line.

Every option can be given in three places: in a TOML file (`room-capacity = 8`), in the environment
(`DATACHAN_ROOM_CAPACITY=8`), and on the command line. A later place replaces the value of an earlier one; options that
may be repeated add up. It knows the options only by the parser that it is given.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

PREFIX: Final = "DATACHAN_"
_NOT_SETTINGS: Final = frozenset({"help", "config"})


class BadSettings(Exception):
    """A setting cannot be used; the message is a sentence for the user."""


def words_of_file(path: Path, parser: argparse.ArgumentParser) -> list[str]:
    """Return the words for the settings in a TOML file.

    Raises:
        BadSettings: The file cannot be read, or has a setting that does not exist or has the wrong type.
    """
    try:
        settings = tomllib.loads(path.read_text())
    except OSError as error:
        raise BadSettings(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise BadSettings(f"{path} is not TOML: {error}.") from None
    actions = _actions(parser)
    words: list[str] = []
    for name, value in settings.items():
        action = actions.get(name)
        if action is None:
            raise BadSettings(f"{path} has a setting {name!r}, which does not exist. Settings: {', '.join(actions)}.")
        words += _words(action, name, value, f"{path}: {name}")
    return words


def words_of_environment(environment: Mapping[str, str], parser: argparse.ArgumentParser) -> list[str]:
    """Return the words for the settings in the environment.

    Spaces separate the values of options that may be repeated.

    Raises:
        BadSettings: The variable of a switch is neither 1, true, yes, 0, false, no nor empty.
    """
    words: list[str] = []
    for name, action in _actions(parser).items():
        variable = variable_of(name)
        text = environment.get(variable)
        if text is None:
            continue
        value: object = text
        if action.nargs == 0:
            value = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": False}.get(
                text.lower()
            )
        elif isinstance(action, argparse._AppendAction):
            value = text.split()
        words += _words(action, name, value, variable)
    return words


def variable_of(name: str) -> str:
    """Return the name of the environment variable of an option."""
    return PREFIX + name.upper().replace("-", "_")


def _actions(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Return the options by their long names."""
    return dict(_named(parser))


def _named(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.Action]]:
    for action in parser._actions:
        for option in action.option_strings:
            name = option.removeprefix("--")
            if name != option and name not in _NOT_SETTINGS:
                yield name, action


def _words(action: argparse.Action, name: str, value: object, place: str) -> list[str]:
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise BadSettings(f"{place} is either true or false.")
        return [f"--{name}"] if value else []
    values = value if isinstance(value, list) and isinstance(action, argparse._AppendAction) else [value]
    for one in values:
        if isinstance(one, bool) or not isinstance(one, str | int | float):
            raise BadSettings(f"{place} is a text or a number.")
    return [f"--{name}={one}" for one in values]
