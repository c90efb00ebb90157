"""The driver: the order of calls, one timer, and nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from datachan import driver
from datachan.driver import Driver
from datachan.log_rate import MAX_RECORDS
from datachan.token_bucket import TokenBucket
from tests.unit.timers import Timers


class Echo:
    """A machine that answers each datagram, reports it, has one deadline, and raises in the call named `broken`."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.outgoing: list[bytes] = []
        self.happened: list[str] = []
        self.deadline: float | None = None
        self.timeouts: list[float] = []
        self.asked_to_send = 0
        self.broken = ""
        self.has_more, self.bundles = True, False

    def _check(self, call: str) -> None:
        if call == self.broken:
            raise RuntimeError(call)

    def receive_datagrams(self, datagrams: Sequence[bytes], now: float) -> None:
        self._check("receive_datagrams")
        self.calls.append("receive")
        for datagram in datagrams:
            self.outgoing.append(b"echo " + datagram)
            self.happened.append(datagram.decode())

    def handle_timeout(self, now: float) -> None:
        self._check("handle_timeout")
        self.calls.append("timeout")
        self.timeouts.append(now)
        self.deadline = None

    def next_timeout(self) -> float | None:
        self._check("next_timeout")
        return self.deadline

    def datagrams_to_send(self, now: float) -> list[bytes]:
        self._check("datagrams_to_send")
        self.asked_to_send += 1
        drained, self.outgoing = self.outgoing, []
        return drained

    def events(self) -> list[str]:
        self._check("events")
        drained, self.happened = self.happened, []
        return drained


class Pipe:
    """A link that stores the datagrams sent."""

    def __init__(self) -> None:
        self.sent: list[list[bytes]] = []
        self.writable = True
        self.on_writable: Callable[[], None] | None = None
        self.on_send: Callable[[], None] | None = None

    def send_datagrams(self, datagrams: Sequence[bytes]) -> None:
        self.sent.append(list(datagrams))
        if self.on_send is not None:
            self.on_send()


class Scene:
    def __init__(self) -> None:
        self.timers = Timers()
        self.machine = Echo()
        self.pipe = Pipe()
        self.seen: list[str] = []
        self.handler: Callable[[str], Any] = self.seen.append
        self.failures: list[Exception] = []
        self.driver = Driver(self.machine, self.pipe, self.handle, self.failures.append)

    def handle(self, event: str) -> None:
        self.handler(event)

    def deliver(self, *datagrams: bytes) -> None:
        self.driver.receive(list(datagrams))

    async def turn(self) -> None:
        """Let the event loop make a few turns."""
        for _ in range(3):
            await asyncio.sleep(0)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    yield scene
    scene.driver.close()


async def test_a_batch_goes_in_at_once_and_its_answers_leave_in_one_batch(scene: Scene) -> None:
    scene.deliver(b"1", b"2", b"3")
    assert scene.pipe.sent == [[b"echo 1", b"echo 2", b"echo 3"]]
    assert scene.seen == ["1", "2", "3"]
    assert scene.machine.calls == ["receive"]


@pytest.mark.parametrize("datagrams", [(b"1",), (b"1",) * 17])
async def test_answers_are_sent_before_events_are_handed_up(scene: Scene, datagrams: tuple[bytes, ...]) -> None:
    scene.machine.bundles = len(datagrams) > 1
    order: list[str] = []
    scene.pipe.on_send = lambda: order.append("sent")
    scene.handler = lambda event: order.append("handled")
    scene.deliver(*datagrams)
    assert order == ["sent", *["handled"] * len(datagrams)]


@pytest.mark.parametrize("count", [1, 16])
async def test_the_answer_to_a_few_datagrams_leaves_with_what_their_handlers_send(scene: Scene, count: int) -> None:
    scene.machine.bundles = True
    scene.handler = lambda event: scene.machine.outgoing.append(b"from the handler")
    scene.deliver(*[b"1"] * count)
    assert scene.pipe.sent == [[b"echo 1"] * count + [b"from the handler"] * count]


async def test_what_arrived_is_read_between_the_portions_of_what_is_sent(scene: Scene) -> None:
    await scene.turn()
    order: list[str] = []
    portions = [[b"full"] * 64, [b"full"] * 64, [b"rest"]]

    def refill() -> None:
        order.append("sent")
        scene.machine.outgoing = portions.pop(0) if portions else []

    scene.pipe.on_send = refill
    refill()
    scene.driver.wake()
    asyncio.get_running_loop().call_soon(order.append, "read")
    await asyncio.sleep(0)
    assert order == ["sent", "sent", "read"]
    await scene.turn()
    assert scene.pipe.sent[-1] == [b"rest"]


