from __future__ import annotations

import hashlib
import shutil
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from datachan.dtls import BadCertificate, BadFingerprint, Certificate, Fingerprint
from datachan.dtls.certificate import SUPPORTED_HASHES

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def test_certificate_is_self_signed_ecdsa_on_p256() -> None:
    certificate = Certificate.generate(NOW).x509
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    assert isinstance(certificate.signature_hash_algorithm, hashes.SHA256)
    assert certificate.issuer == certificate.subject
    certificate.verify_directly_issued_by(certificate)


def test_certificate_is_valid_from_a_day_ago_for_thirty_days() -> None:
    certificate = Certificate.generate(NOW)
    assert certificate.expires == NOW + timedelta(days=30)
    assert certificate.x509.not_valid_before_utc == NOW - timedelta(days=1)


def test_certificate_has_the_requested_lifetime() -> None:
    assert Certificate.generate(NOW, timedelta(hours=2)).expires == NOW + timedelta(hours=2)


def test_two_certificates_share_neither_name_nor_key_nor_serial_number() -> None:
    one, other = Certificate.generate(NOW), Certificate.generate(NOW)
    assert one.x509.subject != other.x509.subject
    assert one.x509.serial_number != other.x509.serial_number
    assert one.x509.public_key() != other.x509.public_key()
    assert one.fingerprint() != other.fingerprint()


def test_pem_round_trip_keeps_certificate_and_key() -> None:
    certificate = Certificate.generate(NOW)
    again = Certificate.from_pem(certificate.to_pem())
    assert again.der == certificate.der
    assert again.private_key.private_numbers() == certificate.private_key.private_numbers()
    assert Certificate.from_pem(certificate.to_pem().decode()).fingerprint() == certificate.fingerprint()


def test_pem_may_hold_certificate_before_key_and_an_rsa_key() -> None:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([])
    certificate = x509.CertificateBuilder(name, name, key.public_key(), 7, NOW, NOW + timedelta(days=1)).sign(
        key, hashes.SHA256()
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    assert Certificate.from_pem(pem).x509 == certificate


@pytest.mark.parametrize("pem", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_pem_without_a_certificate_is_refused(pem: str) -> None:
    with pytest.raises(BadCertificate):
        Certificate.from_pem(pem)


def test_pem_without_key_or_without_certificate_is_refused() -> None:
    key, certificate = Certificate.generate(NOW).to_pem().split(b"-----BEGIN CERTIFICATE-----")
    with pytest.raises(BadCertificate):
        Certificate.from_pem(key)
    with pytest.raises(BadCertificate):
        Certificate.from_pem(b"-----BEGIN CERTIFICATE-----" + certificate)


def test_pem_with_the_key_of_another_certificate_is_refused() -> None:
    key = Certificate.generate(NOW).to_pem().split(b"-----BEGIN CERTIFICATE-----")[0]
    certificate = Certificate.generate(NOW).x509.public_bytes(serialization.Encoding.PEM)
    with pytest.raises(BadCertificate, match="does not belong to the certificate"):
        Certificate.from_pem(key + certificate)


def test_pem_with_an_encrypted_key_is_refused() -> None:
    certificate = Certificate.generate(NOW)
    key = certificate.private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    with pytest.raises(BadCertificate):
        Certificate.from_pem(key + certificate.x509.public_bytes(serialization.Encoding.PEM))


def test_pem_with_a_key_of_another_kind_is_refused() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    name = x509.Name([])
    certificate = x509.CertificateBuilder(name, name, key.public_key(), 7, NOW, NOW + timedelta(days=1)).sign(key, None)
    pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(BadCertificate, match="neither EC nor RSA"):
        Certificate.from_pem(pem)


@pytest.mark.parametrize(("algorithm", "length"), [("sha-256", 32), ("sha-384", 48), ("sha-512", 64)])
def test_fingerprint_is_the_hash_of_the_der_in_upper_case_hexadecimal(algorithm: str, length: int) -> None:
    certificate = Certificate.generate(NOW)
    fingerprint = certificate.fingerprint(algorithm)
    digest = hashlib.new(algorithm.replace("-", ""), certificate.der).digest()
    assert len(digest) == length
    assert str(fingerprint) == f"{algorithm} " + ":".join(f"{byte:02X}" for byte in digest)
    assert fingerprint.is_supported


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl program is not installed")
def test_fingerprint_equals_the_output_of_openssl() -> None:
    certificate = Certificate.generate(NOW)
    printed = subprocess.run(
        ["openssl", "x509", "-noout", "-fingerprint", "-sha256"],
        input=certificate.to_pem(),
        capture_output=True,
        check=True,
    ).stdout
    assert printed.decode().strip().split("=")[1] == certificate.fingerprint().value


@pytest.mark.parametrize("algorithm", ["sha-1", "md5", "sha256", ""])
def test_other_hash_functions_are_refused_for_fingerprints(algorithm: str) -> None:
    with pytest.raises(BadFingerprint):
        Certificate.generate(NOW).fingerprint(algorithm)


def test_fingerprints_compare_without_regard_to_case() -> None:
    assert Fingerprint("SHA-256", "ab:cd") == Fingerprint("sha-256", "AB:CD")
    assert hash(Fingerprint("SHA-256", "ab:cd")) == hash(Fingerprint("sha-256", "AB:CD"))
    assert Fingerprint("sha-256", "AB:CD") != Fingerprint("sha-512", "AB:CD")
    assert Fingerprint("sha-256", "AB:CD") != Fingerprint("sha-256", "AB:CE")


@pytest.mark.parametrize("algorithm", SUPPORTED_HASHES)
def test_fingerprint_reads_what_it_writes(algorithm: str) -> None:
    fingerprint = Certificate.generate(NOW).fingerprint(algorithm)
    assert Fingerprint.parse(str(fingerprint)) == fingerprint
    assert Fingerprint.parse(f" {algorithm.upper()} {fingerprint.value.lower()}\r\n") == fingerprint


def test_fingerprint_with_an_unsupported_hash_is_read_and_marked() -> None:
    assert not Fingerprint.parse("sha-1 " + ":".join(["AA"] * 20)).is_supported
    assert Fingerprint.parse("sha-999 AA:BB").algorithm == "sha-999"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha-256",
        "sha-256 ",
        "sha-256 AA",
        "sha-256 " + ":".join(["AA"] * 31),
        "sha-256 " + ":".join(["AA"] * 33),
        "sha-256 " + "AA" * 32,
        "sha-256 " + ":".join(["GG"] * 32),
        "sha-256 " + ":".join(["AA"] * 32) + " more",
        "sha-256:" + ":".join(["AA"] * 32),
        "sha 256 " + ":".join(["AA"] * 32),
        "x AA" + ":AA" * 200,
        "sha-256 " + ":".join(["\u0661\u0661"] * 32),
    ],
)
def test_text_that_is_not_a_fingerprint_is_refused(text: str) -> None:
    with pytest.raises(BadFingerprint):
        Fingerprint.parse(text)
