"""Fuzzing everything that reads what a peer sent: `python -m tests.fuzz`, with atheris or without (docs/testing.md)."""
