"""Knows the control messages of docs/transfer-protocol.md and their JSON; knows nothing of their order.

`parse_message_untrusted` parses a peer's message and raises `BadMessage` only. It makes text for people safe to show,
so no other module sees it as the peer sent it. It does not change paths: `datachan.transfer.names` does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, TypeAlias

from datachan.transfer.errors import TransferError
from datachan.transfer.file_names import printable

VERSION: Final = 1

MAX_MESSAGE_BYTES: Final = 60_000
"""Bytes of UTF-8 of one control message: some stacks cannot receive 65,536."""

MAX_NUMBER: Final = 2**53 - 1
"""The largest integer that survives a browser's JSON."""

MAX_ENTRIES: Final = 100_000
MAX_MANIFEST_BYTES: Final = 16 * 1024 * 1024
MAX_ENTRIES_PER_MESSAGE: Final = 1000
MAX_PATH_BYTES: Final = 1024
MAX_DEPTH: Final = 64
MAX_TEXT_BYTES: Final = 1024 * 1024
MAX_FILES_PER_MESSAGE: Final = 500
MAX_RANGES_PER_MESSAGE: Final = 1000
MAX_REASON_LENGTH: Final = 500
"""Characters of a text for people."""

MIN_PIECE: Final = 64 * 1024
MAX_PIECE: Final = 16 * 1024 * 1024
DIGEST_SIZE: Final = 32

HASHES: Final = ("blake3", "sha256")

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})+")


class BadMessage(TransferError):
    """A text message cannot be read as a control message; the message names the field."""


class Kind(Enum):
    """What an entry of the manifest is."""

    FILE = "file"
    FOLDER = "folder"
    TEXT = "text"


class EndCode(Enum):
    """Why a side ended the transfer."""

    REFUSED = "refused"
    WRONG_CODE = "wrong-code"
    UNKNOWN_SESSION = "unknown-session"
    CANCELLED = "cancelled"
    NO_SPACE = "no-space"
    DISK = "disk"
    DAMAGED = "damaged"
    TOO_LARGE = "too-large"
    NOT_FOUND = "not-found"
    BUSY = "busy"
    PROTOCOL = "protocol"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, folder or text of an offer.

    Attributes:
        path: Components separated by `/`, as the sender wrote them.
        kind: What it is.
        size: Bytes; None for a file whose size is not known. 0 for a folder.
        mtime: Milliseconds since 1970, if known.
        executable: Whether the owner may execute the file.
    """

    path: str
    kind: Kind = Kind.FILE
    size: int | None = 0
    mtime: int | None = None
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Pake:
    """A share of the key exchange. `session` names the session of a receiver that connects again."""

    share: bytes
    session: str | None = None


@dataclass(frozen=True, slots=True)
class Confirm:
    """The proof of the key. `verify`: this side's person compares words."""

    mac: bytes
    verify: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """The beginning of a manifest: the number of its entries, their bytes in all, and how they are hashed."""

    id: str
    count: int
    size: int | None
    hashes: tuple[str, ...]
    piece: int


@dataclass(frozen=True, slots=True)
class Entries:
    """The next entries of a manifest."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Offered:
    """The end of a manifest."""


@dataclass(frozen=True, slots=True)
class Have:
    """Files of which the receiver has the beginning: the index, the bytes, and their digest."""

    files: tuple[tuple[int, int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Unwanted:
    """Ranges of files not to send: the first and the last index of each."""

    files: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Accept:
    """The acceptance of an offer, with the hash to use and the bytes of stream that may be sent."""

    id: str
    hash: str
    credit: int


@dataclass(frozen=True, slots=True)
class Resume:
    """The offset from which a file in `Have` is sent."""

    file: int
    offset: int


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a file whose size was not known."""

    file: int
    size: int


@dataclass(frozen=True, slots=True)
class Missing:
    """A file that is not sent, or no further. `code` is `changed` or `unreadable`."""

    file: int
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Sent:
    """The end of the stream."""


@dataclass(frozen=True, slots=True)
class Credit:
    """The bytes of stream that may be sent in all, and those that are durable."""

    bytes: int
    durable: int


@dataclass(frozen=True, slots=True)
class Stored:
    """Files that are in place: the index and the digest of the whole file."""

    files: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Complete:
    """Everything is stored."""


@dataclass(frozen=True, slots=True)
class Request:
    """The name of what the peer should offer; None for everything that it has for us."""

    name: str | None = None


