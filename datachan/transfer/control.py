"""Knows the control messages of a file transfer and their JSON; knows nothing of the order in which they are sent.

`parse_control_untrusted` parses a peer's message and raises `BadControl` only. It sanitizes names and reasons, so no
other module sees them as the peer sent them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from datachan.transfer.errors import BadControl
from datachan.transfer.file_names import printable, safe_name

PROTOCOL_VERSION: Final = 1

MAX_CONTROL_LENGTH: Final = 8192
"""Characters. Legitimate control messages are far shorter."""

MAX_SIZE: Final = 2**53 - 1
"""Bytes. The largest integer that survives a browser's JSON."""

MAX_REASON_LENGTH: Final = 200
"""Characters."""

ID_PATTERN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_MIME: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,63}/[A-Za-z0-9!#$&^_.+-]{1,63}")


@dataclass(frozen=True, slots=True)
class FileRequest:
    """A request for the file of this name, or for any file if there is no name."""

    name: str | None = None


@dataclass(frozen=True, slots=True)
class FileOffer:
    """An offered file. `name` has been through `safe_name`; `size` is in bytes."""

    id: str
    name: str
    size: int
    mime: str | None = None


@dataclass(frozen=True, slots=True)
class FileAccept:
    """The acceptance of an offer, from byte `offset` on (0 in version 1)."""

    id: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class FileEnd:
    """The end of the data. `sha256` covers the whole file, in lower-case hexadecimal."""

    id: str
    sha256: str


@dataclass(frozen=True, slots=True)
class FileReceived:
    """The receipt: the file is stored, and this is the hash that the receiver computed."""

    id: str
    sha256: str


@dataclass(frozen=True, slots=True)
class FileReject:
    """The refusal of an offer or a request. `id` is empty if a request is refused."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class FileCancel:
    """The cancellation of a transfer, with its reason. `id` is empty if there was no offer yet."""

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
    """Return the `type` field of this message."""
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
    """Parse a control message; return None if this version does not know its type.

    Raises:
        BadControl: The message is too long, not a JSON object, or a field is missing or malformed.
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
    """Return a reason that is safe to display: printable, at most `MAX_REASON_LENGTH` characters, never empty."""
    text = printable(reason[: 4 * MAX_REASON_LENGTH]).strip() if isinstance(reason, str) else ""
    return text[:MAX_REASON_LENGTH] or "no reason given"


def _text(fields: Mapping[str, object], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str):
        raise BadControl(f"{key} is not a string")
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
