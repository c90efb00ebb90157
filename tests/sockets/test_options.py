"""Socket options: values are read as they were set, and apply to future and current associations."""

from __future__ import annotations

import asyncio
import errno

import pytest

from datachan.sockets import (
    MSG_DONTWAIT,
    SCTP_ACTIVE,
    SCTP_ALL_ASSOC,
    SCTP_ASSOCINFO,
    SCTP_AUTOCLOSE,
    SCTP_CONTEXT,
    SCTP_CURRENT_ASSOC,
    SCTP_DEFAULT_PRINFO,
    SCTP_DEFAULT_SNDINFO,
    SCTP_DELAYED_SACK,
    SCTP_DISABLE_FRAGMENTS,
    SCTP_ESTABLISHED,
    SCTP_FRAGMENT_INTERLEAVE,
    SCTP_GET_ASSOC_ID_LIST,
    SCTP_GET_ASSOC_NUMBER,
    SCTP_GET_PEER_ADDR_INFO,
    SCTP_INITMSG,
    SCTP_INTERLEAVING_SUPPORTED,
    SCTP_MAX_BURST,
    SCTP_MAXSEG,
    SCTP_NODELAY,
    SCTP_PARTIAL_DELIVERY_POINT,
    SCTP_PEER_ADDR_THLDS,
    SCTP_PR_ASSOC_STATUS,
    SCTP_PR_SCTP_PRIO,
    SCTP_PR_SCTP_TTL,
    SCTP_PR_SUPPORTED,
    SCTP_PRIMARY_ADDR,
    SCTP_REMOTE_UDP_ENCAPS_PORT,
    SCTP_RTOINFO,
    SCTP_SS_FCFS,
    SCTP_SS_PRIO,
    SCTP_SS_WFQ,
    SCTP_STATUS,
    SCTP_STREAM_SCHEDULER,
    SCTP_STREAM_SCHEDULER_VALUE,
    SCTP_UNORDERED,
    SO_LINGER,
    SO_RCVBUF,
    SO_SNDBUF,
    SPP_HB_DEMAND,
    SPP_HB_DISABLE,
    SPP_HB_ENABLE,
    AssocParams,
    InitMsg,
    PaddrParams,
    PaddrThresholds,
    PrInfo,
    PrStatus,
    RtoInfo,
    SackInfo,
    SndInfo,
    StreamValue,
    UdpEncaps,
    sctpsocket_tcp,
    sctpsocket_udp,
)

from .conftest import HOST


@pytest.mark.parametrize(
    ("option", "value"),
    [
        (SO_LINGER, 2.5),
        (SO_LINGER, None),
        (SO_RCVBUF, 100_000),
        (SO_SNDBUF, 300_000),
        (SCTP_RTOINFO, RtoInfo(700, 9000, 300)),
        (SCTP_ASSOCINFO, AssocParams(assocmaxrxt=4, local_rwnd=256 * 1024, cookie_life=30_000)),
        (SCTP_INITMSG, InitMsg(7, 9, 3, 2000)),
        (SCTP_NODELAY, False),
        (SCTP_NODELAY, True),
        (SCTP_DISABLE_FRAGMENTS, True),
        (SCTP_PEER_ADDR_THLDS, PaddrThresholds(5, 2)),
        (SCTP_MAXSEG, 500),
        (SCTP_DELAYED_SACK, SackInfo(100, 4)),
        (SCTP_FRAGMENT_INTERLEAVE, 2),
        (SCTP_PARTIAL_DELIVERY_POINT, 10_000),
        (SCTP_MAX_BURST, 8),
        (SCTP_MAX_BURST, 0),
        (SCTP_CONTEXT, "mine"),
        (SCTP_DEFAULT_SNDINFO, SndInfo(3, SCTP_UNORDERED, 42, "context")),
        (SCTP_DEFAULT_PRINFO, PrInfo(SCTP_PR_SCTP_TTL, 1000)),
        (SCTP_REMOTE_UDP_ENCAPS_PORT, UdpEncaps(None, 4000)),
        (SCTP_PR_SUPPORTED, False),
        (SCTP_STREAM_SCHEDULER, SCTP_SS_WFQ),
    ],
    ids=lambda value: str(getattr(value, "name", "")),
)
@pytest.mark.parametrize("kind", [sctpsocket_tcp, sctpsocket_udp])
def test_an_option_is_read_as_it_was_set(kind: type, option, value: object) -> None:
    sock = kind()
    sock.setsockopt(option, value)
    assert sock.getsockopt(option) == value


