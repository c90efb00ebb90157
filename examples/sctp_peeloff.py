"""A one-to-many server that gives each privileged client a socket of its own (peeloff).

python examples/sctp_peeloff.py server --password open-sesame
python examples/sctp_peeloff.py client hello
python examples/sctp_peeloff.py client --password open-sesame hello

One loop answers all clients in turn. A client that sends the password gets a socket and a task of its own.
"""

import argparse
import asyncio
import hmac
import signal
import sys

from datachan.sockets import Message, SndInfo, sctpsocket_tcp, sctpsocket_udp

PASSWORD = "password "
PATIENCE = 5.0  # seconds


async def attend(connection: sctpsocket_tcp, peer: str) -> None:
    """Serve one client until it leaves."""
    print(f"{peer} is privileged now, on a socket of its own")
    try:
        async with connection:
            await connection.send(b"at your service")
            async for message in connection:
                await connection.send(b"at once: " + message.data)
    except OSError as error:
        print(f"{peer}: {error}")
    print(f"{peer}, privileged, has left")


async def serve(options: argparse.Namespace) -> None:
    async with sctpsocket_udp(udp_port=options.udp_port) as sock:
        sock.bind((options.host, options.port))
        sock.listen()
        print(f"Listening on {options.host}, SCTP port {options.port}, UDP port {sock.udp_port}")
        async with asyncio.TaskGroup() as tasks:
            async for message in sock:
                await answer(sock, message, options.password, tasks)


async def answer(sock: sctpsocket_udp, message: Message, password: str, tasks: asyncio.TaskGroup) -> None:
    """Answer one message in turn, or make its sender privileged."""
    peer = f"{message.address[0]} port {message.address[1]}"
    try:
        if password and hmac.compare_digest(message.data, (PASSWORD + password).encode()):
            tasks.create_task(attend(await sock.peeloff(message.assoc_id), peer))
        else:
            print(f"{peer}: {message.data.decode(errors='replace')!r}, one of {len(sock.associations())}")
            await sock.sendmsg(b"in turn: " + message.data, [SndInfo(assoc_id=message.assoc_id)])
    except OSError as error:  # the client has left in the meantime
        print(f"{peer}: {error}")


async def talk(options: argparse.Namespace) -> None:
    async with sctpsocket_tcp(remote_udp_port=options.udp_port) as sock:
        async with asyncio.timeout(PATIENCE):
            await sock.connect((options.host, options.port))
        words = ([PASSWORD + options.password] if options.password else []) + options.lines
        for line in words:
            await sock.send(line.encode())
            print((await sock.recv(65536)).decode())


def main() -> None:
    parser = argparse.ArgumentParser(description="A one-to-many server that peels privileged clients off.")
    parser.add_argument("role", choices=["server", "client"])
    parser.add_argument("lines", nargs="*", metavar="line", help="a message for the client to send")
    parser.add_argument("--password", default="", help="the password of privileged clients")
    parser.add_argument("--host", default="127.0.0.1", help="the server's address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=4447, help="its SCTP port (default: %(default)s)")
    parser.add_argument("--udp-port", type=int, default=9899, help="its UDP port (default: %(default)s)")
    options = parser.parse_intermixed_args()
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # SIGTERM ends it like Ctrl+C
    try:
        asyncio.run(serve(options) if options.role == "server" else talk(options))
    except KeyboardInterrupt:
        sys.exit(130)
    except TimeoutError:
        sys.exit(f"error: no answer from {options.host}, UDP port {options.udp_port}")
    except OSError as error:
        sys.exit(f"error: {error.strerror or error}")


if __name__ == "__main__":
    main()
