"""Call an echo server and measure round trips; a browser would do the same.

python examples/echo_client.py hello "how are you"                           examples/echo_server.py
python examples/echo_client.py --url http://127.0.0.1:8080/api/v1/peers/echo hello        `datachan serve`
"""

import argparse
import asyncio
import sys
import time

from aiohttp import ClientError, ClientSession

from datachan import InvalidStateError, RTCPeerConnection, RTCSessionDescription


async def call(url: str, lines: list[str]) -> None:
    async with RTCPeerConnection() as pc, ClientSession(raise_for_status=True) as session:
        channel = pc.createDataChannel("echo")
        await pc.setLocalDescription(await pc.createOffer())
        async with session.post(url, json=pc.localDescription.toJSON()) as response:
            answer = await response.json()
        await pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
        await channel.opened()
        for line in lines:
            start = time.perf_counter()
            channel.send(line)
            reply = await anext(aiter(channel))
            print(f"{reply}    {1000 * (time.perf_counter() - start):.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description="Call an echo server and measure round trips.")
    parser.add_argument("--url", default="http://127.0.0.1:8081/offer", help="where offers go (default: %(default)s)")
    parser.add_argument("lines", nargs="+", metavar="line", help="a message to send")
    options = parser.parse_args()
    try:
        asyncio.run(call(options.url, options.lines))
    except KeyboardInterrupt:
        sys.exit(130)
    except (ClientError, InvalidStateError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
