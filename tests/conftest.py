"""Give every test a seed that can be replayed, and check that it leaves no asyncio task behind."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import random
import signal
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import settings

from tests.measuring import save, traced_at_first
from tests.patient_loop import PatientLoop

SEED_VARIABLE = "DATACHAN_SEED"
# A cancelled task is done only after another iteration of the event loop.
TURNS_OF_GRACE = 3

# How long one example takes says nothing on a busy machine. pytest-timeout bounds the whole test.
settings.register_profile("datachan", deadline=None)
settings.load_profile("datachan")


def pytest_configure() -> None:
    """Choose the seed of this run, and put it into the environment for the worker processes.

    A background job of a shell script ignores Ctrl+C, and so would the programs that tests start and interrupt.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault(SEED_VARIABLE, str(random.SystemRandom().randrange(1 << 32)))


def pytest_report_header() -> str:
    return f"seed: {os.environ[SEED_VARIABLE]} ({SEED_VARIABLE}=… repeats this run)"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Measure the coverage of each test at its beginning only (tests/measuring.py)."""
    with traced_at_first(item.path):
        return (yield)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Save what a worker process has measured."""
    if hasattr(session.config, "workerinput"):
        save()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """Choose the worker of each test when there are several (pytest-xdist)."""
    from tests.workers import PeersStayTogether  # noqa: PLC0415 - without pytest-xdist it cannot be imported

    return PeersStayTogether(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Choose the event loop of an asynchronous test. There is one for each, so the ids of tests do not name it."""
    return {"loop": PatientLoop if item.get_closest_marker("patient_loop") else asyncio.new_event_loop}


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Return a number for random.Random, made of the seed of this run and the name of this test, and print it."""
    number = zlib.crc32(f"{os.environ[SEED_VARIABLE]} {request.node.nodeid}".encode())
    print(f"{SEED_VARIABLE}={os.environ[SEED_VARIABLE]} gives this test the seed {number}")
    return number


async def _tasks_left(before: set[asyncio.Task[object]]) -> list[str]:
    left = asyncio.all_tasks() - before
    for _ in range(TURNS_OF_GRACE):
        left = {task for task in left if not task.done() and task is not asyncio.current_task()}
        if not left:
            break
        await asyncio.sleep(0)
    return [repr(task) for task in left if not task.done()]


@pytest.fixture(autouse=True)
def the_log_level_stays() -> Iterator[None]:
    """Restore the level of the package's logger, which commands set for their whole process."""
    logger = logging.getLogger("datachan")
    before = logger.level
    yield
    logger.setLevel(before)


@pytest_asyncio.fixture
async def _watch_tasks_function() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    assert await _tasks_left(before) == []


@pytest_asyncio.fixture(loop_scope="module")
async def _watch_tasks_module() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    assert await _tasks_left(before) == []


@pytest.fixture(autouse=True)
def no_task_is_left_behind(request: pytest.FixtureRequest) -> None:
    """Fail an asynchronous test when one of its tasks still runs after the test and its fixtures."""
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        marker = request.node.get_closest_marker("asyncio")
        scope = marker.kwargs.get("loop_scope") or "function" if marker else "function"
        request.getfixturevalue(f"_watch_tasks_{scope}")