@dataclass(frozen=True, slots=True)
class End:
    """The end of a transfer before its completion. `missing`: bytes that the disk lacks."""

    code: EndCode
    reason: str
    missing: int | None = None


Message: TypeAlias = (
    Pake
    | Confirm
    | Offer
    | Entries
    | Offered
    | Have
    | Unwanted
    | Accept
    | Resume
    | Size
    | Missing
    | Sent
    | Credit
    | Stored
    | Complete
    | Request
    | End
)


# Writing -------------------------------------------------------------------------------------------------------------


def serialize_message(message: Message) -> str:
    """Return the JSON text of a message."""
    fields: dict[str, Any] = {"type": _NAMES[type(message)]}
    if isinstance(message, Pake | Offer):
        fields["version"] = VERSION
    for slot in type(message).__slots__:
        value = getattr(message, slot)
        if value is not None or (isinstance(message, Offer) and slot == "size"):
            fields[slot] = _plain(value)
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Entry):
        return _entry_fields(value)
    return value


def _entry_fields(entry: Entry) -> dict[str, Any]:
    fields: dict[str, Any] = {"path": entry.path}
    if entry.kind is not Kind.FILE:
        fields["kind"] = entry.kind.value
    if entry.kind is not Kind.FOLDER:
        fields["size"] = entry.size
    if entry.mtime is not None:
        fields["mtime"] = entry.mtime
    if entry.executable:
        fields["executable"] = True
    return fields


# Reading -------------------------------------------------------------------------------------------------------------

_Fields: TypeAlias = Mapping[str, Any]


def parse_message_untrusted(text: str) -> Message | None:
    """Parse a control message; return None if this version does not know its type.

    Raises:
        BadMessage: The message is too long, not a JSON object, or a field is missing or malformed.
    """
    if len(text) > MAX_MESSAGE_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_MESSAGE_BYTES:
        raise BadMessage("a control message is too long")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise BadMessage("a control message is not JSON") from None
    if not isinstance(fields, dict):
        raise BadMessage("a control message is not a JSON object")
    kind = fields.get("type")
    if not isinstance(kind, str):
        raise BadMessage("a control message has no type")
    parser = _PARSERS.get(kind)
    return None if parser is None else parser(fields)


def clean_reason(reason: object) -> str:
    """Return a text for people on one line: printable, at most `MAX_REASON_LENGTH` characters, never empty."""
    text = "" if not isinstance(reason, str) else printable(" ".join(reason[: 4 * MAX_REASON_LENGTH].split())).strip()
    return text[:MAX_REASON_LENGTH] or "no reason given"


