"""Every option, ancillary item and argument is checked when it is given: OSError or ValueError, and nothing changes."""

from __future__ import annotations

import array
import asyncio
import contextlib
import inspect
import math
import socket
from dataclasses import fields, is_dataclass
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datachan.sockets import (
    AddStreams,
    AssocParams,
    AuthInfo,
    AuthKey,
    DstAddr,
    InitMsg,
    PaddrParams,
    PaddrThresholds,
    PrInfo,
    ResetStreams,
    RtoInfo,
    SackInfo,
    ShutdownEvent,
    SndInfo,
    SocketOption,
    StreamValue,
    Subscription,
    UdpEncaps,
    default_options,
    sctpsocket_tcp,
    sctpsocket_udp,
)
from datachan.sockets.ancillary import Ancillary
from datachan.sockets.validation import SETTABLE

from .conftest import HOST

_O = SocketOption
PEER = (HOST, 5000)

# -- values that are refused -------------------------------------------------------------------------------------------

REFUSED: list[tuple[SocketOption, Any]] = [
    (_O.SO_LINGER, -1),
    (_O.SO_LINGER, math.nan),
    (_O.SO_LINGER, "1"),
    (_O.SO_RCVBUF, 2**33),
    (_O.SO_RCVBUF, 1499),
    (_O.SO_RCVBUF, 1e6),
    (_O.SO_SNDBUF, -1),
    (_O.SO_SNDBUF, 2**31),
    (_O.SCTP_RTOINFO, RtoInfo(-1, -1, -5)),
    (_O.SCTP_RTOINFO, RtoInfo(initial=1.5)),
    (_O.SCTP_RTOINFO, (1, 2, 3)),
    (_O.SCTP_ASSOCINFO, AssocParams(assocmaxrxt=65536)),
    (_O.SCTP_ASSOCINFO, AssocParams(cookie_life=-1)),
    (_O.SCTP_INITMSG, InitMsg(1.5)),
    (_O.SCTP_INITMSG, InitMsg(65536)),
    (_O.SCTP_INITMSG, InitMsg(max_attempts=-1)),
    (_O.SCTP_NODELAY, "no"),
    (_O.SCTP_AUTOCLOSE, math.inf),
    (_O.SCTP_PRIMARY_ADDR, HOST),
    (_O.SCTP_PRIMARY_ADDR, (HOST, 65536)),
    (_O.SCTP_PRIMARY_ADDR, (b"127.0.0.1", 1)),
    (_O.SCTP_ADAPTATION_LAYER, 2**32),
    (_O.SCTP_ADAPTATION_LAYER, -1),
    (_O.SCTP_DISABLE_FRAGMENTS, None),
    (_O.SCTP_PEER_ADDR_PARAMS, PaddrParams(hbinterval=-5)),
    (_O.SCTP_PEER_ADDR_PARAMS, PaddrParams(flags=0x100)),
    (_O.SCTP_PEER_ADDR_PARAMS, PaddrParams(flags=3)),
    (_O.SCTP_PEER_ADDR_PARAMS, PaddrParams(pathmtu=65535, flags=0x10)),
    (_O.SCTP_PEER_ADDR_PARAMS, PaddrParams(pathmtu=20, flags=0x10)),
    (_O.SCTP_PEER_ADDR_THLDS, PaddrThresholds(pathpfthld=-1)),
    (_O.SCTP_MAXSEG, -1),
    (_O.SCTP_DELAYED_SACK, SackInfo(delay=501)),
    (_O.SCTP_DELAYED_SACK, SackInfo(freq=-1)),
    (_O.SCTP_FRAGMENT_INTERLEAVE, "1"),
    (_O.SCTP_PARTIAL_DELIVERY_POINT, -1),
    (_O.SCTP_MAX_BURST, 1.0),
    (_O.SCTP_EVENT, Subscription(int)),
    (_O.SCTP_EVENT, Subscription(ShutdownEvent, "yes")),
    (_O.SCTP_EVENT, ShutdownEvent),
    (_O.SCTP_RECVRCVINFO, "off"),
    (_O.SCTP_RECVNXTINFO, None),
    (_O.SCTP_DEFAULT_SNDINFO, SndInfo(ppid=-1)),
    (_O.SCTP_DEFAULT_SNDINFO, SndInfo(sid=65536)),
    (_O.SCTP_DEFAULT_SNDINFO, SndInfo(flags=0x8000)),
    (_O.SCTP_DEFAULT_PRINFO, PrInfo(5, 1)),
    (_O.SCTP_DEFAULT_PRINFO, PrInfo(0x10, -1)),
    (_O.SCTP_RESET_STREAMS, ResetStreams(4)),
    (_O.SCTP_RESET_STREAMS, ResetStreams(1, (65536,))),
    (_O.SCTP_RESET_STREAMS, ResetStreams(1, 5)),
    (_O.SCTP_ADD_STREAMS, AddStreams(-1)),
    (_O.SCTP_ENABLE_STREAM_RESET, 8),
    (_O.SCTP_REMOTE_UDP_ENCAPS_PORT, UdpEncaps(None, 70000)),
    (_O.SCTP_REMOTE_UDP_ENCAPS_PORT, 9899),
    (_O.SCTP_PR_SUPPORTED, "yes"),
    (_O.SCTP_INTERLEAVING_SUPPORTED, []),
    (_O.SCTP_STREAM_SCHEDULER, 7),
    (_O.SCTP_STREAM_SCHEDULER, "wfq"),
    (_O.SCTP_STREAM_SCHEDULER_VALUE, StreamValue(0, 65536)),
    (_O.SCTP_AUTH_SUPPORTED, "yes"),
    (_O.SCTP_AUTH_CHUNK, 1),  # INIT
    (_O.SCTP_AUTH_CHUNK, 256),
    (_O.SCTP_AUTH_KEY, AuthKey(-1, b"")),
    (_O.SCTP_AUTH_KEY, AuthKey(1, "text")),
    (_O.SCTP_AUTH_KEY, AuthKey(1, bytes(65536))),
    (_O.SCTP_AUTH_ACTIVE_KEY, 65536),
    (_O.SCTP_AUTH_ACTIVE_KEY, 5),  # was not set
    (_O.SCTP_AUTH_DEACTIVATE_KEY, -1),
    (_O.SCTP_AUTH_DELETE_KEY, None),
    (_O.SCTP_ASCONF_SUPPORTED, "yes"),
    (_O.SCTP_SET_PEER_PRIMARY_ADDR, ("", "", "")),
    (_O.SCTP_STATUS, 1),
]


