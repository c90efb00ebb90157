"""RTCDataChannel-id.html."""

from __future__ import annotations

import pytest

from datachan import RTCPeerConnection, RTCSessionDescription
from tests.pairs import configuration, soon


@pytest.mark.parametrize(("their_setup", "parity"), [("active", 1), ("passive", 0)])
async def test_the_dtls_client_has_even_ids_and_the_server_odd_ones(their_setup: str, parity: int) -> None:
    async with RTCPeerConnection(configuration()) as a, RTCPeerConnection(configuration()) as z:
        channel = a.createDataChannel("")
        await a.setLocalDescription()
        ours = {"active": "passive", "passive": "active"}[their_setup]
        await z.setRemoteDescription(RTCSessionDescription(a.localDescription.sdp.replace("actpass", ours), "offer"))
        await z.setLocalDescription()
        assert f"a=setup:{their_setup}\r\n" in z.localDescription.sdp
        await a.setRemoteDescription(z.localDescription)
        await soon(channel.opened())
        another = a.createDataChannel("another")

        assert channel.id % 2 == parity
        assert another.id % 2 == parity
        assert channel.id != another.id
