"""SCTP set up by signaling (draft-hancke-tsvwg-snap): on both sides, on one side, and with invalid INITs."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from datachan import RTCPeerConnection, RTCSessionDescription, SdpError
from datachan.sctp.association import Association, AssociationState
from datachan.sctp.errors import BadPacket, InvalidState
from datachan.sctp.events import AssociationEstablished, MessageReceived
from datachan.sctp.options import AssociationOptions
from datachan.sctp.records import init as snap
from datachan.sdp import LocalData
from tests.pairs import configuration, pair, soon
from tests.sim.pair import Pair
from tests.sim.seeds import entropy
from tests.unit.test_sdp_offer_answer import LOCAL, answer, lines, offer

DRAFTS_OWN = "AQAAHols3R0AUAAA/////+B5ZR3AAAAEgAgABoLA"
OPTIONS = AssociationOptions()


def test_reads_the_drafts_example() -> None:
    init = snap.read_init_untrusted(base64.b64decode(DRAFTS_OWN))
    assert (init.initiate_tag, init.a_rwnd, init.initial_tsn) == (0x896CDD1D, 0x00500000, 0xE079651D)
    assert (init.outbound_streams, init.inbound_streams) == (65535, 65535)


def test_our_init_reads_back_with_our_options() -> None:
    made = snap.make_init(OPTIONS, entropy(1))
    init = snap.read_init_untrusted(made)
    assert init.a_rwnd == OPTIONS.receive_window
    assert len(made) == int.from_bytes(made[2:4], "big")
    assert snap.make_init(OPTIONS, entropy(2)) != made


@pytest.mark.parametrize(
    "change",
    [
        lambda init: b"",
        lambda init: init[:19],
        lambda init: init[:-1],
        lambda init: init + bytes(4),
        lambda init: b"\x02" + init[1:],
        lambda init: init[:4] + bytes(4) + init[8:],
        lambda init: init[:12] + bytes(2) + init[14:],
        lambda init: init[:14] + bytes(2) + init[16:],
        lambda init: init[:8] + b"\0\0\0\1" + init[12:],
        lambda init: init + bytes(4000),
        lambda init: b"\x01\0\xff\xff" + init[4:] + bytes(70000),
    ],
)
def test_an_unusable_init_is_refused(change: Callable[[bytes], bytes]) -> None:
    with pytest.raises(BadPacket):
        snap.read_init_untrusted(change(base64.b64decode(DRAFTS_OWN)))


def negotiated() -> Pair:
    inits = [snap.make_init(OPTIONS, entropy(seed)) for seed in (1, 2)]
    machines = Pair(Association(OPTIONS, entropy(3)), Association(OPTIONS, entropy(4)))
    machines.a.machine.connect_negotiated(inits[0], inits[1], machines.now)
    machines.z.machine.connect_negotiated(inits[1], inits[0], machines.now)
    return machines


def test_both_are_established_without_a_packet_and_messages_flow_at_once() -> None:
    machines = negotiated()
    machines.a.machine.send(0, b"first", ppid=53, now=machines.now)
    machines.z.machine.send(0, b"also first", ppid=53, now=machines.now)
    machines.run(0.011)  # one way
    assert [event.data for event in machines.z.of(MessageReceived)] == [b"first"]
    assert [event.data for event in machines.a.of(MessageReceived)] == [b"also first"]
    assert len(machines.a.of(AssociationEstablished)) == len(machines.z.of(AssociationEstablished)) == 1
    machines.a.machine.shutdown(machines.now)
    machines.run(5.0)
    assert machines.a.machine.state is machines.z.machine.state is AssociationState.CLOSED


def test_streams_and_extensions_are_what_both_inits_allow() -> None:
    few = AssociationOptions(outbound_streams=3, inbound_streams=5, interleaving=False)
    ours, theirs = snap.make_init(OPTIONS, entropy(1)), snap.make_init(few, entropy(2))
    association = Association(OPTIONS, entropy(3))
    association.connect_negotiated(ours, theirs, 0.0)
    (event,) = [event for event in association.events() if isinstance(event, AssociationEstablished)]
    assert (event.inbound_streams, event.outbound_streams) == (3, 5)
    assert association.extensions is not None
    assert not association.extensions.interleaving


def test_only_a_closed_association_can_be_established_by_signaling() -> None:
    machines = negotiated()
    init = snap.make_init(OPTIONS, entropy(5))
    with pytest.raises(InvalidState):
        machines.a.machine.connect_negotiated(init, init, 0.0)


# -- in descriptions ---------------------------------------------------------------------------------------------------

INIT = base64.b64decode(DRAFTS_OWN)


def with_init(init: bytes | None) -> LocalData:
    return replace(LOCAL, sctp_init=init)


def test_the_answer_has_an_sctp_init_only_if_the_offer_has_one() -> None:
    ours = offer(with_init(INIT))
    assert f"a=sctp-init:{DRAFTS_OWN}" in lines(ours)
    assert f"a=sctp-init:{DRAFTS_OWN}" in lines(answer(ours, with_init(INIT)))
    assert not [line for line in lines(answer(offer(), with_init(INIT))) if "sctp-init" in line]


def changed_init(description: RTCSessionDescription, value: str) -> RTCSessionDescription:
    sdp, count = re.subn(r"a=sctp-init:[^\r]*", f"a=sctp-init:{value}", description.sdp)
    assert count == 1
    return RTCSessionDescription(sdp, description.type)


GARBLED = ["", "!!!", "AQAA", "A" * 4000, DRAFTS_OWN[:-4], base64.b64encode(bytes(30)).decode()]


# -- whole connections -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("a_snap", "z_snap"), [(True, True), (True, False), (False, True), (False, False)])
async def test_peers_connect_whether_one_or_both_support_snap(a_snap: bool, z_snap: bool) -> None:
    settings = [configuration(snap=wanted) for wanted in (a_snap, z_snap)]
    async with pair(a_configuration=settings[0], z_configuration=settings[1]) as p:
        p.a_channel.send("hello")
        assert await soon(anext(p.z_channel)) == "hello"
        p.z_channel.send("yes?")
        assert await soon(anext(p.a_channel)) == "yes?"
        assert ("a=sctp-init" in p.a.localDescription.sdp) is a_snap
        assert ("a=sctp-init" in p.z.localDescription.sdp) is (a_snap and z_snap)
        # A later description has the same attribute.
        again = (await p.a.createOffer()).sdp
        found = re.findall("a=sctp-init:[^\r]*", again)
        assert found == (re.findall("a=sctp-init:[^\r]*", p.a.localDescription.sdp) if a_snap and z_snap else [])


@pytest.mark.parametrize("value", GARBLED)
async def test_an_unusable_sctp_init_in_an_offer_is_ignored(value: str) -> None:
    a, z = RTCPeerConnection(configuration()), RTCPeerConnection(configuration())
    async with a, z:
        channel = a.createDataChannel("x")
        await a.setLocalDescription(await a.createOffer())
        await z.setRemoteDescription(changed_init(a.localDescription, value))
        await z.setLocalDescription(await z.createAnswer())
        assert "a=sctp-init" not in z.localDescription.sdp
        await a.setRemoteDescription(z.localDescription)
        await soon(channel.opened())


@pytest.mark.parametrize("value", GARBLED)
async def test_an_unusable_sctp_init_in_an_answer_raises(value: str) -> None:
    a, z = RTCPeerConnection(configuration()), RTCPeerConnection(configuration())
    async with a, z:
        a.createDataChannel("x")
        await a.setLocalDescription(await a.createOffer())
        await z.setRemoteDescription(a.localDescription)
        await z.setLocalDescription(await z.createAnswer())
        with pytest.raises(SdpError, match="sctp-init"):
            await a.setRemoteDescription(changed_init(z.localDescription, value))
