"""Attempts of strangers and connected peers to exhaust work, memory or descriptors. Tests assert counts and bytes."""
