"""Introducing peers to one another: the messages, the server, the client, and a peer that can be called.

`messages`, `limits`, `options`, `origins` and `rooms` are pure; `server`, `connection`, `assets` and `client` are
aiohttp; `echo` and `connect` bring peer connections in.
"""

from datachan.signalling.client import SignallingClient, SignallingError
from datachan.signalling.connect import connect_through
from datachan.signalling.echo import ChannelService, EchoAnswer, EchoOptions, EchoPeer, EchoSession
from datachan.signalling.messages import BadMessage, PeerInfo
from datachan.signalling.options import IceServerOption, ServerOptions
from datachan.signalling.server import SignallingServer

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
    "SignallingClient",
    "SignallingError",
    "SignallingServer",
    "connect_through",
]
