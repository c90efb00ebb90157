"""Signaling: the messages, the server, the client, and a peer that can be called.

`room_messages`, `limits`, `server_options`, `origins`, `rooms` and `node_rooms` are pure. `broker` is the contract of
a server with its rooms, which `memory_broker` and `redis_broker` keep. `server`, `room_connection`, `assets`, `site`
and `client` use aiohttp. `echo`, `connect` and `service` use peer connections.
"""

from __future__ import annotations

from datachan.signaling.client import SignalingClient, SignalingError
from datachan.signaling.connect import (
    ConnectTimeout,
    RestartRefused,
    call_through,
    code_of,
    connect_through,
    restart_through,
)
from datachan.signaling.echo import ChannelService, EchoAnswer, EchoOptions, EchoPeer, EchoSession
from datachan.signaling.room_messages import BadMessage, PeerInfo
from datachan.signaling.server import SignalingServer
from datachan.signaling.server_options import IceServerOption, ServerOptions
from datachan.signaling.service import serve_through

__all__ = [
    "BadMessage",
    "ChannelService",
    "ConnectTimeout",
    "EchoAnswer",
    "EchoOptions",
    "EchoPeer",
    "EchoSession",
    "IceServerOption",
    "PeerInfo",
    "RestartRefused",
    "ServerOptions",
    "SignalingClient",
    "SignalingError",
    "SignalingServer",
    "call_through",
    "code_of",
    "connect_through",
    "restart_through",
    "serve_through",
]
