"""The programs behind `datachan decode`, `trace` and `bench`: they read input, follow files, run programs, print.

`decode` knows the contents of packets, and `trace` how a capture is written. `bench` measures with its own channels.
"""

from __future__ import annotations

from datachan.tools.decoding import DecodeOptions, Printer, ToolError, decode
from datachan.tools.tracing import trace

__all__ = ["DecodeOptions", "Printer", "ToolError", "decode", "trace"]
