"""A sender and a receiver exchange messages in memory: what is offered, sent, resumed, given up and ended."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest

from datachan.transfer.actions import (
    Accepted,
    Action,
    Ended,
    FileMissing,
    FilesStored,
    FinishFile,
    Offered,
    Outcome,
    Restarted,
    Send,
    StartFile,
    WritePiece,
)
from datachan.transfer.digests import available_hashes, file_digest
from datachan.transfer.messages import EndCode, Entry, Kind
from datachan.transfer.receiving import ReceivingBounds, ReceivingMachine
from datachan.transfer.sending import READ_AHEAD, CheckPrefix, SendingMachine, Work

PIECE = 64 * 1024
HASHES = available_hashes()


def pieces_of(data: bytes, hash_name: str = "blake3") -> list[bytes]:
    return [HASHES[hash_name](data[at : at + PIECE]) for at in range(0, len(data), PIECE)]


@dataclass
class Meeting:
    """Both machines, their files in memory, and the messages between them."""

    files: dict[str, bytes]
    entries: list[Entry] = field(default_factory=list)
    have: dict[str, bytes] = field(default_factory=dict)
    unwanted: tuple[int, ...] = ()
    hashes: tuple[str, ...] = ("blake3", "sha256")
    write: bool = True
    tamper: Callable[[str | bytes], str | bytes] = lambda message: message
    unreadable: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.entries = self.entries or [Entry(path, size=len(data)) for path, data in self.files.items()]
        self.sender = SendingMachine("offer", self.entries, dict(HASHES), piece=PIECE)
        self.receiver = ReceivingMachine({n: HASHES[n] for n in self.hashes}, ReceivingBounds(write_window=4 * PIECE))
        self.stored: dict[str, bytes] = {}
        self.open: dict[int, bytearray] = {}
        self.seen: list[Action] = []
        self.to_receiver: deque[str | bytes] = deque()
        self.to_sender: deque[str | bytes] = deque()
        self.ended: dict[str, Ended] = {}
        self.bytes_sent = self.data_messages = 0

    def run(self) -> Meeting:
        self.sender_does(self.sender.start())
        while self.step():
            pass
        return self

    def step(self) -> bool:
        moved = False
        while self.to_sender:
            self.sender_does(self.sender.receive_message(self.to_sender.popleft()))
            moved = True
        while self.sender.wants_more and (work := self.sender.next_work()) is not None:
            self.perform(work)
            moved = True
        for message in self.sender.messages_to_send():
            self.bytes_sent += 0 if isinstance(message, str) else len(message)
            self.data_messages += isinstance(message, bytes)
            self.to_receiver.append(self.tamper(message))
        while self.to_receiver:
            self.receiver_does(self.receiver.receive_message(self.to_receiver.popleft()))
            moved = True
        return moved

    def perform(self, work: Work) -> None:
        path = self.entries[work.file].path
        assert self.sender.hash is not None
        if path in self.unreadable:
            self.sender.unreadable(work, "unreadable", "permission denied")
        elif isinstance(work, CheckPrefix):
            name = next(n for n, f in HASHES.items() if f is self.sender.hash)
            prefix = self.files[path][: work.offset]
            self.sender_does(self.sender.prefix_hashed(work, pieces_of(prefix, name)))
        else:
            data = self.files[path][work.offset : work.offset + work.length]
            self.sender.piece_read(work, data, self.sender.hash(data))

    def sender_does(self, actions: list[Action]) -> None:
        for action in actions:
            self.seen.append(action)
            if isinstance(action, Send):
                self.to_receiver.append(self.tamper(action.message))
            elif isinstance(action, Ended):
                self.ended["sender"] = action

    def receiver_does(self, actions: list[Action]) -> None:
        queue = deque(actions)
        while queue:
            action = queue.popleft()
            if isinstance(action, Send):
                self.to_sender.append(action.message)
                continue
            self.seen.append(action)
            if isinstance(action, Offered):
                index = {entry.path: i for i, entry in enumerate(action.entries)}
                name = next(n for n, f in HASHES.items() if f is self.receiver.agreed_hash())
                have = {index[path]: (len(data), pieces_of(data, name)) for path, data in self.have.items()}
                queue.extend(self.receiver.accept(have, self.unwanted))
            elif isinstance(action, StartFile):
                path = self.entries[action.file].path
                self.open[action.file] = bytearray(self.have.get(path, b"")[: action.offset])
            elif isinstance(action, WritePiece) and self.write:
                data = b"".join(action.data)
                assert self.receiver.hash is not None
                if self.receiver.hash(data) != action.digest:
                    queue.extend(self.receiver.end(EndCode.DAMAGED, "a piece is damaged"))
                    continue
                assert len(self.open[action.file]) == action.offset
                self.open[action.file] += data
                queue.extend(self.receiver.written(action.stream_end))
                queue.extend(self.receiver.flushed(action.stream_end))
            elif isinstance(action, FinishFile):
                data = bytes(self.open.pop(action.file))
                assert len(data) == action.size
                assert self.receiver.hash is not None
                name = next(n for n, f in HASHES.items() if f is self.receiver.hash)
                assert file_digest(self.receiver.hash, len(data), pieces_of(data, name)) == action.digest
                self.stored[self.entries[action.file].path] = data
                queue.extend(self.receiver.stored([action.file]))
            elif isinstance(action, Ended):
                self.ended["receiver"] = action

    def assert_complete(self) -> None:
        assert self.ended["sender"].outcome is self.ended["receiver"].outcome is Outcome.COMPLETED, self.ended


def random_files(seed: int, count: int) -> dict[str, bytes]:
    random = Random(seed)
    sizes = [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 9 * PIECE + 17]
    return {f"folder/{n}": random.randbytes(random.choice([*sizes, random.randrange(300)])) for n in range(count)}


@pytest.mark.parametrize("hashes", [("sha256",), ("blake3", "sha256")])
def test_files_of_all_sizes_arrive(seed: int, hashes: tuple[str, ...]) -> None:
    files = random_files(seed, 40)
    meeting = Meeting(files, hashes=hashes).run()
    meeting.assert_complete()
    assert meeting.stored == files
    assert sum(len(a.files) for a in meeting.seen if isinstance(a, FilesStored)) == len(files)


def test_10000_small_files_share_messages(seed: int) -> None:
    files = {f"{n}": b"%d" % n for n in range(10_000)}
    meeting = Meeting(files).run()
    meeting.assert_complete()
    assert meeting.stored == files
    assert meeting.sender.sent_bytes == sum(len(data) + 32 for data in files.values())
    assert meeting.data_messages < 100


def test_an_offer_of_nothing_but_an_empty_file_and_a_folder_completes() -> None:
    entries = [Entry("a", Kind.FOLDER), Entry("b")]
    meeting = Meeting({"a": b"", "b": b""}, entries).run()
    meeting.assert_complete()
    assert meeting.stored == {"a": b"", "b": b""}
    assert meeting.bytes_sent == 0


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 4 * PIECE, 4 * PIECE + 5])
def test_a_file_of_unknown_size_arrives(size: int) -> None:
    data = Random(size).randbytes(size)
    entries = [Entry("first", size=3), Entry("stdin", size=None)]
    meeting = Meeting({"first": b"abc", "stdin": data}, entries).run()
    meeting.assert_complete()
    assert meeting.stored["stdin"] == data


def test_the_sender_goes_on_where_the_receiver_is(seed: int) -> None:
    data = Random(seed).randbytes(10 * PIECE + 5)
    meeting = Meeting({"a": data, "b": b"new"}, have={"a": data[: 6 * PIECE]}).run()
    meeting.assert_complete()
    assert meeting.stored == {"a": data, "b": b"new"}
    assert meeting.bytes_sent == 4 * PIECE + 5 + 5 * 32 + 3 + 32


def test_a_complete_file_is_not_sent_again(seed: int) -> None:
    data = Random(seed).randbytes(3 * PIECE + 5)
    meeting = Meeting({"a": data, "b": data}, have={"a": data, "b": data}).run()
    meeting.assert_complete()
    assert meeting.stored == {"a": data, "b": data}
    assert meeting.bytes_sent == 0


def test_a_changed_source_is_noticed_and_sent_from_its_first_byte(seed: int) -> None:
    data = Random(seed).randbytes(5 * PIECE)
    old = bytearray(data[: 4 * PIECE])
    old[PIECE] ^= 1
    meeting = Meeting({"a": data}, have={"a": bytes(old)}).run()
    meeting.assert_complete()
    assert meeting.stored == {"a": data}
    assert sum(isinstance(action, Restarted) for action in meeting.seen) == 2  # both sides say so


def test_unwanted_files_are_not_sent() -> None:
    files = {f"{n}": bytes([n]) * 100 for n in range(10)}
    meeting = Meeting(files, unwanted=(0, 1, 2, 5, 9)).run()
    meeting.assert_complete()
    assert set(meeting.stored) == {"3", "4", "6", "7", "8"}
    assert [a.wanted for a in meeting.seen if isinstance(a, Accepted)] == [5]


def test_a_file_that_cannot_be_read_is_given_up_and_the_others_arrive(seed: int) -> None:
    files = {"a": b"1" * 100, "b": Random(seed).randbytes(3 * PIECE), "c": b"3"}
    meeting = Meeting(files, unreadable=frozenset({"b"})).run()
    meeting.assert_complete()
    assert set(meeting.stored) == {"a", "c"}
    assert meeting.receiver.missing == {1: "permission denied"}
    assert [a.file for a in meeting.seen if isinstance(a, FileMissing)] == [1]


def test_a_file_that_became_shorter_is_given_up() -> None:
    files = {"a": b"x" * (2 * PIECE), "b": b"after"}
    meeting = Meeting(files, [Entry("a", size=3 * PIECE), Entry("b", size=5)]).run()
    meeting.assert_complete()
    assert meeting.stored == {"b": b"after"}
    assert "shorter" in meeting.receiver.missing[0]


def test_nothing_is_sent_beyond_the_credit() -> None:
    meeting = Meeting({"a": bytes(100 * PIECE)}, write=False).run()
    assert not meeting.ended
    assert meeting.bytes_sent == meeting.sender.sent_bytes == 2 * (PIECE + 32) + 262_144
    assert meeting.sender.queued < (READ_AHEAD + 1) * PIECE


def test_a_damaged_piece_ends_the_transfer() -> None:
    def flip(message: str | bytes) -> str | bytes:
        return message if isinstance(message, str) else bytes([message[0] ^ 1]) + message[1:]

    meeting = Meeting({"a": bytes(3 * PIECE)}, tamper=flip).run()
    assert meeting.ended["sender"].code is meeting.ended["receiver"].code is EndCode.DAMAGED
    assert not meeting.stored


def test_a_manifest_of_100000_entries_is_paged() -> None:
    entries = [Entry(f"folder/{n:060}", Kind.FOLDER) for n in range(100_000)]
    meeting = Meeting({}, entries)
    actions = meeting.sender.start()
    assert all(len(a.message.encode()) <= 60_000 for a in actions if isinstance(a, Send) and isinstance(a.message, str))
    for action in actions:
        assert isinstance(action, Send)
        found = meeting.receiver.receive_message(action.message)
    assert isinstance(found[0], Offered)
    assert found[0].entries == tuple(entries)


def offered(*paths: str) -> ReceivingMachine:
    """Return a receiver that has requested `x`, after an offer of these paths."""
    receiver = ReceivingMachine(dict(HASHES))
    (request,) = receiver.request("x")
    assert isinstance(request, Send)
    assert json.loads(request.message) == {"type": "request", "name": "x"}
    for action in SendingMachine("offer", [Entry(path) for path in paths], dict(HASHES)).start():
        assert isinstance(action, Send)
        receiver.receive_message(action.message)
    return receiver


@pytest.mark.parametrize("paths", [("x",), ("x/a", "x/b"), ("../x",)])
def test_what_was_requested_may_be_accepted(paths: tuple[str, ...]) -> None:
    assert not offered(*paths).is_over


@pytest.mark.parametrize("paths", [("y",), ("x/a", "y"), ("y/x",)])
def test_an_offer_of_something_else_than_was_requested_ends_the_transfer(paths: tuple[str, ...]) -> None:
    assert offered(*paths).is_over


def test_a_request_may_name_nothing_and_get_anything() -> None:
    (request,) = ReceivingMachine(dict(HASHES)).request(None)
    assert isinstance(request, Send)
    assert json.loads(request.message) == {"type": "request"}


@pytest.mark.parametrize(
    ("bounds", "fits"),
    [
        (ReceivingBounds(max_entries=2), True),
        (ReceivingBounds(max_entries=1), False),
        (ReceivingBounds(max_piece=PIECE), True),
        (ReceivingBounds(max_piece=PIECE - 1), False),
    ],
)
def test_an_offer_beyond_the_bounds_is_refused_before_its_manifest(bounds: ReceivingBounds, fits: bool) -> None:
    receiver = ReceivingMachine(dict(HASHES), bounds)
    first = SendingMachine("offer", [Entry("a"), Entry("b")], dict(HASHES), piece=PIECE).start()[0]
    assert isinstance(first, Send)
    actions = receiver.receive_message(first.message)
    assert [action.code for action in actions if isinstance(action, Ended)] == ([] if fits else [EndCode.TOO_LARGE])


def entries_message(*entries: dict[str, object]) -> str:
    return json.dumps({"type": "entries", "entries": entries})


@pytest.mark.parametrize(
    "messages",
    [
        [entries_message({"path": "a", "size": 1}, {"path": "b", "size": 1})],
        [entries_message({"path": "a", "size": 2}), '{"type":"offered"}'],
        ['{"type":"offered"}'],
        [entries_message({"path": "x" * 1025, "size": 1})],
        [entries_message({"path": "/".join("x" * 65), "size": 1})],
        [entries_message({"path": "", "size": 1})],
        [entries_message(*({"path": "a", "size": 0} for _ in range(1001)))],
        [entries_message({"path": "a", "size": 2**53})],
        [entries_message({"path": "a", "kind": "link", "size": 1})],
        ['{"type":"entries","entries":[]}'],
    ],
)
def test_a_manifest_beyond_its_bounds_ends_the_transfer(messages: list[str]) -> None:
    receiver = ReceivingMachine(dict(HASHES))
    offer = {"id": "x", "count": 1, "size": 1, "hashes": ["sha256"], "piece": PIECE}
    assert receiver.receive_message(json.dumps({"type": "offer", "version": 1, **offer})) == []
    for message in messages:
        actions = receiver.receive_message(message)
    assert isinstance(actions[-1], Ended)
    assert actions[-1].code is EndCode.PROTOCOL


def test_a_manifest_of_more_than_16_mib_ends_the_transfer() -> None:
    receiver = ReceivingMachine(dict(HASHES))
    offer = {"id": "x", "count": 100_000, "size": 0, "hashes": ["sha256"], "piece": PIECE}
    receiver.receive_message(json.dumps({"type": "offer", "version": 1, **offer}))
    page = entries_message(*({"path": "x" * 1000, "size": 0} for _ in range(50)))
    taken = 0
    while not receiver.is_over:
        receiver.receive_message(page)
        taken += 50
    assert taken * 1064 <= 16 * 1024 * 1024 + 50 * 1064


SENDER_MESSAGES = [
    '{"type":"sent"}',
    '{"type":"resume","file":0,"offset":0}',
    '{"type":"size","file":0,"size":3}',
    '{"type":"missing","file":1,"code":"changed","reason":""}',
    '{"type":"offered"}',
    '{"type":"entries","entries":[{"path":"x","size":1}]}',
    '{"type":"offer","version":1,"id":"x","count":1,"size":1,"hashes":["sha256"],"piece":65536}',
    "{}",
    "nonsense",
    '{"type":"sent","filler":"%s"}' % ("x" * 60_000),
    '{"type":"pake","version":1,"share":"00"}',
    b"",
    b"x" * 262_145,
]


@pytest.mark.parametrize("message", SENDER_MESSAGES, ids=lambda m: str(m)[:30])
def test_a_message_that_does_not_fit_ends_the_transfer_at_the_receiver(message: str | bytes) -> None:
    meeting = Meeting({"a": bytes(50 * PIECE), "b": b"x"}, write=False).run()
    meeting.receiver_does(meeting.receiver.receive_message(message))
    assert meeting.ended["receiver"].code is EndCode.PROTOCOL
    assert json.loads(meeting.to_sender[-1])["code"] == "protocol"


RECEIVER_MESSAGES = [
    '{"type":"complete"}',
    '{"type":"stored","files":[[0,"%s"]]}' % ("00" * 32),
    '{"type":"stored","files":[[77,"%s"]]}' % ("00" * 32),
    '{"type":"credit","bytes":0,"durable":0}',
    '{"type":"credit","bytes":99999999,"durable":99999999}',
    '{"type":"accept","id":"offer","hash":"sha256","credit":1}',
    '{"type":"have","files":[]}',
    '{"type":"credit","bytes":-1,"durable":0}',
    '{"type":"credit","bytes":1e300,"durable":0}',
    b"data",
]


@pytest.mark.parametrize("message", RECEIVER_MESSAGES, ids=lambda m: str(m)[:40])
def test_a_message_that_does_not_fit_ends_the_transfer_at_the_sender(message: str | bytes) -> None:
    meeting = Meeting({"a": bytes(50 * PIECE), "b": b"x"}, write=False).run()
    meeting.sender_does(meeting.sender.receive_message(message))
    assert meeting.ended["sender"].code is EndCode.PROTOCOL


HAVE = '{"type":"have","files":[[%s,"' + "00" * 32 + '"]]}'


@pytest.mark.parametrize(
    "message",
    [
        HAVE % "0,7",
        HAVE % f"0,{PIECE * 4}",
        HAVE % "2,0",
        HAVE % "1,0",
        '{"type":"unwanted","files":[[1,0]]}',
        '{"type":"unwanted","files":[[0,2]]}',
        '{"type":"accept","id":"other","hash":"sha256","credit":1}',
        '{"type":"accept","id":"offer","hash":"md5","credit":1}',
    ],
)
def test_an_acceptance_that_does_not_fit_the_offer_ends_the_transfer(message: str) -> None:
    sender = SendingMachine("offer", [Entry("a", size=3 * PIECE), Entry("b")], dict(HASHES), piece=PIECE)
    sender.start()
    actions = sender.receive_message(message)
    assert isinstance(actions[-1], Ended)
    assert actions[-1].code is EndCode.PROTOCOL


def test_bytes_beyond_the_credit_end_the_transfer() -> None:
    meeting = Meeting({"a": bytes(50 * PIECE)}, write=False).run()
    meeting.receiver_does(meeting.receiver.receive_message(b"x"))
    assert "credit" in meeting.ended["receiver"].reason


def test_either_side_may_end_and_the_other_learns_the_reason() -> None:
    meeting = Meeting({"a": bytes(50 * PIECE)}, write=False).run()
    meeting.receiver_does(meeting.receiver.end(EndCode.NO_SPACE, "the disk is full", 17))
    meeting.step()
    assert meeting.ended["sender"] == Ended(Outcome.ENDED_BY_PEER, EndCode.NO_SPACE, "the disk is full", 17)
    meeting = Meeting({"a": bytes(50 * PIECE)}, write=False).run()
    meeting.sender_does(meeting.sender.end(EndCode.CANCELLED, "Ctrl+C"))
    meeting.step()
    assert meeting.ended["receiver"] == Ended(Outcome.ENDED_BY_PEER, EndCode.CANCELLED, "Ctrl+C", None)
    assert meeting.receiver.receive_message(b"late") == meeting.sender.receive_message("late") == []


def test_a_closed_channel_is_a_break() -> None:
    meeting = Meeting({"a": bytes(50 * PIECE)}, write=False).run()
    meeting.sender_does(meeting.sender.channel_closed())
    meeting.receiver_does(meeting.receiver.channel_closed())
    assert meeting.ended["sender"].outcome is meeting.ended["receiver"].outcome is Outcome.BROKEN
    assert meeting.sender.channel_closed() == meeting.receiver.channel_closed() == []


def test_random_messages_never_raise(seed: int) -> None:
    random = Random(seed)
    files = random_files(seed, 6)
    recorded: list[str | bytes] = []

    def record(message: str | bytes) -> str | bytes:
        recorded.append(message)
        return message

    Meeting(files, tamper=record).run()
    for _ in range(300):
        meeting = Meeting(files)
        for message in random.choices([*recorded, *SENDER_MESSAGES, *RECEIVER_MESSAGES], k=8):
            if isinstance(message, str) and random.random() < 0.3:
                at = random.randrange(len(message) + 1)
                message = message[:at] + random.choice('0{}[]",:-9x') + message[at + 1 :]
            meeting.receiver_does(meeting.receiver.receive_message(message))
            meeting.sender.receive_message(message)
