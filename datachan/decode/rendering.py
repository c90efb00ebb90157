"""A decoded packet as text, as one line, or as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from datachan.decode.node import Node, Value
from datachan.decode.registry import label

_HEADING: Final = frozenset(("type", "code", "flags", "length"))
_COLUMN: Final = 26
_INDENT: Final = "  "


@dataclass(frozen=True, slots=True)
class Style:
    """The terminal sequences around names, labels and problems; empty without colors."""

    heading: str = ""
    name: str = ""
    quiet: str = ""
    problem: str = ""
    end: str = ""

    @classmethod
    def colored(cls) -> Style:
        """Return a style with colors."""
        return cls("\033[1m", "\033[1;36m", "\033[2m", "\033[1;31m", "\033[0m")


def render(packet: Node, style: Style | None = None) -> str:
    """Return all fields, one per line; nodes inside another are indented below it."""
    return "\n".join(_packet_lines(packet, style or Style()))


def render_summary(packet: Node) -> str:
    """Return one line: the ports, the tag, and the main fields of each chunk."""
    ports = f"{packet.get('source_port')} → {packet.get('destination_port')}"
    parts = [" + ".join([_brief(chunk) for chunk in packet.children]) or "no chunk"]
    if not packet.sound:
        parts.append(_first_problem(packet))
    return f"{ports}  {packet.get('verification_tag')}  " + "  ! ".join(parts)


def to_json(packet: Node) -> dict[str, Value]:
    """Return the JSON value: fields by name, inner nodes in lists."""
    value: dict[str, Value] = {}
    if packet.kind != "packet":
        value["name"] = packet.name
    value.update({field.key: field.value for field in packet.fields})
    if packet.problem:
        value["problem"] = packet.problem
    inside: dict[str, list[Value]] = {"chunks": []} if packet.kind == "packet" else {}
    for child in packet.children:
        inside.setdefault(child.kind, []).append(to_json(child))
    value.update(inside)
    return value


def dump(value: dict[str, Value]) -> str:
    """Return one line of JSON. Characters that could control a terminal or reorder its text are escaped."""
    text = json.dumps(value, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join([character if character.isprintable() else json.dumps(character)[1:-1] for character in text])


def _packet_lines(packet: Node, style: Style) -> list[str]:
    lines = [_line(field.key, field.text, style) for field in packet.fields if field.text]
    if packet.problem:
        lines.append(_complaint(packet.problem, "", style))
    for chunk in packet.children:
        lines += _node_lines(chunk, "", style)
    return lines


def _node_lines(node: Node, indent: str, style: Style) -> list[str]:
    heading = ", ".join([f"{field.key} {field.text}" for field in node.fields if field.key in _HEADING])
    detail = f"  ({node.detail})" if node.detail else ""
    lines = [f"{indent}{style.name}{node.name}{style.end}  {style.quiet}{heading}{style.end}{detail}".rstrip()]
    inner = indent + _INDENT
    lines += [
        inner + _line(field.key, field.text, style, len(inner))
        for field in node.fields
        if field.text and field.key not in _HEADING
    ]
    if node.problem:
        lines.append(_complaint(node.problem, inner, style))
    for child in node.children:
        lines += _node_lines(child, inner, style)
    return lines


def _line(key: str, text: str, style: Style, indented: int = 0) -> str:
    return f"{style.quiet}{label(key):<{_COLUMN - indented}}{style.end} {text}"


def _complaint(problem: str, indent: str, style: Style) -> str:
    return f"{indent}{style.problem}! {problem}{style.end}"


def _first_problem(node: Node) -> str:
    if node.problem:
        return node.problem
    return next((problem for child in node.children if (problem := _first_problem(child))), "")


# The fields that distinguish chunks of the same type.
_BRIEF: Final[dict[str, tuple[str, ...]]] = {
    "DATA": ("tsn", "stream_id", "ssn", "ppid"),
    "I-DATA": ("tsn", "stream_id", "mid", "ppid", "fsn"),
    "INIT": ("initiate_tag", "a_rwnd", "outbound_streams", "inbound_streams"),
    "INIT ACK": ("initiate_tag", "a_rwnd", "outbound_streams", "inbound_streams"),
    "SACK": ("cumulative_tsn_ack", "a_rwnd", "gap_ack_blocks", "duplicate_tsns"),
    "SHUTDOWN": ("cumulative_tsn_ack",),
    "FORWARD TSN": ("new_cumulative_tsn",),
    "I-FORWARD-TSN": ("new_cumulative_tsn",),
    "ASCONF": ("sequence_number",),
    "ASCONF-ACK": ("sequence_number",),
}
_SHORT: Final = {
    "cumulative_tsn_ack": "ack",
    "new_cumulative_tsn": "to",
    "stream_id": "stream",
    "initiate_tag": "tag",
    "outbound_streams": "out",
    "inbound_streams": "in",
    "gap_ack_blocks": "gaps",
    "duplicate_tsns": "duplicates",
    "sequence_number": "number",
}


def _brief(chunk: Node) -> str:
    words = [chunk.name]
    for key in _BRIEF.get(chunk.name, ()):
        value = chunk.get(key)
        if value is None or value == []:
            continue
        shown = len(value) if isinstance(value, list) else value
        words.append(f"{_SHORT.get(key, label(key))} {shown}")
    data = chunk.get("user_data")
    if isinstance(data, str):
        words.append(f"{len(data) // 2} bytes")
    inside = ", ".join([child.name for child in chunk.children])
    return " ".join(words) + (f" ({inside})" if inside else "")
