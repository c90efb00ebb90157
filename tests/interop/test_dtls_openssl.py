"""Test DTLS with the openssl program: another version of OpenSSL, another process, datagrams over loopback."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from select import select

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from datachan.dtls import Certificate, DtlsClosed, DtlsConnected, DtlsConnection, DtlsState

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl program is not installed")

LIMIT = 20.0
PEER = Certificate.generate(datetime.now(UTC))
OURS = Certificate.generate(datetime.now(UTC))


def rsa_certificate() -> Certificate:
    key, name, now = rsa.generate_private_key(65537, 2048), x509.Name([]), datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, now, now + timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256())
    return Certificate(certificate, key)


class Endpoint:
    """A DtlsConnection on a UDP socket, without an event loop."""

    def __init__(self, udp: socket.socket, *, is_client: bool, peer: Certificate, mtu: int = 1200) -> None:
        self.udp = udp
        self.datagrams: list[bytes] = []
        self.received = b""
        self.dtls = DtlsConnection(
            certificate=OURS,
            is_client=is_client,
            remote_fingerprints=[peer.fingerprint("sha-256")],
            now=time.monotonic(),
            mtu=mtu,
            handshake_timeout=LIMIT,
        )

    def flush(self) -> None:
        for datagram in self.dtls.datagrams_to_send(time.monotonic()):
            self.udp.send(datagram)

    def run_until(self, condition: Callable[[], bool]) -> None:
        """Drive the session until the condition holds; fail when that takes too long."""
        deadline = time.monotonic() + LIMIT
        self.flush()
        while not condition():
            now = time.monotonic()
            assert now < deadline, f"{self.dtls.state}, received {self.received!r}"
            due = min(deadline, self.dtls.next_timeout() or deadline)
            if select([self.udp], [], [], max(0.0, due - now))[0]:
                datagram, address = self.udp.recvfrom(65536)
                self.udp.connect(address)
                self.datagrams.append(datagram)
                self.dtls.receive_datagrams([datagram], time.monotonic())
                self.received += b"".join(self.dtls.messages())
            else:
                self.dtls.handle_timeout(time.monotonic())
            self.flush()


@contextmanager
def openssl(directory: Path, certificate: Certificate, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the openssl program with a certificate, and end it after the test."""
    pem = directory / "peer.pem"
    pem.write_bytes(certificate.to_pem())
    command = ["openssl", arguments[0], "-dtls1_2", "-cert", str(pem), "-key", str(pem), *arguments[1:]]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def udp_socket(stack: ExitStack) -> socket.socket:
    udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    udp.bind(("127.0.0.1", 0))
    return udp


