"""A client in Python: posts an offer, as datachan.js does, and keeps what a test asks for."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from urllib.parse import urljoin

import aiohttp

from datachan import RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from datachan.server.ice_fragment import CONTENT_TYPE

PATIENCE = 60.0
LOOPBACK = RTCConfiguration(hostAddresses=["127.0.0.1"])


class Client:
    """One connection to a channel server. `headers` go with every request."""

    def __init__(self, http: aiohttp.ClientSession, url: str, headers: Mapping[str, str]) -> None:
        self.http = http
        self.url = url
        self.headers = dict(headers)
        self.pc = RTCPeerConnection(LOOPBACK)
        self.session = ""
        self.etag = ""

    async def offer(self) -> aiohttp.ClientResponse:
        """Post the offer, and apply the answer if there is one."""
        await self.pc.setLocalDescription()
        headers = {"Content-Type": "application/sdp", **self.headers}
        response = await self.http.post(self.url, data=self.pc.localDescription.sdp, headers=headers)
        if response.status == 201:
            self.session = urljoin(str(response.url), response.headers["Location"])
            self.etag = response.headers["ETag"]
            await self.pc.setRemoteDescription(RTCSessionDescription(await response.text(), "answer"))
        return response

    async def patch(self, fragment: str, if_match: str | None = None) -> aiohttp.ClientResponse:
        """Send a fragment, with the latest entity tag unless another one is given."""
        headers = {"Content-Type": CONTENT_TYPE, "If-Match": if_match or self.etag, **self.headers}
        return await self.http.patch(self.session, data=fragment, headers=headers)


@contextlib.asynccontextmanager
async def connecting(url: str, **headers: str) -> AsyncIterator[Client]:
    """Make a client, and close it afterwards."""
    async with aiohttp.ClientSession() as http:
        client = Client(http, url, headers)
        try:
            yield client
        finally:
            await client.pc.close()


@contextlib.asynccontextmanager
async def connected(url: str, label: str = "state", **headers: str) -> AsyncIterator[tuple[Client, RTCDataChannel]]:
    """Connect a client that has one channel."""
    async with connecting(url, **headers) as client:
        channel = client.pc.createDataChannel(label)
        response = await client.offer()
        assert response.status == 201, await response.text()
        await channel.opened()
        yield client, channel
