"""The example of W3C WebRTC, 10.7 (perfect negotiation), with collisions; the delays of signaling are seeded."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from datachan import RTCPeerConnection, RTCSessionDescription
from tests.pairs import configuration, soon
from tests.sim.seeds import seeds

ROUNDS = 4


class Negotiator:
    """One side of the example, in its words."""

    def __init__(self, pc: RTCPeerConnection, chance: random.Random, *, polite: bool) -> None:
        self.pc = pc
        self.polite = polite
        self.other: Negotiator
        self.errors: list[BaseException] = []
        self.needed = 0
        self._chance = chance
        self._making_offer = False
        self._ignore_offer = False
        self._is_setting_remote_answer_pending = False
        self._sent: asyncio.Queue[RTCSessionDescription | Any] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        pc.on("negotiationneeded", lambda: self._start(self._negotiate()))
        pc.on("icecandidate", self._sent.put_nowait)

    def _start(self, coroutine: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.errors.append(error)

    async def _negotiate(self) -> None:
        self.needed += 1
        try:
            self._making_offer = True
            await self.pc.setLocalDescription()
            self._send_description()
        finally:
            self._making_offer = False

    def _send_description(self) -> None:
        assert self.pc.localDescription is not None
        self._sent.put_nowait(self.pc.localDescription)

    async def deliver(self) -> None:
        """Deliver what this side sends, in order, each after some turns of the event loop."""
        while True:
            message = await self._sent.get()
            for _ in range(self._chance.randrange(12)):
                await asyncio.sleep(0)
            self.other._start(self.other.receive(message))

    async def receive(self, message: RTCSessionDescription | Any) -> None:
        if not isinstance(message, RTCSessionDescription):
            try:
                await self.pc.addIceCandidate(message)
            except Exception:
                if not self._ignore_offer:
                    raise
            return
        pc = self.pc
        stable = pc.signalingState == "stable" or self._is_setting_remote_answer_pending
        ready_for_offer = not self._making_offer and stable
        collision = message.type == "offer" and not ready_for_offer
        self._ignore_offer = not self.polite and collision
        if self._ignore_offer:
            return
        self._is_setting_remote_answer_pending = message.type == "answer"
        await pc.setRemoteDescription(message)
        self._is_setting_remote_answer_pending = False
        if message.type == "offer":
            await pc.setLocalDescription()
            self._send_description()

    @property
    def idle(self) -> bool:
        return not self._tasks and self._sent.empty() and self.pc.signalingState == "stable"


def ufrag(pc: RTCPeerConnection) -> str:
    assert pc.currentLocalDescription is not None
    return pc.currentLocalDescription.sdp.split("a=ice-ufrag:")[1].split("\r\n")[0]


async def settled(a: Negotiator, z: Negotiator) -> None:
    """Wait until nothing happens on either side for some turns."""
    quiet = 0
    while quiet < 40:
        await asyncio.sleep(0)
        quiet = quiet + 1 if a.idle and z.idle else 0
        assert not a.errors, a.errors
        assert not z.errors, z.errors


@seeds(50)
async def test_both_sides_restart_ice_at_once_and_the_channels_stay(seed: int) -> None:
    chance = random.Random(seed)
    async with RTCPeerConnection(configuration()) as pc_a, RTCPeerConnection(configuration()) as pc_z:
        a, z = Negotiator(pc_a, chance, polite=seed % 2 == 0), Negotiator(pc_z, chance, polite=seed % 2 == 1)
        a.other, z.other = z, a
        deliveries = [asyncio.ensure_future(side.deliver()) for side in (a, z)]
        try:
            channels = [pc.createDataChannel("x", negotiated=True, id=7) for pc in (pc_a, pc_z)]
            await soon(asyncio.gather(*(channel.opened() for channel in channels)))
            await soon(settled(a, z))
            for number in range(ROUNDS):
                before = ufrag(pc_a), ufrag(pc_z)
                for pc in chance.sample([pc_a, pc_z], 2):
                    pc.restartIce()
                    for _ in range(chance.randrange(30)):
                        await asyncio.sleep(0)
                await soon(settled(a, z))
                assert ufrag(pc_a) != before[0]
                assert ufrag(pc_z) != before[1]
                for sender, receiver in (channels, channels[::-1]):
                    sender.send(f"round {number}")
                    assert await soon(anext(receiver)) == f"round {number}"
        finally:
            for delivery in deliveries:
                delivery.cancel()
    assert not a.errors
    assert not z.errors
