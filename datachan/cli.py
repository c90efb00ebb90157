"""The `datachan` command: reads its arguments, runs the command, and reports failures as sentences.

Each command imports its program when it runs: `datachan --help` loads neither asyncio nor the network stack.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import datachan
from datachan.cli_help import Commands, add_command
from datachan.cli_transfer import add_receive, add_send, configuration_of, port_of

if TYPE_CHECKING:
    from datachan.ice.turn_connection import HttpProxy
    from datachan.monitoring import ListenAddress
    from datachan.serve import RedisAddress, ServeOptions
    from datachan.signaling import IceServerOption
    from datachan.signaling.client_address import Network
    from datachan.signaling.turn_credentials import TurnSecret
    from datachan.tools import DecodeOptions

EXIT_OK: Final = 0
EXIT_CANNOT_START: Final = 1
EXIT_INTERRUPTED: Final = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, 1 if it cannot start, 2 for a wrong command line.

    Args:
        arguments: The words after `datachan`; None uses the arguments of the process.
    """
    try:
        try:
            return _run_command(arguments)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError:  # the program that reads the output has ended, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


def _run_command(arguments: Sequence[str] | None) -> int:
    parser = build_parser()
    given = list(sys.argv[1:] if arguments is None else arguments)
    namespace = parser.parse_args(given)
    if namespace.command == "serve":
        _warn_of_passwords(namespace)
        _refuse_shown_password(namespace)
        namespace = _with_settings(parser, given, namespace)
    if namespace.command is None:
        parser.print_help()
        return EXIT_OK
    return int(namespace.run(namespace))


def _warn_of_passwords(namespace: argparse.Namespace) -> None:
    """Tell the user that other users of the machine read the words of every process."""
    if any(server.credential for server in namespace.ice_server):
        print(
            "datachan: the password of --ice-server is in the list of processes: "
            "give the option in --config FILE or in DATACHAN_ICE_SERVER instead.",
            file=sys.stderr,
        )


def _refuse_shown_password(namespace: argparse.Namespace) -> None:
    """Refuse a password of Redis on the command line, which every user of this machine can read."""
    from urllib.parse import urlsplit

    if namespace.redis is not None and urlsplit(namespace.redis).password:
        namespace.parser.error(
            "other users of this machine can read the password in --redis: use --redis-password-file FILE, "
            "DATACHAN_REDIS_PASSWORD, or the address in DATACHAN_REDIS or the configuration file"
        )