async def test_the_last_packets_before_close_leave_at_once(scene: Scene) -> None:
    await scene.turn()
    portions = [[b"full"] * 64, [b"rest"], []]
    scene.machine.outgoing = portions.pop(0)
    scene.pipe.on_send = lambda: setattr(scene.machine, "outgoing", portions.pop(0))
    scene.driver.flush()
    assert scene.pipe.sent[-1] == [b"rest"]


async def test_a_machine_without_more_is_asked_once(scene: Scene) -> None:
    await scene.turn()
    scene.machine.has_more, scene.machine.bundles, scene.machine.asked_to_send = False, True, 0
    scene.deliver(b"1")
    assert scene.machine.asked_to_send == 1
    scene.deliver(b"1", b"2")
    assert scene.machine.asked_to_send == 2


@pytest.mark.parametrize("tell", ["wake", "send_now", "flush"])
async def test_a_machine_that_a_handler_has_called_is_asked_again(scene: Scene, tell: str) -> None:
    def answer(event: str) -> None:
        scene.machine.outgoing.append(b"from the handler of " + event.encode())
        getattr(scene.driver, tell)()

    scene.machine.has_more = False
    scene.handler = answer
    scene.deliver(b"1", b"2")
    assert scene.pipe.sent == [[b"echo 1", b"echo 2"], [b"from the handler of 1", b"from the handler of 2"]]


async def test_runs_the_machine_from_the_start() -> None:
    scene = Scene()
    scene.machine.outgoing.append(b"first flight")
    await scene.turn()
    assert scene.pipe.sent == [[b"first flight"]]
    scene.driver.close()


async def test_many_wakes_cause_one_run(scene: Scene) -> None:
    await scene.turn()
    before = scene.machine.asked_to_send
    for _ in range(100):
        scene.driver.wake()
    await scene.turn()
    assert scene.machine.asked_to_send == before + 1


async def test_sends_the_first_message_of_a_turn_at_once_and_the_others_together(
    scene: Scene,
) -> None:
    await scene.turn()
    for message in (b"1", b"2", b"3"):
        scene.machine.outgoing.append(message)
        scene.driver.send_now()
        assert scene.pipe.sent == [[b"1"]]
    await scene.turn()
    assert scene.pipe.sent == [[b"1"], [b"2", b"3"]]


async def test_sending_at_once_calls_no_handler(scene: Scene) -> None:
    await scene.turn()
    scene.machine.outgoing.append(b"1")
    scene.machine.happened.append("it left")
    scene.driver.send_now()
    assert (scene.pipe.sent, scene.seen) == ([[b"1"]], [])
    await scene.turn()
    assert scene.seen == ["it left"]


async def test_sending_at_once_waits_for_a_link_that_is_not_writable(scene: Scene) -> None:
    await scene.turn()
    scene.pipe.writable = False
    scene.machine.outgoing.append(b"1")
    scene.driver.send_now()
    assert scene.pipe.sent == []
    scene.pipe.writable = True
    assert scene.pipe.on_writable is not None
    scene.pipe.on_writable()
    assert scene.pipe.sent == [[b"1"]]


async def test_what_a_handler_sends_leaves_in_the_same_turn(scene: Scene) -> None:
    scene.handler = lambda event: scene.machine.outgoing.append(b"because of " + event.encode())
    scene.deliver(b"1")
    assert scene.pipe.sent == [[b"echo 1"], [b"because of 1"]]


async def test_a_link_that_delivers_while_it_sends_is_answered_in_order(scene: Scene) -> None:
    def once() -> None:
        scene.pipe.on_send = None
        scene.deliver(b"2")

    scene.pipe.on_send = once
    scene.deliver(b"1")
    assert scene.pipe.sent == [[b"echo 1"], [b"echo 2"]]
    assert scene.seen == ["1", "2"]


async def test_takes_nothing_from_the_machine_while_the_link_is_full(scene: Scene) -> None:
    await scene.turn()
    scene.pipe.writable = False
    scene.deliver(b"1")
    assert scene.pipe.sent == []
    assert scene.seen == ["1"]

    scene.pipe.writable = True
    assert scene.pipe.on_writable is not None
    scene.pipe.on_writable()
    assert scene.pipe.sent == [[b"echo 1"]]


