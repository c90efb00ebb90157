"""What `datachan decode`, `trace` and `bench` do: reads input and files, follows them, runs programs, writes text.

It knows how to get at packets and where text goes; what a packet says, `decode` knows, and how a capture comes about,
`trace`. `bench` measures with channels of its own.
"""

from __future__ import annotations

from datachan.tools.decoding import DecodeOptions, Printer, ToolError, decode
from datachan.tools.tracing import trace

__all__ = ["DecodeOptions", "Printer", "ToolError", "decode", "trace"]
