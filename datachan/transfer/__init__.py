"""Files over a data channel: the protocol, the sender and the receiver.

`protocol`, `messages`, `names` and `errors` are pure; `files` touches the disk; `sender`, `receiver` and `answer` are
asyncio shells over anything shaped like an `RTCDataChannel`.
"""

from __future__ import annotations

from datachan.transfer.answer import answer_file, files_in
from datachan.transfer.errors import TransferCancelled, TransferError, TransferFailed, TransferRefused
from datachan.transfer.messages import FileOffer
from datachan.transfer.protocol import CHANNEL_LABEL
from datachan.transfer.receiver import ReceivedFile, receive_file, request_file
from datachan.transfer.sender import SentFile, send_file

__all__ = [
    "CHANNEL_LABEL",
    "FileOffer",
    "ReceivedFile",
    "SentFile",
    "TransferCancelled",
    "TransferError",
    "TransferFailed",
    "TransferRefused",
    "answer_file",
    "files_in",
    "receive_file",
    "request_file",
    "send_file",
]