@pytest.mark.parametrize(
    ("option", "value"),
    [
        (SO_LINGER, -1),
        (SO_RCVBUF, 100),
        (SCTP_RTOINFO, RtoInfo(initial=100_000)),
        (SCTP_RTOINFO, RtoInfo(min=5000, max=1000)),
        (SCTP_DELAYED_SACK, SackInfo(delay=501)),
        (SCTP_FRAGMENT_INTERLEAVE, 3),
        (SCTP_PARTIAL_DELIVERY_POINT, 1 << 30),
        (SCTP_MAX_BURST, -1),
        (SCTP_MAXSEG, -5),
        (SCTP_STREAM_SCHEDULER, 77),
        (SCTP_REMOTE_UDP_ENCAPS_PORT, UdpEncaps(None, 0)),
        (SCTP_PRIMARY_ADDR, (HOST, 1)),
    ],
    ids=lambda value: str(getattr(value, "name", "")),
)
def test_an_invalid_value_is_refused_and_changes_nothing(option, value: object) -> None:
    sock = sctpsocket_tcp()
    readable = option is not SCTP_PRIMARY_ADDR
    before = sock.getsockopt(option) if readable else None
    with pytest.raises(OSError, match=r".") as caught:
        sock.setsockopt(option, value)
    assert caught.value.errno == errno.EINVAL
    assert before is None or sock.getsockopt(option) == before


def test_zero_leaves_a_value_as_it_is() -> None:
    sock = sctpsocket_tcp()
    before = sock.get_rtoinfo()
    sock.set_rtoinfo(RtoInfo(max=20_000))
    assert sock.get_rtoinfo() == RtoInfo(before.initial, 20_000, before.min)


def test_read_only_options_cannot_be_set_and_write_only_ones_not_read() -> None:
    sock = sctpsocket_tcp()
    with pytest.raises(OSError, match="cannot be set"):
        sock.setsockopt(SCTP_STATUS, None)
    with pytest.raises(OSError, match="cannot be read"):
        sock.getsockopt(SCTP_STREAM_SCHEDULER_VALUE)


def test_options_of_the_other_kind_of_socket_are_refused() -> None:
    one = sctpsocket_tcp()
    for option in (SCTP_GET_ASSOC_NUMBER, SCTP_GET_ASSOC_ID_LIST):
        with pytest.raises(OSError, match="one-to-one"):
            one.getsockopt(option)
    with pytest.raises(OSError, match="one-to-many"):
        one.setsockopt(SCTP_AUTOCLOSE, 5)


