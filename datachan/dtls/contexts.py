"""OpenSSL's contexts, which connections share, and their settings; it knows no handshake."""

from __future__ import annotations

from functools import cache
from typing import Final
from weakref import WeakKeyDictionary, WeakSet

from OpenSSL import SSL

from .certificate import Certificate
from .verifier import PeerVerifier, verify_peer

# RFC 8827, 6.5: "Implementations MUST favor cipher suites which support Forward
# Secrecy (FS) over non-FS cipher suites and SHOULD favor Authenticated
# Encryption with Associated Data (AEAD) over non-AEAD cipher suites."
# The RSA suites are for servers with an RSA certificate. DTLS 1.3 has its own list.
CIPHER_SUITES: Final = {
    "ECDHE-ECDSA-AES128-GCM-SHA256": "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384": "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384": "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305": "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "ECDHE-RSA-CHACHA20-POLY1305": "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
}
"""The suites of DTLS 1.2 by OpenSSL's names, with IANA's; the mandatory one first."""

_DTLS_1_2: Final = 0xFEFD
_MODE_RELEASE_BUFFERS: Final = 0x10


@cache
def _shared_context() -> SSL.Context:
    """Return the context that sessions share; creating one takes 0.3 ms and memory."""
    return _new_context()


def _new_context() -> SSL.Context:
    context = SSL.Context(SSL.DTLS_METHOD)
    context.set_min_proto_version(_DTLS_1_2)
    context.set_cipher_list(":".join(CIPHER_SUITES).encode())
    # RFC 8827, 6.5: "Implementations MUST NOT implement DTLS renegotiation and MUST reject
    # it with a "no_renegotiation" alert if offered."
    context.set_options(SSL.OP_NO_QUERY_MTU | SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # RFC 5764, 4.1.1. We do not use SRTP, but aiortc refuses every session without an SRTP profile.
    context.set_tlsext_use_srtp(b"SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_128_GCM")
    # A callback of each connection would cost a kilobyte, which only the garbage collector would free.
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, verify_peer)
    # Idle sessions free their record buffers.
    context.set_mode(_MODE_RELEASE_BUFFERS)
    return context


_used_certificates: WeakSet[Certificate] = WeakSet()
_contexts: WeakKeyDictionary[Certificate, SSL.Context] = WeakKeyDictionary()


def _context_with(certificate: Certificate) -> SSL.Context | None:
    """Return a context that has the certificate, from its second connection on; None for the first.

    A server has one certificate for all connections. A copy in each of them takes half a millisecond and memory.
    """
    if certificate not in _used_certificates:
        _used_certificates.add(certificate)
        return None
    context = _contexts.get(certificate)
    if context is None:
        context = _contexts[certificate] = _new_context()
        context.use_certificate(certificate.x509)
        context.use_privatekey(certificate.private_key)
    return context


def new_connection(certificate: Certificate, is_client: bool, verifier: PeerVerifier, mtu: int) -> SSL.Connection:
    """Return a new connection of OpenSSL.

    Args:
        certificate: ours.
        is_client: our role.
        verifier: accepts or refuses the certificate of the peer.
        mtu: the longest datagram of the handshake.
    """
    context = _context_with(certificate)
    connection = SSL.Connection(_shared_context() if context is None else context)
    if context is None:
        connection.use_certificate(certificate.x509)
        connection.use_privatekey(certificate.private_key)
    connection.set_app_data(verifier)
    connection.set_ciphertext_mtu(mtu)
    if is_client:
        connection.set_connect_state()
    else:
        connection.set_accept_state()
    return connection
