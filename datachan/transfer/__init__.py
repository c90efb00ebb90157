"""Files over a data channel: the protocol, the sender and the receiver.

`machines`, `control`, `file_names` and `errors` are pure. `files` uses the disk. `sender`, `receiver` and `answer` are
asyncio shells over any channel with the methods of `RTCDataChannel`.
"""

from __future__ import annotations

from datachan.transfer.answer import answer_file, files_in
from datachan.transfer.control import FileOffer
from datachan.transfer.errors import TransferCancelled, TransferError, TransferFailed, TransferRefused
from datachan.transfer.machines import CHANNEL_LABEL
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
