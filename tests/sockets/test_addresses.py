"""Several addresses, bound, monitored and changed during an association; and the keys that authenticate it."""

from __future__ import annotations

import asyncio
import errno

import pytest

from datachan.sockets import (
    BINDX_REMOVE,
    SCTP_ADDR_ADDED,
    SCTP_ADDR_CONFIRMED,
    SCTP_ADDR_MADE_PRIM,
    SCTP_ADDR_OVER,
    SCTP_ADDR_REMOVED,
    SCTP_ASCONF_SUPPORTED,
    SCTP_AUTH_ACTIVE_KEY,
    SCTP_AUTH_CHUNK,
    SCTP_AUTH_DEACTIVATE_KEY,
    SCTP_AUTH_DELETE_KEY,
    SCTP_AUTH_FREE_KEY,
    SCTP_AUTH_KEY,
    SCTP_AUTH_NEW_KEY,
    SCTP_AUTH_NO_AUTH,
    SCTP_AUTH_SUPPORTED,
    SCTP_HMAC_IDENT,
    SCTP_LOCAL_AUTH_CHUNKS,
    SCTP_PEER_AUTH_CHUNKS,
    SCTP_REMOTE_UDP_ENCAPS_PORT,
    AuthenticationEvent,
    AuthInfo,
    AuthKey,
    PaddrChange,
    PaddrParams,
    UdpEncaps,
    sctpsocket_tcp,
    sctpsocket_udp,
)

from .test_notifications import notification

HERE = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
THERE = ["127.0.0.5", "127.0.0.6", "127.0.0.7"]
DATA = 0


async def multihomed(opened, *, asconf: bool = False, hosts: int = 3):
    """Return a listener, a connected client and its accepted socket, with several addresses on each side."""
    listener = await opened.add(sctpsocket_tcp(udp_port=0))
    client = await opened.add(sctpsocket_tcp(udp_port=0))
    for sock in (listener, client):
        sock.setsockopt(SCTP_ASCONF_SUPPORTED, asconf)
        sock.events.address = True
    listener.bindx([(host, 0) for host in THERE[:hosts]])
    listener.listen()
    client.bindx([(host, 0) for host in HERE[:hosts]])
    client.setsockopt(SCTP_REMOTE_UDP_ENCAPS_PORT, UdpEncaps(None, listener.udp_port))
    port = listener.getsockname()[1]
    await client.connectx([(host, port) for host in THERE[:hosts]])
    accepted, _ = await listener.accept()
    return listener, client, await opened.add(accepted)


async def test_each_side_knows_all_addresses_of_the_other(opened) -> None:
    listener, client, accepted = await multihomed(opened)
    port, own = listener.getsockname()[1], client.getsockname()[1]
    assert sorted(client.getpaddrs()) == [(host, port) for host in THERE]
    assert sorted(accepted.getpaddrs()) == [(host, own) for host in HERE]
    assert client.getladdrs() == [(host, own) for host in HERE]
    assert client.get_assocparams().number_peer_destinations == 3
    await client.send(b"hello")
    assert await accepted.recv(10) == b"hello"


async def test_data_goes_to_a_new_primary_address(opened) -> None:
    listener, client, accepted = await multihomed(opened)
    port = listener.getsockname()[1]
    client.set_primary(0, (THERE[1], port))
    assert client.get_status().primary.address == (THERE[1], port)
    await client.send(b"that way")
    assert await accepted.recv(10) == b"that way"


async def test_addr_over_sends_one_message_to_another_address(opened) -> None:
    listener, client, accepted = await multihomed(opened)
    port = listener.getsockname()[1]
    before = {path.address[0]: path.cwnd for path in client.stats().paths}
    for _ in range(20):
        await client.sctp_send(bytes(5000), to=(THERE[2], port), flags=SCTP_ADDR_OVER)
        assert len(await accepted.recv(1 << 16)) == 5000
    await asyncio.sleep(0)
    grown = {path.address[0] for path in client.stats().paths if path.cwnd > before[path.address[0]]}
    assert grown == {THERE[2]}
    with pytest.raises(OSError, match="no address"):
        await client.sctp_send(b"x", to=("127.0.0.9", port), flags=SCTP_ADDR_OVER)


async def test_heartbeats_confirm_one_address_after_the_other(opened) -> None:
    _, client, accepted = await multihomed(opened)
    found = {(await notification(accepted, PaddrChange)).addr[0]}
    assert found < set(HERE)
    assert {event.state for event in [await notification(accepted, PaddrChange)]} == {SCTP_ADDR_CONFIRMED}
    assert client.get_paddrparams(0, client.getpaddrs()[1]).hbinterval == 30_000
    client.set_paddrparams(PaddrParams(client.getpaddrs()[1], hbinterval=5000, flags=1))
    assert [client.get_paddrparams(0, address).hbinterval for address in client.getpaddrs()].count(5000) == 1


async def test_adds_one_address_and_removes_another_while_data_flows(opened) -> None:
    listener, client, accepted = await multihomed(opened, asconf=True, hosts=2)
    own = client.getsockname()[1]

    async def pour() -> None:
        for number in range(300):
            await client.send(b"%d" % number)
            await asyncio.sleep(0.001)

    pouring = asyncio.create_task(pour())
    client.bindx([(HERE[2], 0)])
    added = await notification(accepted, PaddrChange)
    while added.state != SCTP_ADDR_ADDED:
        added = await notification(accepted, PaddrChange)
    assert added.addr == (HERE[2], own)
    client.bindx([(HERE[0], own)], BINDX_REMOVE)
    received = []
    removed = None
    while len(received) < 300:
        message = await accepted.recvmsg()
        if message.notification is None:
            received.append(message.data)
        elif message.notification.state == SCTP_ADDR_REMOVED:
            removed = message.notification
    await pouring
    assert removed is not None
    assert removed.addr == (HERE[0], own)
    assert sorted(accepted.getpaddrs()) == [(host, own) for host in HERE[1:]]
    assert client.getladdrs() == [(host, own) for host in HERE[1:]]
    assert received[-1] == b"299"
    assert listener.getladdrs() == [(host, listener.getsockname()[1]) for host in THERE[:2]]


