"""A peer that names the address of another host in its INIT: the probes of that address end."""

from __future__ import annotations

from datachan.sctp.events import PathStatus
from tests.sim.multihomed import MultiHomedPair
from tests.sim.network import Conditions

PATH_MAX_RETRANS = 5


def probed_in_vain() -> MultiHomedPair:
    """Return a pair of which A has given up probing Z's second address."""
    pair = MultiHomedPair([Conditions(latency=0.01)] * 2, path_max_retrans=PATH_MAX_RETRANS)
    pair.cut(1)
    pair.connect()
    pair.run(3600.0)
    return pair


def test_probes_of_an_address_that_never_answers_end() -> None:
    pair = probed_in_vain()
    probes = [moment for moment, path in pair.a.sent if path == 1]
    assert len(probes) == PATH_MAX_RETRANS + 1
    assert pair.a.statuses(1) == [PathStatus.UNREACHABLE]
    pair.run(24 * 3600.0)
    assert [moment for moment, path in pair.a.sent if path == 1] == probes


def test_a_packet_from_the_address_causes_one_more_probe() -> None:
    pair = probed_in_vain()
    pair.mend(1)
    pair.run(3600.0)
    assert PathStatus.CONFIRMED not in pair.a.statuses(1)
    pair.z.machine.request_heartbeat(("198.51.100.1", 9899), pair.now)
    pair.run(5.0)
    assert pair.a.statuses(1)[-2:] == [PathStatus.CONFIRMED, PathStatus.AVAILABLE]


def test_a_forged_source_address_causes_one_probe_for_each_packet_at_most() -> None:
    pair = probed_in_vain()
    pair.a.sent.clear()
    # Z's packets arrive on the second path; A's packets to it are lost.
    pair.networks[1].to_a.stop_dropping()
    for _ in range(20):
        pair.z.machine.request_heartbeat(("198.51.100.1", 9899), pair.now)
        pair.run(600.0)
    to_victim = [moment for moment, path in pair.a.sent if path == 1]
    assert 0 < len(to_victim) <= 40
