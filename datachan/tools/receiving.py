"""The program behind `datachan receive`: asks for the code, shows the offer, and reports what happens."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import urlsplit

from datachan.peer import RTCConfiguration
from datachan.signaling import SignalingError
from datachan.tools.sending import DEFAULT_SERVER, no_server
from datachan.tools.transfer_terminal import ExitStatus, Measure, Screen, format_size, status_of
from datachan.transfer.actions import Ended, FileMissing, Outcome, Restarted
from datachan.transfer.codes import BadCode, Code, complete, parse_code
from datachan.transfer.messages import EndCode, Kind
from datachan.transfer.receive_offer import Decision, OfferReceiving, Review, resolve_conflicts
from datachan.transfer.receive_session import ReceiveSession
from datachan.transfer.session_events import (
    Connected,
    Connecting,
    Happened,
    Lost,
    NoSender,
    PathChanged,
    SessionEvent,
)
from datachan.transfer.storage import Conflict, Storage

_MAX_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class ReceiveOptions:
    """The options of the command line.

    Attributes:
        code: The code.
        server: The signaling server.
        folder: Where files are stored.
        to_stdout: Write the only file to standard output.
        yes: Accept without asking.
        on_conflict: What to do with a name that is taken; None asks.
        max_size: Bytes; larger offers are refused. None for no limit.
        verify: Compare four words.
        patience: Seconds to wait for a sender.
        configuration: For the connections.
    """

    code: Code
    server: str = DEFAULT_SERVER
    folder: Path = Path()
    to_stdout: bool = False
    yes: bool = False
    on_conflict: Conflict | None = Conflict.RENAME
    max_size: int | None = None
    verify: bool = False
    patience: float = 60.0
    configuration: RTCConfiguration | None = None


def code_and_server(text: str, server: str) -> tuple[Code, str]:
    """Return the code and the server in what a person typed: a code, or the link that the sender shows.

    Raises:
        BadCode: The text is neither.
    """
    if "://" not in text:
        return parse_code(text), server
    parts = urlsplit(text.strip())
    if not parts.fragment.startswith("/receive/"):
        raise BadCode("the link does not end with #/receive/ and a code")
    address = f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")
    return parse_code(parts.fragment.removeprefix("/receive/")), address


def prompt_for_code() -> str:
    """Ask for the code on the terminal; Tab completes its words.

    Raises:
        EOFError: The input has ended.
    """
    try:
        import readline  # noqa: PLC0415 - not on every system
    except ImportError:
        return input("Code: ")
    found: list[str] = []

    def completer(text: str, state: int) -> str | None:
        if state == 0:
            found[:] = complete(text)
        return found[state] if state < len(found) else None

    readline.set_completer(completer)
    readline.set_completer_delims("")
    readline.parse_and_bind("tab: complete")
    try:
        return input("Code (Tab completes its words): ")
    finally:
        readline.set_completer(None)


async def receive(options: ReceiveOptions, screen: Screen, stdout: BinaryIO | None = None) -> ExitStatus:
    """Receive what the sender with this code offers, and return the exit status."""
    measure = Measure("Received", 0, None)
    session = ReceiveSession(
        options.code,
        options.server,
        options.folder,
        _decider(options, screen),
        compare=_comparer(screen),
        verify=options.verify,
        stream=(stdout or sys.stdout.buffer) if options.to_stdout else None,
        patience=options.patience,
        configuration=options.configuration,
    )
    session.notify = _reporter(session, screen, measure)
    progress = asyncio.create_task(screen.follow(lambda: _measured(session, measure)))
    try:
        ended = await session.run()
    except SignalingError as error:
        screen.complain(no_server(options.server, error), "no-connection", ExitStatus.NO_CONNECTION)
        return ExitStatus.NO_CONNECTION
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        screen.complain(f"{place}{(error.strerror or str(error)).lower()}", "disk", ExitStatus.DISK)
        return ExitStatus.DISK
    finally:
        progress.cancel()
        await asyncio.gather(progress, return_exceptions=True)
    return _finish(ended, session, options, screen)


def _measured(session: ReceiveSession, measure: Measure) -> list[Measure]:
    receiving = session.receiving
    if receiving is None or receiving.machine.offer is None or receiving.machine.hash is None:
        return []
    size = receiving.machine.offer.size
    measure.total = size
    done = receiving.resumed + receiving.machine.received
    measure.done = done if size is None else min(done, size)
    return [measure]


def _comparer(screen: Screen) -> Callable[[tuple[str, ...]], Awaitable[bool]]:
    async def compare(words: tuple[str, ...]) -> bool:
        if not screen.interactive:
            return True
        return await screen.agrees("Does the sender show the same four words?", default=False)

    return compare


def _reporter(session: ReceiveSession, screen: Screen, measure: Measure) -> Callable[[SessionEvent], None]:
    def report(event: SessionEvent) -> None:
        if isinstance(event, NoSender):
            screen.say("Waiting for the sender …")
        elif isinstance(event, Connecting):
            screen.event("connecting")
        elif isinstance(event, Connected):
            measure.note = event.path
            if event.again:
                screen.say("Connected again.")
            if event.verify and not event.again:
                screen.say(f"Words to compare: {' '.join(event.words)}")
            screen.event("connected", again=event.again, path=event.path, words=list(event.words))
        elif isinstance(event, PathChanged):
            measure.note = event.path
            screen.event("path", path=event.path)
        elif isinstance(event, Lost):
            _tell_lost(event, screen, measure)
        elif isinstance(event, Happened) and session.receiving is not None:
            _tell_action(event, session, session.receiving, screen)

    return report


def _tell_lost(event: Lost, screen: Screen, measure: Measure) -> None:
    place = f", goes on at {measure.percent} %" if measure.percent else ""
    screen.say(
        f"{event.reason.capitalize()}. Waiting for the sender{place} … If it was started again, use its new code."
    )
    screen.event("lost", reason=event.reason)


def _tell_action(event: Happened, session: ReceiveSession, receiving: OfferReceiving, screen: Screen) -> None:
    if isinstance(event.action, FileMissing):
        path = receiving.machine.entries[event.action.file].path
        screen.event("missing", path=path, reason=event.action.reason)
    elif isinstance(event.action, Restarted):
        name = "/".join(_place(session, event.action.file))
        screen.say(f"{name}: the sender's file has changed since; it is received from its beginning.")


def _place(session: ReceiveSession, file: int) -> tuple[str, ...]:
    target = session.receiving.target if session.receiving is not None else None
    return target.places[file] if isinstance(target, Storage) else ("the file",)


# -- the review --------------------------------------------------------------------------------------------------------


def _decider(options: ReceiveOptions, screen: Screen) -> Callable[[Review], Awaitable[Decision]]:
    async def decide(review: Review) -> Decision:
        _tell_review(review, options, screen)
        if options.max_size is not None and (review.size is None or review.size > options.max_size):
            size = "of unknown size" if review.size is None else format_size(review.size)
            reason = f"the offer is {size}, and the receiver accepts at most {format_size(options.max_size)}"
            return Decision(reason, EndCode.TOO_LARGE)
        if not options.yes and not await screen.agrees("Accept?", default=True):
            return Decision("the receiver does not want it")
        return Decision(conflicts=await _decide_conflicts(review, options, screen))

    return decide


def _tell_review(review: Review, options: ReceiveOptions, screen: Screen) -> None:
    files = [n for n, entry in enumerate(review.entries) if entry.kind is not Kind.FOLDER]
    size = "unknown size" if review.size is None else format_size(review.size)
    screen.event(
        "offer", id=review.id, files=len(files), size=review.size, free=review.free,
        paths=["/".join(place) for place in review.places[:1000]],
    )  # fmt: skip
    if review.text:
        screen.say(f"The sender offers a text of {review.size} bytes.")
        return
    room = "" if review.free is None else f"; {format_size(review.free)} are free in {options.folder.absolute()}"
    screen.say(f"The sender offers {len(files)} file{'s' if len(files) != 1 else ''}, {size}{room}:")
    for number in files[:_MAX_SHOWN]:
        entry = review.entries[number]
        length = "" if entry.size is None else format_size(entry.size)
        screen.say(f"  {'/'.join(review.places[number])}  {length}{'  (executable)' if entry.executable else ''}")
    if len(files) > _MAX_SHOWN:
        screen.say(f"  … and {len(files) - _MAX_SHOWN} more")


_CHOICES: Final = {"s": Conflict.SKIP, "r": Conflict.RENAME, "o": Conflict.OVERWRITE}
_ANSWERS: Final = ("s", "o", "r", "S", "O", "R")


async def _decide_conflicts(review: Review, options: ReceiveOptions, screen: Screen) -> dict[int, Conflict]:
    if options.on_conflict is not None:
        return resolve_conflicts(review, options.on_conflict)
    decided: dict[int, Conflict] = {}
    for_all: Conflict | None = None
    for file in review.conflicts:
        if for_all is None:
            name = "/".join(review.places[file])
            screen.say(f"{name} exists and differs. Skip it, store it under another name, or overwrite it?")
            answer = await screen.ask("[s]kip, [r]ename, [o]verwrite (capitals: for all) [r] ", _ANSWERS, "r")
            choice = _CHOICES[answer.lower()]
            if answer.isupper():
                for_all = choice
        decided[file] = for_all or choice
    return decided


# -- the end -----------------------------------------------------------------------------------------------------------


def _finish(ended: Ended, session: ReceiveSession, options: ReceiveOptions, screen: Screen) -> ExitStatus:
    receiving = session.receiving
    if ended.outcome is not Outcome.COMPLETED or receiving is None:
        return _tell_failure(ended, session, screen)
    if receiving.text is not None:
        print_text(receiving.text, screen)
    target = receiving.target
    stored = len(target.stored_at) if isinstance(target, Storage) else 1
    for file, reason in list(receiving.machine.missing.items())[:_MAX_SHOWN]:
        screen.complain(f"{'/'.join(_place(session, file))} was not received: {reason}", "missing")
    renamed = _renamed(target) if isinstance(target, Storage) else []
    for name in renamed[:_MAX_SHOWN]:
        screen.say(f"Stored as {name}, because the name was taken.")
    status = ExitStatus.ERROR if receiving.machine.missing else ExitStatus.OK
    if receiving.text is None and not options.to_stdout:
        what = f"{stored} file{'s' if stored != 1 else ''}"
        here = f" {format_size(receiving.resumed)} of it were here already." if receiving.resumed else ""
        screen.say(f"Done. {what} stored and verified in {options.folder.absolute()}.{here}")
    screen.event("done", status=int(status), files=stored)
    return status


def print_text(text: str, screen: Screen) -> None:
    """Print a received text; to a terminal without characters that could control it."""
    if screen.as_json:
        screen.event("text", text=text)
        return
    if sys.stdout.isatty():
        text = "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
    sys.stdout.write(text if text.endswith("\n") or not sys.stdout.isatty() else text + "\n")
    sys.stdout.flush()


def _renamed(storage: Storage) -> list[str]:
    return ["/".join(place) for file, place in storage.stored_at.items() if place != storage.places[file]]


def _tell_failure(ended: Ended, session: ReceiveSession, screen: Screen) -> ExitStatus:
    status = status_of(ended.code)
    reason = ended.reason or "the transfer ended"
    if ended.outcome is Outcome.BROKEN:
        status = ExitStatus.NO_CONNECTION
    if ended.code is EndCode.WRONG_CODE:
        reason = f"{reason}. Ask the sender for a new code"
    elif ended.code is EndCode.NO_SPACE and ended.missing:
        reason = f"{reason}: {format_size(ended.missing)} are lacking. Make room and run the same command again"
    elif ended.code is EndCode.CANCELLED and session.receiving is not None:
        reason = f"{reason}. What arrived is kept, and goes on with the sender's next code"
    elif ended.code in (EndCode.DAMAGED, EndCode.DISK, None) and session.receiving is not None:
        reason = f"{reason}. What arrived is kept: run the same command again to go on"
    screen.complain(reason, "broken" if ended.code is None else ended.code.value, status)
    return status
