"""Fuzz every function that reads bytes of a peer: `python -m tests.fuzz`, with or without atheris (docs/testing.md)."""