async def test_asks_the_peer_to_send_to_another_address(opened) -> None:
    _, client, accepted = await multihomed(opened, asconf=True)
    own = client.getsockname()[1]
    client.set_peer_primary(0, (HERE[2], own))
    while True:
        event = await notification(accepted, PaddrChange)
        if event.state == SCTP_ADDR_MADE_PRIM:
            break
    assert event.addr == (HERE[2], own)
    assert accepted.get_status().primary.address == (HERE[2], own)


async def test_addresses_do_not_change_with_a_peer_that_does_not_support_it(opened) -> None:
    _, client, accepted = await multihomed(opened, hosts=2)
    client.bindx([(HERE[2], 0)])
    assert len(accepted.getpaddrs()) == 2
    with pytest.raises(OSError, match="does not support"):
        client.set_peer_primary(0, (HERE[1], client.getsockname()[1]))
    await client.send(b"as before")
    assert await accepted.recv(10) == b"as before"


async def test_bindx_binds_all_addresses_or_none(opened) -> None:
    sock = await opened.add(sctpsocket_udp(udp_port=0))
    with pytest.raises(OSError, match=r".") as caught:
        sock.bindx([(HERE[0], 0), ("192.0.2.1", 0)])
    assert caught.value.errno == errno.EADDRNOTAVAIL
    assert sock.getladdrs() == []
    with pytest.raises(OSError, match="same port"):
        sock.bindx([(HERE[0], 1000), (HERE[1], 1001)])
    sock.bindx([(HERE[0], 0), (HERE[1], 0)])
    with pytest.raises(OSError, match="must stay"):
        sock.bindx([(host, 0) for host in HERE[:2]], BINDX_REMOVE)
    sock.bindx([(HERE[1], 0)], BINDX_REMOVE)
    assert [host for host, _ in sock.getladdrs()] == HERE[:1]


# -- authentication (RFC 4895) -----------------------------------------------------------------------------------------


async def authenticated(opened, key_here: bytes = b"secret", key_there: bytes = b"secret"):
    """Return two connected sockets that accept DATA only if it is signed with key 1."""
    listener = await opened.listener()
    client = await opened.add(sctpsocket_tcp(remote_udp_port=listener.udp_port))
    for sock, key in ((client, key_here), (listener, key_there)):
        sock.setsockopt(SCTP_AUTH_CHUNK, DATA)
        sock.setsockopt(SCTP_AUTH_KEY, AuthKey(1, key))
        sock.setsockopt(SCTP_AUTH_ACTIVE_KEY, 1)
        sock.events.authentication = True
    await client.connect(listener.getsockname())
    accepted, _ = await listener.accept()
    return client, await opened.add(accepted)


async def test_signed_messages_arrive(opened) -> None:
    client, server = await authenticated(opened)
    await client.send(b"signed")
    assert await server.recv(10) == b"signed"
    assert client.getsockopt(SCTP_PEER_AUTH_CHUNKS) == client.getsockopt(SCTP_LOCAL_AUTH_CHUNKS) == (DATA,)
    assert client.getsockopt(SCTP_AUTH_SUPPORTED)
    assert client.getsockopt(SCTP_HMAC_IDENT) == (3, 1)


async def test_messages_signed_with_another_key_are_discarded(opened) -> None:
    client, server = await authenticated(opened, b"secret", b"another")
    client.linger = server.linger = 0
    await client.send(b"forged")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(server.recv(10), 0.1)


async def test_keys_change_during_an_association(opened) -> None:
    client, server = await authenticated(opened)
    for sock in (client, server):
        sock.setsockopt(SCTP_AUTH_KEY, AuthKey(2, b"new"))
    await client.sendmsg(b"by name", [AuthInfo(2)])
    while True:
        event = await notification(server, AuthenticationEvent)
        if (event.keynumber, event.indication) == (2, SCTP_AUTH_NEW_KEY):
            break
    assert await server.recv(10) == b"by name"
    client.setsockopt(SCTP_AUTH_ACTIVE_KEY, 2)
    await client.send(b"by default")
    assert await server.recv(20) == b"by default"
    with pytest.raises(OSError, match="active"):
        client.setsockopt(SCTP_AUTH_DEACTIVATE_KEY, 2)
    client.setsockopt(SCTP_AUTH_DEACTIVATE_KEY, 1)
    while (await notification(client, AuthenticationEvent)).indication != SCTP_AUTH_FREE_KEY:
        pass
    client.setsockopt(SCTP_AUTH_DELETE_KEY, 1)
    with pytest.raises(OSError, match="no key 1"):
        await client.sendmsg(b"x", [AuthInfo(1)])


async def test_reports_a_peer_that_does_not_support_authentication(opened) -> None:
    listener = await opened.listener()
    client = await opened.add(sctpsocket_tcp(remote_udp_port=listener.udp_port))
    client.setsockopt(SCTP_AUTH_SUPPORTED, True)
    client.events.authentication = True
    await client.connect(listener.getsockname())
    assert (await notification(client, AuthenticationEvent)).indication == SCTP_AUTH_NO_AUTH
