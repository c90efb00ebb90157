"""Start Debian's coturn for a test on 127.0.0.1 with a configuration of its own, and stop it by its process id."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from datachan.ice import IceServer
from datachan.udp import Address, UdpSocket
from tests.missing import missing
from tests.ports import free_port

USER = "tester"
PASSWORD = "open sesame"
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Coturn:
    """A running coturn.

    Attributes:
        port: the port for UDP and TCP.
        tls_port: the port for TLS.
        certificate: the path of its self-signed certificate.
        log: the path of its log file.
    """

    port: int
    tls_port: int
    certificate: Path
    log: Path
    pid: int

    def stun(self) -> IceServer:
        return IceServer((f"stun:{HOST}:{self.port}",))

    def turn(self, transport: str = "udp", password: str = PASSWORD) -> IceServer:
        return IceServer((f"turn:{HOST}:{self.port}?transport={transport}",), USER, password)

    def turns(self) -> IceServer:
        return IceServer((f"turns:localhost:{self.tls_port}",), USER, PASSWORD)

    def deletions(self) -> int:
        """Return the number of released allocations in the log."""
        return self.log.read_text().count("lifetime=0")

    def channel_bindings(self) -> int:
        """Return the number of channel bindings in the log, refreshes included."""
        return self.log.read_text().count("CHANNEL_BIND processed, success")

    def kill(self) -> None:
        """Kill the server, as in a crash."""
        os.kill(self.pid, signal.SIGKILL)


def installed() -> bool:
    return shutil.which("turnserver") is not None


@asynccontextmanager
async def running(folder: Path, port: int | None = None, *extra: str) -> AsyncIterator[Coturn]:
    """Start a server, on a given port or on a free one, wait until it answers, and stop it at the end.

    `extra` are more lines of its configuration.
    """
    port, tls_port = port or free_port(), free_port()
    certificate, key = self_signed(folder)
    log = folder / "coturn.log"
    options = {
        "listening-ip": HOST,
        "relay-ip": HOST,
        "listening-port": port,
        "tls-listening-port": tls_port,
        "min-port": 40_000,
        "max-port": 48_000,
        "realm": "datachan.test",
        "user": f"{USER}:{PASSWORD}",
        "userdb": folder / "turndb",
        "cert": certificate,
        "pkey": key,
        "pidfile": folder / "coturn.pid",
        "log-file": log,
        "relay-threads": 1,
    }
    flags = ["lt-cred-mech", "fingerprint", "allow-loopback-peers", "no-cli", "no-dtls", "simple-log", "verbose"]
    config = folder / "turnserver.conf"
    config.write_text(
        "".join(
            [*(f"{name}={value}\n" for name, value in options.items()), *(f"{flag}\n" for flag in [*flags, *extra])]
        )
    )
    process = subprocess.Popen(
        ["turnserver", "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        await _until_it_listens(process, port, log)
        yield Coturn(port, tls_port, certificate, log, process.pid)
    finally:
        process.kill()
        process.wait()


async def _until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    async with asyncio.timeout(20):
        while True:
            if process.poll() is not None:
                raise RuntimeError(f"coturn ended with {process.returncode}: {log.read_text() if log.exists() else ''}")
            try:
                _, writer = await asyncio.open_connection(HOST, port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            await writer.wait_closed()
            await until_it_answers(port)
            return


async def until_it_answers(port: int, host: str = HOST) -> None:
    """Wait until the server answers a STUN Binding request over UDP, which starts later than TCP."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setblocking(False)
        probe.connect((host, port))
        while True:
            with contextlib.suppress(OSError, TimeoutError):
                probe.send(bytes.fromhex("000100002112a442") + os.urandom(12))
                await asyncio.wait_for(loop.sock_recv(probe, 200), 0.2)
                return
            await asyncio.sleep(0.02)


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate for localhost, and its key; return their paths."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(HOST))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_path, key_path = folder / "certificate.pem", folder / "key.pem"
    certificate_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_path, key_path


class Translator:
    """Run a network address translator for a client and a server: the server sees `outside` instead of the client."""

    def __init__(self, server: tuple[str, int]) -> None:
        self._inside = UdpSocket.bind(HOST)
        self._outside = UdpSocket.bind(HOST)
        self._client: Address | None = None
        self._server = server
        self._inside.set_receiver(self._from_client)
        self._outside.set_receiver(self._from_server)

    def _from_client(self, datagrams: list[bytes], source: Address) -> None:
        self._client = source
        self._outside.send(datagrams, self._server)

    def _from_server(self, datagrams: list[bytes], source: Address) -> None:
        if self._client is not None:
            self._inside.send(datagrams, self._client)

    @property
    def inside(self) -> int:
        port: int = self._inside.local_address[1]
        return port

    @property
    def outside(self) -> int:
        port: int = self._outside.local_address[1]
        return port

    def close(self) -> None:
        self._inside.close()
        self._outside.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Coturn]:
    """Run a coturn for the tests of a module."""
    if not installed():
        missing("coturn is not installed (apt install coturn)")
    async with running(tmp_path_factory.mktemp("coturn")) as started:
        yield started
