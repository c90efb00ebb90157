"""Batches of records through OpenSSL with one C call for each record; it knows no states and no errors.

pyOpenSSL's `send` and `recv` check the error queue after each success and allocate a buffer for each call, which costs
as much as sealing a packet. This module therefore calls OpenSSL directly, through private names of pyOpenSSL. Without
these names it uses the public methods. When a direct call fails, the public method is called again to raise the error.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any, Final

from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL

_ffi: Any = Binding.ffi
_lib: Any = Binding.lib
_buffer: Any = _ffi.new_allocator(should_clear_after_alloc=False)
_CHARS: Final[Any] = _ffi.typeof("char[]")
_BYTES: Final = {bytes}
_HAS_FUNCTIONS: Final = all(hasattr(_lib, name) for name in ("SSL_write", "SSL_read", "BIO_read", "BIO_write"))


def is_direct(connection: SSL.Connection) -> bool:
    """Return whether OpenSSL can be called directly for this connection."""
    return bool(
        _HAS_FUNCTIONS
        and getattr(connection, "_ssl", None)
        and getattr(connection, "_from_ssl", None)
        and getattr(connection, "_into_ssl", None)
    )


def seal(connection: SSL.Connection, messages: Sequence[bytes | bytearray | memoryview], overhead: int) -> bytes:
    """Seal messages, one record each, and return the records back to back.

    Args:
        connection: a connection whose handshake is complete.
        messages: the messages, at least one, and none empty.
        overhead: the maximum bytes that sealing adds to a message.

    Raises:
        SSL.Error: as for `Connection.send`.
    """
    if set(map(type, messages)) != _BYTES:
        messages = [bytes(message) for message in messages]
    lengths = list(map(len, messages))
    size = sum(lengths) + overhead * len(messages)
    if not is_direct(connection):
        for message in messages:
            connection.send(message)
        return connection.bio_read(size)
    # A loop in C: a loop here would take a tenth of the time of sealing.
    results = list(map(_lib.SSL_write, repeat(connection._ssl), messages, lengths))
    if min(results) <= 0:
        connection.send(messages[next(i for i, result in enumerate(results) if result <= 0)])
    records = _buffer(_CHARS, size)
    written = _lib.BIO_read(connection._from_ssl, records, size)
    return bytes(_ffi.unpack(records, written)) if written > 0 else connection.bio_read(size)


def unseal(connection: SSL.Connection, records: bytes, count: int, longest: int, messages: list[bytes]) -> None:
    """Open records and append their messages to `messages`.

    Args:
        connection: a connection whose handshake is complete.
        records: the records back to back, no more than OpenSSL reads at once; may be empty.
        count: the maximum number of messages to read.
        longest: the maximum length of a message in bytes.
        messages: receives the messages, also those read before an exception.

    Raises:
        SSL.Error: as for `Connection.recv`; `SSL.WantReadError` when there are fewer messages.
    """
    if not is_direct(connection):
        if records:
            connection.bio_write(records)
        for _ in range(count):
            messages.append(connection.recv(longest))  # noqa: PERF401 (messages before an exception are kept)
        return
    if records and _lib.BIO_write(connection._into_ssl, records, len(records)) != len(records):
        connection.bio_write(records)
    read, tls, unpack = _lib.SSL_read, connection._ssl, _ffi.unpack
    data = _buffer(_CHARS, longest)
    for _ in range(count):
        length = read(tls, data, longest)
        messages.append(unpack(data, length) if length > 0 else connection.recv(longest))
