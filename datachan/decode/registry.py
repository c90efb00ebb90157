"""The numbers of the protocol and their names: chunk types, results, algorithms, payload protocols."""

from __future__ import annotations

from typing import Final

CHUNK_NAMES: Final[dict[int, str]] = {
    0: "DATA",
    1: "INIT",
    2: "INIT ACK",
    3: "SACK",
    4: "HEARTBEAT",
    5: "HEARTBEAT ACK",
    6: "ABORT",
    7: "SHUTDOWN",
    8: "SHUTDOWN ACK",
    9: "ERROR",
    10: "COOKIE ECHO",
    11: "COOKIE ACK",
    12: "ECNE",
    13: "CWR",
    14: "SHUTDOWN COMPLETE",
    15: "AUTH",
    64: "I-DATA",
    128: "ASCONF-ACK",
    130: "RE-CONFIG",
    132: "PAD",
    192: "FORWARD TSN",
    193: "ASCONF",
    194: "I-FORWARD-TSN",
}

HMAC_NAMES: Final[dict[int, str]] = {1: "SHA-1", 3: "SHA-256"}

RECONFIG_RESULTS: Final[dict[int, str]] = {
    0: "Success - Nothing to do",
    1: "Success - Performed",
    2: "Denied",
    3: "Error - Wrong SSN",
    4: "Error - Request already in progress",
    5: "Error - Bad Sequence Number",
    6: "In progress",
}

# RFC 8831, section 8.
DCEP_PPID: Final = 50
TEXT_PPIDS: Final = frozenset((51, 54))
PPID_NAMES: Final[dict[int, str]] = {
    DCEP_PPID: "WebRTC DCEP",
    51: "WebRTC String",
    52: "WebRTC Binary Partial",
    53: "WebRTC Binary",
    54: "WebRTC String Partial",
    56: "WebRTC String Empty",
    57: "WebRTC Binary Empty",
}

_UPPER: Final = frozenset(("tsn", "ssn", "mid", "fsn", "ppid", "id", "ids", "ack", "edmid", "hmac", "tsns"))
_FORMS: Final = {"ids": "ids", "id": "id", "tsns": "TSNs", "ack": "ack", "ms": "", "us": ""}


def label(key: str) -> str:
    """Return a key as words: `cumulative_tsn_ack` becomes "cumulative TSN ack"."""
    if key == "a_rwnd":
        return key
    words = [_FORMS.get(word, word.upper() if word in _UPPER else word) for word in key.split("_")]
    return " ".join([word for word in words if word])
