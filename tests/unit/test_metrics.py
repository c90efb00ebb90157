"""Test the figures of a server: what they hold, how many series they keep, and how those of several processes join."""

from __future__ import annotations

import pickle

import pytest

from datachan.metrics import MAX_SERIES, OTHER, Distribution, Family, Metrics, labeled, merged


async def family(metrics: Metrics, name: str) -> Family:
    return next(one for one in await metrics.families() if one.name == name)


async def test_counts_by_label_values() -> None:
    metrics = Metrics()
    refused = metrics.counter("refused_total", "Requests that were refused.", ("reason",))
    refused.add("busy")
    refused.add("busy", amount=2)
    refused.add("not-sdp")
    assert (await family(metrics, "refused_total")).values == {("busy",): 3, ("not-sdp",): 1}


async def test_shows_a_counter_without_labels_before_it_counts() -> None:
    metrics = Metrics()
    metrics.counter("offers_total", "Offers.")
    assert (await family(metrics, "offers_total")).values == {(): 0}


async def test_reads_a_gauge_when_asked() -> None:
    metrics, rooms = Metrics(), ["kitchen"]
    metrics.gauge("rooms", "Rooms.", read=lambda: len(rooms))
    queue = metrics.gauge("queue_bytes", "Bytes that wait.", ("where",))
    queue.set(7, "sender")
    queue.set(5, "sender")
    rooms.append("cellar")
    assert (await family(metrics, "rooms")).values == {(): 2}
    assert (await family(metrics, "queue_bytes")).values == {("sender",): 5}


async def test_a_bound_belongs_to_its_bucket() -> None:
    metrics = Metrics()
    lag = metrics.histogram("lag_seconds", "Lag.", bounds=(0.1, 1))
    for value in (0.1, 0.5, 1, 7):
        lag.observe(value)
    assert (await family(metrics, "lag_seconds")).values == {(): Distribution((0.1, 1), (1, 2, 1), 8.6)}


async def test_counts_by_label_values_in_a_histogram() -> None:
    metrics = Metrics()
    metrics.histogram("lag_seconds", "Lag.", ("loop",), bounds=(1,)).observe(0.5, "first")
    assert (await family(metrics, "lag_seconds")).values == {("first",): Distribution((1,), (1, 0), 0.5)}


async def test_series_beyond_the_bound_count_together() -> None:
    metrics = Metrics()
    counter = metrics.counter("messages_total", "Messages.", ("kind",))
    for number in range(2 * MAX_SERIES):
        counter.add(str(number))
    values = (await family(metrics, "messages_total")).values
    assert len(values) == MAX_SERIES + 1
    assert values[OTHER,] == MAX_SERIES


async def test_asks_sources_until_they_are_removed() -> None:
    metrics = Metrics()

    async def source() -> list[Family]:
        return [Family("nodes", "gauge", "Nodes.", (), {(): 3.0})]

    metrics.add_source(source)
    assert (await family(metrics, "nodes")).values == {(): 3}
    metrics.remove_source(source)
    assert await metrics.families() == []


def test_joins_the_figures_of_processes() -> None:
    one = [Family("rooms", "gauge", "Rooms.", ("kind",), {("open",): 1.0})]
    two = pickle.loads(pickle.dumps([Family("rooms", "gauge", "Rooms.", ("kind",), {("open",): 2.0})]))
    (joined,) = merged([labeled(one, "worker", "0"), labeled(two, "worker", "1")])
    assert joined.labels == ("kind", "worker")
    assert joined.values == {("open", "0"): 1, ("open", "1"): 2}


def test_refuses_what_is_a_mistake_of_the_program() -> None:
    metrics = Metrics()
    counter = metrics.counter("offers_total", "Offers.", ("kind",))
    with pytest.raises(ValueError, match="already"):
        metrics.gauge("offers_total", "Offers.")
    with pytest.raises(ValueError, match="_total"):
        metrics.counter("offers", "Offers.")
    with pytest.raises(ValueError, match="labels"):
        counter.add()
