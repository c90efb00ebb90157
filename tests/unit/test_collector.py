"""How rarely a process collects garbage, each time in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(program: str) -> str:
    """Run a program and return what it printed."""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_program_that_asks_for_it_collects_rarely_and_what_exists_is_frozen() -> None:
    program = """
import gc
from datachan.server import collect_rarely
usual = gc.get_threshold()
collect_rarely()
print(gc.isenabled(), gc.get_freeze_count() > 10_000, gc.get_threshold()[2] > usual[2])
"""
    assert run(program) == "True True True"


def test_many_thousand_objects_cause_no_visit_of_all_objects_and_cycles_are_still_found() -> None:
    program = """
import gc
from datachan.server import collect_rarely
collect_rarely()
before = gc.get_stats()
kept = [[] for _ in range(300_000)]
for _ in range(100_000):
    cycle = []
    cycle.append(cycle)
after = gc.get_stats()
print(after[2]["collections"] - before[2]["collections"], after[0]["collected"] - before[0]["collected"] > 50_000)
"""
    assert run(program) == "0 True"


def test_a_server_inside_a_program_leaves_its_collector_alone() -> None:
    program = """
import asyncio, gc
from datachan.server import serve
usual = gc.get_threshold()

async def main():
    async with serve(None, "127.0.0.1", 0):
        print(gc.get_threshold() == usual, gc.get_freeze_count())

asyncio.run(main())
"""
    assert run(program) == "True 0"
