"""The commands `datachan send` and `datachan receive`: their options, and their ends as exit statuses."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from datachan.cli_help import Commands, add_command

if TYPE_CHECKING:
    from collections.abc import Callable

    from datachan.peer import RTCConfiguration
    from datachan.tools.transfer_terminal import Screen

_UNITS: Final = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}

_EXIT_STATUSES: Final = {
    0: "done",
    1: "error",
    2: "wrong command line",
    3: "refused",
    4: "wrong code",
    5: "no connection",
    6: "damaged",
    7: "disk",
    130: "interrupted",
}


def add_send(commands: Commands[argparse.ArgumentParser], add_ice_server: Callable[..., None]) -> None:
    """Add `datachan send` to the command line."""
    parser = add_command(
        commands,
        "send",
        aliases=["tx"],
        help="send files, folders or text to a person who types a code",
        description=(
            "Send files, folders, standard input (-) or a text. It prints a code and a link. The other person "
            "types the code into `datachan receive`, or opens the link in a browser. The code proves to both "
            "sides that there is no third party between them. A transfer that breaks off goes on where it was."
        ),
        examples=["send photos", "send --text hello", "send --serve film.mkv"],
        exit_statuses=_EXIT_STATUSES,
    )
    parser.add_argument("paths", nargs="*", metavar="PATH", help='files and folders; "-" is standard input')
    parser.add_argument("--text", metavar="TEXT", help="send this text instead of files")
    parser.add_argument(
        "--to", type=_receivers, default=1, metavar="N", help="send to N receivers at once (default: 1)"
    )
    parser.add_argument("--limit", type=_rate, metavar="RATE", help="bytes per second at most, such as 500k or 20M")
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave out files and folders of this name, such as '*.tmp'; may be repeated",
    )
    _add_serve(parser)
    parser.add_argument(
        "--controller",
        choices=["adaptive", "cubic", "newreno"],
        default="adaptive",
        help="congestion control: adaptive also fills links that lose packets, cubic is RFC 9438 (default: adaptive)",
    )
    parser.add_argument("--no-qr", action="store_true", help="do not show the link as a QR code")
    _add_common(parser, add_ice_server)
    parser.set_defaults(run=run_send, parser=parser)


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--serve",
        action="store_true",
        help="serve the page and the signaling on this host's address while sending; no other server is needed",
    )
    parser.add_argument(
        "--port", type=port_of, default=None, metavar="PORT", help="the port of --serve (default: a free one)"
    )


def add_receive(commands: Commands[argparse.ArgumentParser], add_ice_server: Callable[..., None]) -> None:
    """Add `datachan receive` to the command line."""
    parser = add_command(
        commands,
        "receive",
        aliases=["rx"],
        help="receive what the sender of a code offers",
        description=(
            "Receive what the sender of a code offers. It shows names, sizes and free space, and asks before it "
            "stores anything. After a break, the same command goes on where the transfer was."
        ),
        examples=["receive", "receive -o Downloads"],
        exit_statuses=_EXIT_STATUSES,
    )
    parser.add_argument(
        "code",
        nargs="?",
        metavar="CODE",
        help="the code or link; without it, DATACHAN_CODE or a prompt, which other users of this host cannot see",
    )
    parser.add_argument(
        "-o",
        "--output",
        default=".",
        metavar="FOLDER",
        help='where to store files; "-" is standard output (default: .)',
    )
    parser.add_argument("-y", "--yes", action="store_true", help="accept without asking")
    parser.add_argument(
        "--on-conflict",
        choices=["ask", "skip", "rename", "overwrite"],
        help="what to do if a name is taken (default: ask on a terminal, otherwise rename)",
    )
    parser.add_argument("--max-size", type=_size, metavar="SIZE", help="refuse larger offers, such as 2G")
    parser.add_argument(
        "--wait", type=_seconds, default=60.0, metavar="SECONDS", help="time to wait for the sender (default: 60)"
    )
    _add_common(parser, add_ice_server)
    parser.set_defaults(run=run_receive, parser=parser)


def _add_common(parser: argparse.ArgumentParser, add_ice_server: Callable[..., None]) -> None:
    parser.add_argument(
        "--server",
        metavar="URL",
        help="signaling server (default: DATACHAN_SERVER, otherwise http://127.0.0.1:8080)",
    )
    add_ice_server(parser, "STUN or TURN server")
    parser.add_argument("--verify", action="store_true", help="compare four words on both sides before sending")
    parser.add_argument("--json", action="store_true", help="print one JSON object per event, each on a line")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing but errors and the code")
    parser.add_argument("--no-progress", action="store_true", help="do not show the progress")


def run_send(namespace: argparse.Namespace) -> int:
    """Send files, folders or text."""
    from datachan.tools.sending import DEFAULT_SERVER, SendOptions, send

    if (namespace.text is None) == (not namespace.paths):
        namespace.parser.error("name what to send: paths, or --text")
    if "-" in namespace.paths and (len(namespace.paths) > 1 or namespace.to > 1):
        namespace.parser.error('"-" is sent alone, and to one receiver: standard input can be read only once')
    if namespace.serve and namespace.server:
        namespace.parser.error("choose one of --serve and --server")
    if namespace.port is not None and not namespace.serve:
        namespace.parser.error("--port is the port of --serve")
    options = SendOptions(
        paths=tuple(namespace.paths),
        text=namespace.text,
        server=_server(namespace, DEFAULT_SERVER),
        serve=(namespace.port or 0) if namespace.serve else None,
        receivers=namespace.to,
        limit=namespace.limit,
        exclude=tuple(namespace.exclude),
        verify=namespace.verify,
        qr=not namespace.no_qr,
        configuration=replace(configuration_of(namespace), congestionControl=namespace.controller),
    )
    again = "Stopped. Send again: there will be a new code, and the receiver goes on where it was."
    return _run(lambda screen: send(options, screen), _screen(namespace), again)


def run_receive(namespace: argparse.Namespace) -> int:
    """Receive what the sender of a code offers."""
    from pathlib import Path

    from datachan.tools.receiving import ReceiveOptions, code_and_server, prompt_for_code, receive
    from datachan.tools.sending import DEFAULT_SERVER
    from datachan.transfer.codes import BadCode
    from datachan.transfer.storage import Conflict

    screen = _screen(namespace)
    terminal = sys.stdin.isatty() and sys.stderr.isatty()
    to_stdout = namespace.output == "-"
    _check_receive(namespace, terminal=terminal)
    if namespace.code:
        screen.say("Other users of this host can see the code in the list of processes: the prompt hides it from them.")
    try:
        text = namespace.code or os.environ.get("DATACHAN_CODE") or prompt_for_code()
        code, server = code_and_server(text, _server(namespace, DEFAULT_SERVER))
    except (EOFError, KeyboardInterrupt):
        screen.say()
        return 130
    except BadCode as error:
        screen.complain(error.reason, "usage", 2)
        return 2
    conflict = namespace.on_conflict or ("ask" if terminal and not namespace.yes else "rename")
    options = ReceiveOptions(
        code=code,
        server=server,
        folder=Path("." if to_stdout else namespace.output),
        to_stdout=to_stdout,
        yes=namespace.yes,
        on_conflict=None if conflict == "ask" else Conflict(conflict),
        max_size=namespace.max_size,
        verify=namespace.verify,
        patience=namespace.wait,
        configuration=configuration_of(namespace),
    )
    again = "Stopped. What arrived is kept: run the same command again to go on, as long as the sender waits."
    return _run(lambda screen: receive(options, screen), screen, again)


def _check_receive(namespace: argparse.Namespace, *, terminal: bool) -> None:
    if not namespace.yes and (namespace.json or not terminal):
        namespace.parser.error("give --yes to accept what is offered: there is no terminal to ask on")
    if namespace.output == "-" and namespace.json:
        namespace.parser.error("choose one of --json and --output -")
    if namespace.output != "-" and not os.path.isdir(namespace.output):
        namespace.parser.error(f"there is no folder {namespace.output}: create it, or name another one with -o")
    if namespace.on_conflict == "ask" and not terminal:
        namespace.parser.error("there is no terminal to ask on: choose --on-conflict skip, rename or overwrite")


def _run(program: Callable[..., object], screen: Screen, again: str) -> int:
    import asyncio
    import logging

    from datachan.tools.transfer_terminal import ExitStatus
    from datachan.transfer.errors import TransferError
    from datachan.transfer.pake import require_spake2

    logging.getLogger("datachan").setLevel(logging.ERROR)  # what matters is said on the screen
    try:
        require_spake2()  # before a code is printed that cannot be proved
        return int(asyncio.run(program(screen)))  # type: ignore[arg-type]
    except KeyboardInterrupt:
        screen.complain(again, "interrupted", ExitStatus.INTERRUPTED)
        return ExitStatus.INTERRUPTED
    except TransferError as error:
        screen.complain(error.reason)
        return ExitStatus.ERROR
    except ValueError as error:  # a server's address that is malformed
        screen.complain(str(error), "usage", ExitStatus.USAGE)
        return ExitStatus.USAGE


def _screen(namespace: argparse.Namespace) -> Screen:
    from datachan.tools.transfer_terminal import Screen

    return Screen(
        sys.stderr, sys.stdout, quiet=namespace.quiet, as_json=namespace.json, progress=not namespace.no_progress
    )


def _server(namespace: argparse.Namespace, default: str) -> str:
    return namespace.server or os.environ.get("DATACHAN_SERVER") or default


def configuration_of(namespace: argparse.Namespace) -> RTCConfiguration:
    """Return the configuration of connections that use the command's ICE servers."""
    from datachan.peer import RTCConfiguration, RTCIceServer

    servers = [RTCIceServer(item.url, item.username, item.credential) for item in namespace.ice_server]
    return RTCConfiguration(iceServers=servers)


def _size(text: str) -> int:
    number = text.strip().lower().removesuffix("b")
    unit = number[-1:] if number[-1:].isalpha() else ""
    try:
        value = float(number.removesuffix(unit)) * _UNITS[unit]
    except (ValueError, KeyError):
        value = 0.0
    if not 1 <= value <= 2**53:
        raise argparse.ArgumentTypeError(f"a size looks like 500k, 20M or 2G, not {text!r}")
    return int(value)


def _rate(text: str) -> float:
    return float(_size(text))


def _receivers(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 100:
        raise argparse.ArgumentTypeError(f"the number of receivers is from 1 to 100, not {text!r}")
    return int(text)


def port_of(text: str) -> int:
    """Return the port that an option names. Raises argparse.ArgumentTypeError."""
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 86_400 * 30:
        raise argparse.ArgumentTypeError(f"a time is a number of seconds, not {text!r}")
    return value
