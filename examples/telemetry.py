"""Fifty samples a second, where only the newest counts: no order, no retransmission, nothing late.

datachan serve
python examples/telemetry.py watch greenhouse
python examples/telemetry.py send greenhouse
"""

import argparse
import asyncio
import json
import math
import sys

from datachan import RTCConfiguration, RTCDataChannel, RTCPeerConnection
from datachan.signaling import SignalingClient, connect_through

RATE = 50  # samples per second
CONFIGURATION = RTCConfiguration(alwaysNegotiateDataChannels=True)  # whoever comes second


async def send(options: argparse.Namespace) -> None:
    async with SignalingClient(options.server, options.room) as client, RTCPeerConnection(CONFIGURATION) as pc:
        channel = pc.createDataChannel("telemetry", ordered=False, maxRetransmits=0)
        await connect_through(client, pc)
        await channel.opened()
        print(f"Sending {RATE} samples a second; Ctrl-C ends.")
        loop = asyncio.get_running_loop()
        start, number = loop.time(), 0
        while channel.readyState == "open" and number != options.count:
            sample = {"number": number, "height": round(math.sin(number / RATE), 3)}
            if channel.bufferedAmount == 0:  # the network is slower than we are: rather skip a sample than send it late
                channel.send(json.dumps(sample))
            number += 1
            await asyncio.sleep(start + number / RATE - loop.time())  # keeps the pace whatever sending took
        channel.close()
        await channel.closed()
    print(f"Sent samples: {number}")


async def watch(options: argparse.Namespace) -> None:
    async with SignalingClient(options.server, options.room) as client, RTCPeerConnection(CONFIGURATION) as pc:
        arrived: asyncio.Queue[RTCDataChannel] = asyncio.Queue()
        pc.on("datachannel", arrived.put_nowait)
        await connect_through(client, pc)
        newest, received, stale = -1, 0, 0
        async for message in await arrived.get():
            sample = json.loads(message)
            received += 1
            if sample["number"] < newest:
                stale += 1  # overtaken on the way: there is a newer one already
                continue
            newest = sample["number"]
            if received % RATE == 1:
                print(f"height {sample['height']:+.3f}  received {received}  missing {newest + 1 - received}")
    print(f"Received {received} of {newest + 1} samples, {stale} of them overtaken by newer ones")


def main() -> None:
    parser = argparse.ArgumentParser(description="Send or watch telemetry at 50 Hz.")
    parser.add_argument("--server", default="http://127.0.0.1:8080", help="a `datachan serve` (default: %(default)s)")
    commands = parser.add_subparsers(required=True, metavar="send|watch")
    command = commands.add_parser("send", help="send samples to who watches")
    command.add_argument("room")
    command.add_argument("--count", type=int, help="end after so many samples (default: never)")
    command.set_defaults(run=send)
    command = commands.add_parser("watch", help="print what is sent")
    command.add_argument("room")
    command.set_defaults(run=watch)
    options = parser.parse_args()
    try:
        asyncio.run(options.run(options))
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
