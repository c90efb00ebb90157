"""The two machines of a file transfer, one message at a time."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datachan.transfer.control import (
    FileAccept,
    FileCancel,
    FileEnd,
    FileOffer,
    FileReceived,
    FileReject,
    FileRequest,
    serialize_control,
)
from datachan.transfer.errors import TransferMisuse
from datachan.transfer.machines import (
    Accepted,
    Action,
    Ended,
    FileReceiver,
    FileSender,
    Offered,
    Send,
    TransferOutcome,
    TransferState,
    Verified,
    Write,
)

DATA = b"hello, world"
HASH = hashlib.sha256(DATA).hexdigest()
OFFER = FileOffer("t1", "a.txt", len(DATA))


def said(actions: list[Action]) -> list[dict[str, object]]:
    """Return the control messages among the actions, without their reasons."""
    texts = [a.message for a in actions if isinstance(a, Send) and isinstance(a.message, str)]
    return [{k: v for k, v in json.loads(text).items() if k != "reason"} for text in texts]


def ending(actions: list[Action]) -> TransferOutcome | None:
    return next((a.outcome for a in actions if isinstance(a, Ended)), None)


def sending() -> FileSender:
    sender = FileSender("t1", "a.txt", len(DATA))
    sender.start()
    assert sender.receive_message(serialize_control(FileAccept("t1"))) == [Accepted()]
    return sender


def receiving(offer: FileOffer = OFFER) -> FileReceiver:
    receiver = FileReceiver()
    receiver.receive_message(serialize_control(offer))
    receiver.accept()
    return receiver


def test_a_file_goes_from_offer_to_receipt() -> None:
    sender, receiver = FileSender("t1", "/home/a/a.txt", len(DATA)), FileReceiver()
    (send,) = sender.start()  # A - file-offer -> Z
    assert isinstance(send, Send)
    assert receiver.receive_message(send.message) == [Offered(OFFER)]
    (send,) = receiver.accept()  # A <- file-accept - Z
    assert isinstance(send, Send)
    assert sender.receive_message(send.message) == [Accepted()]
    for chunk in (DATA[:5], DATA[5:]):  # A - binary -> Z
        assert sender.send_chunk(chunk) == [Send(chunk)]
        assert receiver.receive_message(chunk) == [Write(chunk)]
    (send,) = sender.finish()  # A - file-end -> Z
    assert isinstance(send, Send)
    assert receiver.receive_message(send.message) == [Verified(HASH)]
    send, ended = receiver.stored()  # A <- file-received - Z
    assert isinstance(send, Send)
    assert ended == Ended(TransferOutcome.DELIVERED)
    assert sender.receive_message(send.message) == [Ended(TransferOutcome.DELIVERED)]
    assert sender.sha256 == receiver.sha256 == HASH


def test_an_empty_file_has_no_chunks() -> None:
    sender = FileSender("t1", "empty", 0)
    sender.start()
    sender.receive_message(serialize_control(FileAccept("t1")))
    assert said(sender.finish()) == [{"type": "file-end", "id": "t1", "sha256": hashlib.sha256().hexdigest()}]


def test_a_requested_file_is_offered_in_return() -> None:
    receiver = FileReceiver()
    assert said(receiver.request("a.txt")) == [{"type": "file-request", "name": "a.txt"}]
    assert receiver.receive_message(serialize_control(OFFER)) == [Offered(OFFER)]


def test_a_request_may_be_refused_before_there_is_an_id() -> None:
    receiver = FileReceiver()
    receiver.request("a.txt")
    actions = receiver.receive_message(serialize_control(FileReject("", "there is no such file")))
    assert actions == [Ended(TransferOutcome.REFUSED, "there is no such file")]


def test_rejects_another_file_than_the_one_requested() -> None:
    receiver = FileReceiver()
    receiver.request("b.txt")
    actions = receiver.receive_message(serialize_control(OFFER))
    assert said(actions) == [{"type": "file-reject", "id": "t1"}]
    assert ending(actions) is TransferOutcome.REFUSED


def test_rejects_a_file_that_is_too_large_without_asking() -> None:
    receiver = FileReceiver(max_size=len(DATA) - 1)
    actions = receiver.receive_message(serialize_control(OFFER))
    assert said(actions) == [{"type": "file-reject", "id": "t1"}]
    assert ending(actions) is TransferOutcome.REFUSED


def test_a_rejected_offer_ends_the_sender_with_the_reason() -> None:
    sender = FileSender("t1", "a.txt", 5)
    sender.start()
    assert sender.receive_message(serialize_control(FileReject("t1", "no room"))) == [
        Ended(TransferOutcome.REFUSED, "no room")
    ]


def test_more_bytes_than_announced_cancel_before_they_are_written() -> None:
    receiver = receiving()
    assert receiver.receive_message(DATA[:10]) == [Write(DATA[:10])]
    actions = receiver.receive_message(DATA)
    assert said(actions) == [{"type": "file-cancel", "id": "t1"}]
    assert ending(actions) is TransferOutcome.FAILED
    assert not any(isinstance(a, Write) for a in actions)


def test_fewer_bytes_than_announced_cancel() -> None:
    receiver = receiving()
    receiver.receive_message(DATA[:-1])
    actions = receiver.receive_message(serialize_control(FileEnd("t1", hashlib.sha256(DATA[:-1]).hexdigest())))
    assert said(actions) == [{"type": "file-cancel", "id": "t1"}]
    assert ending(actions) is TransferOutcome.FAILED


def test_a_wrong_hash_is_reported_to_the_sender_and_ends_in_failure() -> None:
    receiver = receiving()
    receiver.receive_message(DATA[:-1] + b"?")
    actions = receiver.receive_message(serialize_control(FileEnd("t1", HASH)))
    assert said(actions) == [{"type": "file-cancel", "id": "t1"}]
    assert ending(actions) is TransferOutcome.FAILED


def test_a_receipt_with_a_different_hash_fails_the_transfer() -> None:
    sender = sending()
    sender.send_chunk(DATA)
    sender.finish()
    actions = sender.receive_message(serialize_control(FileReceived("t1", "0" * 64)))
    assert ending(actions) is TransferOutcome.FAILED


def test_a_file_received_before_file_end_cancels_the_transfer() -> None:
    sender = sending()
    sender.send_chunk(DATA)
    assert ending(sender.receive_message(serialize_control(FileReceived("t1", HASH)))) is TransferOutcome.FAILED


def test_refuses_an_offset() -> None:
    sender = FileSender("t1", "a.txt", 5)
    sender.start()
    actions = sender.receive_message(serialize_control(FileAccept("t1", offset=3)))
    assert said(actions) == [{"type": "file-cancel", "id": "t1"}]


@pytest.mark.parametrize(
    "message",
    [
        b"data",
        "no json",
        serialize_control(FileAccept("t1")),
        serialize_control(FileAccept("t2")),
        serialize_control(FileReceived("t1", HASH)),
        serialize_control(FileEnd("t1", HASH)),
        serialize_control(FileRequest("a.txt")),
        serialize_control(OFFER),
    ],
)
def test_cancels_on_an_unexpected_message(message: str | bytes) -> None:
    sender, receiver = sending(), FileReceiver()
    receiver.receive_message(serialize_control(OFFER))
    for machine in (sender, receiver):
        actions = machine.receive_message(message)
        assert said(actions) == [{"type": "file-cancel", "id": "t1"}]
        assert ending(actions) is TransferOutcome.FAILED


@pytest.mark.parametrize("transfer_id", ["t1", ""])
def test_the_peers_cancel_ends_either_side_with_its_reason(transfer_id: str) -> None:
    for machine in (sending(), receiving()):
        actions = machine.receive_message(serialize_control(FileCancel(transfer_id, "enough")))
        assert actions == [Ended(TransferOutcome.CANCELLED, "enough")]


def test_an_ended_transfer_ignores_everything() -> None:
    sender, receiver = sending(), receiving()
    for machine in (sender, receiver):
        machine.cancel("enough")
        assert machine.receive_message(b"data") == []
        assert machine.receive_message(serialize_control(FileCancel("t1", "me too"))) == []
        assert machine.cancel("again") == []
        assert machine.channel_closed() == []
    assert sender.send_chunk(DATA) == []
    assert sender.finish() == []
    assert receiver.accept() == []
    assert receiver.reject("no") == []
    assert receiver.stored() == []


def test_a_closing_channel_ends_the_transfer_without_a_message() -> None:
    for machine in (sending(), receiving()):
        (ended,) = machine.channel_closed()
        assert isinstance(ended, Ended)
        assert ended.outcome is TransferOutcome.FAILED


def test_unknown_types_are_ignored() -> None:
    sender = sending()
    assert sender.receive_message('{"type": "file-paused", "id": "t1"}') == []
    assert sender.state is TransferState.TRANSFERRING


def test_raises_on_misuse() -> None:
    for bad_id in ("", "a b", "x" * 65):
        with pytest.raises(TransferMisuse):
            FileSender(bad_id, "a", 1)
    with pytest.raises(TransferMisuse):
        FileSender("t1", "a", -1)
    sender = FileSender("t1", "a.txt", 5)
    with pytest.raises(TransferMisuse):
        sender.send_chunk(b"early")
    sender = sending()
    with pytest.raises(TransferMisuse):
        sender.finish()
    with pytest.raises(TransferMisuse):
        sender.send_chunk(DATA + b"!")
    receiver = receiving()
    for call in (receiver.accept, receiver.stored, receiver.request):
        with pytest.raises(TransferMisuse):
            call()


IDS = st.sampled_from(["t1", "", "t2"])
CONTROLS = st.one_of(
    st.builds(FileOffer, IDS.filter(bool), st.text(), st.integers(0, 20)),
    st.builds(FileAccept, IDS.filter(bool), st.integers(0, 1)),
    st.builds(FileEnd, IDS.filter(bool), st.sampled_from([HASH, hashlib.sha256().hexdigest()])),
    st.builds(FileReceived, IDS.filter(bool), st.just(HASH)),
    st.builds(FileReject, IDS, st.text()),
    st.builds(FileCancel, IDS, st.text()),
    st.builds(FileRequest, st.none() | st.text()),
)
MESSAGES = st.binary(max_size=30) | st.text() | CONTROLS.map(serialize_control)


@given(st.lists(MESSAGES, max_size=12))
def test_a_receiver_never_writes_more_than_was_offered(messages: list[str | bytes]) -> None:
    receiver, written, verified = FileReceiver(), 0, 0
    for message in messages:
        for action in receiver.receive_message(message):
            if isinstance(action, Offered):
                receiver.accept()
            elif isinstance(action, Write):
                written += len(action.data)
            elif isinstance(action, Verified):
                verified += 1
    assert written <= receiver.size
    assert verified <= 1


@given(st.lists(MESSAGES, max_size=12))
def test_a_sender_reports_delivery_only_after_sending_every_byte(messages: list[str | bytes]) -> None:
    sender = FileSender("t1", "a.txt", len(DATA))
    sender.start()
    for message in messages:
        assert ending(sender.receive_message(message)) is not TransferOutcome.DELIVERED
