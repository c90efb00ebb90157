"""Two people chat, directly: run it in two terminals, or on two machines, with the same room.

datachan serve                                 once, anywhere both reach
python examples/chat.py kitchen --name Ada
python examples/chat.py kitchen --name Zoe     or join the room on the server's page
"""

import argparse
import asyncio
import getpass
import sys
import threading
from collections.abc import AsyncIterator

from datachan import RTCDataChannel, RTCPeerConnection
from datachan.signaling import SignalingClient, connect_through


async def typed_lines() -> AsyncIterator[str]:
    """Give the lines typed, until the end of input (Ctrl-D)."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue()

    def read() -> None:
        with open(0, closefd=False) as terminal:
            for line in terminal:
                loop.call_soon_threadsafe(lines.put_nowait, line.rstrip("\n"))
        loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=read, daemon=True).start()  # a blocked read must not hold up the end of the program
    while (line := await lines.get()) is not None:
        yield line


def printable(text: str) -> str:
    """Replace what could drive the terminal: the text is somebody else's."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


async def send(channel: RTCDataChannel) -> None:
    async for line in typed_lines():
        channel.send(line)
        await channel.drain()
    channel.close()  # what was sent still arrives


async def chat(options: argparse.Namespace) -> None:
    async with (
        SignalingClient(options.server, options.room, name=options.name) as client,
        RTCPeerConnection() as pc,
    ):
        arrived: asyncio.Queue[RTCDataChannel] = asyncio.Queue()

        @pc.on("datachannel")
        def take(channel: RTCDataChannel) -> None:
            if channel.label == "chat":
                arrived.put_nowait(channel)
            elif channel.label == "ping":  # a browser on the server's page measures how long we take
                channel.on("message", lambda message: channel.readyState == "open" and channel.send(message))

        if client.peers_at_join:  # who comes second makes the offer, and so the channel
            arrived.put_nowait(pc.createDataChannel("chat"))
        else:
            print(f"You are alone in {options.room}. Waiting for somebody to come in…")
        peer = await connect_through(client, pc)
        channel = await arrived.get()
        await channel.opened()
        name = printable(peer.name)
        print(f"Connected with {name}. Type a line to send it; Ctrl-D ends.")
        sending = asyncio.create_task(send(channel))
        try:
            async for message in channel:
                print(f"{name}: {printable(message)}" if isinstance(message, str) else f"{name} sends bytes")
        finally:
            sending.cancel()
        print("The chat has ended.")


def main() -> None:
    parser = argparse.ArgumentParser(description="Chat with somebody, directly.")
    parser.add_argument("room", help="a name you both choose")
    parser.add_argument("--name", default=getpass.getuser(), help="what the other is shown (default: %(default)s)")
    parser.add_argument("--server", default="http://127.0.0.1:8080", help="a `datachan serve` (default: %(default)s)")
    options = parser.parse_args()
    try:
        asyncio.run(chat(options))
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
