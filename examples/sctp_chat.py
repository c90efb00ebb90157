"""A chat over SCTP: one socket for all clients, one send to all of them, HEARTBEATs that detect lost clients.

python examples/sctp_chat.py server
python examples/sctp_chat.py join --name Ada        each line goes to all clients; Ctrl-D leaves

The server needs one socket: SCTP_SENDALL sends a message on all of its associations.
"""

import argparse
import asyncio
import getpass
import signal
import sys
import threading
from collections.abc import AsyncIterator

from datachan import sockets as sctp


async def typed_lines() -> AsyncIterator[str]:
    """Yield the lines typed, until the end of input (Ctrl-D)."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str | None] = asyncio.Queue()

    def read() -> None:
        with open(0, closefd=False) as terminal:
            for line in terminal:
                loop.call_soon_threadsafe(lines.put_nowait, line.rstrip("\n"))
        loop.call_soon_threadsafe(lines.put_nowait, None)

    threading.Thread(target=read, daemon=True).start()  # a blocked read does not delay the end of the program
    while (line := await lines.get()) is not None:
        yield line


async def serve(options: argparse.Namespace) -> None:
    names: dict[int, str] = {}
    async with sctp.sctpsocket_udp(udp_port=options.udp_port) as sock:
        # One HEARTBEAT a second; after three without an answer the client counts as lost.
        sock.set_rtoinfo(sctp.RtoInfo(initial=500, min=500, max=1000))
        sock.set_paddrparams(sctp.PaddrParams(hbinterval=1000, pathmaxrxt=3))
        sock.set_assocparams(sctp.AssocParams(assocmaxrxt=3))
        sock.events.association = True
        sock.bind((options.host, options.port))
        sock.listen()
        print(f"Listening on {options.host}, SCTP port {options.port}, UDP port {sock.udp_port}")
        async for message in sock:
            change, who = message.notification, message.assoc_id
            if isinstance(change, sctp.AssocChange):
                if change.state is sctp.AssocState.SCTP_COMM_UP or who not in names:
                    continue
                how = "left" if change.state is sctp.AssocState.SCTP_SHUTDOWN_COMP else "is lost"
                line = f"* {names.pop(who)} {how}"
            else:
                text = "".join(c for c in message.data.decode(errors="replace") if c.isprintable())
                line = f"{names[who]}: {text}" if who in names else f"* {text} is here"
                names.setdefault(who, text)
            print(line)
            # A client whose send buffer is full misses the line, so that it does not delay the others.
            await sock.sendmsg(line.encode(), [sctp.SndInfo(flags=sctp.SendFlag.SCTP_SENDALL | sctp.MSG_DONTWAIT)])


async def join(options: argparse.Namespace) -> None:
    async def show() -> None:
        async for message in sock:
            print(message.data.decode())

    async with sctp.sctpsocket_tcp(remote_udp_port=options.udp_port) as sock:
        await asyncio.wait_for(sock.connect((options.host, options.port)), 5)
        await sock.send(options.name.encode())
        showing = asyncio.create_task(show())
        async for line in typed_lines():
            if line:
                await sock.send(line.encode())
        sock.shutdown()  # our last lines still arrive, and those of the others until then
        await showing


def main() -> None:
    parser = argparse.ArgumentParser(description="A chat over SCTP.")
    parser.add_argument("role", choices=["server", "join"])
    parser.add_argument("--name", default=getpass.getuser(), help="the name that the others see (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="the server's address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=4446, help="its SCTP port (default: %(default)s)")
    parser.add_argument("--udp-port", type=int, default=9899, help="its UDP port (default: %(default)s)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # SIGTERM ends it like Ctrl+C
    try:
        asyncio.run(serve(options) if options.role == "server" else join(options))
    except KeyboardInterrupt:
        sys.exit(130)
    except TimeoutError:
        sys.exit(f"error: no answer from {options.host}, UDP port {options.udp_port}")
    except OSError as error:
        sys.exit(f"error: {error.strerror or error}")


if __name__ == "__main__":
    main()
