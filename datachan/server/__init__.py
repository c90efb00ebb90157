"""One program, many browsers: `serve` and what it needs; the page that explains it is docs/server.md.

`exchange`, `ice_fragment` and `options` are pure. `session`, `connection` and `channel_server` use asyncio and peer
connections, but no web framework: `aiohttp_mount`, `asgi` and `serving` bring the HTTP requests.
"""

from __future__ import annotations

from datachan.collector import collect_rarely
from datachan.server.aiohttp_mount import mount
from datachan.server.asgi import AsgiApplication
from datachan.server.channel_server import ChannelServer, ServerCounts
from datachan.server.connection import Connection, ConnectionClosed
from datachan.server.exchange import SignalingRequest
from datachan.server.options import ChannelServerOptions
from datachan.server.serving import serve
from datachan.server.supervisor import run_workers
from datachan.server.worker import Worker

__all__ = [
    "AsgiApplication",
    "ChannelServer",
    "ChannelServerOptions",
    "Connection",
    "ConnectionClosed",
    "ServerCounts",
    "SignalingRequest",
    "Worker",
    "collect_rarely",
    "mount",
    "run_workers",
    "serve",
]