@pytest.mark.parametrize(("option", "value"), REFUSED, ids=lambda value: getattr(value, "name", str(value)[:40]))
def test_an_option_out_of_range_is_refused_and_keeps_its_value(option: SocketOption, value: object) -> None:
    sock = sctpsocket_tcp()

    def read() -> dict[SocketOption, Any]:
        values = {}
        for each in SocketOption:
            try:
                values[each] = sock.getsockopt(each)
            except OSError:
                continue
        return values

    before = read()
    with pytest.raises(OSError, match=r"."):
        sock.setsockopt(option, value)
    assert read() == before


def test_the_table_of_refused_values_has_every_settable_option() -> None:
    anything = {_O.SCTP_CONTEXT, _O.SCTP_RESET_ASSOC}
    assert {option for option, _ in REFUSED} >= SETTABLE - anything


def test_options_of_other_libraries_are_refused() -> None:
    sock = sctpsocket_tcp()
    for option in (1, "SCTP_NODELAY", socket.SO_RCVBUF, None):
        with pytest.raises(OSError, match="option"):
            sock.setsockopt(option, True)
        with pytest.raises(OSError, match="option"):
            sock.getsockopt(option)


@pytest.mark.parametrize(
    "item",
    [
        SndInfo(ppid=2**32),
        SndInfo(sid=-1),
        SndInfo(sid="0"),
        SndInfo(flags=0x20),
        SndInfo(assoc_id=-1),
        PrInfo(0x10, 2**32),
        PrInfo("ttl", 1),
        InitMsg(num_ostreams=70000),
        AuthInfo(-1),
        AuthInfo(None),
        DstAddr("no address"),
        DstAddr(5),
        RtoInfo(),
        None,
        b"",
    ],
    ids=str,
)
async def test_an_ancillary_item_out_of_range_is_refused_and_nothing_is_queued(opened, item: Any) -> None:
    client, server = await opened.pair()
    with pytest.raises(OSError, match=r"."):
        await client.sendmsg(b"refused", [item])
    await client.send(b"sent")
    assert await server.recv(100) == b"sent"


