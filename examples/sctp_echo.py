"""Echo over SCTP with one-to-one sockets: as with TCP, but with message boundaries.

python examples/sctp_echo.py server
python examples/sctp_echo.py client            sends five messages; the server answers OK to each
"""

import argparse
import asyncio
import signal
import sys

from datachan.sockets import sctpsocket_tcp

PATIENCE = 5.0  # seconds


async def answer(connection: sctpsocket_tcp, peer: str) -> None:
    async with connection:
        try:
            while message := await connection.recv(65536):
                print(f"{peer}: {message.decode(errors='replace')!r}")
                await connection.send(b"OK")
        except OSError as error:
            print(f"{peer}: {error}")
    print(f"{peer} has left")


async def serve(options: argparse.Namespace) -> None:
    async with sctpsocket_tcp(udp_port=options.udp_port) as listener:
        listener.bind((options.host, options.port))
        listener.listen()
        print(f"Listening on {options.host}, SCTP port {options.port}, UDP port {listener.udp_port}")
        async with asyncio.TaskGroup() as tasks:
            while True:
                connection, (host, port) = await listener.accept()
                tasks.create_task(answer(connection, f"{host} port {port}"))


async def talk(options: argparse.Namespace) -> None:
    async with sctpsocket_tcp(remote_udp_port=options.udp_port) as sock:
        async with asyncio.timeout(PATIENCE):
            await sock.connect((options.host, options.port))
        for number in range(1, 6):
            await sock.send(f"message {number}".encode())
            print(f"message {number}: {(await sock.recv(65536)).decode()}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Echo over SCTP, one-to-one.")
    parser.add_argument("role", choices=["server", "client"])
    parser.add_argument("--host", default="127.0.0.1", help="the server's address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=4444, help="its SCTP port (default: %(default)s)")
    parser.add_argument("--udp-port", type=int, default=9899, help="its UDP port (default: %(default)s)")
    options = parser.parse_args()
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
