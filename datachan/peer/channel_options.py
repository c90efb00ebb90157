"""The arguments of createDataChannel, checked as in W3C WebRTC, section 6.1, and translated for `datachan.dcep`."""

from __future__ import annotations

from typing import Any, Final

from .errors import ArgumentError
from .rtc_data_channel import PRIORITIES

_LONGEST_NAME: Final = 65535
_LARGEST_ID: Final = 65534


def channel_options(
    label: str,
    max_packet_life_time: int | None,
    max_retransmits: int | None,
    ordered: bool,
    protocol: str,
    negotiated: bool,
    id: int | None,
    priority: str,
) -> dict[str, Any]:
    """Return the arguments of `DataChannels.create`.

    Raises:
        ArgumentError: an argument has a wrong type or is out of range.
    """
    _check_short("maxPacketLifeTime", max_packet_life_time)
    _check_short("maxRetransmits", max_retransmits)
    _check_short("id", id)
    if max_packet_life_time is not None and max_retransmits is not None:
        raise ArgumentError("Cannot specify both maxPacketLifeTime and maxRetransmits")
    if negotiated and (id is None or id > _LARGEST_ID):
        raise ArgumentError("ID must be in range 0-65534 if data channel is negotiated out-of-band")
    if priority not in PRIORITIES:
        raise ArgumentError(f"priority must be one of {', '.join(PRIORITIES)}, not {priority!r}")
    return {
        "label": _name("label", label),
        "protocol": _name("protocol", protocol),
        "ordered": bool(ordered),
        "max_packet_life_time": max_packet_life_time,
        "max_retransmits": max_retransmits,
        "negotiated": bool(negotiated),
        # W3C WebRTC, 6.1: the id is ignored unless the channel is negotiated.
        "id": id if negotiated else None,
        "priority": PRIORITIES[priority],
    }


def _name(what: str, text: str) -> str:
    if not isinstance(text, str):
        raise ArgumentError(f"{what} must be a string, not {type(text).__name__}")
    # As in W3C's USVString, lone surrogates become U+FFFD.
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if len(text.encode()) > _LONGEST_NAME:
        raise ArgumentError(f"{what} must not be longer than {_LONGEST_NAME} bytes of UTF-8")
    return text


def _check_short(what: str, value: int | None) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 0xFFFF:
        raise ArgumentError(f"{what} must be a number from 0 to 65535, not {value!r}")