def _with_settings(
    parser: argparse.ArgumentParser, given: list[str], namespace: argparse.Namespace
) -> argparse.Namespace:
    """Return the arguments together with the settings of the file and the environment."""
    from pathlib import Path

    from datachan.cli_settings import BadSettings, words_of_environment, words_of_file

    file = namespace.config or (Path(name) if (name := os.environ.get("DATACHAN_CONFIG")) else None)
    try:
        words = [] if file is None else words_of_file(file, namespace.parser)
        words += words_of_environment(os.environ, namespace.parser)
    except BadSettings as error:
        namespace.parser.error(str(error))
    at = given.index("serve") + 1
    return parser.parse_args([*given[:at], *words, *given[at:]])


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="datachan",
        description="WebRTC data channels for Python.",
        epilog="`datachan COMMAND --help` lists the options of a command.",
    )
    parser.add_argument("--version", action="version", version=f"datachan {datachan.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    add_send(commands, _add_ice_server)
    add_receive(commands, _add_ice_server)
    _add_serve(commands)
    _add_decode(commands)
    _add_trace(commands)
    _add_bench(commands)
    _add_doctor(commands)
    return parser


def _add_serve(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(
        commands,
        "serve",
        help="start the signaling server with its page and a Python peer to call",
        description=(
            "Start the signaling server. It connects browsers and Python programs that join the same room, serves "
            "a page to try this with, and has an echo peer to call. It contacts no other server. "
            "Open the address it prints; Ctrl+C stops it."
        ),
        examples=["serve", "serve --host 0.0.0.0 --port 8443 --tls-cert cert.pem --tls-key key.pem"],
    )
    _add_listening(parser)
    _add_ice_server(parser, "STUN or TURN server for the page and the echo peer")
    parser.add_argument(
        "--max-rooms", type=_positive, default=256, metavar="N", help="rooms at the same time (default: %(default)s)"
    )
    parser.add_argument(
        "--room-capacity", type=_positive, default=8, metavar="N", help="members of one room (default: %(default)s)"
    )
    _add_operation(parser)
    _add_observation(parser)
    parser.set_defaults(run=run_serve, parser=parser)


def _add_listening(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=port_of, default=8080, metavar="PORT", help="port to listen on; 0 for a free one (default: 8080)"
    )
    parser.add_argument(
        "--allow-origin",
        type=_origin,
        action="append",
        default=[],
        metavar="ORIGIN",
        help="also let pages of this origin use the server, such as https://example.org; may be repeated",
    )
    parser.add_argument(
        "--trust-proxy",
        type=_network,
        action="append",
        default=[],
        metavar="NETWORK",
        help="believe the X-Forwarded-For of a proxy in this network, such as 10.0.0.0/8 or 127.0.0.1; may be repeated",
    )


def _add_udp(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--udp-port",
        type=port_of,
        metavar="PORT",
        help="UDP port that all calls of the echo peer share, so that a firewall has to open no other; 0 for a free "
        "one (default: each call has ports of its own)",
    )
    parser.add_argument(
        "--announce",
        type=_announced,
        action="append",
        default=[],
        metavar="ADDRESS",
        help="address that callers of the echo peer reach, where it is not an address of this machine, as in a "
        "container or behind a 1:1 NAT; may be repeated",
    )


def _add_redis(parser: argparse.ArgumentParser) -> None:
    from pathlib import Path

    parser.add_argument(
        "--redis",
        type=_redis_url,
        metavar="URL",
        help="Redis server with the rooms that several nodes share, such as redis://10.0.0.5:6379/0; "
        "rediss:// uses TLS (default: rooms in the memory of this process)",
    )
    parser.add_argument("--redis-password-file", type=Path, metavar="FILE", help="file with the password of Redis")


def _add_operation(parser: argparse.ArgumentParser) -> None:
    from pathlib import Path

    _add_udp(parser)
    _add_redis(parser)
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="read options from this TOML file, such as: room-capacity = 20. Every option can also be set in the "
        "environment, such as DATACHAN_ROOM_CAPACITY=20. The command line overrides both.",
    )
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain for https, in PEM")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="key of the certificate, in PEM")
    parser.add_argument(
        "--turn",
        action="append",
        default=[],
        metavar="URL",
        help="TURN server that shares a secret with this one (coturn: use-auth-secret); pages get credentials that "
        "expire after an hour; may be repeated",
    )
    parser.add_argument(
        "--turn-secret-file", type=Path, metavar="FILE", help="file with the secret (static-auth-secret)"
    )
    parser.add_argument(
        "--drain",
        type=_duration,
        default=0.0,
        metavar="SECONDS",
        help="time that SIGTERM lets calls go on while new ones are refused (default: 0)",
    )
    parser.add_argument("--no-echo", action="store_true", help="do not offer the echo peer")


def _add_observation(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--metrics",
        type=_listen_address,
        metavar="[HOST:]PORT",
        help="show figures for Prometheus at http://HOST:PORT/metrics; HOST is 127.0.0.1 by default, so that only this "
        "machine reads them (default: not shown)",
    )
    parser.add_argument(
        "--log-format", choices=("text", "json"), default="text", help="form of log records (default: %(default)s)"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log calls and transfers")


def _add_decode(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(
        commands,
        "decode",
        help="print SCTP packets field by field, from hexadecimal or a capture file",
        description=(
            "Print SCTP packets field by field: from hexadecimal, with or without separators; from a hex dump (od, "
            "hexdump -C, xxd, text2pcap, SCTP_PACKET logs); or from a capture file (pcap, pcapng). Without arguments "
            "it reads standard input. A damaged packet is printed up to the damage, with its position and cause."
        ),
        examples=["decode 115cc66888e5e376883432df030000108a70484a00019ffa00000000", "decode --summary run.pcapng"],
    )
    parser.add_argument(
        "input", nargs="*", metavar="HEX|FILE", help='hexadecimal or a capture file; "-" is standard input'
    )
    parser.add_argument("-s", "--summary", action="store_true", help="print one line per packet")
    parser.add_argument("--json", action="store_true", help="print one JSON object per packet, each on a line")
    parser.add_argument(
        "-f", "--follow", action="store_true", help="wait for more packets of a growing capture, until Ctrl+C"
    )
    parser.add_argument(
        "--port",
        type=port_of,
        action="append",
        default=[],
        metavar="PORT",
        help="a UDP port that carries SCTP, in addition to 9899; may be repeated",
    )
    parser.set_defaults(run=run_decode)


def _add_trace(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(
        commands,
        "trace",
        help="run a program that uses datachan, and capture its packets for Wireshark",
        description=(
            "Run a program that uses datachan, and capture every SCTP packet it sends and receives, before DTLS "
            "encrypts it. Wireshark and `datachan decode` read the capture. Setting the environment variable "
            "DATACHAN_TRACE to FILE does the same."
        ),
        examples=["trace run.pcapng datachan serve", "trace - program.py"],
    )
    parser.add_argument("-s", "--summary", action="store_true", help='with "-": one line per packet')
    parser.add_argument("--json", action="store_true", help='with "-": one JSON object per packet, each on a line')
    parser.add_argument(
        "file",
        metavar="FILE",
        help='the capture file, which is replaced; a folder, for one file per process; or "-" to print the packets',
    )
    parser.add_argument(
        "words",
        nargs=argparse.REMAINDER,
        metavar="COMMAND",
        help="the program and its arguments; a program.py is run with this Python",
    )
    parser.set_defaults(run=run_trace, port=[], follow=False, parser=parser)


def _add_bench(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(
        commands,
        "bench",
        help="measure the path between two hosts: throughput both ways, round trips idle and under load",
        description=(
            "Measure data channels between two hosts: throughput both ways, and round trips on the idle path and "
            "during those transfers. Start it without ROOM on one host; it prints the command for the other host. "
            "They meet through a signaling server (`datachan serve`), and measure the direct path."
        ),
        examples=["bench --local", "bench --server http://192.0.2.7:8080"],
    )
    parser.add_argument("room", nargs="?", metavar="ROOM", help="the room that the other host has printed")
    parser.add_argument("--local", action="store_true", help="measure with a second process here, without a server")
    parser.add_argument(
        "--server", default="http://127.0.0.1:8080", metavar="URL", help="signaling server (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=_seconds, default=4.0, metavar="N", help="time for each direction (default: 4)"
    )
    _add_ice_server(parser, "STUN or TURN server")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    parser.add_argument("--answer", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=run_bench)


def _add_doctor(commands: Commands[argparse.ArgumentParser]) -> None:
    parser = add_command(
        commands,
        "doctor",
        help="say which interfaces, STUN and TURN servers work here, and what would help",
        description=(
            "Say what a connection can use here: the addresses of interfaces, how the NAT maps ports, and each STUN "
            "and TURN server by transport, with the code of its error. Nothing is contacted but the servers given. "
            "The exit status is 1 if something does not work."
        ),
        examples=["doctor --ice-server stun:192.0.2.1 --ice-server turn:192.0.2.1,user,password"],
    )
    _add_ice_server(parser, "STUN or TURN server to ask")
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="INTERFACE",
        help="leave out interfaces by name (docker*) or kind (bridge, vpn, link-local); may be repeated",
    )
    parser.add_argument("--proxy", type=_proxy, metavar="URL", help="HTTP proxy for TURN over TCP and TLS")
    parser.add_argument("--json", action="store_true", help="print the findings as one JSON object")
    parser.set_defaults(run=run_doctor)


def run_doctor(namespace: argparse.Namespace) -> int:
    """Say which parts of the network work."""
    import asyncio
    import json

    from datachan.ice import IceServer
    from datachan.tools.doctor import diagnose

    servers = [IceServer((item.url,), item.username, item.credential) for item in namespace.ice_server]
    try:
        found = asyncio.run(diagnose(servers, exclude=namespace.exclude, proxy=namespace.proxy))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    print(json.dumps(found.as_dict()) if namespace.json else found, flush=True)
    return EXIT_OK if found.healthy else EXIT_CANNOT_START


def _proxy(text: str) -> HttpProxy:
    from datachan.ice.turn_connection import parse_proxy

    try:
        return parse_proxy(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _add_ice_server(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--ice-server",
        type=_ice_server,
        action="append",
        default=[],
        metavar="URL[,USER,PASSWORD]",
        help=f"{what}, such as stun:192.0.2.1:3478; may be repeated "
        "(default: none, which suffices on one machine or network)",
    )


def run_bench(namespace: argparse.Namespace) -> int:
    """Measure the path to another host, or to a second process on this machine."""
    import asyncio
    import json
    import secrets

    from datachan.tools.bench import BenchError, Report, answer, between_hosts, on_this_machine

    configuration = configuration_of(namespace)
    room = namespace.room or f"bench-{secrets.token_hex(4)}"

    def waiting() -> None:
        words = f"On the other host:  datachan bench {room} {_options_for_the_other_side(namespace)}"
        print(words, file=sys.stderr, flush=True)

    async def measure() -> Report | None:
        if namespace.answer:
            await answer(configuration)
            return None
        if namespace.local:
            return await on_this_machine(namespace.seconds, configuration)
        return await between_hosts(namespace.server, room, namespace.seconds, configuration, waiting)

    try:
        report = asyncio.run(measure())
    except BenchError as error:
        return _cannot(error)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    if report is not None:
        print(json.dumps(report.as_dict()) if namespace.json else report, flush=True)
    return EXIT_OK


def _options_for_the_other_side(namespace: argparse.Namespace) -> str:
    import shlex

    words = ["--server", namespace.server]
    for server in namespace.ice_server:
        words += ["--ice-server", ",".join(part for part in (server.url, server.username, server.credential) if part)]
    return shlex.join(words)


def run_trace(namespace: argparse.Namespace) -> int:
    """Run a program and capture the packets it sends and receives."""
    from datachan.tools import ToolError, trace

    if not namespace.words:
        namespace.parser.error("a COMMAND to run is missing")
    try:
        return trace(namespace.file, namespace.words, _decode_options(namespace), sys.stdout, sys.stderr)
    except ToolError as error:
        return _cannot(error)


def run_decode(namespace: argparse.Namespace) -> int:
    """Print the packets of the input."""
    from datachan.tools import ToolError, decode

    try:
        hint = decode(namespace.input, _decode_options(namespace), sys.stdout, sys.stdin.buffer).hint()
    except ToolError as error:
        sys.stdout.flush()
        return _cannot(error)
    except KeyboardInterrupt:
        return EXIT_OK
    sys.stdout.flush()
    if hint:
        print(f"datachan: {hint}", file=sys.stderr)
    return EXIT_OK


def _decode_options(namespace: argparse.Namespace) -> DecodeOptions:
    from datachan.tools import DecodeOptions

    return DecodeOptions(
        udp_ports=tuple(namespace.port),
        json=namespace.json,
        summary=namespace.summary,
        follow=namespace.follow,
        colored=sys.stdout.isatty() and not os.environ.get("NO_COLOR"),
    )


def run_serve(namespace: argparse.Namespace) -> int:
    """Run the server until it is stopped."""
    import asyncio

    from datachan.collector import collect_rarely
    from datachan.serve import ServeError, serve

    _configure_logging(namespace)
    if (namespace.tls_cert is None) != (namespace.tls_key is None):
        namespace.parser.error("--tls-cert and --tls-key belong together")
    options = _serve_options(namespace)
    collect_rarely()
    try:
        asyncio.run(
            serve(
                options,
                lambda address: _announce(address, options.host),
                announce_metrics=lambda url: print(f"figures for Prometheus: {url}"),
            )
        )
    except ServeError as error:
        return _cannot(error)
    except KeyboardInterrupt:
        pass
    return EXIT_OK


def _serve_options(namespace: argparse.Namespace) -> ServeOptions:
    from datachan.serve import ServeOptions
    from datachan.signaling import ServerOptions
    from datachan.signaling.origins import is_loopback

    return ServeOptions(
        host=namespace.host,
        port=namespace.port,
        echo=not namespace.no_echo,
        udp_port=namespace.udp_port,
        announced_addresses=tuple(namespace.announce),
        metrics=namespace.metrics,
        drain=namespace.drain,
        tls=None if namespace.tls_cert is None else (namespace.tls_cert, namespace.tls_key),
        redis=_redis(namespace),
        server=ServerOptions(
            allowed_origins=frozenset(namespace.allow_origin),
            loopback_only=is_loopback(namespace.host),
            ice_servers=tuple(namespace.ice_server),
            turn=_turn_secret(namespace),
            trusted_proxies=tuple(namespace.trust_proxy),
            max_rooms=namespace.max_rooms,
            health_token=os.environ.get("DATACHAN_HEALTH_TOKEN"),
            room_capacity=namespace.room_capacity,
        ),
    )


def _configure_logging(namespace: argparse.Namespace) -> None:
    import logging

    from datachan.json_logs import JsonFormatter

    # Other libraries log every packet, so their level stays at WARNING. Without -v, callers' failures are not logged.
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    if namespace.log_format == "json":
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonFormatter())
    logging.getLogger("datachan").setLevel(logging.INFO if namespace.verbose else logging.ERROR)


def _cannot(error: Exception) -> int:
    """Print why the command cannot be carried out, and return the exit status."""
    print(f"datachan: {error}", file=sys.stderr, flush=True)
    return EXIT_CANNOT_START


def _announce(address: str, host: str) -> None:
    from datachan.serve import addresses_for_others
    from datachan.signaling.origins import is_loopback

    print(f"datachan is ready: {address}")
    for other in addresses_for_others(host, address):
        print(f"from other machines: {other}")
    print("Press Ctrl+C to stop.", flush=True)
    if not is_loopback(host) and address.startswith("http:"):
        print("This is http, which others on the network can read and change: put an https proxy in front of it.")


def _seconds(text: str) -> float:
    from datachan.tools.bench import MAX_SECONDS

    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"the time is a number of seconds up to {MAX_SECONDS:g}, not {text!r}")
    return seconds


def _duration(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"the time is a number of seconds up to 3600, not {text!r}")
    return seconds


def _redis(namespace: argparse.Namespace) -> RedisAddress | None:
    from datachan.serve import RedisAddress

    password = os.environ.get("DATACHAN_REDIS_PASSWORD")
    if namespace.redis_password_file is not None:
        try:
            password = namespace.redis_password_file.read_text().strip()
        except OSError as error:
            namespace.parser.error(f"the file of the password of Redis cannot be read: {error}")
    return None if namespace.redis is None else RedisAddress(namespace.redis, password)


def _redis_url(text: str) -> str:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"redis", "rediss", "unix"} and (parts.scheme == "unix" or bool(parts.hostname))
        _ = parts.port
    except ValueError:
        usable = False
    if not usable:  # the text is not repeated: it may have a password
        raise argparse.ArgumentTypeError("an address of Redis looks like redis://127.0.0.1:6379/0")
    return text


def _turn_secret(namespace: argparse.Namespace) -> TurnSecret | None:
    """Return the TURN servers with their secret, which no list of processes and no configuration of a page shows."""
    from datachan.signaling.turn_credentials import TurnSecret

    secret = os.environ.get("DATACHAN_TURN_SECRET", "")
    if namespace.turn_secret_file is not None:
        try:
            secret = namespace.turn_secret_file.read_text().strip()
        except OSError as error:
            namespace.parser.error(f"the file of the TURN secret cannot be read: {error}")
    if not namespace.turn:
        return None
    if not secret:
        namespace.parser.error("--turn needs its secret: --turn-secret-file FILE, or DATACHAN_TURN_SECRET")
    for url in namespace.turn:
        try:
            _ice_server(f"{url},user,password")
        except argparse.ArgumentTypeError as error:
            namespace.parser.error(f"--turn: {error}")
    return TurnSecret(tuple(namespace.turn), secret)


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"the value must be a number from 1 on, not {text!r}")
    return int(text)


def _network(text: str) -> Network:
    import ipaddress

    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an address or a network such as 10.0.0.0/8") from None


def _listen_address(text: str) -> ListenAddress:
    from datachan.monitoring import ListenAddress

    try:
        return ListenAddress.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _announced(text: str) -> str:
    if not 0 < len(text) <= 253 or any(character.isspace() for character in text):
        raise argparse.ArgumentTypeError(f"{text!r} is neither an address nor a host name")
    return text


def _origin(text: str) -> str:
    from datachan.signaling.origins import normalize_origin

    try:
        return normalize_origin(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _ice_server(text: str) -> IceServerOption:
    from datachan.peer import InvalidAccessError, RTCIceServer
    from datachan.signaling import IceServerOption

    url, *credentials = text.split(",", 2)
    if len(credentials) == 1:
        raise argparse.ArgumentTypeError("a password is missing: URL,USER,PASSWORD")
    server = IceServerOption(url, *credentials)
    try:
        RTCIceServer(server.url, server.username, server.credential).to_ice()
    except (ValueError, InvalidAccessError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return server
