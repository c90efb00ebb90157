"""Two people chat, directly: run it in two terminals, or on two machines, with the same room.

datachan serve                                 once, on a machine that both can reach
python examples/chat.py kitchen --name Ada
python examples/chat.py kitchen --name Zoe     or join the room on the server's page
"""

import argparse
import asyncio
import getpass
import shlex
import sys
import threading
from collections.abc import AsyncIterator

from datachan import RTCConfiguration, RTCDataChannel, RTCIceServer, RTCPeerConnection
from datachan.signaling import SignalingClient, code_of, connect_through


async def typed_lines() -> AsyncIterator[str]:
    """Yield the lines the user types, until the end of input (Ctrl-D)."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue()

    def read() -> None:
        with open(0, closefd=False) as terminal:
            for line in terminal:
                loop.call_soon_threadsafe(lines.put_nowait, line.rstrip("\n"))
        loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=read, daemon=True).start()  # a daemon, so that a blocked read does not delay the exit
    while (line := await lines.get()) is not None:
        yield line


def printable(text: str) -> str:
    """Replace characters of the peer's text that could control the terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


async def send(channel: RTCDataChannel) -> None:
    async for line in typed_lines():
        channel.send(line)
        await channel.drain()
    channel.close()  # queued messages are delivered first


async def chat(options: argparse.Namespace) -> None:
    own = RTCConfiguration([RTCIceServer(*text.split(",", 2)) for text in options.ice_server])
    async with (
        SignalingClient(options.server, options.room, name=options.name) as client,
        RTCPeerConnection(client.configuration(own)) as pc,
    ):
        arrived: asyncio.Queue[RTCDataChannel] = asyncio.Queue()

        @pc.on("datachannel")
        def take(channel: RTCDataChannel) -> None:
            if channel.label == "chat":
                arrived.put_nowait(channel)
            elif channel.label == "ping":  # a browser on the server's page measures the round trip
                channel.on("message", lambda message: channel.readyState == "open" and channel.send(message))

        if client.peers_at_join:  # the side that joins second makes the offer, and so the channel
            arrived.put_nowait(pc.createDataChannel("chat"))
        else:
            servers = [f"--ice-server={text}" for text in options.ice_server]
            command = shlex.join(["chat.py", options.room, "--server", options.server, *servers])
            print(f"You are alone in {options.room}. On the other side: {command}")
        peer = await connect_through(client, pc)
        name = printable(peer.name)
        channel = await asyncio.wait_for(arrived.get(), 15)
        await asyncio.wait_for(channel.opened(), 15)
        print(f"Connected with {name}, who sees the same code: {code_of(pc)}. Type a line; Ctrl-D ends.")
        sending = asyncio.create_task(send(channel))
        try:
            async for message in channel:
                print(f"{name}: {printable(message)}" if isinstance(message, str) else f"{name} sends bytes")
        finally:
            sending.cancel()
        print("The chat has ended.")


def main() -> None:
    parser = argparse.ArgumentParser(description="Chat with another person, directly.")
    parser.add_argument("room", help="a name you both choose")
    parser.add_argument("--name", default=getpass.getuser(), help="the name the other side sees (default: %(default)s)")
    parser.add_argument("--server", default="http://127.0.0.1:8080", help="a `datachan serve` (default: %(default)s)")
    parser.add_argument("--ice-server", metavar="URL[,USER,PASSWORD]", action="append", default=[], help="STUN or TURN")
    options = parser.parse_args()
    try:
        asyncio.run(chat(options))
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {str(error) or 'the other side has opened no chat'}")


if __name__ == "__main__":
    main()