async def test_options_act_only_on_the_associations_they_are_set_for(opened) -> None:
    server = await opened.many()
    ids = []
    for _ in range(3):
        await (await opened.client(server)).send(b"x")
        ids.append((await server.recvmsg()).assoc_id)
    server.set_rtoinfo(RtoInfo(max=11_000), ids[1])
    assert [server.get_rtoinfo(assoc_id).max for assoc_id in (0, *ids)] == [60_000, 60_000, 11_000, 60_000]
    server.setsockopt(SCTP_MAX_BURST, 3, SCTP_CURRENT_ASSOC)
    assert [server.getsockopt(SCTP_MAX_BURST, assoc_id) for assoc_id in (0, *ids)] == [16, 3, 3, 3]
    server.setsockopt(SCTP_MAX_BURST, 5, SCTP_ALL_ASSOC)
    assert [server.getsockopt(SCTP_MAX_BURST, assoc_id) for assoc_id in (0, *ids)] == [5, 5, 5, 5]
    await (await opened.client(server)).send(b"x")
    assert server.getsockopt(SCTP_MAX_BURST, (await server.recvmsg()).assoc_id) == 5
    with pytest.raises(OSError, match="no association 99"):
        server.setsockopt(SCTP_MAX_BURST, 5, 99)
    with pytest.raises(OSError, match="one association"):
        server.set_rtoinfo(RtoInfo(max=11_000), SCTP_ALL_ASSOC)


async def test_accepted_sockets_have_the_options_of_the_listener(opened) -> None:
    listener = await opened.listener()
    listener.setsockopt(SCTP_MAXSEG, 300)
    listener.setsockopt(SCTP_CONTEXT, 5)
    listener.recvnxtinfo = True
    listener.linger = 0.5
    client = await opened.client(listener)
    accepted, _ = await listener.accept()
    async with accepted:
        assert accepted.maxseg == 300
        assert accepted.get_status().fragmentation_point == 300
        assert (accepted.recvnxtinfo, accepted.linger) == (True, 0.5)
        await client.send(b"x")
        assert (await accepted.recvmsg()).rcvinfo.context == 5


async def test_status_describes_the_association(opened) -> None:
    client, server = await opened.pair()
    await client.send(b"x")
    await server.recv(1)
    status = client.get_status()
    assert (status.state, status.instrms, status.outstrms) == (SCTP_ESTABLISHED, 10, 10)
    assert status.rwnd > 100_000
    assert status.fragmentation_point > 1000
    assert (status.primary.address, status.primary.state) == (client.getpeername(), SCTP_ACTIVE)
    assert client.get_paddrinfo(0, client.getpeername()) == client.getsockopt(SCTP_GET_PEER_ADDR_INFO)
    assert client.get_assocparams().number_peer_destinations == 1
    assert client.getpaddrs() == [client.getpeername()]
    assert server.getladdrs() == [server.getsockname()]
    server.abort("enough")
    with pytest.raises(ConnectionAbortedError, match="enough"):
        await server.recv(1)
    with pytest.raises(OSError, match="no association"):
        server.get_status()


async def test_finds_the_association_id_of_an_address(opened) -> None:
    server = await opened.many()
    client = await opened.client(server)
    await client.send(b"x")
    message = await server.recvmsg()
    assert server.get_paddrinfo(0, message.address).assoc_id == message.assoc_id
    assert server.getsockopt(SCTP_GET_ASSOC_ID_LIST) == [message.assoc_id]
    assert server.getsockopt(SCTP_GET_ASSOC_NUMBER) == 1
    assert server.getpaddrs(message.assoc_id) == [message.address]


async def test_heartbeats_are_turned_off_and_on_and_requested(opened) -> None:
    client, server = await opened.pair()
    peer = client.getpeername()
    client.set_paddrparams(PaddrParams(peer, flags=SPP_HB_DISABLE))
    assert client.get_paddrparams(0, peer).hbinterval == 0
    client.set_paddrparams(PaddrParams(hbinterval=7000, pathmaxrxt=3, flags=SPP_HB_ENABLE))
    parameters = client.get_paddrparams(0, peer)
    assert (parameters.hbinterval, parameters.pathmaxrxt) == (7000, 3)
    before = server.stats().packets_received
    client.set_paddrparams(PaddrParams(peer, flags=SPP_HB_DEMAND))
    while server.stats().packets_received == before:
        await asyncio.sleep(0)
    with pytest.raises(OSError, match="no address"):
        client.set_paddrparams(PaddrParams(("192.0.2.1", peer[1]), hbinterval=5))
    with pytest.raises(OSError, match="one address"):
        client.set_paddrparams(PaddrParams(flags=SPP_HB_DEMAND))


