"""Send a file from one machine to another, directly; a `datachan serve` only introduces the two.

python examples/send_file.py send holiday.mp4            prints the command for the other machine
python examples/send_file.py receive ROOM --folder .     on the other machine
"""

import argparse
import asyncio
import secrets
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from datachan import RTCConfiguration, RTCDataChannel, RTCIceServer, RTCPeerConnection
from datachan.signaling import SignalingClient, connect_through
from datachan.transfer import CHANNEL_LABEL, FileOffer, TransferError, receive_file, send_file


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None]]:
    """Yield a function to call with the bytes done and the size."""
    try:
        from rich import progress  # noqa: PLC0415 - optional: `pip install rich`
    except ImportError:
        yield lambda done, total: print(f"\r{100 * done // max(total, 1):3} %", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        return
    columns = progress.BarColumn(), progress.DownloadColumn(), progress.TransferSpeedColumn()
    with progress.Progress(*columns, progress.TimeRemainingColumn(), redirect_stdout=False) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def new_pc(client: SignalingClient, options: argparse.Namespace) -> RTCPeerConnection:
    servers = [RTCIceServer(*text.split(",", 2)) for text in options.ice_server]
    # The side that joins second makes the offer, and only the sender has a channel: always ask for data channels.
    return RTCPeerConnection(client.configuration(RTCConfiguration(servers, alwaysNegotiateDataChannels=True)))


async def send(options: argparse.Namespace) -> None:
    if not options.file.is_file():
        raise FileNotFoundError(f"there is no file {options.file}")
    async with SignalingClient(options.server, options.room) as client, new_pc(client, options) as pc:
        pc.on("datachannel", lambda channel: channel.close())  # the other side sends a file, too: end both transfers
        flags = ["--server", options.server, *(f"--ice-server={text}" for text in options.ice_server)]
        print("On the other side:", shlex.join(["send_file.py", *flags, "receive", options.room]))
        await connect_through(client, pc)
        with progress_bar() as progress:
            sent = await send_file(pc.createDataChannel(CHANNEL_LABEL), options.file, progress=progress)
    print(f"Sent {sent.name}, {sent.size} bytes, SHA-256 {sent.sha256}")


async def receive(options: argparse.Namespace) -> None:
    def announce(offer: FileOffer) -> bool:
        print(f"Receiving {offer.name}, {offer.size} bytes")
        return True

    if not options.folder.is_dir():
        raise NotADirectoryError(f"there is no folder {options.folder}")
    async with SignalingClient(options.server, options.room, name="receiver") as client, new_pc(client, options) as pc:
        arrived: asyncio.Queue[RTCDataChannel] = asyncio.Queue()
        pc.on("datachannel", lambda channel: channel.label == CHANNEL_LABEL and arrived.put_nowait(channel))
        print("Waiting for the sender")
        if (await connect_through(client, pc)).name == "receiver":
            raise ValueError("the other side waits for a file, too")
        channel = await asyncio.wait_for(arrived.get(), 15)
        with progress_bar() as progress:
            how = {"overwrite": options.overwrite, "progress": progress, "max_size": None}
            file = await receive_file(channel, options.folder, accept=announce, **how)
    print(f"Stored {file.path}, SHA-256 {file.sha256}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Send a file from one machine to another, directly.")
    parser.add_argument("--server", default="http://127.0.0.1:8080", help="a `datachan serve` (default: %(default)s)")
    parser.add_argument("--ice-server", metavar="URL[,USER,PASSWORD]", action="append", default=[], help="STUN or TURN")
    commands = parser.add_subparsers(required=True, metavar="send|receive")
    command = commands.add_parser("send", help="offer a file to the peer that joins the room")
    command.add_argument("file", type=Path)
    command.add_argument("room", nargs="?", default=secrets.token_hex(9), help="a name both choose (or a random one)")
    command.set_defaults(run=send)
    command = commands.add_parser("receive", help="store the file that the peer in the room offers")
    command.add_argument("room")
    command.add_argument("--folder", type=Path, default=".", help="where to store it (default: here)")
    command.add_argument("--overwrite", action="store_true", help="replace a file of the same name")
    command.set_defaults(run=receive)
    options = parser.parse_args()
    try:
        asyncio.run(options.run(options))
    except KeyboardInterrupt:
        sys.exit(130)
    except (TransferError, OSError, ValueError) as error:
        sys.exit(f"error: {str(error) or 'the other side sends no file'}")


if __name__ == "__main__":
    main()
