"""The program behind `datachan send`: gathers what to send, shows the code, and reports what happens."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

import aiohttp

from datachan.peer import RTCConfiguration
from datachan.serve import ServeError, ServeOptions, serve
from datachan.signaling import ServerOptions, SignalingError
from datachan.signaling.origins import is_loopback
from datachan.tools.transfer_terminal import ExitStatus, Measure, Screen, format_duration, format_size, status_of
from datachan.transfer.actions import Accepted, Continued, Ended, FilesStored, Outcome, Progress, Restarted
from datachan.transfer.channel import RateLimit
from datachan.transfer.errors import TransferError
from datachan.transfer.manifest import total_size
from datachan.transfer.messages import DIGEST_SIZE, EndCode, Kind
from datachan.transfer.outgoing import OutgoingOffer
from datachan.transfer.send_session import SendSession, code_link
from datachan.transfer.session_events import (
    CodeReady,
    Connected,
    Happened,
    Lost,
    PathChanged,
    ReceiverResult,
    SessionEvent,
    WrongCode,
)
from datachan.transfer.sources import Gathered, gather, gather_stream, gather_text

DEFAULT_SERVER: Final = "http://127.0.0.1:8080"
_MAX_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class SendOptions:
    """The options of the command line.

    Attributes:
        paths: Files and folders; `-` alone is standard input.
        text: A text to send instead.
        server: The signaling server.
        serve: Serve the page and signaling on this host: the port, or None.
        receivers: How many receivers.
        limit: Bytes per second, or None.
        exclude: Patterns of names to leave out.
        verify: Compare four words.
        qr: Show a QR code.
        configuration: For the connections.
    """

    paths: tuple[str, ...] = ()
    text: str | None = None
    server: str = DEFAULT_SERVER
    serve: int | None = None
    receivers: int = 1
    limit: float | None = None
    exclude: tuple[str, ...] = ()
    verify: bool = False
    qr: bool = True
    configuration: RTCConfiguration | None = None


class _View:
    """What is known of each receiver, for the progress line, and when the first one accepted."""

    def __init__(self) -> None:
        self.measures: dict[int, Measure] = {}
        self.paths: dict[int, str] = {}
        self.reached: dict[int, int | None] = {}  # percent, of a receiver whose connection ended
        self.began = 0.0

    def took(self) -> str:
        """Return how long it took since the first receiver accepted, unless that was short."""
        seconds = time.monotonic() - self.began if self.began else 0.0
        return f", in {format_duration(seconds)}" if seconds >= 2 else ""

    def shown(self) -> list[Measure]:
        return list(self.measures.values())[:_MAX_SHOWN]


async def send(options: SendOptions, screen: Screen, stdin: BinaryIO | None = None) -> ExitStatus:
    """Send what the command line names, and return the exit status."""
    try:
        gathered = await asyncio.to_thread(_gather, options, stdin or sys.stdin.buffer)
    except (OSError, TransferError) as error:
        screen.complain(_sentence(error))
        return ExitStatus.ERROR
    offer = OutgoingOffer(gathered, receivers=options.receivers)
    _tell_offer(gathered, screen)
    if options.serve is None:
        return await _send(options, offer, screen)
    return await _serve_and_send(options, options.serve, offer, screen)


def _gather(options: SendOptions, stdin: BinaryIO) -> Gathered:
    if options.text is not None:
        return gather_text(options.text)
    if options.paths == ("-",):
        return gather_stream(stdin)
    return gather(options.paths, exclude=options.exclude)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror.lower()}" if error.filename else error.strerror.lower()
    return str(error)


def _tell_offer(gathered: Gathered, screen: Screen) -> None:
    size = total_size(gathered.entries)
    files = sum(entry.kind is not Kind.FOLDER for entry in gathered.entries)
    first = gathered.entries[0]
    if first.kind is Kind.TEXT:
        screen.say(f"Sending a text of {size} bytes.")
    elif size is None:
        screen.say("Sending standard input.")
    elif len(gathered.entries) == 1 and files:
        screen.say(f"Sending {first.path} ({format_size(size)}).")
    else:
        screen.say(f"Sending {files} files ({format_size(size)}).")
    if gathered.links_left_out:
        screen.say(f"Left out: {gathered.links_left_out} symbolic links to folders or out of the folder.")
    if gathered.others_left_out:
        screen.say(f"Left out: {gathered.others_left_out} devices, sockets or pipes.")
    for path in gathered.unreadable[:_MAX_SHOWN]:
        screen.say(f"Left out, because it cannot be read: {path}")
    if len(gathered.unreadable) > _MAX_SHOWN:
        screen.say(f"… and {len(gathered.unreadable) - _MAX_SHOWN} more that cannot be read.")


async def _serve_and_send(options: SendOptions, port: int, offer: OutgoingOffer, screen: Screen) -> ExitStatus:
    """Serve the page and signaling while the offer stands."""
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    serve_options = ServeOptions("0.0.0.0", port, echo=False, server=ServerOptions())
    serving = asyncio.create_task(serve(serve_options, ready.set_result, stop))
    try:
        await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        port = int(ready.result().rstrip("/").rpartition(":")[2])
        return await _send(options, offer, screen, served=f"http://{own_address()}:{port}")
    except ServeError as error:
        screen.complain(str(error))
        return ExitStatus.ERROR
    finally:
        stop.set()
        await asyncio.gather(serving, return_exceptions=True)


def own_address() -> str:
    """Return the address of this host that others on its network most likely reach; loopback if there is none."""
    import ifaddr  # noqa: PLC0415 - only to serve

    addresses = [ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips if isinstance(ip.ip, str)]
    usable = [address for address in addresses if not is_loopback(address) and not address.startswith("169.254.")]
    return usable[0] if usable else "127.0.0.1"


async def _send(options: SendOptions, offer: OutgoingOffer, screen: Screen, served: str | None = None) -> ExitStatus:
    server = served or options.server
    view = _View()
    session = SendSession(
        offer,
        server,
        receivers=options.receivers,
        notify=_reporter(options, offer, screen, view, server),
        compare=_comparer(screen),
        verify=options.verify,
        limit=None if options.limit is None else RateLimit(options.limit),
        configuration=options.configuration,
    )
    progress = asyncio.create_task(screen.follow(view.shown))
    try:
        results = await session.run()
    except SignalingError as error:
        screen.complain(no_server(server, error), "no-connection", ExitStatus.NO_CONNECTION)
        return ExitStatus.NO_CONNECTION
    finally:
        progress.cancel()
        await asyncio.gather(progress, return_exceptions=True)
    return _report(results, options, offer, screen, view)


def no_server(server: str, error: Exception) -> str:
    """Return why a signaling server is of no use, and what to do."""
    if not isinstance(error.__cause__, OSError | aiohttp.ClientError):
        return str(error)
    number = getattr(getattr(error.__cause__, "os_error", error.__cause__), "errno", None)
    why = f" ({os.strerror(number).lower()})" if isinstance(number, int) and number > 0 else ""
    return (
        f"the signaling server {server} cannot be reached{why}. Start one with `datachan serve`, "
        "name one with --server or DATACHAN_SERVER, or let the sender serve with `datachan send --serve`"
    )


def _comparer(screen: Screen) -> Callable[[tuple[str, ...]], Awaitable[bool]]:
    async def compare(words: tuple[str, ...]) -> bool:
        if not screen.interactive:
            return True
        return await screen.agrees("Does the other side show the same four words?", default=False)

    return compare


def _reporter(
    options: SendOptions, offer: OutgoingOffer, screen: Screen, view: _View, server: str
) -> Callable[[SessionEvent], None]:
    def report(event: SessionEvent) -> None:
        if isinstance(event, CodeReady):
            _tell_code(str(event.code), code_link(server, event.code), options, screen, server)
        elif isinstance(event, Connected):
            _tell_connected(event, options, screen)
            view.paths[event.receiver] = event.path
        elif isinstance(event, PathChanged):
            view.paths[event.receiver] = event.path
            if event.receiver in view.measures:
                view.measures[event.receiver].note = event.path
            screen.event("path", receiver=event.receiver, path=event.path)
        elif isinstance(event, Lost):
            _tell_lost(event, view, options, screen)
        elif isinstance(event, WrongCode):
            screen.say("A wrong code was used: this code is used up.")
        elif isinstance(event, Happened):
            _tell_action(event, view, options, screen, offer)

    return report


def _tell_lost(event: Lost, view: _View, options: SendOptions, screen: Screen) -> None:
    receiver = "the receiver" if options.receivers == 1 else f"receiver {event.receiver}"
    percent = view.reached.pop(event.receiver, None)
    place = f", goes on at {percent} %" if percent else ""
    screen.say(f"{event.reason.capitalize()}. Waiting for {receiver} with the same code{place}; Ctrl+C ends.")
    screen.event("lost", receiver=event.receiver, reason=event.reason)


def _tell_action(event: Happened, view: _View, options: SendOptions, screen: Screen, offer: OutgoingOffer) -> None:
    action = event.action
    measure = view.measures.get(event.receiver)
    if isinstance(action, Progress) and measure is not None:
        measure.done = measure.before + action.durable
    elif isinstance(action, Continued) and measure is not None:
        measure.before += _with_digests(action.offset, -(-action.offset // offer.piece))
    elif isinstance(action, Ended):
        ended = view.measures.pop(event.receiver, None)
        if ended is not None:
            view.reached[event.receiver] = ended.percent
        if options.receivers > 1 and action.outcome is Outcome.COMPLETED:
            screen.say(f"Receiver {event.receiver} has stored and verified everything.")
        elif options.receivers > 1 and action.code is EndCode.REFUSED:
            screen.say(f"Receiver {event.receiver} does not want it.")
    elif isinstance(action, Accepted):
        view.began = view.began or time.monotonic()
        label = "Sent" if options.receivers == 1 else f"Receiver {event.receiver}"
        total = None if action.size is None else _with_digests(action.size, offer.pieces)
        view.measures[event.receiver] = Measure(label, 0, total, view.paths.get(event.receiver, ""))
        screen.event("accepted", receiver=event.receiver, files=action.wanted, size=action.size)
    elif isinstance(action, FilesStored):
        screen.event("stored", receiver=event.receiver, files=[offer.entries[file].path for file in action.files])
    elif isinstance(action, Restarted):
        path = offer.entries[action.file].path
        screen.say(f"{path} differs from what the receiver has: it is sent from its beginning.")


def _with_digests(size: int, pieces: int) -> int:
    """Return the bytes of the stream: those of the files, and a digest for each piece."""
    return size + DIGEST_SIZE * pieces


def _tell_code(code: str, link: str, options: SendOptions, screen: Screen, server: str) -> None:
    extra = "" if server == DEFAULT_SERVER else f" --server {server}"
    screen.show(f"\nOn the other computer:  datachan receive{extra}")
    screen.insist(f"Code:                   {screen.emphasized(code)}")
    screen.show(f"Or in a browser:        {link}\n")
    if options.qr and screen.interactive and "127.0.0.1" not in server:
        code_picture = qr_code(link)
        if code_picture:
            screen.show(code_picture)
    who = "the receiver" if options.receivers == 1 else f"{options.receivers} receivers"
    screen.say(f"Waiting for {who} …")
    screen.event("code", code=code, link=link, server=server)


def qr_code(text: str) -> str:
    """Return a QR code for a terminal; empty if the package segno is not installed."""
    try:
        import segno  # noqa: PLC0415 - an extra
    except ImportError:
        return ""
    import io  # noqa: PLC0415

    buffer = io.StringIO()
    segno.make(text, micro=False).terminal(buffer, compact=True, border=2)
    return buffer.getvalue().rstrip("\n")


def _tell_connected(event: Connected, options: SendOptions, screen: Screen) -> None:
    number = "" if options.receivers == 1 else f" {event.receiver}"
    again = " again" if event.again else ""
    relayed = " through a TURN relay" if event.path == "relayed" else ""
    screen.say(f"Receiver{number} connected{again}{relayed}.")
    if event.verify and not event.again:
        screen.say(f"Words to compare: {' '.join(event.words)}")
    screen.event("connected", receiver=event.receiver, again=event.again, path=event.path, words=list(event.words))


def _report(
    results: Sequence[ReceiverResult], options: SendOptions, offer: OutgoingOffer, screen: Screen, view: _View
) -> ExitStatus:
    if not results:
        screen.complain(
            "the receiver used a wrong code, or a stranger guessed one. Send again: there will be a new code",
            "wrong-code",
            ExitStatus.WRONG_CODE,
        )
        return ExitStatus.WRONG_CODE
    worst = ExitStatus.OK
    for result in results:
        receiver = "" if options.receivers == 1 else f"receiver {result.receiver}: "
        status = status_of(result.code)
        if result.code is not None:
            screen.complain(receiver + _why(result), result.code.value, status)
        elif result.missing:
            status = ExitStatus.ERROR
        for file, reason in result.missing[:_MAX_SHOWN]:
            screen.complain(f"{offer.entries[file].path} was not sent: {reason}", "missing")
        if len(result.missing) > _MAX_SHOWN:
            screen.complain(f"{len(result.missing) - _MAX_SHOWN} more files were not sent", "missing")
        worst = max(worst, status)
    complete = sum(result.code is None for result in results)
    if complete == options.receivers and worst is ExitStatus.OK:
        who = "The receiver has" if options.receivers == 1 else f"All {complete} receivers have"
        screen.say(f"Done. {who} stored and verified everything{view.took()}.")
    screen.event("done", status=int(worst), receivers=complete)
    return worst


def _why(result: ReceiverResult) -> str:
    if result.code is EndCode.REFUSED:
        return f"the offer was refused: {result.reason}"
    return result.reason
