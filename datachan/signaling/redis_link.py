"""The connection of a node to Redis: runs steps of the script in pipelines, receives what is published, reconnects.

It knows nothing of rooms. Steps of one batch travel together, in the order of the calls. When the connection breaks,
steps without an answer are repeated after it is back, because nothing tells whether they were done: a step must do
nothing when it is repeated. A step that is not done within `patience` seconds after the break fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError

from datachan.log_rate import get_limited_logger
from datachan.signaling.broker import BrokerUnavailable

logger = get_limited_logger("datachan.signaling")

BATCH: Final = 256
"""Steps in one pipeline."""

_FIRST_PAUSE: Final = 0.1
_FAULTS: Final = (RedisError, OSError, TimeoutError)

Step: TypeAlias = Sequence[str | int]


@dataclass(frozen=True, slots=True)
class RedisTimings:
    """The times of a node's dealings with Redis, in seconds.

    Attributes:
        lease: Without a sign of life for this long, a node is taken for dead by the others.
        patience: Time that a step waits for a broken connection.
        answer_timeout: Silence after which the connection is taken for broken. Larger than the pause between two signs
            of life, which is a fifth of the lease.
        longest_pause: The longest pause between two attempts to connect. The first is 0.1 s, each further one twice
            as long, with a random part.
        lifetime: Time after which Redis removes a key that no node extends.
    """

    lease: float = 5.0
    patience: float = 2.0
    answer_timeout: float = 3.0
    longest_pause: float = 5.0
    lifetime: float = 600.0


class RedisLink:
    """The connection to one Redis server.

    Args:
        url: The address, such as `redis://127.0.0.1:6379/0`; `rediss` uses TLS.
        password: The password, if it is not part of the address.
        timings: The times.
        script: The script, whose first argument is the name of a step.
        prefix: The beginning of every key.
        channel: What is published here is passed to `receive`.
        receive: Called with each published message.
        restore: Awaited with each new connection, before the steps that wait.

    Raises:
        ValueError: The address is malformed.
    """

    def __init__(
        self,
        url: str,
        password: str | None,
        timings: RedisTimings,
        script: str,
        prefix: str,
        channel: str,
        receive: Callable[[bytes], None],
        restore: Callable[[], Awaitable[None]],
    ) -> None:
        self.address = without_password(url)
        settings: dict[str, Any] = {} if password is None else {"password": password}
        timeout = timings.answer_timeout
        settings |= {"socket_connect_timeout": timeout, "socket_timeout": timeout, "max_connections": 4}
        self._redis: Redis = Redis.from_url(url, retry=Retry(NoBackoff(), 0), **settings)
        self._timings = timings
        self._script = script
        self._digest = ""
        self._prefix = prefix
        self._channel = channel
        self._receive = receive
        self._restore = restore
        self._waiting: deque[tuple[Step, asyncio.Future[Any]]] = deque()
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self._down_since: float | None = time.monotonic()
        self.problem = f"Redis at {self.address} has not answered yet."
        self.outages = 0
        self._restoring = False
        self._reset = False

    async def start(self) -> None:
        """Connect; return after the first attempt, even if it failed."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        await self._tried.wait()

    async def close(self) -> None:
        """Close the connection. Steps that wait fail."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._fail_waiting()
        await self._redis.aclose()

    @property
    def is_usable(self) -> bool:
        """Whether steps are accepted: Redis answers, or did so a moment ago."""
        running = self._task is not None and not self._task.done()
        return running and (self._restoring or not self._patience_is_over())

    async def call(self, *step: str | int) -> Any:
        """Run a step of the script and return its answer.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        return await self.post(*step)

    def post(self, *step: str | int) -> asyncio.Future[Any]:
        """Run a step of the script after those before it; the future has its answer.

        Raises:
            BrokerUnavailable: Redis does not answer.
        """
        if not self.is_usable:
            raise BrokerUnavailable
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        answer.add_done_callback(_look_at_error)
        self._waiting.append((step, answer))
        self._more.set()
        return answer

    def reconnect(self) -> None:
        """Break the connection and set it up again, with `restore`."""
        self._reset = True
        self._more.set()

    async def execute(self, steps: Sequence[Step]) -> list[Any]:
        """Run steps on the new connection, before those that wait. For `restore`."""
        answers: list[Any] = []
        for first in range(0, len(steps), BATCH):
            answers += await self._pipeline(steps[first : first + BATCH])
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    # -- the connection ------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            waiting = asyncio.get_running_loop().call_later(self._timings.patience, self._fail_waiting)
            try:
                await self._connect(waiting)
                pause = _FIRST_PAUSE
            except _FAULTS as error:
                self._broke(error)
            except Exception:
                logger.exception("broker: the connection to Redis ended because of a defect")
                self._broke(RuntimeError("internal error"))
            finally:
                self._restoring = False
                waiting.cancel()
            if self._patience_is_over():
                self._fail_waiting()
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(self._timings.longest_pause, 2 * pause)

    async def _connect(self, deadline: asyncio.TimerHandle) -> None:
        """Serve one connection until it breaks."""
        pubsub = self._redis.pubsub()
        try:
            self._digest = str(await self._redis.script_load(self._script))
            await pubsub.subscribe(self._channel)
            # What is published before the subscription is confirmed does not arrive, and `restore` must not be earlier.
            if await pubsub.get_message(timeout=self._timings.answer_timeout) is None:
                raise ConnectionError("no confirmation of the subscription")
            listening = asyncio.get_running_loop().create_task(self._listen(pubsub))
            try:
                self._restoring = True
                deadline.cancel()
                await self._restore()
                self._is_back()
                await self._serve(listening)
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)
        finally:
            with contextlib.suppress(*_FAULTS):
                await pubsub.aclose()  # type: ignore[no-untyped-call]
            with contextlib.suppress(*_FAULTS):
                await self._redis.connection_pool.disconnect()

    def _is_back(self) -> None:
        if self._down_since is not None and self.outages:
            logger.warning("broker: Redis at %s answers again", self.address)
        self._down_since = None
        self._restoring = False
        self.problem = ""
        self._tried.set()

    def _broke(self, error: BaseException) -> None:
        if self._down_since is None:
            self._down_since = time.monotonic()
            self.outages += 1
        problem = f"Redis at {self.address} cannot be reached: {str(error).rstrip('.') or type(error).__name__}."
        if problem != self.problem:
            logger.error("broker: %s Trying again.", problem)
        self.problem = problem
        self._tried.set()

    def _patience_is_over(self) -> bool:
        return self._down_since is not None and time.monotonic() - self._down_since > self._timings.patience

    def _fail_waiting(self) -> None:
        while self._waiting:
            _, answer = self._waiting.popleft()
            if not answer.done():
                answer.set_exception(BrokerUnavailable())

    async def _listen(self, pubsub: PubSub) -> None:
        while True:
            message = await pubsub.get_message(ignore_subscribe_messages=True, timeout=None)
            if message is not None and message["type"] == "message":
                self._receive(message["data"])

    async def _serve(self, listening: asyncio.Task[None]) -> None:
        """Run the steps that wait, batch by batch, while messages are received."""
        self._more.set()
        while True:
            more = asyncio.ensure_future(self._more.wait())
            try:
                await asyncio.wait({more, listening}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                more.cancel()
            if listening.done():
                listening.result()
            if self._reset:
                self._reset = False
                raise ConnectionError("this node was cut off for so long that others took it for dead")
            await self._run_waiting()
            self._more.clear()

    async def _run_waiting(self) -> None:
        while self._waiting:
            batch = [self._waiting[place] for place in range(min(BATCH, len(self._waiting)))]
            answers = await self._pipeline([step for step, _ in batch])
            for (_, future), answer in zip(batch, answers, strict=True):
                self._waiting.popleft()
                if future.done():
                    continue
                if isinstance(answer, Exception):
                    logger.error("broker: Redis at %s refused a step: %s", self.address, answer)
                    future.set_exception(BrokerUnavailable())
                else:
                    future.set_result(answer)

    async def _pipeline(self, steps: Sequence[Step]) -> list[Any]:
        """Run steps in one round trip, and return their answers or errors in the same order."""
        answers = await self._send(steps)
        if any(isinstance(answer, NoScriptError) for answer in answers):
            # Redis has lost the script. The steps before the loss were done: repeating them does nothing.
            self._digest = str(await self._redis.script_load(self._script))
            answers = await self._send(steps)
        for answer in answers:
            if isinstance(answer, _FAULTS) and not isinstance(answer, ResponseError):
                raise answer
        return answers

    async def _send(self, steps: Sequence[Step]) -> list[Any]:
        pipeline = self._redis.pipeline(transaction=False)
        for step in steps:
            pipeline.evalsha(self._digest, 1, self._prefix, *step)
        return await pipeline.execute(raise_on_error=False)


def _look_at_error(answer: asyncio.Future[Any]) -> None:
    """Mark the error of a step as seen, because a caller may have stopped waiting for it."""
    if not answer.cancelled():
        answer.exception()


def without_password(url: str) -> str:
    """Return an address for people and logs, without user and password."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
