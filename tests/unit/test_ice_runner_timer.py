"""The timer of the ICE agent's runner, with an agent whose deadlines are scripted."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from datachan.ice import runner as runner_module
from datachan.ice.link import DatagramLink
from datachan.ice.runner import AgentRunner
from datachan.ice_agent import Base, IceAgent
from tests.interpreted import only_interpreted

pytestmark = only_interpreted(runner_module)


class ScriptedAgent:
    """Waits for the peer's answer to data first, and has another deadline behind it."""

    def __init__(self, now: float) -> None:
        self.answer_by = now + 0.02
        self.deadline = now + 0.2
        self.answered = False
        self.expired = asyncio.Event()

    def next_timeout(self) -> float:
        return self.deadline if self.answered else self.answer_by

    def sending_was_answered(self, now: float) -> bool:
        is_answered = not self.answered and now >= self.answer_by
        self.answered = self.answered or is_answered
        return is_answered

    def handle_timeout(self, now: float) -> None:
        self.deadline = now + 1000.0
        self.expired.set()

    def datagrams_to_send(self, now: float) -> list[Any]:
        return []

    def events(self) -> list[Any]:
        return []


async def test_a_deadline_behind_an_answered_one_is_kept_although_a_later_timer_runs() -> None:
    agent = ScriptedAgent(asyncio.get_running_loop().time())
    runner = AgentRunner(
        cast(IceAgent, agent), on_event=print, on_query_event=print, on_data=lambda _: None, on_refused=print
    )
    runner.links[cast(Base, "base")] = cast(DatagramLink, None)
    near = agent.answer_by
    agent.answer_by += 100.0
    runner._set_timer()  # for a late moment
    agent.answer_by = near
    runner._set_timer()  # and for an earlier one
    async with asyncio.timeout(10):
        await agent.expired.wait()
    runner.links.clear()
    runner.close()
