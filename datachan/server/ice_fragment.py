"""ICE credentials and candidates as `application/trickle-ice-sdpfrag` (RFC 8840, section 9); knows no connection."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

CONTENT_TYPE: Final = "application/trickle-ice-sdpfrag"

MAX_LINES: Final = 256
"""Lines of one fragment."""

# RFC 8839, 5.4: the lengths and characters of both values.
_UFRAG: Final = re.compile(r"[A-Za-z0-9+/]{4,256}")
_PASSWORD: Final = re.compile(r"[A-Za-z0-9+/]{22,256}")
_REPLACED: Final = ("a=candidate:", "a=end-of-candidates", "a=ice-ufrag:", "a=ice-pwd:", "a=remote-candidates:")


class BadFragment(Exception):
    """A malformed fragment; the message is a sentence."""


@dataclass(frozen=True, slots=True)
class IceFragment:
    """One fragment.

    Attributes:
        ufrag: The username fragment, or None.
        password: The password, or None.
        candidates: The values of the candidate attributes: `candidate:…`.
        complete: Whether no candidate follows.
    """

    ufrag: str | None = None
    password: str | None = None
    candidates: tuple[str, ...] = ()
    complete: bool = False


def parse_fragment_untrusted(text: str) -> IceFragment:
    """Parse a fragment. Lines of other kinds are ignored.

    Raises:
        BadFragment: The fragment is too long, or its credentials are malformed.
    """
    lines = text.splitlines()
    if len(lines) > MAX_LINES:
        raise BadFragment(f"The fragment has more than {MAX_LINES} lines.")
    ufrag = password = None
    candidates: list[str] = []
    complete = False
    for line in lines:
        name, _, value = line.strip().partition(":")
        if name == "a=ice-ufrag":
            ufrag = _checked(ufrag, value, _UFRAG, "a=ice-ufrag")
        elif name == "a=ice-pwd":
            password = _checked(password, value, _PASSWORD, "a=ice-pwd")
        elif name == "a=candidate":
            candidates.append(f"candidate:{value}")
        elif name == "a=end-of-candidates":
            complete = True
    return IceFragment(ufrag, password, tuple(candidates), complete)


def format_fragment(sdp: str) -> str:
    """Return the fragment of the first media section of a description: its mid, credentials and candidates."""
    lines = [line for line in sdp.splitlines() if line.startswith(("m=", "a=mid:", *_REPLACED[:4]))]
    credentials = [line for line in lines if line.startswith(("a=ice-ufrag:", "a=ice-pwd:"))]
    others = [line for line in lines if line not in credentials]
    return "".join(f"{line}\r\n" for line in [*dict.fromkeys(credentials), *others])


def with_credentials(sdp: str, ufrag: str, password: str, candidates: Sequence[str]) -> str:
    """Return a description with other ICE credentials, and with these candidates instead of its own.

    The credentials go where the old ones were. The candidates go to the end, which belongs to the last media section.
    """
    lines: list[str] = []
    for line in sdp.splitlines():
        if line.startswith("a=ice-ufrag:"):
            lines.append(f"a=ice-ufrag:{ufrag}")
        elif line.startswith("a=ice-pwd:"):
            lines.append(f"a=ice-pwd:{password}")
        elif line and not line.startswith(_REPLACED):
            lines.append(line)
    lines += [f"a={candidate}" for candidate in candidates]
    return "".join(f"{line}\r\n" for line in lines)


def _checked(before: str | None, value: str, pattern: re.Pattern[str], name: str) -> str:
    """Return a credential that is well-formed and equal to the one before it, if there was one."""
    if not pattern.fullmatch(value):
        raise BadFragment(f"{name} is malformed.")
    if before is not None and before != value:
        raise BadFragment(f"{name} has two values: the sections of a data channel offer share one transport.")
    return value
