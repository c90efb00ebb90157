"""Measure a transfer of the protocol through an emulated link, with each congestion controller, in turns.

Files are read, hashed, verified and written as `datachan send` and `datachan receive` do. Both sides run in one
process: at 100 Mbit/s it has time to spare. Measured is from the offer to the end: slow start and the last flush count.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Final

from datachan import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from datachan.transfer.actions import Outcome
from datachan.transfer.outgoing import OutgoingOffer
from datachan.transfer.receive_offer import Decision, OfferReceiving, Review
from datachan.transfer.send_offer import OfferSending
from datachan.transfer.sources import gather
from tests.links.measure import through
from tests.links.model import Link
from tests.links.process import Emulator

MB: Final = 1_000_000
LOSSY: Final = Link(1e8, 0.02, 0.01, 500_000)


async def accept(review: Review) -> Decision:
    return Decision()


async def connect(a: RTCPeerConnection, z: RTCPeerConnection, emulator: Emulator) -> None:
    """Connect both through the emulator."""
    await a.setLocalDescription(await a.createOffer())
    await z.setRemoteDescription(_seen(a, emulator.facing_z))
    await z.setLocalDescription(await z.createAnswer())
    await a.setRemoteDescription(_seen(z, emulator.facing_a))


def _seen(pc: RTCPeerConnection, address: tuple[str, int]) -> RTCSessionDescription:
    local = pc.localDescription
    assert local is not None
    return RTCSessionDescription(**through(address, {"type": local.type, "sdp": local.sdp}))


async def transfer(controller: str, source: Path, folder: Path, seed: int) -> float:
    """Return the share of the link's rate."""
    emulator = await asyncio.to_thread(Emulator, LOSSY, "127.0.0.1", seed)
    configuration = RTCConfiguration(congestionControl=controller, waitForCandidates=True)
    try:
        async with RTCPeerConnection(configuration) as a, RTCPeerConnection(configuration) as z:
            ends = [pc.createDataChannel("transfer", negotiated=True, id=0) for pc in (a, z)]
            messages = [aiter(end) for end in ends]
            await connect(a, z, emulator)
            await asyncio.gather(*(end.opened() for end in ends))
            sending = OfferSending(ends[0], OutgoingOffer(gather([str(source)])))
            receiving = OfferReceiving(ends[1], folder, accept)
            began = time.monotonic()
            sent, received = await asyncio.gather(sending.run(messages[0]), receiving.run(messages[1]))
            took = time.monotonic() - began
            if not sent.outcome is received.outcome is Outcome.COMPLETED:
                raise SystemExit(f"the transfer failed: {sent}, {received}")
    finally:
        await asyncio.to_thread(emulator.close)
    (folder / source.name).unlink()
    return source.stat().st_size * 8 / took / LOSSY.rate


async def measure(controllers: list[str], size: int, rounds: int) -> None:
    shares: dict[str, list[float]] = {controller: [] for controller in controllers}
    with tempfile.TemporaryDirectory() as name:
        source, folder = Path(name, "film.bin"), Path(name, "in")
        source.write_bytes(os.urandom(size))
        folder.mkdir()
        for seed in range(rounds):
            for controller in controllers:
                shares[controller].append(await transfer(controller, source, folder, seed))
                print(f"{controller}: {shares[controller][-1]:.2f}", flush=True)
    print("\n| controller | share of the link, median | each |\n|---|--:|---|")
    for controller, each in shares.items():
        print(f"| {controller} | {median(each):.2f} | {' '.join(f'{share:.2f}' for share in each)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=60, help="MB of the file (default: 60)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--controllers", default="adaptive", help="separated by commas (default: adaptive)")
    options = parser.parse_args()
    asyncio.run(measure(options.controllers.split(","), options.size * MB, options.rounds))


if __name__ == "__main__":
    main()
