"""Knows the messages between a signaling client and the server, and their JSON; knows no socket, room or peer.

To the server                                        From the server
    join       version, name, secret, resume, seq        welcome      version, id, room, capacity, peers
    offer      to, session, sdp                          peer-joined  peer
    answer     to, session, sdp                          peer-left    id
    candidate  to, session, candidate (null: the end)    offer, answer, candidate, bye with `from` instead of `to`
    bye        to, session, reason                       error        code, message

Every message is one JSON object in one text frame; its `type` names its kind. The server parses each message into one
of the classes below and serializes it again. So no field that a client adds reaches another client, and `from` is
always set by the server. `session` names one attempt of two peers to connect, and separates it from earlier attempts.

A client that joins with `resume` can return to its place after its connection broke. Then messages have a `seq` in both
directions, and the welcome has `resume`, `seq`, `resumed`, `missed` and `received`. For other clients nothing changes.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

PROTOCOL_VERSION: Final = 1

MAX_MESSAGE_SIZE: Final = 64 * 1024
"""Bytes of JSON text, as UTF-8."""

MAX_SDP_LENGTH: Final = 32 * 1024
"""Characters."""

MAX_CANDIDATE_LENGTH: Final = 2048
"""Characters."""

MAX_NAME_LENGTH: Final = 40
"""Characters of a name people are shown."""

MAX_REASON_LENGTH: Final = 200
"""Characters."""

DEFAULT_NAME: Final = "Guest"

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{22,64}")
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\.[A-Za-z0-9_-]{22,64}")

MAX_SEQ: Final = (1 << 53) - 1
"""The largest sequence number: the largest integer that every JSON implementation keeps exact."""
_DROPPED_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_JOINERS: Final = frozenset("\u200c\u200d")


class BadMessage(Exception):
    """A malformed message. `code` is for programs, the text is a sentence for people.

    The functions that end in `_untrusted` raise nothing else.
    """

    def __init__(self, code: str, sentence: str) -> None:
        """Keep the code and the sentence."""
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """A member of a room: the id the server gave its connection, and the name that people see."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Join:
    """The first message of a client.

    Attributes:
        name: The name that the others see.
        version: The version of the protocol.
        secret: Keeps the member's id the same when it joins again.
        resumes: Whether the member keeps its place for a while when its connection breaks.
        token: The token of an earlier welcome, with which the client returns to its place.
        seq: The sequence number of the last message that the client received.
    """

    name: str = DEFAULT_NAME
    version: int = PROTOCOL_VERSION
    secret: str | None = None
    resumes: bool = False
    token: str | None = None
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Resumption:
    """The part of a welcome that clients get which can return after a break.

    Attributes:
        token: Proves at the next join that the client is this member.
        seq: The number of the last message before the welcome; later ones have higher numbers.
        resumed: Whether the client is back in its place. Then what it missed follows.
        missed: Whether messages for the client were dropped, because too many waited.
        received: The number of the last message that the servers have received from this member.
    """

    token: str
    seq: int
    resumed: bool = False
    missed: bool = False
    received: int = 0


@dataclass(frozen=True, slots=True)
class Welcome:
    """The answer to `Join`: the client's own id, and the members that joined before it."""

    id: str
    room: str
    capacity: int
    peers: tuple[PeerInfo, ...] = ()
    version: int = PROTOCOL_VERSION
    resumption: Resumption | None = None

    @property
    def is_seamless(self) -> bool:
        """Whether the client is back in its place and has missed nothing."""
        return self.resumption is not None and self.resumption.resumed and not self.resumption.missed


@dataclass(frozen=True, slots=True)
class PeerJoined:
    """A member joined the room."""

    peer: PeerInfo


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """A member left the room, or its connection broke."""

    id: str


