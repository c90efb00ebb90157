"""Knows under which names the files of a manifest are stored; knows no file system.

Names come from the peer. Each component is made safe, and no two entries of one manifest get the same place on any
system: names are compared without regard to case and normal form.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from datachan.transfer.file_names import FALLBACK_NAME, MAX_NAME_BYTES, safe_component
from datachan.transfer.messages import MAX_DEPTH, Entry, Kind


def safe_path(path: str) -> tuple[str, ...]:
    """Return the components of a relative path that cannot leave the folder it is stored in.

    The first component does not begin with a dot, so no peer can place a hidden file in the receiver's folder, or reach
    the partial files there. `.`, `..` and empty components are dropped. The result is never empty.
    """
    parts: list[str] = []
    for component in path.split("/")[:MAX_DEPTH]:
        name = safe_component(component, hidden=bool(parts))
        if name:
            parts.append(name)
    return tuple(parts) or (FALLBACK_NAME,)


def comparable(name: str) -> str:
    """Return the key under which two names are one name on some system."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", name).casefold())


def numbered(name: str, number: int) -> str:
    """Return `name` with ` (number)` before its extension, within the bound of a name."""
    stem, dot, extension = name.rpartition(".")
    if not dot or not stem or len(extension.encode()) > MAX_NAME_BYTES // 4:
        stem, dot, extension = name, "", ""
    mark = f" ({number})"
    room = MAX_NAME_BYTES - len(mark.encode()) - len((dot + extension).encode())
    return stem.encode()[:room].decode(errors="ignore") + mark + dot + extension


class _Folder:
    """The names that are taken in one folder of the manifest."""

    __slots__ = ("counters", "folders", "taken")

    def __init__(self) -> None:
        self.taken: set[str] = set()
        self.counters: dict[str, int] = {}
        self.folders: dict[str, tuple[str, _Folder]] = {}

    def claim(self, name: str) -> str:
        """Return a free name like `name`, and take it."""
        key = comparable(name)
        number = self.counters.get(key, 1)  # so that many entries of one name do not search from the beginning
        chosen = name
        while comparable(chosen) in self.taken:
            number += 1
            chosen = numbered(name, number)
        self.counters[key] = number
        self.taken.add(comparable(chosen))
        return chosen

    def enter(self, raw: str, name: str) -> tuple[str, _Folder]:
        """Return the name and the content of the folder that the peer calls `raw`."""
        known = self.folders.get(raw)
        if known is None:
            known = self.folders[raw] = (self.claim(name), _Folder())
        return known


def stored_paths(entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    """Return the place of each entry, below the folder in which the offer is stored.

    Two entries of the same folder stay in the same folder. Entries whose names become one name get ` (2)`, ` (3)` …
    """
    root = _Folder()
    return [_place(root, entry) for entry in entries]


def _place(root: _Folder, entry: Entry) -> tuple[str, ...]:
    raw: list[tuple[str, str]] = []
    for component in entry.path.split("/")[:MAX_DEPTH]:
        name = safe_component(component, hidden=bool(raw))
        if name:
            raw.append((component, name))
    if not raw:
        raw = [(FALLBACK_NAME, FALLBACK_NAME)]
    folder, place = root, []
    parents = raw if entry.kind is Kind.FOLDER else raw[:-1]
    for component, name in parents:
        chosen, folder = folder.enter(component, name)
        place.append(chosen)
    if entry.kind is not Kind.FOLDER:
        place.append(folder.claim(raw[-1][1]))
    return tuple(place)
