"""Traces of the simulated network: tshark finds every packet, good checksums and no malformed field."""

from __future__ import annotations

import random
import struct
from collections import Counter
from pathlib import Path

import pytest

from datachan import pcapng
from datachan.sctp.events import OutgoingStreamsReset
from datachan.sctp.options import data_channel_options
from datachan.sctp.wire.packet import with_checksum
from tests.sim.associations import Traffic, consume, established
from tests.sim.network import Conditions, Network
from tests.sim.trace import capture, write_trace
from tests.tshark import ERROR, GOOD, fields

OPTIONS = {name: getattr(data_channel_options(), name) for name in data_channel_options().__slots__}
FIELDS = ["udp.dstport", "ip.checksum.status", "udp.checksum.status", "sctp.checksum.status", "sctp.chunk_type"]
FIELDS += ["_ws.malformed", "_ws.expert.severity", "frame.comment"]


def conversation() -> Network:
    """Return a conversation with every chunk type.

    It has a handshake, messages of all kinds on a bad network, a stream reset and a shutdown.
    """
    way = Conditions(latency=0.02, loss=0.05, duplication=0.02)
    pair = established(Network(11, way, way), **OPTIONS)
    consume(pair.a)
    consume(pair.z)
    traffic = Traffic(pair.a, pair.z, random.Random(1))
    for index in range(30):
        traffic.send(pair.now, 3000, index % 3, unordered=index % 2 == 0, lifetime=0.05 if index % 5 == 0 else None)
    pair.run(40.0)  # heartbeats too
    pair.a.machine.reset_streams([1], pair.now)
    pair.run_until(lambda: bool(pair.a.of(OutgoingStreamsReset)))
    pair.a.machine.shutdown(pair.now)
    pair.run_until_idle()
    return pair.network


def test_tshark_reads_every_packet_with_good_checksums_and_finds_nothing_malformed(tmp_path: Path) -> None:
    network = conversation()
    write_trace(network, tmp_path / "trace.pcapng")
    seen = fields(tmp_path / "trace.pcapng", FIELDS)
    assert len(seen) == len(network.to_z.passages) + len(network.to_a.passages)
    types: Counter[str] = Counter()
    for port, ip, udp, sctp, chunk_types, malformed, severities, _ in seen:
        assert (port, ip, udp, sctp, malformed) == ("9899", GOOD, GOOD, GOOD, "")
        assert all(int(severity, 0) < ERROR for severity in severities.split(",") if severity)
        types.update(chunk_types.split(","))
    # I-DATA, INIT, INIT ACK, SACK, HEARTBEAT, HEARTBEAT ACK, SHUTDOWN, COOKIE ECHO, COOKIE ACK, SHUTDOWN COMPLETE,
    # RE-CONFIG.
    assert {"64", "1", "2", "3", "4", "5", "7", "8", "10", "11", "14", "130"} <= set(types)
    assert {"lost", "duplicate"} <= {row[-1] for row in seen}


def test_tshark_sees_that_a_packet_was_damaged(tmp_path: Path) -> None:
    network = conversation()
    packet = bytearray(with_checksum(network.to_z.passages[0].datagram))
    packet[-1] ^= 1
    network = Network(1)
    network.to_z.send([bytes(packet)], 0.0)
    write_trace(network, tmp_path / "trace.pcapng")
    [[_, ip, udp, sctp, *_]] = fields(tmp_path / "trace.pcapng", FIELDS)
    assert (ip, udp) == (GOOD, GOOD)
    assert sctp != GOOD


def test_blocks_can_be_walked_in_both_directions() -> None:
    data = capture(conversation())
    position = count = 0
    while position < len(data):
        _, length = struct.unpack_from("<II", data, position)
        assert length % 4 == 0
        assert struct.unpack_from("<I", data, position + length - 4) == (length,)
        position += length
        count += 1
    assert position == len(data)
    assert count > 50


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        # The example of RFC 1071, section 3.
        (bytes.fromhex("0001f203f4f5f6f7"), 0x220D),
        (b"", 0xFFFF),
        (bytes(8), 0xFFFF),
        (b"\xff\xff", 0),
        (b"\xff\xff\xff\xff", 0),
        (b"\x01", 0xFEFF),
    ],
)
def test_the_internet_checksum_is_that_of_rfc_1071(data: bytes, checksum: int) -> None:
    assert pcapng.internet_checksum(data) == checksum
