"""Send a file from one machine to another, directly.

    python examples/send_file.py send holiday.mp4            prints a room
    python examples/send_file.py receive ROOM --folder .     on the other machine

Both need to reach the same `datachan serve` to find each other; the file does not pass through it.
`pip install rich` for a progress bar.
"""

import argparse
import asyncio
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from datachan import RTCConfiguration, RTCDataChannel, RTCPeerConnection
from datachan.signaling import SignalingClient, connect_through
from datachan.transfer import CHANNEL_LABEL, FileOffer, TransferError, receive_file, send_file

# The one who comes second makes the offer, and only the sender has a channel to offer: ask for data in any case.
CONFIGURATION = RTCConfiguration(alwaysNegotiateDataChannels=True)


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None]]:
    """Give a function to call with the bytes done and the size."""
    try:
        from rich import progress  # noqa: PLC0415 - optional
    except ImportError:
        yield lambda done, total: print(f"\r{100 * done // max(total, 1):3} %", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        return
    columns = progress.BarColumn(), progress.DownloadColumn(), progress.TransferSpeedColumn()
    with progress.Progress(*columns, progress.TimeRemainingColumn(), redirect_stdout=False) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


async def send(options: argparse.Namespace) -> None:
    room = options.room or secrets.token_hex(9)  # nothing that a command line takes for an option
    async with SignalingClient(options.server, room) as client, RTCPeerConnection(CONFIGURATION) as pc:
        print(f"On the other side: send_file.py receive {room}")
        await connect_through(client, pc)
        with progress_bar() as progress:
            sent = await send_file(pc.createDataChannel(CHANNEL_LABEL), options.file, progress=progress)
    print(f"Sent {sent.name}, {sent.size} bytes, SHA-256 {sent.sha256}")


async def receive(options: argparse.Namespace) -> None:
    def announce(offer: FileOffer) -> bool:
        print(f"Receiving {offer.name}, {offer.size} bytes")
        return True

    async with SignalingClient(options.server, options.room) as client, RTCPeerConnection(CONFIGURATION) as pc:
        arrived: asyncio.Queue[RTCDataChannel] = asyncio.Queue()
        pc.on("datachannel", lambda channel: channel.label == CHANNEL_LABEL and arrived.put_nowait(channel))
        print("Waiting for the sender")
        await connect_through(client, pc)
        channel = await arrived.get()
        with progress_bar() as progress:
            file = await receive_file(
                channel, options.folder, overwrite=options.overwrite, progress=progress, accept=announce
            )
    print(f"Stored {file.path}, SHA-256 {file.sha256}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Send a file from one machine to another, directly.")
    parser.add_argument("--server", default="http://127.0.0.1:8080", help="a `datachan serve` (default: %(default)s)")
    commands = parser.add_subparsers(required=True, metavar="send|receive")
    command = commands.add_parser("send", help="offer a file to whoever comes to the room")
    command.add_argument("file")
    command.add_argument("room", nargs="?", help="a name both sides choose (default: one nobody guesses)")
    command.set_defaults(run=send)
    command = commands.add_parser("receive", help="store the file that is offered in the room")
    command.add_argument("room")
    command.add_argument("--folder", default=".", help="where to store it (default: here)")
    command.add_argument("--overwrite", action="store_true", help="replace a file of the same name")
    command.set_defaults(run=receive)
    options = parser.parse_args()
    try:
        asyncio.run(options.run(options))
    except KeyboardInterrupt:
        sys.exit(130)
    except (TransferError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
