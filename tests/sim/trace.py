"""A pcapng file of a simulated network: SCTP over UDP port 9899, which Wireshark and tshark open.

A packet sent with a zero checksum (RFC 9653) gets its real checksum in the file, so that Wireshark checks it. Each
datagram is in the file once, at the time it was sent, with its fate, if any, as a comment.
"""

from __future__ import annotations

from pathlib import Path

from datachan import pcapng
from datachan.sctp.wire.packet import with_checksum

from .network import Network

ADDRESS_A = bytes([192, 0, 2, 1])
ADDRESS_Z = bytes([192, 0, 2, 2])
EPOCH = 1_000_000_000.0
"""The date of the virtual clock's zero: captures show dates, and clocks in tests may begin below zero."""


def capture(network: Network) -> bytes:
    """Return everything that was sent on this network so far as a pcapng file."""
    passages = [(passage, ADDRESS_A, ADDRESS_Z) for passage in network.to_z.passages]
    passages += [(passage, ADDRESS_Z, ADDRESS_A) for passage in network.to_a.passages]
    passages.sort(key=lambda entry: entry[0].time)
    blocks = [pcapng.section("datachan simulated network"), pcapng.interface(f"seed {network.seed}")]
    for passage, source, destination in passages:
        datagram = pcapng.udp_datagram(with_checksum(passage.datagram), source, destination)
        blocks.append(pcapng.packet(datagram, EPOCH + passage.time, passage.fate))
    return b"".join(blocks)


def write_trace(network: Network, path: str | Path) -> None:
    """Write `capture` to a file, because a failing test is easier to understand in Wireshark."""
    Path(path).write_bytes(capture(network))