async def test_the_primary_address_must_be_an_address_of_the_peer(opened) -> None:
    client, _ = await opened.pair()
    client.set_primary(0, client.getpeername())
    assert client.getsockopt(SCTP_PRIMARY_ADDR) == client.getpeername()
    with pytest.raises(OSError, match="no address"):
        client.set_primary(0, ("192.0.2.1", 1))
    encaps = client.getsockopt(SCTP_REMOTE_UDP_ENCAPS_PORT, 0, client.getpeername())
    assert encaps.port > 0


async def test_without_fragments_a_message_longer_than_a_packet_is_refused(opened) -> None:
    client, server = await opened.pair()
    client.disable_fragments = True
    longest = client.get_status().fragmentation_point
    await client.send(bytes(longest))
    assert len(await server.recv(1 << 16)) == longest
    with pytest.raises(OSError, match="do not fit a packet") as caught:
        await client.send(bytes(longest + 1))
    assert caught.value.errno == errno.EMSGSIZE


async def test_defaults_apply_to_messages_without_ancillary_data(opened) -> None:
    client, server = await opened.pair()
    client.setsockopt(SCTP_DEFAULT_SNDINFO, SndInfo(sid=4, flags=SCTP_UNORDERED, ppid=99))
    await client.send(b"x")
    info = (await server.recvmsg()).rcvinfo
    assert (info.sid, info.ppid, info.flags) == (4, 99, SCTP_UNORDERED)
    await client.sendmsg(b"x", [SndInfo(sid=1)])
    info = (await server.recvmsg()).rcvinfo
    assert (info.sid, info.ppid, info.flags) == (1, 0, 0)
    client.streamid = 6
    client.ttl = 5000
    assert client.getsockopt(SCTP_DEFAULT_PRINFO) == PrInfo(SCTP_PR_SCTP_TTL, 5000)
    await client.sctp_send(b"x")
    info = (await server.recvmsg()).rcvinfo
    assert (info.sid, info.ppid, info.flags) == (6, 99, SCTP_UNORDERED)


async def test_a_larger_send_buffer_takes_more(opened) -> None:
    client, _ = await opened.pair()
    client.sndbuf = 3000
    with pytest.raises(OSError, match="send buffer"):
        await client.send(bytes(4000))
    client.sndbuf = 5000
    await client.send(bytes(4000))


async def test_a_smaller_window_stops_the_sender_earlier(opened) -> None:
    taken = []
    for window in (20_000, 200_000):
        listener = await opened.listener()
        listener.rcvbuf = window
        client = await opened.client(listener)
        client.sndbuf = 10_000
        sent = 0

        async def pour(client: sctpsocket_tcp) -> None:
            nonlocal sent
            while True:
                await client.send(bytes(2000))
                sent += 2000

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pour(client), 0.2)
        taken.append(sent)
        client.linger = 0
    assert taken[0] < 50_000 < 150_000 < taken[1] < 300_000


async def test_priority_makes_room_and_is_counted(opened) -> None:
    client, server = await opened.pair()
    client.sndbuf = 200_000

    async def fill() -> None:
        while True:
            await client.sendmsg(bytes(20_000), [PrInfo(SCTP_PR_SCTP_PRIO, 9), SndInfo(flags=MSG_DONTWAIT)])
            await asyncio.sleep(0)

    with pytest.raises(BlockingIOError):
        await fill()
    await client.sendmsg(b"important" + bytes(20_000), [PrInfo(SCTP_PR_SCTP_PRIO, 1), SndInfo(flags=MSG_DONTWAIT)])
    while not (await server.recv(1 << 20)).startswith(b"important"):
        pass
    status = client.getsockopt(SCTP_PR_ASSOC_STATUS)
    assert status[SCTP_PR_SCTP_PRIO].abandoned_unsent + status[SCTP_PR_SCTP_PRIO].abandoned_sent >= 1
    assert status[SCTP_PR_SCTP_TTL] == PrStatus(0, 0)


