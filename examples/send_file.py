"""Send files and folders from one machine to another, directly; a `datachan serve` only introduces the two.

python examples/send_file.py send holiday.mp4 photos     prints the command for the other machine
python examples/send_file.py receive ROOM --folder .     on the other machine

The room's name is all that the receiver needs: `datachan send` proves a code first.
"""

import argparse
import asyncio
import secrets
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from datachan import RTCConfiguration, RTCDataChannel, RTCIceServer, RTCPeerConnection, transfer
from datachan.signaling import SignalingClient, connect_through


def percent() -> Callable[[int, int | None], None]:
    """Return a function to call with the bytes done and the size; it prints each percent once."""
    shown = -1

    def show(done: int, total: int | None) -> None:
        nonlocal shown
        before, shown = shown, 100 * done // total if total else 100
        if shown != before:
            print(f"\r{shown:3} %", end="\n" if shown == 100 else "", file=sys.stderr, flush=True)

    return show


def new_pc(client: SignalingClient, options: argparse.Namespace) -> RTCPeerConnection:
    servers = [RTCIceServer(*text.split(",", 2)) for text in options.ice_server]
    # The side that joins second makes the offer, and only the sender has a channel: always ask for data channels.
    return RTCPeerConnection(client.configuration(RTCConfiguration(servers, alwaysNegotiateDataChannels=True)))


async def send(options: argparse.Namespace) -> None:
    for path in options.paths:
        path.stat()  # raises unless it exists
    async with SignalingClient(options.server, options.room) as client, new_pc(client, options) as pc:
        pc.on("datachannel", lambda channel: channel.close())  # the other side sends, too: end both transfers
        flags = ["--server", options.server, *(f"--ice-server={text}" for text in options.ice_server)]
        print("On the other side:", shlex.join(["send_file.py", *flags, "receive", options.room]))
        await connect_through(client, pc)
        sent = await transfer.send_files(transfer.open_transfer_channel(pc), options.paths, progress=percent())
    print(f"Sent and verified: {', '.join(sent.paths)}")
    for missing in sent.missing:
        print(f"Not sent: {missing.path}: {missing.reason}")


async def receive(options: argparse.Namespace) -> None:
    def accept(review: transfer.Review) -> bool:
        names = dict.fromkeys(place[0] for place in review.places)
        print(f"Receiving {', '.join(names)}, {review.size} bytes")
        return True

    if not options.folder.is_dir():
        raise NotADirectoryError(f"there is no folder {options.folder}")
    async with SignalingClient(options.server, options.room, name="receiver") as client, new_pc(client, options) as pc:
        arrived: asyncio.Queue[RTCDataChannel] = asyncio.Queue()
        pc.on("datachannel", lambda channel: transfer.is_transfer_channel(channel) and arrived.put_nowait(channel))
        print("Waiting for the sender")
        if (await connect_through(client, pc)).name == "receiver":
            raise ValueError("the other side waits for files, too")
        channel = await asyncio.wait_for(arrived.get(), 15)
        conflict = transfer.Conflict.OVERWRITE if options.overwrite else transfer.Conflict.RENAME
        policy = transfer.ReceivePolicy(accept, max_size=None, conflict=conflict)
        received = await transfer.receive_files(channel, options.folder, policy, progress=percent())
    print(f"Stored and verified: {', '.join(str(path) for path in received.paths)}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Send files from one machine to another, directly.")
    parser.add_argument("--server", default="http://127.0.0.1:8080", help="a `datachan serve` (default: %(default)s)")
    parser.add_argument("--ice-server", metavar="URL[,USER,PASSWORD]", action="append", default=[], help="STUN or TURN")
    commands = parser.add_subparsers(required=True, metavar="send|receive")
    command = commands.add_parser("send", help="offer files and folders to the peer that joins the room")
    command.add_argument("paths", type=Path, nargs="+")
    command.add_argument("--room", default=secrets.token_hex(9), help="a name both choose (default: a random one)")
    command.set_defaults(run=send)
    command = commands.add_parser("receive", help="store what the peer in the room offers")
    command.add_argument("room")
    command.add_argument("--folder", type=Path, default=".", help="where to store it (default: here)")
    command.add_argument("--overwrite", action="store_true", help="replace files of the same name")
    command.set_defaults(run=receive)
    options = parser.parse_args()
    try:
        asyncio.run(options.run(options))
    except KeyboardInterrupt:
        sys.exit(130)
    except (transfer.TransferError, OSError, ValueError) as error:
        sys.exit(f"error: {str(error) or 'the other side sends nothing'}")


if __name__ == "__main__":
    main()
