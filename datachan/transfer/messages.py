"""Knows the control messages of a file transfer and their JSON; knows nothing of the order they come in.

`parse_control_untrusted` reads what a peer sent and raises `BadControl` only. Names and reasons are made harmless while
they are read, so no other module ever sees them raw.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from datachan.transfer.errors import BadControl
from datachan.transfer.names import printable, safe_name

PROTOCOL_VERSION: Final = 1

MAX_CONTROL_LENGTH: Final = 8192
"""Characters. The longest legitimate control message is a fraction of this."""

MAX_SIZE: Final = 2**53 - 1
"""Bytes. The largest integer that survives a browser's JSON."""

MAX_REASON_LENGTH: Final = 200
"""Characters."""

ID_PATTERN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MIME: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,63}/[A-Za-z0-9!#$&^_.+-]{1,63}")


@dataclass(frozen=True, slots=True)
class FileRequest:
    """Please offer me this file (or, without a name, one of your choice)."""

    name: str | None = None


@dataclass(frozen=True, slots=True)
class FileOffer:
    """I have this file; `name` has been through `safe_name`, `size` is in bytes."""

    id: str
    name: str
    size: int
    mime: str | None = None


@dataclass(frozen=True, slots=True)
class FileAccept:
    """Send it, from byte `offset` on (0 in version 1)."""

    id: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class FileEnd:
    """That was all of it; `sha256` is over the whole file, in lower-case hexadecimal."""

    id: str
    sha256: str


@dataclass(frozen=True, slots=True)
class FileReceived:
    """I have stored it, and this is its hash as I computed it."""

    id: str
    sha256: str


@dataclass(frozen=True, slots=True)
class FileReject:
    """No, thank you. `id` is empty when a request is refused."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class FileCancel:
    """I break off, for this reason. `id` is empty when there was no offer yet."""

    id: str
    reason: str


Control: TypeAlias = FileRequest | FileOffer | FileAccept | FileEnd | FileReceived | FileReject | FileCancel

_TYPES: Final[Mapping[str, type[Control]]] = {
    "file-request": FileRequest,
    "file-offer": FileOffer,
    "file-accept": FileAccept,
    "file-end": FileEnd,
    "file-received": FileReceived,
    "file-reject": FileReject,
    "file-cancel": FileCancel,
}
_TYPE_NAMES: Final = {cls: name for name, cls in _TYPES.items()}


def type_name(message: Control) -> str:
    """Return what stands in the `type` field of such a message."""
    return _TYPE_NAMES[type(message)]


def serialize_control(message: Control) -> str:
    """Return the JSON text of a control message."""
    fields: dict[str, object] = {"type": type_name(message)}
    if isinstance(message, FileOffer):
        fields["version"] = PROTOCOL_VERSION
    for slot in type(message).__slots__:
        value = getattr(message, slot)
        if value is not None and not (slot == "id" and value == ""):
            fields[slot] = value
    return json.dumps(fields)


def parse_control_untrusted(text: str) -> Control | None:
    """Read a control message; None when its type is one this version does not know.

    Raises:
        BadControl: It is too long, no JSON object, or a field is missing or not what it must be.
    """
    if len(text) > MAX_CONTROL_LENGTH:
        raise BadControl("a control message is too long")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise BadControl("a control message is not JSON") from None
    if not isinstance(fields, dict):
        raise BadControl("a control message is not a JSON object")
    kind = fields.get("type")
    if not isinstance(kind, str):
        raise BadControl("a control message has no type")
    cls = _TYPES.get(kind)
    if cls is None:
        return None
    return _build(cls, fields)


def _build(cls: type[Control], fields: Mapping[str, object]) -> Control:
    if cls is FileRequest:
        name = fields.get("name")
        return FileRequest(None if name is None else safe_name(_text(fields, "name")))
    if cls is FileReject or cls is FileCancel:
        transfer_id = "" if fields.get("id") in (None, "") else _matching(fields, "id", ID_PATTERN)
        return cls(transfer_id, clean_reason(fields.get("reason")))
    transfer_id = _matching(fields, "id", ID_PATTERN)
    if cls is FileOffer:
        if fields.get("version") != PROTOCOL_VERSION:
            raise BadControl(f"the offer is not of version {PROTOCOL_VERSION} of the protocol")
        mime = fields.get("mime")
        known = mime if isinstance(mime, str) and _MIME.fullmatch(mime) else None
        return FileOffer(transfer_id, safe_name(_text(fields, "name")), _integer(fields, "size"), known)
    if cls is FileAccept:
        return FileAccept(transfer_id, _integer(fields, "offset"))
    sha256 = _matching(fields, "sha256", _SHA256)
    return FileEnd(transfer_id, sha256) if cls is FileEnd else FileReceived(transfer_id, sha256)


def clean_reason(reason: object) -> str:
    """Return a reason fit to be shown: printable, at most `MAX_REASON_LENGTH` characters, never empty."""
    text = printable(reason[: 4 * MAX_REASON_LENGTH]).strip() if isinstance(reason, str) else ""
    return text[:MAX_REASON_LENGTH] or "no reason given"


def _text(fields: Mapping[str, object], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        raise BadControl(f"{key} is not a text")
    return value


def _matching(fields: Mapping[str, object], key: str, pattern: re.Pattern[str]) -> str:
    value = _text(fields, key)
    if not pattern.fullmatch(value):
        raise BadControl(f"{key} is malformed")
    return value


def _integer(fields: Mapping[str, object], key: str) -> int:
    value = fields.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_SIZE:
        raise BadControl(f"{key} is not a number of bytes")
    return value
