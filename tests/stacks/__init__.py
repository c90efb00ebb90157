"""Whole WebRTC stacks as processes that benchmarks drive: which are installed, and one program per language."""
