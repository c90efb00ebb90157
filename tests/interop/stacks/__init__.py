"""Tests with seven other WebRTC stacks, each a process of its own, and the table of what works with which."""
