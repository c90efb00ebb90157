"""Every notification of RFC 6458, printed as it arrives.

python examples/sctp_notifications.py server
python examples/sctp_notifications.py client          connects, sends, resets a stream, adds streams, and ends
python examples/sctp_notifications.py client --abort  does the same, but ends with an ABORT
"""

import argparse
import asyncio
import signal
import sys

from datachan.sockets import (
    SCTP_ENABLE_CHANGE_ASSOC_REQ,
    SCTP_ENABLE_RESET_STREAM_REQ,
    AddStreams,
    ResetFlag,
    ResetStreams,
    SndInfo,
    SocketOption,
    sctpsocket_tcp,
    sctpsocket_udp,
)

PATIENCE = 5.0  # seconds
# The requests that the peer may make; by default none (RFC 6525, section 6.3.1).
ALLOWED = SCTP_ENABLE_RESET_STREAM_REQ | SCTP_ENABLE_CHANGE_ASSOC_REQ
EVENTS = ["association", "address", "peer_error", "send_failure", "shutdown", "adaptation_layer", "partial_delivery"]
EVENTS += ["authentication", "sender_dry", "stream_reset", "assoc_reset", "stream_change"]


async def serve(options: argparse.Namespace) -> None:
    async with sctpsocket_udp(udp_port=options.udp_port) as sock:
        for name in EVENTS:
            setattr(sock.events, name, True)
        sock.setsockopt(SocketOption.SCTP_ENABLE_STREAM_RESET, ALLOWED)
        sock.bind((options.host, options.port))
        sock.listen()
        print(f"Listening on {options.host}, SCTP port {options.port}, UDP port {sock.udp_port}")
        async for message in sock:
            if message.notification is not None:
                print(message.notification)
            elif message.rcvinfo is not None:
                print(f"{len(message.data)} bytes on stream {message.rcvinfo.sid} of association {message.assoc_id}")


async def exercise(options: argparse.Namespace) -> None:
    async with sctpsocket_tcp(remote_udp_port=options.udp_port) as sock:
        sock.adaptation = 0xC0FFEE
        sock.setsockopt(SocketOption.SCTP_ENABLE_STREAM_RESET, ALLOWED)
        sock.events.stream_reset = sock.events.stream_change = True
        async with asyncio.timeout(PATIENCE):
            await sock.connect((options.host, options.port))
            await sock.sendmsg(b"hello", [SndInfo(sid=3)])
            # One change of streams at a time: the peer answers it before the next one.
            sock.setsockopt(SocketOption.SCTP_RESET_STREAMS, ResetStreams(ResetFlag.SCTP_STREAM_RESET_OUTGOING, (3,)))
            print((await sock.recvmsg()).notification)
            sock.setsockopt(SocketOption.SCTP_ADD_STREAMS, AddStreams(outstrms=2))
            print((await sock.recvmsg()).notification)
        if options.abort:
            sock.abort("I have seen enough")


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the notifications of SCTP sockets.")
    parser.add_argument("role", choices=["server", "client"])
    parser.add_argument("--abort", action="store_true", help="the client ends with an ABORT")
    parser.add_argument("--host", default="127.0.0.1", help="the server's address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=4448, help="its SCTP port (default: %(default)s)")
    parser.add_argument("--udp-port", type=int, default=9899, help="its UDP port (default: %(default)s)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # SIGTERM ends it like Ctrl+C
    try:
        asyncio.run(serve(options) if options.role == "server" else exercise(options))
    except KeyboardInterrupt:
        sys.exit(130)
    except TimeoutError:
        sys.exit(f"error: no answer from {options.host}, UDP port {options.udp_port}")
    except OSError as error:
        sys.exit(f"error: {error.strerror or error}")


if __name__ == "__main__":
    main()