@pytest.mark.parametrize(
    "arguments",
    [
        {"ppid": -1},
        {"ppid": 2**32},
        {"ppid": 1.0},
        {"flags": -1},
        {"flags": 0x20},
        {"flags": "EOF"},
        {"stream": -1},
        {"stream": 65536},
        {"stream": 10},  # the association has ten, 0 to 9
        {"timetolive": -1},
        {"timetolive": 2**32},
        {"assoc_id": -1},
        {"to": HOST},
        {"to": (HOST, 0)},
        {"to": (HOST, 65536)},
        {"to": (HOST, "http")},
        {"to": (HOST, 1, 2)},
        {"to": (HOST, 1, -1, 0)},
        {"msg": 5},
        {"msg": "text"},
        {"msg": None},
        {"msg": [1, 2]},
    ],
    ids=str,
)
async def test_an_argument_of_sctp_send_out_of_range_is_refused_and_nothing_is_queued(
    opened, arguments: dict[str, Any]
) -> None:
    client, server = await opened.pair()
    with pytest.raises(OSError, match=r"."):
        await client.sctp_send(**{"msg": b"refused", **arguments})
    await client.send(b"sent")
    assert await server.recv(100) == b"sent"


@pytest.mark.parametrize(
    "data", [bytearray(b"abcd"), memoryview(b"abcd"), array.array("B", b"abcd")], ids=lambda data: type(data).__name__
)
async def test_objects_like_bytes_are_sent(opened, data: Any) -> None:
    client, server = await opened.pair()
    assert await client.send(data) == 4
    assert await server.recv(100) == b"abcd"


async def test_the_length_of_a_message_is_that_of_its_bytes(opened) -> None:
    client, server = await opened.pair()
    assert await client.send(array.array("I", [1, 2])) == 8
    assert len(await server.recv(100)) == 8


@pytest.mark.parametrize(
    "arguments",
    [
        {"family": socket.AF_UNIX},
        {"family": "inet"},
        {"udp_port": -1},
        {"udp_port": 65536},
        {"udp_port": "9899"},
        {"remote_udp_port": 0},
        {"remote_udp_port": 70000},
        {"options": {"rto_min": 1}},
        {"trace": 5},
    ],
    ids=str,
)
def test_an_argument_of_the_constructor_out_of_range_is_refused(arguments: dict[str, Any]) -> None:
    for kind in (sctpsocket_tcp, sctpsocket_udp):
        with pytest.raises(OSError, match=next(iter(arguments))):
            kind(**arguments)


@pytest.mark.parametrize(
    "addresses",
    [[], [HOST], [(HOST,)], [(HOST, -1)], [(HOST, 65536)], [(5, 5)], [("\udcff", 5)], [("a\0b", 5)], "ab", None, 5],
    ids=str,
)
async def test_an_invalid_address_is_refused(opened, addresses: Any) -> None:
    sock = await opened.add(sctpsocket_tcp(udp_port=0))
    with pytest.raises(OSError, match=r"."):
        sock.bindx(addresses)
    with pytest.raises(OSError, match=r"."):
        await sock.connectx(addresses)
    assert sock.getladdrs() == []


