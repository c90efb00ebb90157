"""Two multi-homed programs: the connection survives the loss of its first address.

python examples/multihomed.py server --lose-after 40    loses its first address after 40 messages, as if unplugged
python examples/multihomed.py client                    sends 100 messages and prints the changes of the paths
"""

import argparse
import asyncio
import signal
import sys
import time

from datachan.sockets import (
    SCTP_BINDX_REM_ADDR,
    SCTP_PEER_ADDR_THLDS,
    SCTP_RTOINFO,
    PaddrChange,
    PaddrThresholds,
    RtoInfo,
    sctpsocket_tcp,
)

SERVER = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
CLIENT = ["127.0.0.5", "127.0.0.6", "127.0.0.7"]


def prepared(udp_port: int, options: argparse.Namespace) -> sctpsocket_tcp:
    sock = sctpsocket_tcp(udp_port=udp_port, remote_udp_port=options.udp_port)
    # Data takes another path after one timeout; the shortest timeout is 250 ms instead of the RFC's 1 s.
    sock.setsockopt(SCTP_PEER_ADDR_THLDS, PaddrThresholds(pathpfthld=0))
    sock.setsockopt(SCTP_RTOINFO, RtoInfo(initial=250, min=250))
    return sock


async def serve(options: argparse.Namespace) -> None:
    async with prepared(options.udp_port, options) as listener:
        listener.bindx([(host, options.port) for host in SERVER])
        listener.listen()
        print(f"listening on {', '.join(SERVER)}, SCTP port {options.port}", flush=True)
        connection, _ = await listener.accept()
        async with connection:
            silence, last, count = 0.0, time.monotonic(), 0
            async for message in connection:
                if message.notification is not None:
                    continue
                now = time.monotonic()
                silence, last, count = max(silence, now - last), now, count + 1
                if message.data.decode() != f"message {count}":
                    sys.exit(f"error: message {count} is lost")
                if count == options.lose_after:
                    listener.bindx([(SERVER[0], options.port)], SCTP_BINDX_REM_ADDR)
                    print(f"{SERVER[0]} is removed", flush=True)
            print(f"{count} messages, all in order; the longest silence was {silence:.2f} s", flush=True)


async def call(options: argparse.Namespace) -> None:
    async with prepared(0, options) as sock:
        sock.bindx([(host, 0) for host in CLIENT])
        sock.events.address = True
        await sock.connectx([(host, options.port) for host in SERVER])
        watching = asyncio.create_task(watch(sock))
        for number in range(1, 101):
            await sock.send(f"message {number}".encode())
            await asyncio.sleep(0.02)
        watching.cancel()
        print("sent 100 messages", flush=True)


async def watch(sock: sctpsocket_tcp) -> None:
    async for message in sock:
        if isinstance(message.notification, PaddrChange):
            print(f"{message.notification.addr[0]}: {message.notification.state.name}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Two programs whose connection survives the loss of an address.")
    parser.add_argument("--port", type=int, default=4444, help="the SCTP port (default: %(default)s)")
    parser.add_argument("--udp-port", type=int, default=9899, help="the server's UDP port (default: %(default)s)")
    roles = parser.add_subparsers(dest="role", required=True)
    server = roles.add_parser("server", help="receive on three addresses")
    server.add_argument("--lose-after", type=int, default=40, help="messages after which one is lost (%(default)s)")
    roles.add_parser("client", help="send from three addresses")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # SIGTERM ends it like Ctrl+C
    try:
        asyncio.run(serve(options) if options.role == "server" else call(options))
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        sys.exit(f"error: {error.strerror or error}")


if __name__ == "__main__":
    main()
