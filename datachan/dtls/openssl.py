"""Many records through OpenSSL at a time, each with one call of its C function; knows no states and no errors.

pyOpenSSL's own `send` and `recv` ask for the error queue after each success and set up a buffer each time, which costs
as much as sealing a packet does. So its library is called here directly, by two names of pyOpenSSL that are private:
where they are missing, its public methods do the same. They also tell what went wrong: what a direct call refuses is
asked of them again, and they raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL

_NAMES: Final = ("_ssl", "_from_ssl", "_into_ssl")

_ffi: Any = Binding.ffi
_lib: Any = Binding.lib
_buffer: Any = _ffi.new_allocator(should_clear_after_alloc=False)
_CHARS: Final[Any] = _ffi.typeof("char[]")
_HAS_FUNCTIONS: Final = all(hasattr(_lib, name) for name in ("SSL_write", "SSL_read", "BIO_read", "BIO_write"))


def is_direct(connection: SSL.Connection) -> bool:
    """Whether the library can be called directly for this connection."""
    return _HAS_FUNCTIONS and all(getattr(connection, name, None) for name in _NAMES)


def seal(connection: SSL.Connection, messages: Sequence[bytes], overhead: int) -> bytes:
    """Seal messages, one record each; the records back to back.

    Args:
        connection: one whose handshake is done.
        messages: none empty.
        overhead: bytes sealing adds to a message at most.

    Raises:
        SSL.Error: as `Connection.send` does.
    """
    size = sum(map(len, messages)) + overhead * len(messages)
    if not is_direct(connection):
        for message in messages:
            connection.send(message)
        return connection.bio_read(size)
    write, tls = _lib.SSL_write, connection._ssl
    for message in messages:
        if type(message) is not bytes:
            message = bytes(message)
        if write(tls, message, len(message)) <= 0:
            connection.send(message)
    records = _buffer(_CHARS, size)
    written = _lib.BIO_read(connection._from_ssl, records, size)
    return bytes(_ffi.unpack(records, written)) if written > 0 else connection.bio_read(size)


def unseal(connection: SSL.Connection, records: bytes, count: int, longest: int, messages: list[bytes]) -> None:
    """Open records, and add what was in them to `messages`.

    Args:
        connection: one whose handshake is done.
        records: back to back, together not more than OpenSSL reads at once; may be empty.
        count: how many messages there are at most; it is not read any further.
        longest: bytes a message has at most.
        messages: also has what was read before an exception.

    Raises:
        SSL.Error: as `Connection.recv` does; `SSL.WantReadError` when there were fewer messages.
    """
    if not is_direct(connection):
        if records:
            connection.bio_write(records)
        for _ in range(count):
            messages.append(connection.recv(longest))  # noqa: PERF401 (what came before an exception is kept)
        return
    if records and _lib.BIO_write(connection._into_ssl, records, len(records)) != len(records):
        connection.bio_write(records)
    read, tls, unpack = _lib.SSL_read, connection._ssl, _ffi.unpack
    data = _buffer(_CHARS, longest)
    for _ in range(count):
        length = read(tls, data, longest)
        messages.append(unpack(data, length) if length > 0 else connection.recv(longest))
