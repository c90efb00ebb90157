"""Run the multi-homed pair as a user does."""

from __future__ import annotations

from .processes import EXAMPLES, run

EXAMPLE = EXAMPLES / "multihomed.py"


async def test_the_pair_survives_the_loss_of_its_primary_path() -> None:
    ports = ["--port", "4477", "--udp-port", "9877"]
    async with run(EXAMPLE, *ports, "server", "--lose-after", "30") as server:
        await server.prints("listening on 127.0.0.2, 127.0.0.3, 127.0.0.4")
        async with run(EXAMPLE, *ports, "client") as client:
            await server.prints("127.0.0.2 is removed")
            await client.prints("127.0.0.2: SCTP_ADDR_POTENTIALLY_FAILED")
            await client.prints("sent 100 messages")
            silence = await server.prints(r"100 messages, all in order; the longest silence was ([\d.]+) s")
            assert float(silence[1]) < 1.0
            assert await client.ends() == 0
        assert await server.ends() == 0