async def test_other_arguments_out_of_range_are_refused(opened) -> None:
    client, _ = await opened.pair()
    listener = await opened.listener()
    many = await opened.many()
    for maxlen in (0, -1, 1.5, None, "10"):
        with pytest.raises(OSError, match="maxlen"):
            await client.recvmsg(maxlen)
    for backlog in (-1, 1.0, None, 2**40):
        for sock in (listener, many):
            with pytest.raises(OSError, match="backlog"):
                sock.listen(backlog)
    for how in (-1, 3, "WR", None):
        with pytest.raises(OSError, match="how"):
            client.shutdown(how)
    for reason in (5, None, b"bytes", "\udcff"):
        with pytest.raises(OSError, match="reason"):
            client.abort(reason)
    for assoc_id in (-1, 2**32, "1", None, 1.0):
        for call in (many.abort, many.getpeername, many.getpaddrs, many.stats, many.get_status):
            with pytest.raises(OSError, match="assoc_id"):
                call(assoc_id)
        with pytest.raises(OSError, match="assoc_id"):
            await many.peeloff(assoc_id)
    for action in (0, 3, "add"):
        with pytest.raises(OSError, match="action"):
            listener.bindx([(HOST, 0)], action)
    for attribute, value in (("linger", -1), ("recvrcvinfo", "no"), ("recvnxtinfo", None), ("ttl", -1)):
        with pytest.raises(OSError, match=r"."):
            setattr(client, attribute, value)
    with pytest.raises(AttributeError, match="'max_attempt'"):
        client.initparams.max_attempt = 3


async def test_a_refused_first_message_leaves_no_association(opened) -> None:
    server, caller = await opened.many(), None
    caller = await opened.caller(server)
    for data, item in ((b"", SndInfo()), (b"x", SndInfo(sid=500)), (b"x", AuthInfo(7)), (bytes(3 << 20), SndInfo())):
        with pytest.raises(OSError, match=r"."):
            await caller.sendmsg(data, [item], to=server.getsockname())
        assert caller.associations() == []
    await caller.sendmsg(b"accepted", to=server.getsockname())
    assert await server.recv(100) == b"accepted"


# -- arbitrary values --------------------------------------------------------------------------------------------------

EDGES = [0, 1, -1, 2, 255, 256, 1500, 65484, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**64, 10**5000]
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(EDGES),
    st.integers(-10, 2000),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.tuples(st.sampled_from([HOST, "::1", "", "fe80::1", "fe80::1%lo", "x", 5]), st.integers(-1, 70000)),
    st.lists(st.integers(-1, 70000), max_size=3),
    st.sampled_from([int, ShutdownEvent, object()]),
)
VALUES = (
    AddStreams,
    AssocParams,
    AuthKey,
    PaddrParams,
    PaddrThresholds,
    ResetStreams,
    RtoInfo,
    SackInfo,
    StreamValue,
    Subscription,
    UdpEncaps,
    *get_args(Ancillary),
)


def record(kind: type) -> st.SearchStrategy[Any]:
    """Return a strategy for objects of a class whose fields have arbitrary values."""
    assert is_dataclass(kind)
    return st.builds(kind, **{field.name: JUNK for field in fields(kind)})


RECORDS = st.one_of([record(kind) for kind in VALUES])
HARMLESS = [_O.SCTP_AUTOCLOSE, _O.SCTP_AUTH_CHUNK, _O.SCTP_RESET_ASSOC]
"""Not set by the tests below: an association may end by them, or be refused, which is right."""

SETTINGS = st.lists(
    st.tuples(st.sampled_from([option for option in SocketOption if option not in HARMLESS]), JUNK | RECORDS),
    max_size=8,
)


def assign(sock: sctpsocket_tcp | sctpsocket_udp, changes: list[tuple[SocketOption, Any]]) -> None:
    for option, value in changes:
        try:
            sock.setsockopt(option, value)
        except (OSError, ValueError):
            continue
    for option in SocketOption:
        try:
            sock.getsockopt(option)
        except OSError:
            continue


