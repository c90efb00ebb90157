"""Call an echo server and measure round trips; a browser would do the same.

python examples/echo_client.py hello "how are you"                           examples/echo_server.py
python examples/echo_client.py --url http://127.0.0.1:8080/api/v1/peers/echo hello        `datachan serve`
"""

import argparse
import asyncio
import sys
import time

from aiohttp import ClientError, ClientSession

from datachan import InvalidStateError, RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription


async def call(url: str, lines: list[str], ice_servers: list[RTCIceServer]) -> None:
    configuration = RTCConfiguration(ice_servers, waitForCandidates=True)  # one offer, and no candidates after it
    async with RTCPeerConnection(configuration) as pc, ClientSession(raise_for_status=True) as session:
        channel = pc.createDataChannel("echo")
        await pc.setLocalDescription(await pc.createOffer())
        async with session.post(url, json=pc.localDescription.toJSON()) as response:
            answer = await response.json()
        await pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
        await channel.opened()
        for line in lines:
            start = time.perf_counter()
            channel.send(line)
            reply = await asyncio.wait_for(anext(aiter(channel), None), 30)
            if reply is None:
                raise ConnectionError("the server has closed the channel")
            print(f"{reply}    {1000 * (time.perf_counter() - start):.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description="Call an echo server and measure round trips.")
    parser.add_argument(
        "--url", default="http://127.0.0.1:8081/offer", help="the URL for offers (default: %(default)s)"
    )
    parser.add_argument("--ice-server", metavar="URL[,USER,PASSWORD]", action="append", default=[], help="STUN or TURN")
    parser.add_argument("lines", nargs="+", metavar="line", help="a message to send")
    options = parser.parse_args()
    try:
        servers = [RTCIceServer(*text.split(",", 2)) for text in options.ice_server]
        asyncio.run(call(options.url, options.lines, servers))
    except KeyboardInterrupt:
        sys.exit(130)
    except (ClientError, InvalidStateError, OSError, ValueError) as error:
        sys.exit(f"error: {str(error) or 'the server does not answer'}")


if __name__ == "__main__":
    main()