def say(process: subprocess.Popen[bytes], line: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(line)
    process.stdin.flush()


def assert_hears(endpoint: Endpoint, process: subprocess.Popen[bytes], line: bytes) -> None:
    assert process.stdout is not None
    endpoint.dtls.send_messages([line])
    endpoint.flush()
    assert select([process.stdout], [], [], LIMIT)[0], "the openssl program printed nothing"
    assert process.stdout.readline() == line


def serve_openssl(
    tmp_path: Path, stack: ExitStack, *arguments: str, certificate: Certificate = PEER, mtu: int = 1200
) -> tuple[Endpoint, subprocess.Popen[bytes]]:
    """Connect the openssl program as client to our server."""
    udp = udp_socket(stack)
    port = udp.getsockname()[1]
    process = stack.enter_context(
        openssl(tmp_path, certificate, "s_client", "-quiet", "-no_ign_eof", "-connect", f"127.0.0.1:{port}", *arguments)
    )
    endpoint = Endpoint(udp, is_client=False, peer=certificate, mtu=mtu)
    endpoint.run_until(
        lambda: endpoint.dtls.state is not DtlsState.NEW and endpoint.dtls.state is not DtlsState.CONNECTING
    )
    (event,) = endpoint.dtls.events()
    assert event == DtlsConnected("DTLSv1.2", endpoint.dtls.cipher)
    return endpoint, process


def test_openssl_as_client_talks_to_us_and_closes(tmp_path: Path) -> None:
    with ExitStack() as stack:
        endpoint, process = serve_openssl(tmp_path, stack)
        assert endpoint.dtls.remote_certificate_der == PEER.der
        assert_hears(endpoint, process, b"hello from us\n")
        say(process, b"hello from openssl\n")
        endpoint.run_until(lambda: endpoint.received == b"hello from openssl\n")
        assert process.stdin is not None
        process.stdin.close()
        endpoint.run_until(lambda: endpoint.dtls.state is DtlsState.CLOSED)
        assert endpoint.dtls.events() == [DtlsClosed(by_peer=True)]


def test_openssl_as_client_with_a_hello_of_several_datagrams(tmp_path: Path) -> None:
    protocols = ",".join(f"a-protocol-nobody-speaks-{n}" for n in range(30))
    with ExitStack() as stack:
        endpoint, process = serve_openssl(tmp_path, stack, "-mtu", "400", "-alpn", protocols, mtu=400)
        hellos = [datagram for datagram in endpoint.datagrams if datagram[0] == 22 and datagram[13] == 1]
        assert len(hellos) >= 3
        assert_hears(endpoint, process, b"put together\n")


def test_openssl_as_client_with_an_rsa_certificate(tmp_path: Path) -> None:
    with ExitStack() as stack:
        endpoint, process = serve_openssl(tmp_path, stack, certificate=rsa_certificate())
        assert_hears(endpoint, process, b"any key will do\n")


def test_openssl_as_client_with_a_certificate_of_an_authority(tmp_path: Path) -> None:
    """Check the fingerprint of the peer's own certificate only, and ignore the certificates sent with it."""
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")]), datetime.now(UTC)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder(name, name, authority_key.public_key(), 1, now, now + timedelta(days=1))
    authority = builder.add_extension(x509.BasicConstraints(True, None), True).sign(authority_key, hashes.SHA256())
    builder = x509.CertificateBuilder(name, x509.Name([]), key.public_key(), 2, now, now + timedelta(days=1))
    certificate = Certificate(builder.sign(authority_key, hashes.SHA256()), key)
    chain = tmp_path / "chain.pem"
    chain.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    with ExitStack() as stack:
        endpoint, process = serve_openssl(tmp_path, stack, "-cert_chain", str(chain), certificate=certificate)
        assert endpoint.dtls.remote_certificate_der == certificate.der
        assert_hears(endpoint, process, b"with a chain\n")


@pytest.mark.parametrize("suite", ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"])
def test_openssl_as_client_with_other_cipher_suites(tmp_path: Path, suite: str) -> None:
    with ExitStack() as stack:
        endpoint, process = serve_openssl(tmp_path, stack, "-cipher", suite)
        assert "AES_128" not in endpoint.dtls.cipher
        assert_hears(endpoint, process, b"in another cipher\n")


def test_openssl_as_client_without_a_certificate_is_refused(tmp_path: Path) -> None:
    with ExitStack() as stack:
        udp = udp_socket(stack)
        command = ["openssl", "s_client", "-dtls1_2", "-quiet", "-connect", f"127.0.0.1:{udp.getsockname()[1]}"]
        process = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        )
        stack.callback(process.kill)
        endpoint = Endpoint(udp, is_client=False, peer=PEER)
        endpoint.run_until(lambda: endpoint.dtls.state is DtlsState.FAILED)
        (event,) = endpoint.dtls.events()
        assert "peer did not return a certificate" in str(event)


@pytest.mark.parametrize(
    ("certificate", "arguments"),
    [
        pytest.param(PEER, [], id="ecdsa"),
        pytest.param(PEER, ["-listen"], id="with a cookie exchange"),
        pytest.param(PEER, ["-mtu", "400"], id="in small datagrams"),
        pytest.param(rsa_certificate(), [], id="rsa"),
    ],
)
def test_openssl_as_server_talks_to_us_and_we_close(
    tmp_path: Path, certificate: Certificate, arguments: list[str]
) -> None:
    with ExitStack() as stack:
        free = udp_socket(stack)
        port = free.getsockname()[1]
        free.close()
        # -Verify demands our certificate, but accepts one that no authority has signed.
        process = stack.enter_context(
            openssl(
                tmp_path, certificate, "s_server", "-quiet", "-Verify", "1", "-accept", f"127.0.0.1:{port}", *arguments
            )
        )
        udp = udp_socket(stack)
        udp.connect(("127.0.0.1", port))
        wait_until_bound(port)
        endpoint = Endpoint(udp, is_client=True, peer=certificate)
        endpoint.run_until(lambda: endpoint.dtls.state is not DtlsState.CONNECTING)
        (event,) = endpoint.dtls.events()
        assert isinstance(event, DtlsConnected)
        assert_hears(endpoint, process, b"hello from us\n")
        say(process, b"hello from openssl\n")
        endpoint.run_until(lambda: endpoint.received == b"hello from openssl\n")
        endpoint.dtls.close(time.monotonic())
        endpoint.flush()
        # The response to our close_notify is the last record that it sends.
        assert select([udp], [], [], LIMIT)[0]
        assert udp.recv(65536)[0] == 21


def wait_until_bound(port: int) -> None:
    """Wait until the program has its socket, which is when no other socket can bind the port."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return
        select([], [], [], 0.02)
    raise AssertionError("openssl s_server did not start")