async def test_a_due_timeout_is_handled_once_and_not_before_its_time(scene: Scene) -> None:
    deadline = scene.driver.now + 0.02
    scene.machine.deadline = deadline
    scene.driver.wake()
    while not scene.machine.timeouts:
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.01)
    assert len(scene.machine.timeouts) == 1
    assert scene.machine.timeouts[0] >= deadline


async def test_the_timer_follows_the_earliest_deadline(scene: Scene) -> None:
    earliest = scene.driver.now + 30.0
    for delay in (20.0, 30.0, 40.0, 10.0, 15.0, 0.0):
        scene.machine.deadline = earliest + delay
        scene.deliver(b"x")
    assert min(timer.when() for timer in scene.timers.pending()) == pytest.approx(earliest, abs=0.006)


async def test_a_later_deadline_leaves_the_timer_alone(scene: Scene) -> None:
    scene.machine.deadline = scene.driver.now + 10
    scene.deliver(b"x")
    timer = scene.timers.pending()[0]
    scene.machine.deadline += 10
    scene.deliver(b"x")
    assert scene.timers.pending() == [timer]


async def test_a_timer_that_fires_too_early_is_set_again_without_a_timeout(scene: Scene) -> None:
    scene.machine.deadline = scene.driver.now + 0.01
    scene.deliver(b"x")
    scene.machine.deadline = scene.driver.now + 30
    await asyncio.sleep(0.02)
    assert scene.machine.timeouts == []
    [timer] = scene.timers.pending()
    assert scene.machine.deadline <= timer.when() <= scene.machine.deadline + 0.006


async def test_without_a_deadline_there_is_no_timer(scene: Scene) -> None:
    scene.machine.deadline = scene.driver.now + 10
    scene.deliver(b"x")
    scene.machine.deadline = None
    scene.deliver(b"x")
    assert scene.timers.pending() == []


async def test_a_handler_that_raises_loses_no_event_and_no_timer(scene: Scene) -> None:
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))

    def fail_on_two(event: str) -> None:
        if event == "2":
            raise ValueError("handler")
        scene.seen.append(event)

    scene.handler = fail_on_two
    scene.machine.deadline = scene.driver.now + 10
    asyncio.get_running_loop().call_soon(scene.deliver, b"1", b"2", b"3")
    await scene.turn()
    assert scene.seen == ["1", "3"]
    assert [type(error["exception"]) for error in errors] == [ValueError]
    assert len(scene.timers.pending()) == 1


async def test_exceptions_of_handlers_are_reported_at_a_limited_rate(
    scene: Scene, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "_reports", TokenBucket(0.0, MAX_RECORDS))
    caplog.set_level("DEBUG", "datachan.driver")
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))

    def fail(event: str) -> None:
        raise ValueError(event)

    scene.handler = fail
    scene.deliver(*[str(number).encode() for number in range(100)])
    assert [str(error["exception"]) for error in errors] == [str(number) for number in range(MAX_RECORDS)]
    assert {record.levelname for record in caplog.records} == {"DEBUG"}
    assert len(caplog.records) == 100 - MAX_RECORDS


async def test_endless_events_let_other_callbacks_run(scene: Scene) -> None:
    handled = 0

    def again(event: str) -> None:
        nonlocal handled
        handled += 1
        scene.machine.happened.append("again")

    scene.handler = again
    scene.deliver(b"1")
    first = handled
    await scene.turn()
    assert 0 < first < handled
    scene.handler = lambda event: None


async def test_sends_on_another_link_after_use(scene: Scene) -> None:
    await scene.turn()
    other = Pipe()
    other.writable = False
    scene.driver.use(other)
    assert scene.pipe.on_writable is None
    scene.deliver(b"1")
    assert (scene.pipe.sent, other.sent) == ([], [])
    other.writable = True
    assert other.on_writable is not None
    other.on_writable()
    assert (scene.pipe.sent, other.sent) == ([], [[b"echo 1"]])


async def test_datagrams_that_waited_for_a_full_link_leave_on_the_next_one(scene: Scene) -> None:
    await scene.turn()
    scene.pipe.writable = False
    scene.deliver(b"1")
    other = Pipe()
    scene.driver.use(other)
    await scene.turn()
    assert (scene.pipe.sent, other.sent) == ([], [[b"echo 1"]])


