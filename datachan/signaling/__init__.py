"""Introducing peers to one another: the messages, the server, the client, and a peer that can be called.

`messages`, `limits`, `options`, `origins` and `rooms` are pure; `server`, `connection`, `assets` and `client` are
aiohttp; `echo` and `connect` bring peer connections in.
"""

from __future__ import annotations

from datachan.signaling.client import SignalingClient, SignalingError
from datachan.signaling.connect import connect_through
from datachan.signaling.echo import ChannelService, EchoAnswer, EchoOptions, EchoPeer, EchoSession
from datachan.signaling.messages import BadMessage, PeerInfo
from datachan.signaling.options import IceServerOption, ServerOptions
from datachan.signaling.server import SignalingServer

__all__ = [
    "BadMessage",
    "ChannelService",
    "EchoAnswer",
    "EchoOptions",
    "EchoPeer",
    "EchoSession",
    "IceServerOption",
    "PeerInfo",
    "ServerOptions",
    "SignalingClient",
    "SignalingError",
    "SignalingServer",
    "connect_through",
]
