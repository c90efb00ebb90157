"""Arbitrary and nearly valid input for every parser of peer input, and for live associations.

The targets and the corpus are those of `python -m tests.fuzz`. Inputs that were findings, or reached new code, are
replayed here; hypothesis searches a little further.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datachan.sctp.errors import BadPacket
from tests.fuzz import corpus, living
from tests.fuzz.mutation import mutated
from tests.fuzz.targets import TARGETS, reader, untrusted_functions

LIVE = [name for name in TARGETS if name.startswith("live.")]
READERS = [name for name in TARGETS if name not in LIVE]


def near(name: str) -> st.SearchStrategy[bytes]:
    """Return arbitrary bytes, and inputs of the corpus with a few changes."""
    kept = corpus.load(name)
    changed = st.randoms(use_true_random=False).map(lambda chance: mutated(kept, chance))
    return st.binary(max_size=300) | changed


def test_every_target_is_found_and_most_have_a_corpus() -> None:
    names = [name for name, _ in untrusted_functions()]
    assert {"sctp", "dcep", "dtls", "ice", "sdp", "signaling", "transfer"} <= {name.split(".")[0] for name in names}
    assert sum(1 for name in TARGETS if corpus.load(name)) > 0.8 * len(TARGETS)


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_holds_no_finding(name: str) -> None:
    for data in corpus.load(name):
        TARGETS[name](data)


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=60)
@given(data=st.data())
def test_any_input_is_read_or_rejected_with_an_error_of_the_package(name: str, data: st.DataObject) -> None:
    TARGETS[name](data.draw(near(name)))


@pytest.mark.parametrize("name", LIVE)
@settings(max_examples=150)
@given(data=st.data())
def test_a_live_association_survives_whatever_its_peer_and_its_user_do(name: str, data: st.DataObject) -> None:
    TARGETS[name](data.draw(near(name)))


# -- the fuzzer itself -------------------------------------------------------------------------------------------------


def test_the_corpus_reaches_every_kind_of_ending() -> None:
    reported: set[str] = set()
    for name in LIVE:
        for data in corpus.load(name):
            life = living.Life(living.Program(data), interleaving=name == "live.interleaved")
            life.play()
            reported |= {type(event).__name__ for event in life.victim.machine.sctp_events}
    assert {"AssociationEstablished", "AssociationLost", "AssociationClosed", "MessageReceived"} <= reported
    assert {"IncomingStreamsReset", "StreamsAdded", "RemoteError"} <= reported


class Unbalanced:
    """An association that has lost count."""

    def check_invariants(self) -> None:
        raise AssertionError("1 bytes accounted, 0 held")


def test_unbalanced_accounts_are_a_finding() -> None:
    life = living.Life(living.Program(b"\0"), interleaving=True)
    life.play()
    life.victim.machine.association = Unbalanced()
    with pytest.raises(AssertionError, match="accounted"):
        life.judge()


def test_a_foreign_exception_is_a_finding() -> None:
    def refuses(data: bytes) -> None:
        raise BadPacket("not what I expected")

    def stumbles(data: bytes) -> None:
        _ = data[7]

    reader(refuses)(b"short")
    with pytest.raises(IndexError):
        reader(stumbles)(b"short")


def test_a_corpus_is_read_as_it_was_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "FOLDER", tmp_path)
    assert corpus.load("some.target") == []
    assert corpus.store("some.target", [b"\1\2", b"", b"\1\2", b"\xff"]) == 3
    assert corpus.load("some.target") == [b"", b"\xff", b"\1\2"]
    corpus.unpack("some.target", tmp_path / "files")
    assert sorted(corpus.read_folder(tmp_path / "files")) == [b"", b"\1\2", b"\xff"]


def test_only_inputs_that_reach_new_code_are_kept() -> None:
    target = TARGETS["signaling.room_messages.parse_client_message_untrusted"]
    kept = corpus.load("signaling.room_messages.parse_client_message_untrusted")
    again = corpus.needed(target, [*kept, *(data + b"\0" for data in kept if len(data) > 30)])
    assert again == kept


def test_mutations_repeat_by_seed() -> None:
    kept = [b"hello", b"world"]

    def some(seed: int) -> list[bytes]:
        chance = random.Random(seed)
        return [mutated(kept, chance) for _ in range(50)]

    assert some(1) == some(1) != some(2)
    assert len(set(some(1))) > 40