async def test_close_leaves_nothing_behind(scene: Scene) -> None:
    scene.machine.deadline = scene.driver.now + 10
    scene.deliver(b"x")
    scene.driver.wake()
    scene.driver.close()
    asked = scene.machine.asked_to_send
    assert scene.timers.pending() == []
    assert scene.pipe.on_writable is None
    calls = len(scene.machine.calls)
    scene.deliver(b"late")
    assert len(scene.machine.calls) == calls
    scene.driver.wake()
    scene.driver.flush()
    await scene.turn()
    assert scene.machine.asked_to_send == asked
    scene.driver.close()


async def test_flush_sends_at_once(scene: Scene) -> None:
    await scene.turn()
    scene.machine.outgoing.append(b"goodbye")
    scene.driver.flush()
    scene.driver.close()
    assert scene.pipe.sent == [[b"goodbye"]]


async def test_a_handler_may_close_the_driver(scene: Scene) -> None:
    def close(event: str) -> None:
        scene.seen.append(event)
        scene.driver.close()

    scene.handler = close
    scene.machine.deadline = scene.driver.now + 10
    scene.deliver(b"1", b"2")
    await scene.turn()
    assert scene.seen == ["1"]
    assert scene.timers.pending() == []


# -- a machine or a link that raises -----------------------------------------------------------------------------------


async def test_raising_in_any_call_of_the_machine_closes_the_driver_and_reports_the_exception(
    scene: Scene, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.turn()
    for call in ("receive_datagrams", "handle_timeout", "next_timeout", "datagrams_to_send", "events"):
        monkeypatch.setattr(driver, "_last_traceback", float("-inf"))
        caplog.clear()
        failing = Scene()
        await failing.turn()
        failing.machine.deadline = failing.driver.now + 0.01
        failing.driver.flush()
        failing.machine.broken = call
        if call != "handle_timeout":
            failing.deliver(b"1")
            assert failing.failures == []
        async with asyncio.timeout(5):
            while not failing.failures:
                await asyncio.sleep(0.001)

        assert [str(error) for error in failing.failures] == [call]
        calls = len(failing.machine.calls)
        failing.deliver(b"late")
        assert (len(failing.machine.calls), failing.pipe.on_writable) == (calls, None)
        assert failing.timers.pending() == []
        [record] = [record for record in caplog.records if record.name == "datachan.driver"]
        assert record.levelname == "ERROR"
        assert record.exc_info is not None
        assert record.exc_info[1] is failing.failures[0]

    scene.deliver(b"another connection")
    assert scene.seen == ["another connection"]


async def test_a_link_that_raises_closes_the_driver(scene: Scene) -> None:
    def fail() -> None:
        raise OSError("transport")

    await scene.turn()
    scene.pipe.on_send = fail
    scene.deliver(b"1")
    await scene.turn()
    assert [str(error) for error in scene.failures] == ["transport"]
    assert scene.pipe.on_writable is None


async def test_sending_at_once_returns_normally_when_the_machine_raises(scene: Scene) -> None:
    await scene.turn()
    scene.machine.broken = "datagrams_to_send"
    scene.driver.send_now()
    assert scene.failures == []
    await scene.turn()
    assert [str(error) for error in scene.failures] == ["datagrams_to_send"]


async def test_a_failure_during_a_nested_delivery_ends_the_outer_round(scene: Scene) -> None:
    def deliver() -> None:
        scene.machine.broken = "receive_datagrams"
        scene.deliver(b"2")

    scene.pipe.on_send = deliver
    scene.deliver(b"1")
    await scene.turn()
    assert [str(error) for error in scene.failures] == ["receive_datagrams"]
    assert scene.seen == []


async def test_closing_before_a_failure_is_reported_suppresses_the_report(scene: Scene) -> None:
    await scene.turn()
    scene.machine.broken = "events"
    scene.deliver(b"1")
    scene.driver.close()
    await scene.turn()
    assert scene.failures == []


async def test_only_one_traceback_per_interval_is_logged_as_an_error(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "_last_traceback", float("-inf"))
    caplog.set_level("DEBUG", "datachan.driver")
    for _ in range(3):
        failing = Scene()
        failing.machine.broken = "events"
        await failing.turn()
        assert len(failing.failures) == 1
    assert [record.levelname for record in caplog.records] == ["ERROR", "DEBUG", "DEBUG"]