def _text(fields: _Fields, key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        raise BadMessage(f"{key} is not a string")
    return value


def _integer(value: object, key: str, low: int = 0, high: int = MAX_NUMBER) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise BadMessage(f"{key} is not a number from {low} to {high}")
    return value


def _file(value: object) -> int:
    return _integer(value, "file", 0, MAX_ENTRIES - 1)


def _bytes(value: object, key: str, length: int) -> bytes:
    if not isinstance(value, str) or len(value) != 2 * length or not _HEX.fullmatch(value):
        raise BadMessage(f"{key} is not {2 * length} hexadecimal digits")
    return bytes.fromhex(value)


def _path(fields: _Fields, key: str) -> str:
    path = _text(fields, key)
    if not path or len(path.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES or path.count("/") >= MAX_DEPTH:
        raise BadMessage(f"{key} is empty, longer than {MAX_PATH_BYTES} bytes or deeper than {MAX_DEPTH} components")
    return path


def _identifier(fields: _Fields) -> str:
    value = _text(fields, "id")
    if not _ID.fullmatch(value):
        raise BadMessage("id is malformed")
    return value


def _version(fields: _Fields) -> None:
    version = fields.get("version")
    if version != VERSION or isinstance(version, bool):
        raise BadMessage(f"the peer does not speak version {VERSION} of the protocol: both sides need the same version")


def _rows(fields: _Fields, width: int, limit: int) -> list[list[Any]]:
    rows = fields.get("files")
    if not isinstance(rows, list) or len(rows) > limit:
        raise BadMessage(f"files is not a list of at most {limit} items")
    for row in rows:
        if not isinstance(row, list) or len(row) != width:
            raise BadMessage(f"files has an item that is not a list of {width}")
    return rows


def _pake(fields: _Fields) -> Pake:
    _version(fields)
    session = fields.get("session")
    return Pake(
        _bytes(fields.get("share"), "share", 33), None if session is None else _bytes(session, "session", 16).hex()
    )


def _offer(fields: _Fields) -> Offer:
    _version(fields)
    hashes = fields.get("hashes")
    if not isinstance(hashes, list) or "sha256" not in hashes or len(hashes) > 16:
        raise BadMessage("hashes is not a list with sha256")
    piece = _integer(fields.get("piece"), "piece", MIN_PIECE, MAX_PIECE)
    if piece & (piece - 1):
        raise BadMessage("piece is not a power of two")
    size = fields.get("size")
    return Offer(
        _identifier(fields),
        _integer(fields.get("count"), "count", 1, MAX_ENTRIES),
        None if size is None else _integer(size, "size"),
        tuple(name for name in hashes if name in HASHES),
        piece,
    )


def _entries(fields: _Fields) -> Entries:
    entries = fields.get("entries")
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_ENTRIES_PER_MESSAGE:
        raise BadMessage(f"entries is not a list of 1 to {MAX_ENTRIES_PER_MESSAGE}")
    return Entries(tuple(_entry(entry) for entry in entries))


def _entry(fields: object) -> Entry:
    if not isinstance(fields, dict):
        raise BadMessage("an entry is not a JSON object")
    path = _path(fields, "path")
    try:
        kind = Kind(fields.get("kind", "file"))
    except ValueError:
        raise BadMessage("kind is not file, folder or text") from None
    size: int | None = 0
    if kind is Kind.TEXT:
        size = _integer(fields.get("size"), "size", 0, MAX_TEXT_BYTES)
    elif kind is Kind.FILE and fields.get("size", 0) is None:
        size = None
    elif kind is Kind.FILE:
        size = _integer(fields.get("size"), "size")
    mtime = fields.get("mtime")
    return Entry(
        path,
        kind,
        size,
        None if mtime is None else _integer(mtime, "mtime", -MAX_NUMBER),
        fields.get("executable") is True,
    )


def _have(fields: _Fields) -> Have:
    rows = _rows(fields, 3, MAX_FILES_PER_MESSAGE)
    return Have(tuple((_file(f), _integer(n, "offset"), _bytes(d, "digest", DIGEST_SIZE)) for f, n, d in rows))


def _missing(fields: _Fields) -> Missing:
    code = fields.get("code")
    known = code if code in ("changed", "unreadable") else "unreadable"
    return Missing(_file(fields.get("file")), known, clean_reason(fields.get("reason")))


def _end(fields: _Fields) -> End:
    try:
        code = EndCode(fields.get("code"))
    except ValueError:
        code = EndCode.FAILED
    missing = fields.get("missing")
    lacking = None if missing is None else _integer(missing, "missing")
    return End(code, clean_reason(fields.get("reason")), lacking)


_PARSERS: Final[Mapping[str, Callable[[_Fields], Message]]] = {
    "pake": _pake,
    "confirm": lambda f: Confirm(_bytes(f.get("mac"), "mac", 32), f.get("verify") is True),
    "offer": _offer,
    "entries": _entries,
    "offered": lambda f: Offered(),
    "have": _have,
    "unwanted": lambda f: Unwanted(tuple((_file(a), _file(b)) for a, b in _rows(f, 2, MAX_RANGES_PER_MESSAGE))),
    "accept": lambda f: Accept(_identifier(f), _text(f, "hash")[:32], _integer(f.get("credit"), "credit")),
    "resume": lambda f: Resume(_file(f.get("file")), _integer(f.get("offset"), "offset")),
    "size": lambda f: Size(_file(f.get("file")), _integer(f.get("size"), "size")),
    "missing": _missing,
    "sent": lambda f: Sent(),
    "credit": lambda f: Credit(_integer(f.get("bytes"), "bytes"), _integer(f.get("durable"), "durable")),
    "stored": lambda f: Stored(
        tuple((_file(a), _bytes(b, "digest", DIGEST_SIZE)) for a, b in _rows(f, 2, MAX_FILES_PER_MESSAGE))
    ),
    "complete": lambda f: Complete(),
    "request": lambda f: Request(None if f.get("name") is None else _path(f, "name")),
    "end": _end,
}

_NAMES: Final[Mapping[type, str]] = {
    Pake: "pake",
    Confirm: "confirm",
    Offer: "offer",
    Entries: "entries",
    Offered: "offered",
    Have: "have",
    Unwanted: "unwanted",
    Accept: "accept",
    Resume: "resume",
    Size: "size",
    Missing: "missing",
    Sent: "sent",
    Credit: "credit",
    Stored: "stored",
    Complete: "complete",
    Request: "request",
    End: "end",
}