def restore(sock: sctpsocket_tcp) -> None:
    """Undo the settings that prevent delivery by design: timeouts of a millisecond, a small send buffer, no RcvInfo."""
    sock.linger = 0
    sock.sndbuf = 0
    sock.recvrcvinfo = True
    sock.set_rtoinfo(RtoInfo(3000, 60_000, 1000))
    sock.set_assocparams(AssocParams(assocmaxrxt=10, cookie_life=60_000))
    sock.setsockopt(_O.SCTP_INITMSG, InitMsg(10, 10, 8, 60_000))
    sock.setsockopt(_O.SCTP_PEER_ADDR_THLDS, PaddrThresholds(pathmaxrxt=5, pathpfthld=None))
    sock.setsockopt(_O.SCTP_DEFAULT_SNDINFO, SndInfo())
    sock.setsockopt(_O.SCTP_DEFAULT_PRINFO, PrInfo())


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(SETTINGS, SETTINGS)
def test_whatever_options_are_set_messages_still_arrive(before: list, after: list) -> None:
    async def talk() -> None:
        async with sctpsocket_tcp(udp_port=0) as listener:
            listener.bind((HOST, 0))
            listener.listen()
            async with sctpsocket_tcp() as client:
                assign(client, before)
                restore(client)
                client.remote_udp_port = listener.udp_port
                await client.connect(listener.getsockname())
                accepted, _ = await listener.accept()
                async with accepted:
                    accepted.linger = 0
                    assign(client, after)
                    restore(client)
                    await client.send(b"x")
                    assert await accepted.recv(10) == b"x"

    async def within(seconds: float) -> None:
        async with asyncio.timeout(seconds):
            await talk()

    asyncio.run(within(20))


CALLS = ["bind", "bindx", "listen", "abort", "getpaddrs", "getladdrs", "stats", "peeloff", "getpeername", "getsockopt"]
CALLS += [
    "connect",
    "connectx",
    "recvmsg",
    "recv",
    "sctp_recv",
    "get_status",
    "get_paddrinfo",
    "set_primary",
    "subscribe",
]
CALLS += ["shutdown", "setsockopt", "set_rtoinfo", "sctp_sendv", "sctpsocket_tcp", "sctpsocket_udp"]
MAKERS = {"sctpsocket_tcp": sctpsocket_tcp, "sctpsocket_udp": sctpsocket_udp}


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.booleans(), st.sampled_from(CALLS), st.lists(JUNK | RECORDS | st.sampled_from(SocketOption), max_size=3))
def test_a_call_with_any_arguments_raises_nothing_but_oserror_and_valueerror(
    single: bool, name: str, arguments: list
) -> None:
    async def call() -> None:
        async with (sctpsocket_tcp if single else sctpsocket_udp)(udp_port=0, remote_udp_port=1) as sock:
            sock.linger = 0
            function = MAKERS.get(name) or getattr(sock, name, None)
            if function is None:
                return
            try:
                inspect.signature(function).bind(*arguments)
            except TypeError:  # Python itself refuses this number of arguments
                return
            with contextlib.suppress(OSError, ValueError):
                result = function(*arguments)
                if inspect.isawaitable(result):
                    async with asyncio.timeout(0.02):  # some arguments are right, and then the call waits
                        await result

    asyncio.run(call())


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(JUNK, st.lists(JUNK | RECORDS, max_size=2) | JUNK, JUNK), max_size=10))
def test_whatever_is_sent_later_messages_still_arrive(sends: list) -> None:
    async def talk() -> None:
        async with sctpsocket_udp(udp_port=0, options=default_options()) as server:
            server.bind((HOST, 0))
            server.listen()
            async with sctpsocket_udp(remote_udp_port=server.udp_port) as client:
                client.linger = server.linger = 0
                for data, ancillary, to in sends:
                    try:
                        await client.sendmsg(data, ancillary, to)
                    except (OSError, ValueError):
                        continue
                await client.sendmsg(b"x", to=server.getsockname())
                assert await server.recv(10) == b"x"

    async def within(seconds: float) -> None:
        async with asyncio.timeout(seconds):
            await talk()

    asyncio.run(within(20))
