"""Fifty samples a second, where only the newest counts: no order, no retransmission, no late samples.

datachan serve
python examples/telemetry.py send greenhouse
python examples/telemetry.py watch greenhouse      as often as you like; examples/robot.py has a page instead
"""

import argparse
import asyncio
import json
import math
import sys

from datachan import RTCConfiguration, RTCDataChannel, RTCIceServer, RTCPeerConnection
from datachan.signaling import SignalingClient, connect_through, serve_through

RATE = 50  # samples per second


async def send(options: argparse.Namespace) -> None:
    channels: set[RTCDataChannel] = set()

    def prepare(pc: RTCPeerConnection, peer: object) -> None:
        channel = pc.createDataChannel("telemetry", ordered=False, maxRetransmits=0)
        channel.on("open", lambda: channels.add(channel))
        channel.on("close", lambda: channels.discard(channel))

    async with SignalingClient(options.server, options.room, name="robot", reconnect=True) as client:
        serving = asyncio.create_task(serve_through(client, prepare, RTCConfiguration(options.ice_servers)))
        print(f"Sending {RATE} samples a second; Ctrl-C ends.")
        loop = asyncio.get_running_loop()
        start, number, sent = loop.time(), 0, 0
        while sent != options.count:
            sample = {"number": number, "height": round(math.sin(number / RATE), 3)}
            sent += bool(channels)
            for channel in channels:
                if channel.readyState == "open" and not channel.bufferedAmount:  # on a slow network: fewer, never late
                    channel.send(json.dumps(sample))
            number += 1
            await asyncio.sleep(start + number / RATE - loop.time())  # keeps the pace, however long sending took
        for channel in tuple(channels):
            channel.close()
            await channel.closed()
        serving.cancel()
        await asyncio.wait({serving})
    print(f"Sent samples: {sent}")


async def watch(options: argparse.Namespace) -> None:
    async with SignalingClient(options.server, options.room) as client:
        configuration = RTCConfiguration(options.ice_servers, alwaysNegotiateDataChannels=True)
        async with RTCPeerConnection(client.configuration(configuration)) as pc:
            arrived: asyncio.Queue[RTCDataChannel] = asyncio.Queue()
            pc.on("datachannel", arrived.put_nowait)
            await connect_through(client, pc)
            channel = await asyncio.wait_for(arrived.get(), 15)
            first, newest, received, stale = None, -1, 0, 0
            async for message in channel:
                number, height = json.loads(message).values()
                first = number if first is None else min(first, number)
                received += 1
                if number < newest:
                    stale += 1  # overtaken on the way: a newer sample has arrived already
                    continue
                newest = number
                if received % RATE == 1:
                    print(f"height {height:+.3f}  received {received}  missing {newest + 1 - first - received}")
            print(
                f"Received {received} of {newest + 1 - (first or 0)} samples, {stale} of them overtaken by newer ones"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="Send or watch telemetry at 50 Hz.")
    parser.add_argument("--server", default="http://127.0.0.1:8080", help="a `datachan serve` (default: %(default)s)")
    parser.add_argument("--ice-server", metavar="URL[,USER,PASSWORD]", action="append", default=[], help="STUN or TURN")
    commands = parser.add_subparsers(required=True, metavar="send|watch")
    command = commands.add_parser("send", help="send samples to every viewer in the room")
    command.add_argument("room")
    command.add_argument("--count", type=int, help="end after this many samples (default: never)")
    command.set_defaults(run=send)
    command = commands.add_parser("watch", help="print the samples")
    command.add_argument("room")
    command.set_defaults(run=watch)
    options = parser.parse_args()
    options.ice_servers = [RTCIceServer(*text.split(",", 2)) for text in options.ice_server]
    try:
        asyncio.run(options.run(options))
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {str(error) or 'the other side sends no telemetry'}")


if __name__ == "__main__":
    main()
