"""One association, three streams: the server sends each client the time on each stream, and closes.

python examples/sctp_streams.py server
python examples/sctp_streams.py client

Streams do not wait for one another: if the packet of one is lost, the other two are still delivered at once.
"""

import argparse
import asyncio
import signal
import sys
import time

from datachan.sockets import SndInfo, sctpsocket_tcp

PATIENCE = 5.0  # seconds
LOCAL, UTC, SECONDS = range(3)
NAMES = {LOCAL: "local time", UTC: "UTC", SECONDS: "seconds since 1970"}


async def send_time(connection: sctpsocket_tcp) -> None:
    now = time.time()
    try:
        async with connection:
            await connection.sendmsg(time.strftime("%H:%M:%S", time.localtime(now)).encode(), [SndInfo(sid=LOCAL)])
            await connection.sendmsg(time.strftime("%H:%M:%S", time.gmtime(now)).encode(), [SndInfo(sid=UTC)])
            await connection.sendmsg(f"{now:.0f}".encode(), [SndInfo(sid=SECONDS)])
    except OSError as error:  # the client has left in the meantime
        print(error)


async def serve(options: argparse.Namespace) -> None:
    async with sctpsocket_tcp(udp_port=options.udp_port) as listener:
        listener.bind((options.host, options.port))
        listener.listen()
        print(f"Listening on {options.host}, SCTP port {options.port}, UDP port {listener.udp_port}")
        async with asyncio.TaskGroup() as tasks:
            while True:
                connection, (host, port) = await listener.accept()
                print(f"{host} port {port} has connected")
                tasks.create_task(send_time(connection))


async def ask(options: argparse.Namespace) -> None:
    async with sctpsocket_tcp(remote_udp_port=options.udp_port) as sock:
        async with asyncio.timeout(PATIENCE):
            await sock.connect((options.host, options.port))
        async for message in sock:
            if message.rcvinfo is not None:
                stream = message.rcvinfo.sid
                print(f"stream {stream}, {NAMES.get(stream, 'unknown')}: {message.data.decode()}")


def main() -> None:
    parser = argparse.ArgumentParser(description="One message on each of three streams.")
    parser.add_argument("role", choices=["server", "client"])
    parser.add_argument("--host", default="127.0.0.1", help="the server's address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=4445, help="its SCTP port (default: %(default)s)")
    parser.add_argument("--udp-port", type=int, default=9899, help="its UDP port (default: %(default)s)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # SIGTERM ends it like Ctrl+C
    try:
        asyncio.run(serve(options) if options.role == "server" else ask(options))
    except KeyboardInterrupt:
        sys.exit(130)
    except TimeoutError:
        sys.exit(f"error: no answer from {options.host}, UDP port {options.udp_port}")
    except OSError as error:
        sys.exit(f"error: {error.strerror or error}")


if __name__ == "__main__":
    main()