@dataclass(frozen=True, slots=True)
class Offer:
    """An offered session description. `peer` is the receiver, or the sender when it comes from the server."""

    peer: str
    session: str
    sdp: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to the offer of the same session."""

    peer: str
    session: str
    sdp: str


@dataclass(frozen=True, slots=True)
class CandidateInit:
    """W3C's RTCIceCandidateInit."""

    candidate: str
    sdp_mid: str | None = None
    sdp_mline_index: int | None = None
    username_fragment: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One ICE candidate of a session, sent as soon as it is known; None after the last one."""

    peer: str
    session: str
    candidate: CandidateInit | None


@dataclass(frozen=True, slots=True)
class Bye:
    """The end of a session, or the refusal to start it."""

    peer: str
    session: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Error:
    """A request that the server refused. `session` names the attempt it belongs to, if any."""

    code: str
    message: str
    session: str | None = None


Signal: TypeAlias = Offer | Answer | Candidate | Bye
ClientMessage: TypeAlias = Join | Signal
ServerMessage: TypeAlias = Welcome | PeerJoined | PeerLeft | Signal | Error

_SIGNAL_TYPES: Final[Mapping[type[Signal], str]] = {
    Offer: "offer",
    Answer: "answer",
    Candidate: "candidate",
    Bye: "bye",
}
_SIGNALS: Final = {name: cls for cls, name in _SIGNAL_TYPES.items()}


# Reading -------------------------------------------------------------------------------------------------------------


def parse_client_message_untrusted(text: str) -> ClientMessage:
    """Parse a message from a client to the server.

    Raises:
        BadMessage: The message is too large, not a JSON object, of unknown type, or a field is missing or malformed.
    """
    return parse_numbered_client_message_untrusted(text)[0]


def parse_numbered_client_message_untrusted(text: str) -> tuple[ClientMessage, int | None]:
    """Parse a message from a client to the server, and its sequence number if it has one.

    Raises:
        BadMessage: The message is too large, not a JSON object, of unknown type, or a field is missing or malformed.
    """
    fields, kind = _object(text)
    if kind != "join":
        return _signal(fields, kind, "to"), _number(fields, "seq") if "seq" in fields else None
    version = fields.get("version")
    if version != PROTOCOL_VERSION or isinstance(version, bool):
        raise BadMessage(
            "unsupported-version", f"This server speaks version {PROTOCOL_VERSION} of the signaling protocol."
        )
    name, secret, resume = clean_name(fields.get("name")), _secret(fields.get("secret")), fields.get("resume", False)
    if isinstance(resume, bool):
        return Join(name, secret=secret, resumes=resume), None
    if not isinstance(resume, str) or not _TOKEN.fullmatch(resume):
        raise BadMessage("bad-field", "`resume` must be true, or the text of `resume` in an earlier welcome.")
    return Join(name, secret=secret, resumes=True, token=resume, seq=_number(fields, "seq")), None


def parse_server_message_untrusted(text: str) -> ServerMessage | None:
    """Parse a message from the server to a client; return None if this version does not know its type.

    Raises:
        BadMessage: The message is too large, not a JSON object, or a field is missing or malformed.
    """
    return parse_numbered_server_message_untrusted(text)[0]


def parse_numbered_server_message_untrusted(text: str) -> tuple[ServerMessage | None, int | None]:
    """Parse a message from the server to a client, and its sequence number if it has one.

    Raises:
        BadMessage: The message is too large, not a JSON object, or a field is missing or malformed.
    """
    fields, kind = _object(text)
    number = _number(fields, "seq") if kind != "welcome" and "seq" in fields else None
    return _server_message(fields, kind), number


def _server_message(fields: Mapping[str, object], kind: str) -> ServerMessage | None:
    if kind == "welcome":
        return _welcome(fields)
    if kind == "peer-joined":
        return PeerJoined(_peer(fields.get("peer")))
    if kind == "peer-left":
        return PeerLeft(_identifier(fields, "id"))
    if kind == "error":
        session = fields.get("session")
        return Error(
            _identifier(fields, "code"),
            clean_text(fields.get("message"), 500),
            None if session is None else str(session),
        )
    if kind not in _SIGNALS:
        return None
    return _signal(fields, kind, "from")


def is_room_name(text: str) -> bool:
    """Return whether a room may have this name: 1 to 64 letters, digits, `-` or `_`."""
    return _ID.fullmatch(text) is not None


def clean_name(name: object) -> str:
    """Return a name that is safe to display: printable, at most `MAX_NAME_LENGTH` characters, never empty."""
    return clean_text(name, MAX_NAME_LENGTH) or DEFAULT_NAME


def clean_text(text: object, limit: int) -> str:
    """Return `text` on one line, without invisible and reordering characters, cut at `limit` characters."""
    if not isinstance(text, str):
        return ""
    shown = (
        " " if c.isspace() else c
        for c in text[: 4 * limit]
        if c.isspace() or c in _JOINERS or unicodedata.category(c) not in _DROPPED_CATEGORIES
    )
    return " ".join("".join(shown).split())[:limit].strip()


def _object(text: str) -> tuple[Mapping[str, object], str]:
    # A character is at least one byte long, so the encoding is measured only if the character count does not decide.
    if len(text) > MAX_MESSAGE_SIZE or len(text.encode("utf-8", "surrogatepass")) > MAX_MESSAGE_SIZE:
        raise BadMessage("too-large", f"A message may have at most {MAX_MESSAGE_SIZE} bytes.")
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise BadMessage("not-json", "A message must be one JSON object; this is not JSON.") from None
    if not isinstance(fields, dict):
        raise BadMessage("not-an-object", "A message must be one JSON object.")
    kind = fields.get("type")
    if not isinstance(kind, str):
        raise BadMessage("no-type", "A message must have a `type`, which is a string.")
    return fields, kind


def _signal(fields: Mapping[str, object], kind: str, direction: str) -> Signal:
    cls = _SIGNALS.get(kind)
    if cls is None:
        raise BadMessage("unknown-type", "The `type` of a message is join, offer, answer, candidate or bye.")
    peer = _identifier(fields, direction)
    session = _identifier(fields, "session")
    if cls is Candidate:
        return Candidate(peer, session, _candidate(fields))
    if cls is Bye:
        return Bye(peer, session, clean_text(fields.get("reason"), MAX_REASON_LENGTH))
    sdp = _sdp(fields)
    return Offer(peer, session, sdp) if cls is Offer else Answer(peer, session, sdp)


def _identifier(fields: Mapping[str, object], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise BadMessage("bad-field", f"`{key}` must be 1 to 64 letters, digits, - or _.")
    return value


def _secret(value: object) -> str | None:
    if value is not None and not (isinstance(value, str) and _SECRET.fullmatch(value)):
        raise BadMessage("bad-field", "`secret` must be 22 to 64 letters, digits, - or _, or be left out.")
    return value


def _number(fields: Mapping[str, object], key: str) -> int:
    value = fields.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_SEQ:
        raise BadMessage("bad-field", f"`{key}` must be a number from 0 to {MAX_SEQ}.")
    return value


def _sdp(fields: Mapping[str, object]) -> str:
    sdp = fields.get("sdp")
    # RFC 8866, 5: the v= line comes first, so any other beginning is not a session description.
    if not isinstance(sdp, str) or not sdp.startswith("v=0"):
        raise BadMessage("bad-sdp", "`sdp` must be a session description, beginning with v=0.")
    if len(sdp) > MAX_SDP_LENGTH:
        raise BadMessage("bad-sdp", f"`sdp` may have at most {MAX_SDP_LENGTH} characters.")
    return _encodable(sdp, "sdp")


def _candidate(fields: Mapping[str, object]) -> CandidateInit | None:
    if "candidate" not in fields:
        raise BadMessage("bad-candidate", "`candidate` is missing; send null after the last one.")
    value = fields["candidate"]
    if value is None:
        return None
    if not isinstance(value, dict):
        raise BadMessage("bad-candidate", "`candidate` must be an RTCIceCandidateInit or null.")
    text = value.get("candidate")
    if not isinstance(text, str) or len(text) > MAX_CANDIDATE_LENGTH:
        raise BadMessage("bad-candidate", f"A candidate is a string of at most {MAX_CANDIDATE_LENGTH} characters.")
    index = value.get("sdpMLineIndex")
    if index is not None and (not isinstance(index, int) or isinstance(index, bool) or not 0 <= index <= 0xFFFF):
        raise BadMessage("bad-candidate", "`sdpMLineIndex` must be a small number or null.")
    return CandidateInit(
        _encodable(text, "candidate"), _short(value, "sdpMid"), index, _short(value, "usernameFragment")
    )


def _short(fields: Mapping[str, object], key: str) -> str | None:
    value = fields.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > 256:
        raise BadMessage("bad-candidate", f"`{key}` must be a string of at most 256 characters, or null.")
    return _encodable(value, key)


def _encodable(text: str, what: str) -> str:
    # JSON can encode half of a surrogate pair, which cannot be encoded as UTF-8.
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise BadMessage("bad-field", f"`{what}` is not valid Unicode.") from None
    return text


def _welcome(fields: Mapping[str, object]) -> Welcome:
    version, capacity, peers = fields.get("version"), fields.get("capacity"), fields.get("peers")
    if not isinstance(version, int) or not isinstance(capacity, int) or not isinstance(peers, list):
        raise BadMessage("bad-field", "`version`, `capacity` or `peers` of the welcome is missing.")
    return Welcome(
        _identifier(fields, "id"),
        _identifier(fields, "room"),
        capacity,
        tuple(_peer(p) for p in peers),
        version,
        _resumption(fields),
    )


def _resumption(fields: Mapping[str, object]) -> Resumption | None:
    token = fields.get("resume")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        return None
    return Resumption(
        token,
        _number(fields, "seq"),
        fields.get("resumed") is True,
        fields.get("missed") is True,
        _number(fields, "received"),
    )


def _peer(value: object) -> PeerInfo:
    if not isinstance(value, dict):
        raise BadMessage("bad-field", "A peer must be an object with `id` and `name`.")
    return PeerInfo(_identifier(value, "id"), clean_name(value.get("name")))


# Writing -------------------------------------------------------------------------------------------------------------


def serialize_client_message(message: ClientMessage, seq: int | None = None) -> str:
    """Return the JSON text of a message from a client to the server, with its sequence number unless that is None."""
    if not isinstance(message, Join):
        return _json(_signal_fields(message, "to") | ({} if seq is None else {"seq": seq}))
    fields: dict[str, object] = {"type": "join", "version": message.version, "name": message.name}
    if message.secret is not None:
        fields["secret"] = message.secret
    if message.token is not None:
        fields |= {"resume": message.token, "seq": message.seq}
    elif message.resumes:
        fields["resume"] = True
    return _json(fields)


def with_number(text: str, seq: int) -> str:
    """Return the JSON text of a message with a sequence number added."""
    return f'{text[:-1]},"seq":{seq}}}'


def serialize_server_message(message: ServerMessage) -> str:
    """Return the JSON text of a message from the server to a client."""
    if isinstance(message, Welcome):
        fields: dict[str, object] = {
            "type": "welcome",
            "version": message.version,
            "id": message.id,
            "room": message.room,
            "capacity": message.capacity,
            "peers": [_peer_fields(peer) for peer in message.peers],
        } | ({} if message.resumption is None else _resumption_fields(message.resumption))
    elif isinstance(message, PeerJoined):
        fields = {"type": "peer-joined", "peer": _peer_fields(message.peer)}
    elif isinstance(message, PeerLeft):
        fields = {"type": "peer-left", "id": message.id}
    elif isinstance(message, Error):
        fields = {"type": "error", "code": message.code, "message": message.message}
        if message.session is not None:
            fields["session"] = message.session
    else:
        fields = _signal_fields(message, "from")
    return _json(fields)


def _resumption_fields(resumption: Resumption) -> dict[str, object]:
    return {
        "resume": resumption.token,
        "seq": resumption.seq,
        "resumed": resumption.resumed,
        "missed": resumption.missed,
        "received": resumption.received,
    }


def _signal_fields(message: Signal, direction: str) -> dict[str, object]:
    fields: dict[str, object] = {
        "type": _SIGNAL_TYPES[type(message)],
        direction: message.peer,
        "session": message.session,
    }
    if isinstance(message, Candidate):
        fields["candidate"] = None if message.candidate is None else _candidate_fields(message.candidate)
    elif isinstance(message, Bye):
        fields["reason"] = message.reason
    else:
        fields["sdp"] = message.sdp
    return fields


def _candidate_fields(candidate: CandidateInit) -> dict[str, object]:
    return {
        "candidate": candidate.candidate,
        "sdpMid": candidate.sdp_mid,
        "sdpMLineIndex": candidate.sdp_mline_index,
        "usernameFragment": candidate.username_fragment,
    }


def _peer_fields(peer: PeerInfo) -> dict[str, str]:
    return {"id": peer.id, "name": peer.name}


def _json(fields: Mapping[str, object]) -> str:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
