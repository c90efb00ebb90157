"""Connection: one client as the handler of the application sees it; knows no HTTP."""

from __future__ import annotations

import asyncio
from typing import Any, Self

from datachan.peer import RTCDataChannel, RTCPeerConnection
from datachan.server.exchange import SignalingRequest


class ConnectionClosed(ConnectionError):
    """The connection has ended; the message states the reason."""


class Connection:
    """One client. The server creates it and passes it to the handler once the connection is established.

    Its channels can be taken in two ways, which may be mixed:

        state = await connection.channel("state")        # waits until the client opens this channel
        async for channel in connection:                 # every other channel of the client, until the end
            ...

    Messages that arrive on a channel before it is taken are kept, and slow the client down.

    Attributes:
        id: A random id, which is secret: with it the client ends the connection or restarts ICE.
        user: The value that the authentication hook returned; None without a hook.
        remote: The IP address that the client's HTTP request came from.
        request: The HTTP request that carried the offer, with its headers and query.
    """

    def __init__(
        self, connection_id: str, user: object, request: SignalingRequest, pc: RTCPeerConnection, max_channels: int
    ) -> None:
        self.id = connection_id
        self.user: Any = user
        self.remote = request.remote
        self.request = request
        self._pc = pc
        self._max_channels = max_channels
        self._live = 0
        self._arrived: list[RTCDataChannel] = []
        self._wanted: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._over = asyncio.Event()
        self._draining = asyncio.Event()
        pc.on("datachannel", self._take)
        pc.on("connectionstatechange", self._state_changed)

    def __repr__(self) -> str:
        return f"<Connection of {self.remote} {self.state}>"

    @property
    def state(self) -> str:
        """The state of the connection: W3C's RTCPeerConnectionState."""
        return self._pc.connectionState

    @property
    def ended(self) -> bool:
        """Whether the connection has ended, or is about to."""
        return self._over.is_set()

    @property
    def peer_connection(self) -> RTCPeerConnection:
        """The peer connection, for `getStats` and everything else that W3C's API offers. The server closes it."""
        return self._pc

    @property
    def draining(self) -> bool:
        """Whether the server is shutting down and waits for the handlers to finish."""
        return self._draining.is_set()

    async def drained(self) -> None:
        """Wait until the server begins to shut down. A handler that must say goodbye waits for this."""
        await self._draining.wait()

    async def channel(self, label: str) -> RTCDataChannel:
        """Return the channel of this label; wait until the client opens it.

        Raises:
            ConnectionClosed: The connection ended before.
        """
        self._wanted[label] = self._wanted.get(label, 0) + 1
        try:
            while True:
                for channel in self._arrived:
                    if channel.label == label:
                        return self._hand_over(channel)
                await self._change()
        finally:
            self._wanted[label] -= 1
            if not self._wanted[label]:
                del self._wanted[label]

    def create_channel(self, label: str, **options: Any) -> RTCDataChannel:
        """Open a channel from the server's side; datachan.js reports it as a `channel` event.

        Args:
            label: The name.
            options: Those of `RTCPeerConnection.createDataChannel`, such as `ordered` and `maxRetransmits`.

        Raises:
            InvalidStateError: The connection has ended.
        """
        return self._pc.createDataChannel(label, **options)

    def __aiter__(self) -> Self:
        """Iterate over the channels that the client opens, until the connection ends."""
        return self

    async def __anext__(self) -> RTCDataChannel:
        """Return the next channel that no call of `channel` waits for."""
        while True:
            for channel in self._arrived:
                if channel.label not in self._wanted:
                    return self._hand_over(channel)
            try:
                await self._change()
            except ConnectionClosed:
                raise StopAsyncIteration from None

    async def closed(self) -> None:
        """Wait until the connection has ended."""
        await self._over.wait()

    def close(self) -> None:
        """End the connection soon: messages that were sent are still delivered. Further calls do nothing."""
        self._end()

    # -- private -------------------------------------------------------------------------------------------------------

    async def _change(self) -> None:
        """Wait for the next channel, or raise because there will be none."""
        if self._over.is_set():
            raise ConnectionClosed(self._pc.failureReason or "the connection has ended")
        await self._changed.wait()

    def _notify(self) -> None:
        """Wake all that wait for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _take(self, channel: RTCDataChannel) -> None:
        if self._over.is_set() or self._live >= self._max_channels:
            channel.close()
            return
        self._live += 1
        channel.on("close", lambda: self._forget(channel))
        self._arrived.append(channel)
        self._notify()

    def _hand_over(self, channel: RTCDataChannel) -> RTCDataChannel:
        """Return a channel to the handler. A closed one counted until now, because its messages were kept."""
        self._arrived.remove(channel)
        if channel.readyState == "closed":
            self._live -= 1
        return channel

    def _forget(self, channel: RTCDataChannel) -> None:
        if channel not in self._arrived:
            self._live -= 1

    def _state_changed(self) -> None:
        if self._pc.connectionState == "closed":
            self._end()

    def _end(self) -> None:
        self._over.set()
        self._notify()
