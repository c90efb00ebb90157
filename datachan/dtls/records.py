"""The boundaries of DTLS records; it knows lengths and types, but no keys.

OpenSSL does not mark the boundaries of datagrams in a memory BIO: neither in what it writes nor in what it reads. This
makes batches cheap, and it requires this module to find the boundaries:

    DTLS 1.2 (RFC 6347, 4.1)         type(1) version(2) epoch(2) sequence_number(6) length(2) fragment
    DTLS 1.3 (RFC 9147, 4)           0 0 1 C S L E E  [connection id]  sequence number (1 or 2)  [length (2)]  fragment
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

HEADER_LENGTH: Final = 13
ALERT: Final = 21
HANDSHAKE: Final = 22
APPLICATION_DATA: Final = 23

_CLIENT_HELLO: Final = 1
_HANDSHAKE_HEADER_LENGTH: Final = 12
_RANDOM_LENGTH: Final = 32

_FATAL: Final = 2

UNEXPECTED_MESSAGE: Final = bytes((ALERT, 0xFE, 0xFD)) + bytes(8) + bytes((0, 2, _FATAL, 10))
"""A record with the alert of a server that receives the middle of a handshake."""

_ALERTS: Final = {
    10: "unexpected message",
    40: "handshake failure",
    42: "bad certificate",
    43: "unsupported certificate",
    44: "certificate revoked",
    45: "certificate expired",
    46: "certificate unknown",
    47: "illegal parameter",
    48: "unknown ca",
    49: "access denied",
    50: "decode error",
    51: "decrypt error",
    70: "protocol version",
    71: "insufficient security",
    80: "internal error",
}
_CERTIFICATE_ALERTS: Final = frozenset({42, 43, 44, 45, 46, 48, 49})

# RFC 6347, 4.1: a fragment's length "should not exceed 2^14". Sealing adds at most 256 bytes in DTLS 1.3, and 24 with
# our cipher suites in DTLS 1.2.
MAX_MESSAGE: Final = 16384
MAX_CIPHERTEXT: Final = MAX_MESSAGE + 256

# Sealing adds at least a tag, and with AES-GCM in DTLS 1.2 an explicit nonce before it (RFC 5288, 3).
TAG_LENGTH: Final = 16
NONCE_AND_TAG_LENGTH: Final = 8 + TAG_LENGTH

# RFC 7983, 7: the first byte of a DTLS datagram is 20 to 63.
_FIRST_TYPE: Final = 20
_LAST_TYPE: Final = 63

_UNIFIED_MASK: Final = 0xE0
_UNIFIED: Final = 0x20
_UNIFIED_CONNECTION_ID: Final = 0x10
_UNIFIED_LONG_SEQUENCE: Final = 0x08
_UNIFIED_LENGTH: Final = 0x04
_UNIFIED_HEADER_LENGTH: Final = 5


def is_unified_header(first_byte: int) -> bool:
    """Return whether a record with this first byte is a sealed record of DTLS 1.3."""
    # RFC 9147, 4.1: "receivers MUST check to see if the leading bits of the first byte are 001.  If so, the
    # implementation MUST process the record as DTLSCiphertext"
    return first_byte & _UNIFIED_MASK == _UNIFIED


def record_end_untrusted(data: bytes, start: int, shortest_sealed: int = TAG_LENGTH) -> int:
    """Find the end of the record at `start`.

    Args:
        data: a datagram, or several records back to back.
        start: the index of the record's header.
        shortest_sealed: the minimum bytes after the header of a sealed record. OpenSSL before 4.0.3 ends the session on
            a shorter record instead of discarding it, which would allow anyone to end the session.

    Returns:
        The index after the record, or 0 without a whole record: too short, too long or not DTLS. The rest of such a
        datagram is ignored (RFC 9147, 4.5.2).
    """
    if start >= len(data):
        return 0
    first = data[start]
    if first < _FIRST_TYPE or first > _LAST_TYPE:
        return 0
    if is_unified_header(first):
        return _unified_record_end_untrusted(data, start, first)
    if start + HEADER_LENGTH > len(data) or data[start + 1] != 0xFE:
        return 0
    length = data[start + 11] << 8 | data[start + 12]
    end = start + HEADER_LENGTH + length
    if end > len(data) or length > MAX_CIPHERTEXT:
        return 0
    is_sealed = data[start + 3] or data[start + 4]  # in all epochs but the first
    return 0 if is_sealed and length < shortest_sealed else end


def _unified_record_end_untrusted(data: bytes, start: int, first: int) -> int:
    # We never negotiate a connection id, so its length is unknown and the record is not for us.
    if first & _UNIFIED_CONNECTION_ID:
        return 0
    header_end = start + (3 if first & _UNIFIED_LONG_SEQUENCE else 2)
    if not first & _UNIFIED_LENGTH:
        # RFC 9147, 4: "The length field MAY be omitted by clearing the L bit, which means that the
        # record consumes the entire rest of the datagram in the lower level transport."
        return len(data) if TAG_LENGTH <= len(data) - header_end <= MAX_CIPHERTEXT else 0
    if header_end + 2 > len(data):
        return 0
    length = data[header_end] << 8 | data[header_end + 1]
    end = header_end + 2 + length
    # RFC 9147, 4.2.3: "This procedure requires the ciphertext length to be at least 16
    # bytes.  Receivers MUST reject shorter records as if they had failed deprotection"
    return end if end <= len(data) and TAG_LENGTH <= length <= MAX_CIPHERTEXT else 0


def split_records(data: bytes) -> list[bytes]:
    """Split OpenSSL's output into single records.

    A DTLS 1.3 record without a length stays joined with the bytes after it, so that nothing is lost.
    """
    size = len(data)
    records: list[bytes] = []
    append = records.append
    start = 0
    while start < size:
        # The header of DTLS 1.2 is read inline, because this runs once for each datagram sent.
        if data[start] < _UNIFIED and start + HEADER_LENGTH <= size:
            end = start + HEADER_LENGTH + (data[start + 11] << 8 | data[start + 12])
            if end > size:
                end = size
        else:
            end = record_end_untrusted(data, start) or size
        append(data[start:end])
        start = end
    return records


def pack_records(records: Iterable[bytes], mtu: int) -> list[bytes]:
    """Pack records into datagrams, in order and as many as fit into each.

    RFC 9147, 4.3: "Multiple DTLS records MAY be placed in a single datagram.  Records are encoded consecutively."

    Args:
        records: the records, each whole.
        mtu: the maximum bytes of a datagram; a longer record gets a datagram of its own.
    """
    datagrams: list[bytes] = []
    pending: list[bytes] = []
    size = 0
    for record in records:
        if pending and size + len(record) > mtu:
            datagrams.append(b"".join(pending))
            pending.clear()
            size = 0
        pending.append(record)
        size += len(record)
    if pending:
        datagrams.append(b"".join(pending))
    return datagrams


class Batch:
    """Whole records to pass to OpenSSL in one write.

    Attributes:
        data: the records, back to back.
        application_records: the number of records whose header states application data. Each one needs one read.
        others: whether there are records of other or hidden types, after which OpenSSL must be read until it is empty.
    """

    __slots__ = ("application_records", "data", "others")

    def __init__(self, data: bytes, application_records: int, others: bool) -> None:
        self.data = data
        self.application_records = application_records
        self.others = others

    def __repr__(self) -> str:
        return f"Batch({len(self.data)} bytes, application_records={self.application_records}, others={self.others})"


def batches_untrusted(datagrams: Iterable[bytes], limit: int, shortest_sealed: int = TAG_LENGTH) -> list[Batch]:
    """Gather the whole records of datagrams into batches of at most `limit` bytes.

    From an incomplete record on, the rest of its datagram is discarded: OpenSSL would read later records as its end.

    Args:
        datagrams: the datagrams from the network, possibly several coalesced into one (UDP_GRO).
        limit: the maximum bytes of a batch; a longer record gets a batch of its own.
        shortest_sealed: as for `record_end_untrusted`.
    """
    batches: list[Batch] = []
    parts: list[bytes] = []
    size = 0
    hidden = False
    shortest = HEADER_LENGTH + shortest_sealed
    for datagram in datagrams:
        length = len(datagram)
        # Nearly every datagram is one record of application data. Such datagrams are joined, all others stay alone.
        if (
            length >= shortest
            and datagram[0] == APPLICATION_DATA
            and datagram[1] == 0xFE
            and (datagram[11] << 8 | datagram[12]) + HEADER_LENGTH == length
            and length <= MAX_CIPHERTEXT
        ):
            joins, is_hidden = True, False
        else:
            joins = is_hidden = _is_one_unified_record_untrusted(datagram)
        if parts and (size + length > limit or is_hidden is not hidden or not joins):
            batches.append(Batch(b"".join(parts), 0 if hidden else len(parts), hidden))
            parts, size = [], 0
        if joins:
            parts.append(datagram)
            size += length
            hidden = is_hidden
        else:
            _cut_untrusted(datagram, limit, shortest_sealed, batches)
    if parts:
        batches.append(Batch(b"".join(parts), 0 if hidden else len(parts), hidden))
    return batches


def _is_one_unified_record_untrusted(datagram: bytes) -> bool:
    """Return whether a datagram is one sealed DTLS 1.3 record with a length, so that others may follow it."""
    return (
        len(datagram) > _UNIFIED_HEADER_LENGTH
        and datagram[0] & (_UNIFIED_MASK | _UNIFIED_LENGTH) == _UNIFIED | _UNIFIED_LENGTH
        and record_end_untrusted(datagram, 0) == len(datagram)
    )


def _cut_untrusted(datagram: bytes, limit: int, shortest_sealed: int, batches: list[Batch]) -> None:
    """Split any datagram into batches of whole records."""
    size = len(datagram)
    batch_start = start = count = 0
    others = False
    while start < size:
        end = record_end_untrusted(datagram, start, shortest_sealed)
        if not end:
            break
        if end - batch_start > limit and start > batch_start:
            batches.append(Batch(datagram[batch_start:start], count, others))
            batch_start, count, others = start, 0, False
        if datagram[start] == APPLICATION_DATA:
            count += 1
        else:
            others = True
        start = end
    if start > batch_start:
        batches.append(Batch(datagram[batch_start:start], count, others))


def screen_untrusted(datagram: bytes, number: int) -> tuple[bytes, int, int]:
    """Remove the records that any host can forge to end a handshake: alerts, and high record numbers.

    Records in the clear are renumbered. Otherwise one forged record with a high number would make OpenSSL discard
    all that follow as replayed. Their order does not depend on the number, as handshake messages have their own.

    Args:
        datagram: a datagram.
        number: the number of its first record in the clear.

    Returns:
        The screened datagram, the number of the next record, and the description of a fatal alert, 0 for none.
    """
    kept: list[bytes] = []
    description = start = 0
    while end := record_end_untrusted(datagram, start):
        if is_unified_header(datagram[start]) or datagram[start + 3] or datagram[start + 4]:
            kept.append(datagram[start:end])
        elif datagram[start] != ALERT:
            kept += (datagram[start : start + 5], number.to_bytes(6, "big"), datagram[start + 11 : end])
            number += 1
        elif end - start == HEADER_LENGTH + 2 and datagram[start + HEADER_LENGTH] == _FATAL:
            description = datagram[end - 1]
        start = end
    return b"".join(kept), number, description


def client_random_untrusted(datagram: bytes) -> bytes:
    """Return the random bytes of the ClientHello that a datagram begins with; empty if it begins with none."""
    body = HEADER_LENGTH + _HANDSHAKE_HEADER_LENGTH
    if len(datagram) < body + 2 + _RANDOM_LENGTH or datagram[0] != HANDSHAKE or datagram[3:5] != b"\0\0":
        return b""
    is_first_fragment = datagram[HEADER_LENGTH + 6 : HEADER_LENGTH + 9] == bytes(3)
    if datagram[HEADER_LENGTH] != _CLIENT_HELLO or not is_first_fragment:
        return b""
    return datagram[body + 2 : body + 2 + _RANDOM_LENGTH]


def describe_alert(description: int) -> str:
    """Return an alert description (RFC 5246, 7.2) as text."""
    name = _ALERTS.get(description, f"alert {description}")
    if description in _CERTIFICATE_ALERTS:
        return f"the peer rejected our certificate; it may have received another fingerprint by signaling ({name})"
    return name
