"""Capture files of both formats and byte orders, and finding the SCTP packet in a frame."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datachan import pcapng
from datachan.decode import BadCapture, CaptureReader, Encapsulated, Frame, find_sctp

PACKET = bytes.fromhex("115cc66888e5e376883432df030000108a70484a00019ffa00000000")
A, Z = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])
A6, Z6 = bytes.fromhex("20010db8000000000000000000000001"), bytes.fromhex("20010db8000000000000000000000002")
NS = 1_000_000_000


def frames(data: bytes) -> list[Frame]:
    return list(CaptureReader().feed(data))


def pcap(order: str, magic: int, link_type: int, *records: tuple[int, int, bytes, int]) -> bytes:
    data = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link_type)
    for seconds, fraction, payload, length in records:
        data += struct.pack(order + "IIII", seconds, fraction, len(payload), length) + payload
    return data


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack(order + "II", kind, 12 + len(body)) + body + struct.pack(order + "I", 12 + len(body))


def option(order: str, code: int, value: bytes) -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def section(order: str) -> bytes:
    return block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))


def udp(payload: bytes, ports: tuple[int, int] = (9899, 9899)) -> bytes:
    return struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload


def ipv4(protocol: int, payload: bytes, *, options: bytes = b"", fragment: int = 0, length: int | None = None) -> bytes:
    header = 20 + len(options)
    length = header + len(payload) if length is None else length
    first = 0x40 | header // 4
    return struct.pack("!BBHHHBBH", first, 0, length, 0, fragment, 64, protocol, 0) + A + Z + options + payload


def ipv6(protocol: int, payload: bytes) -> bytes:
    return struct.pack("!IHBB", 0x60000000, len(payload), protocol, 64) + A6 + Z6 + payload


def found(link_type: int, data: bytes, *ports: int) -> Encapsulated | None:
    frame = Frame(1, 0, link_type, data, len(data))
    return find_sctp(frame, ports) if ports else find_sctp(frame)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "tick"), [(0xA1B2C3D4, 1000), (0xA1B23C4D, 1)])
def test_reads_pcap_in_either_byte_order_and_resolution(order: str, magic: int, tick: int) -> None:
    data = pcap(order, magic, 248, (100, 7, PACKET, len(PACKET)), (101, 8, PACKET[:20], 28))
    assert frames(data) == [
        Frame(1, 100 * NS + 7 * tick, 248, PACKET, 28),
        Frame(2, 101 * NS + 8 * tick, 248, PACKET[:20], 28),
    ]


@pytest.mark.parametrize("order", ["<", ">"])
def test_reads_pcapng_with_its_options(order: str) -> None:
    nanoseconds = option(order, 9, b"\x09") + option(order, 14, struct.pack(order + "q", 50))
    named = option(order, 2, b"eth0") + bytes(4)
    data = section(order)
    data += block(order, 1, struct.pack(order + "HHI", 1, 0, 0) + nanoseconds + named)
    data += block(order, 1, struct.pack(order + "HHI", 248, 0, 0) + option(order, 9, b"\x8a"))  # 2 ** -10
    data += block(order, 5, b"statistics, of no interest")
    moment = 3 * NS + 5
    options = option(order, 1, "lost ✗".encode()) + option(order, 2, struct.pack(order + "I", 2)) + bytes(4)
    first = struct.pack(order + "IIIII", 0, moment >> 32, moment & 0xFFFFFFFF, 3, 9) + b"abc\0" + options
    second = struct.pack(order + "IIIII", 1, 0, 1536, 28, 28) + PACKET
    data += block(order, 6, first) + block(order, 6, second)
    assert frames(data) == [
        Frame(1, 53 * NS + 5, 1, b"abc", 9, "sent", "eth0", "lost ✗"),
        Frame(2, 1 * NS + NS // 2, 248, PACKET, 28),
    ]


def test_a_second_section_may_have_another_byte_order_and_other_interfaces() -> None:
    data = b""
    for order, link_type in (("<", 1), (">", 248)):
        data += section(order) + block(order, 1, struct.pack(order + "HHI", link_type, 0, 0))
        data += block(order, 3, struct.pack(order + "I", 28) + PACKET)
    assert [(frame.number, frame.link_type, frame.time) for frame in frames(data)] == [(1, 1, None), (2, 248, None)]


def test_reads_the_captures_that_the_package_writes() -> None:
    data = pcapng.section() + pcapng.interface("a")
    data += pcapng.packet(pcapng.udp_datagram(PACKET, A, Z), 1.5, "a comment")
    [frame] = frames(data)
    assert (frame.time, frame.comment, frame.interface) == (1_500_000_000, "a comment", "a")
    assert find_sctp(frame) == Encapsulated(PACKET, 28, "192.0.2.1", "192.0.2.2", (9899, 9899))


@given(st.lists(st.integers(1, 40), max_size=30), st.booleans())
def test_yields_the_same_frames_for_any_split_of_the_file(sizes: list[int], ng: bool) -> None:
    if ng:
        data = pcapng.section() + pcapng.interface()
        data += b"".join([pcapng.packet(bytes(size), index) for index, size in enumerate(sizes)])
    else:
        data = pcap(">", 0xA1B2C3D4, 1, *[(index, 0, bytes(size), size) for index, size in enumerate(sizes)])
    reader, seen, rest = CaptureReader(), [], data
    steps = random.Random(len(data))
    while rest:
        step = steps.randint(1, 50)
        seen += list(reader.feed(rest[:step]))
        rest = rest[step:]
    assert seen == frames(data)
    assert [len(frame.data) for frame in seen] == sizes
    assert reader.unfinished == 0


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xa1\xb2\xc3\xd4", section("<"), section(">")]))
def test_any_bytes_are_parsed_to_frames_or_raise_bad_capture(data: bytes, head: bytes) -> None:
    try:
        for frame in CaptureReader().feed(head + data):
            find_sctp(frame)
    except BadCapture:
        pass


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GIF89a", "starts neither as pcap nor as pcapng"),
        (pcap("<", 0xA1B2C3D4, 1) + struct.pack("<IIII", 0, 0, 1 << 30, 9), "at byte 24: a record of 1073741840 bytes"),
        (section("<") + struct.pack("<III", 6, 13, 0), "at byte 28: a block of 13 bytes"),
        (section("<") + block("<", 6, struct.pack("<IIIII", 0, 0, 0, 0, 0)), "interface 0, which was not described"),
        (section("<") + block("<", 1, b"\1\0"), "a block shorter than its type allows"),
        (b"\x0a\x0d\x0d\x0a" + bytes(8), "at byte 0: a section without a byte order"),
        (
            pcapng.section() + pcapng.interface() + block("<", 6, struct.pack("<IIIII", 0, 0, 0, 99, 99)),
            "a packet of 99 bytes in a block of 32",
        ),
    ],
)
def test_names_the_damage_and_its_position(data: bytes, reason: str) -> None:
    with pytest.raises(BadCapture, match=reason):
        frames(data)


def test_yields_the_frames_before_the_damage() -> None:
    reader, seen = CaptureReader(), []
    data = pcapng.section() + pcapng.interface() + pcapng.packet(b"first", 0) + struct.pack("<III", 6, 1, 0)
    with pytest.raises(BadCapture):
        seen.extend(reader.feed(data))  # extend keeps the frames before the exception
    assert [frame.data for frame in seen] == [b"first"]


def test_counts_the_bytes_of_an_incomplete_record() -> None:
    reader = CaptureReader()
    assert list(reader.feed(pcapng.section() + pcapng.interface() + pcapng.packet(b"first", 0)[:-5])) == []
    assert reader.unfinished > 0


ETHERNET = bytes(12)
LINKS = {
    "ethernet": (1, ETHERNET + b"\x08\x00"),
    "ethernet with a VLAN in a VLAN": (1, ETHERNET + b"\x88\xa8\x00\x01\x81\x00\x00\x02\x08\x00"),
    "raw IP": (101, b""),
    "raw IP of OpenBSD": (14, b""),
    "IPv4": (228, b""),
    "Linux cooked": (113, bytes(14) + b"\x08\x00"),
    "Linux cooked 2": (276, b"\x08\x00" + bytes(18)),
    "loopback, little-endian": (0, struct.pack("<I", 2)),
    "loopback, big-endian": (0, struct.pack(">I", 2)),
    "loopback of OpenBSD": (108, struct.pack(">I", 2)),
}


@pytest.mark.parametrize("name", LINKS)
def test_finds_sctp_behind_every_link_layer(name: str) -> None:
    link_type, header = LINKS[name]
    in_udp = Encapsulated(PACKET, 28, "192.0.2.1", "192.0.2.2", (9899, 9899))
    padding = bytes(6)  # Ethernet pads short frames
    assert found(link_type, header + ipv4(17, udp(PACKET)) + padding) == in_udp
    assert found(link_type, header + ipv4(132, PACKET) + padding) == Encapsulated(
        PACKET, 28, "192.0.2.1", "192.0.2.2", None
    )


@pytest.mark.parametrize(
    ("link_type", "header"),
    [
        (1, ETHERNET + b"\x86\xdd"),
        (101, b""),
        (229, b""),
        (0, struct.pack("<I", 30)),
        (0, struct.pack("<I", 24)),
        (113, bytes(14) + b"\x86\xdd"),
    ],
)
def test_skips_ipv6_extension_headers(link_type: int, header: bytes) -> None:
    expected = Encapsulated(PACKET, 28, "2001:db8::1", "2001:db8::2", (9899, 9899))
    assert found(link_type, header + ipv6(17, udp(PACKET))) == expected
    hops = bytes([60, 0]) + bytes(6)
    destination = bytes([17, 1]) + bytes(14)
    assert found(link_type, header + ipv6(0, hops + destination + udp(PACKET))) == expected
    authentication = bytes([132, 4]) + bytes(22)
    found_behind = found(link_type, header + ipv6(51, authentication + PACKET))
    assert found_behind == Encapsulated(PACKET, 28, "2001:db8::1", "2001:db8::2", None)


def test_reads_sctp_without_a_link_layer() -> None:
    assert found(248, PACKET) == Encapsulated(PACKET, 28)


def test_reads_ipv4_options_and_offloaded_lengths() -> None:
    expected = Encapsulated(PACKET, 28, "192.0.2.1", "192.0.2.2", (9899, 9899))
    assert found(228, ipv4(17, udp(PACKET), options=bytes(8))) == expected
    assert found(228, ipv4(17, udp(PACKET), length=0)) == expected


def test_returns_only_the_first_fragment_of_ip() -> None:
    first = found(228, ipv4(132, PACKET, fragment=0x2000))
    assert first is not None
    assert first.fragment
    assert found(228, ipv4(132, PACKET, fragment=0x0003)) is None
    more = bytes([132, 0, 0, 1]) + bytes(4)
    first = found(229, ipv6(44, more + PACKET))
    assert first is not None
    assert first.fragment
    later = bytes([132, 0, 0, 8]) + bytes(4)
    assert found(229, ipv6(44, later + PACKET)) is None


def test_keeps_the_original_length_of_a_cut_packet() -> None:
    frame = Frame(1, 0, 228, ipv4(17, udp(PACKET))[:40], 56)
    assert find_sctp(frame) == Encapsulated(PACKET[:12], 28, "192.0.2.1", "192.0.2.2", (9899, 9899))
    assert find_sctp(Frame(1, 0, 248, PACKET[:20], 28)) == Encapsulated(PACKET[:20], 28)


def test_finds_sctp_on_the_given_udp_ports() -> None:
    other = ipv4(17, udp(PACKET, (5000, 6000)))
    assert found(228, other) is None
    assert found(228, other, 9899, 6000) is not None
    assert found(228, other, 5000) is not None


@pytest.mark.parametrize(
    "whole", [ipv4(17, udp(PACKET)), ipv6(17, udp(PACKET)), ETHERNET + b"\x08\x00" + ipv4(132, PACKET)]
)
@pytest.mark.parametrize("link_type", [0, 1, 101, 108, 113, 228, 229, 276])
def test_a_frame_cut_anywhere_never_raises(whole: bytes, link_type: int) -> None:
    for length in range(len(whole)):
        find_sctp(Frame(1, 0, link_type, whole[:length], len(whole)))


@pytest.mark.parametrize(
    ("link_type", "data"),
    [(228, ipv4(6, PACKET)), (1, ETHERNET + b"\x08\x06" + bytes(28)), (999, PACKET), (228, b""), (101, b"\x99")],
)
def test_ignores_everything_else(link_type: int, data: bytes) -> None:
    assert found(link_type, data) is None