@pytest.mark.parametrize("scheduler", [SCTP_SS_PRIO, SCTP_SS_WFQ])
async def test_the_scheduler_changes_while_messages_wait(opened, scheduler: int) -> None:
    listener = await opened.listener()
    listener.rcvbuf = 30_000
    client = await opened.client(listener)
    server, _ = await listener.accept()
    async with server:
        client.setsockopt(SCTP_STREAM_SCHEDULER, SCTP_SS_FCFS)
        for stream in (1, 2):
            for _ in range(40):
                await client.sctp_send(bytes(4000), stream=stream)
        client.setsockopt(SCTP_STREAM_SCHEDULER, scheduler)
        for stream, value in ((1, 20), (2, 1)) if scheduler == SCTP_SS_PRIO else ((1, 1), (2, 1000)):
            client.setsockopt(SCTP_STREAM_SCHEDULER_VALUE, StreamValue(stream, value))
        order = [(await server.recvmsg(1 << 16)).rcvinfo.sid for _ in range(80)]
        # The packets in flight come first; then the second stream is served before the first one.
        assert order.index(2) < 15
        assert order[-20:] == [1] * 20


async def test_interleaving_needs_fragment_interleave_level_two(opened) -> None:
    sock = await opened.listener()
    with pytest.raises(PermissionError):
        sock.setsockopt(SCTP_INTERLEAVING_SUPPORTED, True)
    sock.setsockopt(SCTP_FRAGMENT_INTERLEAVE, 2)
    sock.setsockopt(SCTP_INTERLEAVING_SUPPORTED, True)
    with pytest.raises(OSError, match="needs level 2"):
        sock.setsockopt(SCTP_FRAGMENT_INTERLEAVE, 1)
    client = await opened.add(sctpsocket_tcp(remote_udp_port=sock.udp_port))
    client.setsockopt(SCTP_FRAGMENT_INTERLEAVE, 2)
    client.setsockopt(SCTP_INTERLEAVING_SUPPORTED, True)
    await client.connect(sock.getsockname())
    assert client.getsockopt(SCTP_INTERLEAVING_SUPPORTED)
    plain = await opened.client(sock)
    assert not plain.getsockopt(SCTP_INTERLEAVING_SUPPORTED)


async def test_level_two_needs_rcvinfo() -> None:
    sock = sctpsocket_tcp()
    sock.events.data_io = False
    with pytest.raises(OSError, match="SCTP_RECVRCVINFO"):
        sock.setsockopt(SCTP_FRAGMENT_INTERLEAVE, 2)


async def test_without_recvrcvinfo_messages_have_no_rcvinfo(opened) -> None:
    client, server = await opened.pair()
    server.recvrcvinfo = False
    await client.send(b"x")
    assert (await server.recvmsg()).rcvinfo is None


@pytest.mark.patient_loop
async def test_connect_gives_up_after_max_attempts(opened) -> None:
    sock = await opened.add(sctpsocket_tcp(remote_udp_port=opened.silent_port()))
    sock.set_rtoinfo(RtoInfo(initial=10, min=10))
    sock.initparams.max_attempts = 3
    sock.initparams.max_init_timeo = 20
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with pytest.raises(TimeoutError, match="did not answer"):
        await sock.connect((HOST, 9))
    assert 0.05 < loop.time() - begun < 0.1  # 10 + 20 + 20 + 20 ms


async def test_autoclose_ends_idle_associations(opened) -> None:
    server = await opened.many()
    client = await opened.client(server)
    await client.send(b"x")
    await server.recvmsg()
    server.autoclose = 0.1
    assert server.autoclose == 0.1
    assert await client.recv(1) == b""
    assert server.associations() == []
